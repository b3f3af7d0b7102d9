"""Nodes become the ops that their lowerings return."""

from __future__ import annotations

from tflgpu.delegates.fusion.steps import PassContext, Step, Steps
from tflgpu.delegates.ir import Alias
from tflgpu.delegates.lowering import lower
from tflgpu.delegates.lowering.movement.movement import copy
from tflgpu.model.graph import Node


def lower_nodes(steps: Steps, context: PassContext) -> Steps:
    """Each node that is left as what computes it."""
    out: list[Step] = []
    for step in steps:
        ops = lower(step.op, context.limits) if isinstance(step.op, Node) else [step.op]
        out += [Step(step.node, op) for op in ops]
    return tuple(out)


def copy_live_out_aliases(steps: Steps, context: PassContext) -> Steps:
    """An alias that leaves the partition is a copy, since its storage is not the partition's to choose."""
    out: list[Step] = []
    for step in steps:
        op = step.op
        if isinstance(op, Alias) and op.output in context.live:
            op = copy(context.specs[op.input], context.specs[op.output])
        out.append(Step(step.node, op))
    return tuple(out)
