"""Nodes that one kernel computes together: attention, from the scores to the mixed values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import IDENTITY
from tflgpu.delegates.fusion.attention_kernel import Attention, attention
from tflgpu.delegates.fusion.def_use import DefUse, is_alias, viewed, written
from tflgpu.delegates.fusion.fuse_elementwise import is_fusable
from tflgpu.delegates.fusion.steps import PassContext, Steps, with_ops
from tflgpu.delegates.ir import Elementwise
from tflgpu.delegates.launch import Launch, Ref
from tflgpu.delegates.lowering import lower
from tflgpu.delegation.delegate import Unsupported
from tflgpu.model.graph import Node, TensorSpec

MOST_STEPS = 6
"""Element-wise operators between the scores' product and their softmax, at the most."""


@dataclass(frozen=True, eq=False)
class Scores:
    """A product and what is done to each of its elements, from first to last: the op and the tensor that it goes on.

    nodes: all of them, and those between that only rename.
    """

    product: Node
    steps: tuple[tuple[Elementwise, int], ...]
    nodes: tuple[Node, ...]


def match_attention(steps: Steps, context: PassContext) -> Steps:
    """One launch in place of each pattern's nodes, at one of them."""
    if not context.limits.has("warps"):
        return steps
    nodes = [step.op for step in steps if isinstance(step.op, Node)]
    def_use = DefUse(nodes, context.live.__contains__)
    found: dict[int, Launch | None] = {}
    for node in nodes:
        if node.op == "SOFTMAX":
            found |= _attention(node, def_use, context.limits)
    replaced = {k: found[s.op.index] for k, s in enumerate(steps) if isinstance(s.op, Node) and s.op.index in found}
    return with_ops(steps, replaced)


def _attention(softmax: Node, def_use: DefUse, limits: DeviceLimits) -> dict[int, Launch | None]:
    """What stands at each of the nodes around this softmax, by their numbers; nothing where it is no attention."""
    x = softmax.input(0)
    mix, between = _mixing(softmax, def_use)
    if mix is None or x.type != "FLOAT32" or not softmax.options.beta > 0:
        return {}
    scores = _scores(x, def_use, limits)
    if scores is None:
        return {}
    m, n = scores.product.outputs[0].shape[-2:]
    batches = math.prod(mix.outputs[0].shape[:-2])
    fits = x.shape[-1] == n and mix.input(0).shape[-2:] == (m, n)
    if not fits or math.prod(scores.product.outputs[0].shape) != batches * m * n:
        return {}
    q, k, v = (viewed(s, def_use) for s in (scores.product.input(0), scores.product.input(1), mix.input(1)))
    out = written(mix.outputs[0], def_use)
    launch = attention(Attention(q, k, v, out, scores.product, mix, scores.steps, float(softmax.options.beta)), limits)
    if launch is None:
        return {}
    gone = {node.index for node in (*scores.nodes, softmax, *between, mix, *out.past)}
    inputs = {node.index: node for view in (q, k, v) for node in view.past}
    read = {buffer.tensor for buffer in launch.buffers if isinstance(buffer, Ref)}
    gone = def_use.unread([inputs[index] for index in sorted(inputs)], gone, read)
    return dict.fromkeys(gone) | {mix.index: launch}


def _mixing(softmax: Node, def_use: DefUse) -> tuple[Node | None, list[Node]]:
    """The product of the softmax's outputs with something else, where it alone reads them; and nodes that rename."""
    spec, between = softmax.outputs[0], list[Node]()
    while (node := def_use.only_reader(spec)) is not None and is_alias(node):
        between.append(node)
        spec = node.outputs[0]
    if node is None or node.op != "BATCH_MATMUL" or node.options.adj_x or not _of_floats(node):
        return None, []
    ours = node.input(0).index == spec.index and node.input(1).index != spec.index
    return (node, between) if ours else (None, [])


def _scores(spec: TensorSpec, def_use: DefUse, limits: DeviceLimits, room: int = MOST_STEPS) -> Scores | None:
    """How a tensor that nothing else wants is computed from a product, element by element."""
    node = def_use.maker(spec)
    if node is None or def_use.only_reader(spec) is None:
        return None
    if node.op == "BATCH_MATMUL":
        return Scores(node, (), (node,)) if _of_floats(node) else None
    if is_alias(node) and node.input(0).type == spec.type:
        found = _scores(node.input(0), def_use, limits, room)
        return found and replace(found, nodes=(*found.nodes, node))
    op = _elementwise(node, limits) if room else None
    if op is None or spec.type != "FLOAT32":
        return None
    for x in dict.fromkeys(s for s in node.inputs if s is not None and s.data is None and s.type == "FLOAT32"):
        whole = any(operand.buffer == Ref(x.index) and operand.at == IDENTITY for operand in op.inputs)
        if whole and (found := _scores(x, def_use, limits, room - 1)) is not None:
            return Scores(found.product, (*found.steps, (op, x.index)), (*found.nodes, node))
    return None


def _elementwise(node: Node, limits: DeviceLimits) -> Elementwise | None:
    """What a node computes that is one element-wise operator; None for any other."""
    if any(spec is not None and spec.is_variable for spec in node.inputs):
        return None
    try:
        ops = lower(node, limits)
    except Unsupported:
        return None
    op = ops[0] if len(ops) == 1 else None
    if not isinstance(op, Elementwise) or not is_fusable(op):
        return None
    if node.op not in ("SELECT", "SELECT_V2"):
        return op
    # A choice moves bits; of floats the bits are floats here.
    inputs = (replace(operand, kind="f32" if operand.kind == "u32" else operand.kind) for operand in op.inputs)
    return replace(op, inputs=tuple(inputs), out_kind="f32")


def _of_floats(product: Node) -> bool:
    specs = (product.input(0), product.input(1), product.outputs[0])
    return all(spec.type == "FLOAT32" and not spec.is_variable for spec in specs)
