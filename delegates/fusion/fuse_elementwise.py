"""An element-wise operator that only another reads moves into that one."""

from __future__ import annotations

from collections.abc import Mapping

from tflgpu.delegates.expression import IDENTITY
from tflgpu.delegates.fusion.steps import PassContext, Steps, Uses, with_ops
from tflgpu.delegates.ir import Elementwise, inlined
from tflgpu.delegates.launch import Op, Ref

MAX_INPUTS = 8
MAX_VALUES = 24


def is_fusable(op: object) -> bool:
    """Whether it can be fused with other ops: it makes a tensor and finds no fault."""
    return isinstance(op, Elementwise) and op.fault is None and isinstance(op.out, Ref)


def fuse_elementwise(steps: Steps, context: PassContext) -> Steps:
    """One kernel of what would be a row of them, and no tensors between."""
    if not context.limits.has("chains"):
        return steps
    uses = Uses(steps, context)
    ops: dict[int, Op | None] = {}
    producers: dict[int, tuple[int, Elementwise]] = {}
    for position, step in enumerate(steps):
        if not is_fusable(step.op):
            continue
        assert isinstance(step.op, Elementwise) and isinstance(step.op.out, Ref)
        op, used = _with_producers(step.op, producers, uses)
        for root in used:
            ops[producers.pop(root)[0]] = None
        if used:
            ops[position] = op
        if uses.used_once(step.op.out):
            producers[uses.root(step.op.out)] = position, op
    return with_ops(steps, ops)


def _with_producers(
    op: Elementwise, producers: Mapping[int, tuple[int, Elementwise]], uses: Uses
) -> tuple[Elementwise, list[int]]:
    """The op, with what makes its inputs inside where that is possible, and the roots of those inputs."""
    used: list[int] = []
    for operand in op.inputs:
        root = uses.root(operand.buffer) if isinstance(operand.buffer, Ref) else None
        if root is None or root not in producers or root in used or operand.at != IDENTITY:
            continue
        producer = producers[root][1]
        fits = len(op.inputs) + len(producer.inputs) - 1 <= MAX_INPUTS
        if producer.n != op.n or not fits or len(op.values) + len(producer.values) >= MAX_VALUES:
            continue
        again = sum(uses.same(operand.buffer, other.buffer) for other in op.inputs)
        if again > 1 or operand.kind != producer.out_kind:
            continue
        op = inlined(op, operand, producer)
        used.append(root)
    return op, used
