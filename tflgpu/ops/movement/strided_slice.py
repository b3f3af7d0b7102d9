"""STRIDED_SLICE: begin, end and strides for each dimension, with masks for what NumPy writes as `:`, `...`, None, 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.movement.shape import FIXED_SIZE, require_index_type, sliced
from tflgpu.ops.registry import require, value, view

NEW, FULL = -1, -2
"""Entries of `entries` that take nothing from begin, end and strides: a new dimension of size 1, and a whole one."""


def entries(node: Node, rank: int) -> list[int]:
    """For every dimension of the input and every new one: its position in begin, end and strides, or NEW or FULL."""
    options, count = node.options, node.input(1).shape[0]
    ellipses, news = int(options.ellipsis_mask), int(options.new_axis_mask)
    added = sum(bool(news >> i & 1 and not ellipses >> i & 1) for i in range(count))
    found: list[int] = []
    for i in range(count):
        if ellipses >> i & 1:
            # At least one dimension, as in TensorFlow Lite; in TensorFlow an ellipsis may mean none.
            found += [FULL] * max(1, rank + added - count + 1)
        else:
            found.append(NEW if news >> i & 1 else i)
    found += [FULL] * (rank + added - len(found))
    return found[: rank + added]


@dataclass(frozen=True)
class Bounds:
    """Where one dimension of a size is read: from `start` by `stride` up to before `stop`, or at `start` alone."""

    size: int
    start: int
    stop: int
    stride: int
    shrinks: bool

    @property
    def length(self) -> int:
        return max(0, -(-(self.stop - self.start) // self.stride))

    def index(self) -> int | slice:
        """The same as a NumPy index. Raises OpError where a single element lies outside."""
        if self.shrinks:
            require(
                0 <= self.start < self.size, f"slice index {self.start} is out of bounds for a size of {self.size}. "
            )
            return self.start
        if not self.length:
            return slice(0, 0)
        return slice(self.start, self.stop if self.stop >= 0 else None, self.stride)


def _clamped(index: int, size: int, stride: int) -> int:
    """A begin or end, counted from the front and kept within what a loop by `stride` may start or stop at."""
    low, high = clamp_limits(size, stride)
    return min(max(index + size if index < 0 else index, low), high)


def clamp_limits(size: int, stride: int) -> tuple[int, int]:
    """The lowest and the highest that a begin or end counted from the front is taken for."""
    return (0, size) if stride > 0 else (-1, size - 1)


def bounds(node: Node, position: int, size: int, begin: int, end: int, stride: int) -> Bounds:
    """What entry `position` of begin, end and strides reads of a dimension of this size."""
    options = node.options
    require(stride != 0, "stride value has to be non-zero")
    require(stride != -(2**31), "stride value INT32_MIN is not supported")
    start = _clamped(begin, size, stride)
    if options.begin_mask >> position & 1:
        start = 0 if stride > 0 else size - 1
    if options.shrink_axis_mask >> position & 1:
        return Bounds(size, start, start + 1, 1, True)
    stop = _clamped(end + start if options.offset else end, size, stride)
    if options.end_mask >> position & 1:
        stop = size if stride > 0 else -1
    return Bounds(size, start, stop, stride, False)


def _indices(node: Node) -> list[slice | int | None]:
    """The node as a NumPy index of its input."""
    begins, ends, strides = (value(node.input(i)).tolist() for i in (1, 2, 3))
    sizes = iter(node.input(0).shape)
    found: list[slice | int | None] = []
    for e in entries(node, len(node.input(0).shape)):
        if e == NEW:
            found.append(None)
        elif e == FULL:
            next(sizes)
            found.append(slice(None))
        else:
            found.append(bounds(node, e, next(sizes), begins[e], ends[e], strides[e]).index())
    return found


def _check(node: Node) -> None:
    specs = [node.input(i) for i in (1, 2, 3)]
    for i in (1, 2, 3):
        require_index_type(node, i, ("INT32",))
    require(all(len(spec.shape) == 1 for spec in specs), "STRIDED_SLICE takes begin, end and strides as vectors. ")
    require(specs[0].shape == specs[1].shape, "NumElements(op_context.begin) != NumElements(op_context.end) ")
    # More than the input has dimensions are ignored, as in TensorFlow Lite; strides may then be fewer.
    used = max(entries(node, len(node.input(0).shape)), default=-1)
    require(used < specs[2].shape[0], f"STRIDED_SLICE has {specs[2].shape[0]} strides, but {used + 1} are used. ")
    require(specs[0].shape[0] <= 31, "StridedSlice op only supports up to 31 indices.")


def _shape(node: Node) -> list[Shape]:
    _check(node)
    x = node.input(0).shape
    if any(node.input(i).data is None for i in (1, 2)) and not node.options.offset:
        known = _shape_without_bounds(node, x)
        if known is not None:
            return [known]
    strides = value(node.input(3)).tolist()
    ends = value(node.input(2)).tolist()
    # With `offset`, end is the size, so that begin need not be known.
    begins = [0] * len(ends) if node.options.offset else value(node.input(1)).tolist()
    shape: list[int] = []
    sizes = iter(x)
    for e in entries(node, len(x)):
        size = 1 if e == NEW else next(sizes)
        if e in (NEW, FULL):
            shape.append(size)
            continue
        b = bounds(node, e, size, begins[e], ends[e], strides[e])
        if node.options.offset and not b.shrinks:
            shape.append(max(0, -(-ends[e] // strides[e])))
        elif not b.shrinks:
            shape.append(b.length)
    return [tuple(shape)]


def _shape_without_bounds(node: Node, x: Sequence[int]) -> Shape | None:
    """The shape where every entry takes a single element or a whole dimension, or None."""
    options = node.options
    shape: list[int] = []
    sizes = iter(x)
    for e in entries(node, len(x)):
        size = 1 if e == NEW else next(sizes)
        if e in (NEW, FULL):
            shape.append(size)
        elif not options.shrink_axis_mask >> e & 1:
            strides = node.input(3).data
            if strides is None or abs(int(strides[e])) != 1 or not (options.begin_mask & options.end_mask) >> e & 1:
                return None
            shape.append(size)
    return tuple(shape)


@view("STRIDED_SLICE", inputs=4, version=8, types=FIXED_SIZE + " STRING", shape=_shape)
def strided_slice(node: Node, x: Array) -> Array:
    """x read from begin to end by strides (int32 vectors, inputs 1 to 3), negative indices counting from the end."""
    found = sliced(x, _indices(node))
    wanted = _shape(node)[0]
    require(found.shape == wanted, f"STRIDED_SLICE gives {list(found.shape)}, but its output is {list(wanted)}. ")
    return found
