"""Nodes that one kernel computes together: attention, from the scores to the mixed values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.fusion.def_use import Wiring, is_alias, viewed, written
from tflgpu.delegates.fusion.fuse_elementwise import Chain, taken_apart
from tflgpu.delegates.fusion.match_attention import Attention, attention
from tflgpu.delegates.launch import Launch, Lowered, Ref
from tflgpu.delegates.lowering import lower
from tflgpu.delegation.delegate import Unsupported
from tflgpu.model.graph import Node, TensorSpec

MOST_STEPS = 6
"""Element-wise operators between the scores' product and their softmax, at the most."""


@dataclass(frozen=True, eq=False)
class Scores:
    """A product and what is done to each of its elements, from first to last: a chain and the tensor that it goes on.

    nodes: all of them, and those between that only rename.
    """

    product: Node
    steps: tuple[tuple[Chain, int], ...]
    nodes: tuple[Node, ...]


def lowered(nodes: Sequence[Node], limits: DeviceLimits, kept: Callable[[int], bool]) -> list[Lowered]:
    """The launches of each node in turn; those of a pattern stand at one of its nodes, and none at the others.

    kept: whether a tensor's value is wanted outside of these nodes.
    """
    fused: dict[int, Lowered] = {}
    if limits.has("warps"):
        wiring = Wiring(nodes, kept)
        for node in nodes:
            if node.op == "SOFTMAX":
                fused |= _attention(node, wiring, limits)
    return [fused[node.index] if node.index in fused else lower(node, limits) for node in nodes]


def _attention(softmax: Node, wiring: Wiring, limits: DeviceLimits) -> dict[int, Lowered]:
    """What stands at each of the nodes around this softmax, by their numbers; nothing where it is no attention."""
    x = softmax.input(0)
    mix, between = _mixing(softmax, wiring)
    if mix is None or x.type != "FLOAT32" or not softmax.options.beta > 0:
        return {}
    scores = _scores(x, wiring, limits)
    if scores is None:
        return {}
    m, n = scores.product.outputs[0].shape[-2:]
    batches = math.prod(mix.outputs[0].shape[:-2])
    fits = x.shape[-1] == n and mix.input(0).shape[-2:] == (m, n)
    if not fits or math.prod(scores.product.outputs[0].shape) != batches * m * n:
        return {}
    q, k, v = (viewed(s, wiring) for s in (scores.product.input(0), scores.product.input(1), mix.input(1)))
    out = written(mix.outputs[0], wiring)
    launch = attention(Attention(q, k, v, out, scores.product, mix, scores.steps, float(softmax.options.beta)), limits)
    if launch is None:
        return {}
    gone = {node.index for node in (*scores.nodes, softmax, *between, mix, *out.past)}
    inputs = {node.index: node for view in (q, k, v) for node in view.past}
    read = {buffer.tensor for buffer in launch.buffers if isinstance(buffer, Ref)}
    gone = wiring.unread([inputs[index] for index in sorted(inputs)], gone, read)
    return {index: [] for index in gone} | {mix.index: [launch]}


def _mixing(softmax: Node, wiring: Wiring) -> tuple[Node | None, list[Node]]:
    """The product of the softmax's outputs with something else, where it alone reads them; and nodes that rename."""
    spec, between = softmax.outputs[0], list[Node]()
    while (node := wiring.only_reader(spec)) is not None and is_alias(node):
        between.append(node)
        spec = node.outputs[0]
    if node is None or node.op != "BATCH_MATMUL" or node.options.adj_x or not _of_floats(node):
        return None, []
    ours = node.input(0).index == spec.index and node.input(1).index != spec.index
    return (node, between) if ours else (None, [])


def _scores(spec: TensorSpec, wiring: Wiring, limits: DeviceLimits, room: int = MOST_STEPS) -> Scores | None:
    """How a tensor that nothing else wants is computed from a product, element by element."""
    node = wiring.maker(spec)
    if node is None or wiring.only_reader(spec) is None:
        return None
    if node.op == "BATCH_MATMUL":
        return Scores(node, (), (node,)) if _of_floats(node) else None
    if is_alias(node) and node.input(0).type == spec.type:
        found = _scores(node.input(0), wiring, limits, room)
        return found and replace(found, nodes=(*found.nodes, node))
    chain = _chain(node, limits) if room else None
    if chain is None or spec.type != "FLOAT32":
        return None
    for x in dict.fromkeys(s for s in node.inputs if s is not None and s.data is None and s.type == "FLOAT32"):
        whole = any(isinstance(a, Ref) and a.tensor == x.index and at == "(i)" for a, _, at in chain.inputs)
        if whole and (found := _scores(x, wiring, limits, room - 1)) is not None:
            return Scores(found.product, (*found.steps, (chain, x.index)), (*found.nodes, node))
    return None


def _chain(node: Node, limits: DeviceLimits) -> Chain | None:
    """A node of one element-wise launch, taken apart; None for any other."""
    if any(spec is not None and spec.is_variable for spec in node.inputs):
        return None
    try:
        launches = lower(node, limits)
    except Unsupported:
        return None
    chain = taken_apart(launches[0]) if len(launches) == 1 and isinstance(launches[0], Launch) else None
    if chain is None or node.op not in ("SELECT", "SELECT_V2"):
        return chain
    # A choice moves bits; of floats the bits are floats here.
    inputs = tuple((argument, "f32" if kind == "u32" else kind, at) for argument, kind, at in chain.inputs)
    return replace(chain, inputs=inputs, out_type="f32")


def _of_floats(product: Node) -> bool:
    specs = (product.input(0), product.input(1), product.outputs[0])
    return all(spec.type == "FLOAT32" and not spec.is_variable for spec in specs)
