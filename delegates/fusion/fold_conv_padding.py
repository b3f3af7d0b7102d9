"""Convolutions see to what operators around them prepared: padding, and dilation.

PAD before a convolution becomes its own padding. SPACE_TO_BATCH_ND before it and BATCH_TO_SPACE_ND after it, which is
how dilation was written before convolutions had it, become its dilation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.fusion.steps import PassContext, Step, Steps
from tflgpu.delegates.lowering import lower
from tflgpu.delegation.delegate import Unsupported
from tflgpu.model.graph import Array, Node, Shape, TensorSpec

FOLDED = ("PAD", "PADV2", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "EXPAND_DIMS", "RESHAPE", "SQUEEZE")
"""Operators of which none is left where convolutions read or make in their place."""

Padding = tuple[int, int, int, int]
"""Rows above and below, columns to the left and to the right."""


@dataclass(frozen=True, eq=False)
class _Source:
    """What a convolution's input was made of: `x`, padded, and cut into as many images as `blocks` down and across."""

    x: TensorSpec
    padding: Padding = (0, 0, 0, 0)
    blocks: tuple[int, int] = (1, 1)


def fold_conv_padding(steps: Steps, context: PassContext) -> Steps:
    """Convolutions among the nodes rewritten, and without the nodes that nothing reads then."""
    positions = {step.op.index: step.node for step in steps if isinstance(step.op, Node)}
    nodes = [step.op for step in steps if isinstance(step.op, Node)]
    rewritten = folded(nodes, context.live, lambda node: _lowers(node, context.limits))
    return tuple(Step(positions[node.index], node) for node in rewritten)


def _lowers(node: Node, limits: DeviceLimits) -> bool:
    try:
        lower(node, limits)
    except Unsupported:
        return False
    return True


def folded(nodes: Sequence[Node], kept: Collection[int], lowers: Callable[[Node], bool]) -> tuple[Node, ...]:
    """The nodes, convolutions among them rewritten and without those that nothing reads then.

    kept: indices of the tensors wanted outside. lowers: whether a node has a lowering: a convolution whose rewritten
    form has none stays as it is.
    """
    makers = {spec.index: node for node in nodes for spec in node.outputs}
    uses = Counter(spec.index for node in nodes for spec in node.inputs if spec is not None)
    readers = {spec.index: node for node in nodes for spec in node.inputs if spec is not None}
    only = {index: readers[index] for index, count in uses.items() if count == 1 and index not in kept}
    rewritten = [(node, _rewritten(node, makers, only)) for node in nodes]
    out = [new if new is node or lowers(new) else node for node, new in rewritten]
    return _without_dead(out, kept) if any(a is not b for a, b in zip(out, nodes, strict=True)) else tuple(nodes)


def _without_dead(nodes: Sequence[Node], kept: Collection[int]) -> tuple[Node, ...]:
    wanted, alive = set(kept), []
    # A convolution may make what an operator after it made.
    made = {spec.index for node in nodes if node.op not in FOLDED for spec in node.outputs}
    for node in reversed(nodes):
        results = {spec.index for spec in node.outputs}
        if node.op in FOLDED and (not results & wanted or results & made):
            continue
        wanted.update(spec.index for spec in node.inputs if spec is not None)
        alive.append(node)
    return tuple(reversed(alive))


def _rewritten(node: Node, makers: Mapping[int, Node], only: Mapping[int, Node]) -> Node:
    if node.op not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return node
    x, weights, out = node.input(0), node.input(1), node.outputs[0]
    # What a hybrid convolution quantizes depends on all that it reads; a window of one value is another kernel's.
    if (x.type == "FLOAT32") != (weights.type == "FLOAT32") or weights.shape[1:3] == (1, 1) or len(x.shape) != 4:
        return node
    source = _source(x, makers)
    o = node.options
    top, bottom, left, right = source.padding
    if source.blocks != (1, 1):
        plain = o.padding == "VALID" and o.stride_h == o.stride_w == o.dilation_h_factor == o.dilation_w_factor == 1
        end = _end(out, source.blocks, only) if plain else None
        if end is None:
            return node
        out, (above, below, before, beyond) = end
        top, bottom, left, right = top - above, bottom - below, left - before, right - beyond
    elif source.padding == (0, 0, 0, 0):
        return node
    if top < 0 or left < 0:
        return node
    options = {**vars(o), "around": (top, bottom, left, right)}
    if source.blocks != (1, 1):
        options |= {"dilation_h_factor": source.blocks[0], "dilation_w_factor": source.blocks[1]}
    return replace(node, options=SimpleNamespace(**options), inputs=(source.x, *node.inputs[1:]), outputs=(out,))


def _source(x: TensorSpec, makers: Mapping[int, Node]) -> _Source:
    """As far back from x as there are operators to fold."""
    found, at, axis = _Source(x), x, -1
    while at.index in makers:
        node = makers[at.index]
        before = node.inputs[0] if node.inputs else None
        if before is None or before.is_variable or not _same_scale(before, at):
            break
        if axis < 0 and (axis := inserted(before.shape, at.shape)) > 0:
            at = before
            continue
        step = _step(node, before, at, axis, found)
        if step is None:
            break
        at, found = before, step
    return found


def _step(node: Node, before: TensorSpec, at: TensorSpec, axis: int, found: _Source) -> _Source | None:
    """`found` before the node: of a padding or a cut into blocks that can be folded, else None."""
    if node.op not in ("PAD", "PADV2", "SPACE_TO_BATCH_ND") or len(at.shape) != (3 if axis > 0 else 4):
        return None
    values = [spec.data if spec is not None else None for spec in node.inputs[1:]]
    if any(value is None for value in values):
        return None
    shape = _with_axis(before.shape, axis)
    x = replace(before, shape=shape)
    if node.op == "SPACE_TO_BATCH_ND":
        blocks = _of_rows_and_columns(values[0], axis, 1)
        if found.blocks != (1, 1) or found.padding != (0, 0, 0, 0) or blocks is None:
            return None
        around = _of_rows_and_columns(values[1], axis, 0)
        return None if around is None else _Source(x, (*around[0], *around[1]), (int(blocks[0]), int(blocks[1])))
    zero = at.zero_point if at.quantization is not None else 0
    if len(values) > 1 and np.any(np.asarray(values[1]) != zero):
        return None
    pads = np.asarray(values[0]).reshape(-1, 2)
    if len(pads) != len(before.shape) or pads[0].any() or pads[-1].any():
        return None
    inner = _of_rows_and_columns(pads[1:-1], axis, 0)
    if inner is None:
        return None
    (above, below), (left, right) = inner
    top, bottom, start, end = found.padding
    return replace(found, x=x, padding=(top + int(above), bottom + int(below), start + int(left), end + int(right)))


def _end(out: TensorSpec, blocks: tuple[int, int], only: Mapping[int, Node]) -> tuple[TensorSpec, Padding] | None:
    """What BATCH_TO_SPACE_ND makes of a convolution's outputs, and what it crops; None where nothing fits."""
    at, axis = out, -1
    for _ in range(2):
        node = only.get(at.index)
        if node is None or not _same_scale(at, node.outputs[0]):
            return None
        if node.op == "BATCH_TO_SPACE_ND":
            values = [spec.data if spec is not None else None for spec in node.inputs[1:]]
            if any(value is None for value in values):
                return None
            joined, crops = _of_rows_and_columns(values[0], axis, 1), _of_rows_and_columns(values[1], axis, 0)
            if joined is None or tuple(joined.tolist()) != blocks or crops is None:
                return None
            made = node.outputs[0]
            (above, below), (left, right) = crops.tolist()
            return replace(made, shape=_with_axis(made.shape, axis)), (above, below, left, right)
        axis = inserted(node.outputs[0].shape, at.shape)
        if axis < 0:
            return None
        at = node.outputs[0]
    return None


def inserted(three: Shape, four: Shape) -> int:
    """The dimension of 1, rows or columns, that `four` has and `three` has not; -1 where that is not all."""
    if len(three) != 3 or len(four) != 4:
        return -1
    return next((k for k in (1, 2) if (*three[:k], 1, *three[k:]) == four), -1)


def _with_axis(shape: Shape, axis: int) -> Shape:
    return shape if axis < 0 else (*shape[:axis], 1, *shape[axis:])


def _of_rows_and_columns(values: Array | None, axis: int, absent: int) -> Array | None:
    """Values a spatial dimension as those of rows and of columns; `absent` for the one that was not there."""
    array = np.asarray(values)
    if axis > 0 and len(array) == 1:
        other = np.full_like(array, absent)
        array = np.concatenate((other, array) if axis == 1 else (array, other))
    return array if len(array) == 2 else None


def _same_scale(one: TensorSpec, other: TensorSpec) -> bool:
    if one.type != other.type:
        return False
    if one.quantization is None or other.quantization is None:
        return one.quantization is other.quantization
    if one.quantization.per_channel or other.quantization.per_channel:
        return False
    return bool(one.scale == other.scale and one.zero_point == other.zero_point)
