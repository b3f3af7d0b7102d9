"""Operators that read or write at indices given by a tensor. Every index is checked before it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.movement.shape import FIXED_SIZE, require_index_type, require_output_type, require_same_type
from tflgpu.ops.registry import OpError, Step, function, kernel, require, value
from tflgpu.ops.shape_rules import elements, normalized_axis, same_as_input, sized

GATHER_INDICES = ("INT32", "INT64", "INT16")
GATHER_TYPES = "FLOAT32 FLOAT16 BFLOAT16 FLOAT8_E4M3FN FLOAT8_E5M2 INT8 UINT8 INT16 INT32 INT64 BOOL STRING"


def _dimensions_of_gather(node: Node) -> tuple[int, int]:
    """axis and batch_dims, counted from the front."""
    x, positions = node.input(0).shape, node.input(1).shape
    axis = normalized_axis(int(node.options.axis), len(x))
    batch_dims = int(node.options.batch_dims)
    batch_dims += len(positions) if batch_dims < 0 else 0
    require(0 <= batch_dims <= min(axis, len(positions)), f"GATHER: batch_dims {batch_dims} is out of range. ")
    require(x[:batch_dims] == positions[:batch_dims], "GATHER: input and positions differ in their batch dimensions. ")
    return axis, batch_dims


def _gather_shape(node: Node) -> list[Shape]:
    require_index_type(node, 1, GATHER_INDICES)
    x, positions = node.input(0), node.input(1).shape
    require(x.type != "STRING" or len(x.shape) == 1, "GATHER of strings takes a vector. ")
    axis, batch_dims = _dimensions_of_gather(node)
    return [sized((*x.shape[:axis], *positions[batch_dims:], *x.shape[axis + 1 :]))]


def bounds_check(indices: Array, spec: TensorSpec, size: int, message: str) -> Callable[[], None] | None:
    """A callable that raises OpError(message) where an index is not in [0, size); None where none ever can be.

    Constants are checked once, here, and raise only when called, as TensorFlow Lite does.
    """
    if not indices.size:
        return None
    # As unsigned numbers the negative ones are the largest: one reduction finds both kinds.
    unsigned = indices.view(f"u{indices.dtype.itemsize}")
    limit = min(size, np.iinfo(indices.dtype).max + 1)

    def check() -> None:
        if int(unsigned.max()) >= limit:
            raise OpError(message)

    return None if spec.data is not None and int(unsigned.max()) < limit else check


@kernel(
    "GATHER",
    inputs=2,
    version=8,
    types=GATHER_TYPES + " INT4",
    shape=_gather_shape,
    check=require_output_type,
    output_type=0,
)
def gather(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """The slices of x at `positions` (input 1) along axis; the first batch_dims dimensions are shared."""
    x, positions, y = inputs[0], inputs[1], outputs[0]
    axis, batch_dims = _dimensions_of_gather(node)
    size = x.shape[axis]
    check = bounds_check(positions, node.input(1), size, "gather index out of bounds")
    if not y.size:
        return check or (lambda: None)
    if positions.size == 1 and not batch_dims:
        return _one_slice(x, positions, axis, y)
    if not batch_dims:
        rows, flat, offsets = x, positions, None
        axis_of_rows = axis
    else:
        batch, outer = elements(x.shape[:batch_dims]), elements(x.shape[batch_dims:axis])
        rows = x.reshape(batch * outer * size, elements(x.shape[axis + 1 :]))
        offsets = (np.arange(batch * outer, dtype=np.intp) * size).reshape(batch, outer, 1)
        positions = positions.reshape(batch, 1, -1)
        flat = np.empty((batch, outer, positions.shape[2]), np.intp)
        y = y.reshape(*flat.shape, -1)
        axis_of_rows = 0
    if check is None and offsets is None:
        flat = flat.astype(np.intp) if node.input(1).data is not None else flat
        return lambda: _take(rows, flat, axis_of_rows, y)

    def step() -> None:
        if check is not None:
            check()
        if offsets is not None:
            np.add(offsets, positions, out=flat)
        _take(rows, flat, axis_of_rows, y)

    return step


def _one_slice(x: Array, position: Array, axis: int, y: Array) -> Step:
    y, before, size = y.reshape(x.shape[:axis] + x.shape[axis + 1 :]), (slice(None),) * axis, x.shape[axis]

    def step() -> None:
        at = position.item()
        if not 0 <= at < size:
            raise OpError("gather index out of bounds")
        index = (*before, at)
        y[...] = x[index]

    return step


def _take(rows: Array, indices: Array, axis: int, out: Array) -> None:
    # The indices have been checked; mode "raise" would make NumPy copy `out`.
    np.take(rows, indices, axis, out, "clip")


def _gather_nd_shape(node: Node) -> list[Shape]:
    require_index_type(node, 1, GATHER_INDICES)
    x, indices = node.input(0).shape, node.input(1).shape
    require(x, "Params must be at least a vector.")
    require(indices, "Indices must be at least a vector.")
    require(indices[-1] <= len(x), "Index innermost dimension length must be in [0, params rank].")
    return [sized((*indices[:-1], *x[indices[-1] :]))]


def flat_indices(indices: Array, shape: Shape, message: str) -> Array:
    """indices (..., nd) into an array of `shape` (nd sizes) as indices of its flat form: (...). Raises OpError."""
    wide = indices.astype(np.int64)
    if np.any((wide < 0) | (wide >= np.array(shape, np.int64))):
        raise OpError(message)
    strides = [elements(shape[i + 1 :]) for i in range(len(shape))]
    return wide @ np.array(strides, np.int64)


@kernel(
    "GATHER_ND",
    inputs=2,
    version=6,
    types=GATHER_TYPES,
    shape=_gather_nd_shape,
    check=require_output_type,
    output_type=0,
)
def gather_nd(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """The slices of x at the index vectors `indices` (..., nd), which index the first nd dimensions of x."""
    x, indices, y = inputs[0], inputs[1], outputs[0]
    require(x.size or not indices.size, "GATHER_ND of nothing takes no indices. ")
    if not y.size and not indices.size:
        return lambda: None
    leading = x.shape[: indices.shape[-1]]
    rows = x.reshape(elements(leading), -1) if x.size else x
    targets = y.reshape(*indices.shape[:-1], -1) if y.size else y

    def step() -> None:
        flat = flat_indices(indices, leading, "gather_nd index out of bounds")
        if targets.size:
            _take(rows, flat, 0, targets)

    return step


def _one_hot_axis(node: Node) -> int:
    rank = len(node.input(0).shape)
    axis = int(node.options.axis)
    axis = rank if axis == -1 else axis
    require(0 <= axis <= rank, "op_context.axis >= 0 && op_context.axis < op_context.output_dims was not true. ")
    return axis


def _one_hot_shape(node: Node) -> list[Shape]:
    require_index_type(node, 0)
    require_index_type(node, 1)
    require_same_type(node, 2, 3)
    for position in (1, 2, 3):
        require(elements(node.input(position).shape) == 1, f"ONE_HOT input {position} must have one element. ")
    axis, indices = _one_hot_axis(node), node.input(0).shape
    depth = int(value(node.input(1)).reshape(()))
    return [sized((*indices[:axis], depth, *indices[axis:]))]


@kernel(
    "ONE_HOT",
    inputs=4,
    types="FLOAT32 INT8 UINT8 INT32 INT64 BOOL",
    typed_input=2,
    shape=_one_hot_shape,
    check=require_output_type,
    output_type=2,
)
def one_hot(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """on_value (input 2) where the index equals the position along the new dimension `axis`, else off_value."""
    y = outputs[0]
    axis = _one_hot_axis(node)
    indices = np.expand_dims(inputs[0], axis)
    on, off = inputs[2].reshape(()), inputs[3].reshape(())
    positions = np.arange(y.shape[axis], dtype=np.int32).reshape((-1,) + (1,) * (y.ndim - axis - 1))
    hot = np.empty(y.shape, np.bool_)

    def step() -> None:
        # int64 indices wrap to int32, as in TensorFlow Lite.
        np.equal(indices.astype(np.int32, copy=False), positions, out=hot)
        np.copyto(y, off)
        np.copyto(y, on, where=hot)

    return step


def _dynamic_update_slice_shape(node: Node) -> list[Shape]:
    require_index_type(node, 2)
    require_same_type(node, 0, 1)
    x, update, starts = (node.input(i).shape for i in range(3))
    require(starts == (len(x),), f"DYNAMIC_UPDATE_SLICE of rank {len(x)} takes as many start indices. ")
    fits = len(update) == len(x) and all(u <= d for u, d in zip(update, x, strict=True))
    require(fits, f"DYNAMIC_UPDATE_SLICE: an update of {list(update)} does not fit into {list(x)}. ")
    return [x]


@kernel(
    "DYNAMIC_UPDATE_SLICE",
    inputs=3,
    version=6,
    types=FIXED_SIZE + " INT4",
    shape=_dynamic_update_slice_shape,
    overwrites=True,
    check=require_output_type,
    output_type=0,
)
def dynamic_update_slice(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """x with `update` (input 1) written at `start` (input 2), which is clamped so that all of it lies inside."""
    x, update, start = inputs
    y = outputs[0]
    room = [d - u for d, u in zip(x.shape, update.shape, strict=True)]
    if not any(room):
        return lambda: np.copyto(y, update)
    in_place = x.ctypes.data == y.ctypes.data
    index = [slice(u) for u in update.shape]
    moving = [(axis, most, u) for axis, (most, u) in enumerate(zip(room, update.shape, strict=True)) if most]

    def step() -> None:
        if not in_place:
            y[...] = x
        for axis, most, size in moving:
            at = min(max(start.item(axis), 0), most)
            index[axis] = slice(at, at + size)
        y[tuple(index)] = update

    return step


@function(
    "REVERSE_SEQUENCE",
    inputs=2,
    types="FLOAT32 UINT8 INT16 INT32 INT64",
    shape=same_as_input,
    check=require_output_type,
)
def reverse_sequence(node: Node, x: Array, lengths: Array) -> Array:
    """x with the first lengths[b] elements along seq_dim in reverse order, for every b along batch_dim."""
    require_index_type(node, 1)
    seq, batch = int(node.options.seq_dim), int(node.options.batch_dim)
    require(0 <= seq < x.ndim and 0 <= batch < x.ndim and seq != batch, f"REVERSE_SEQUENCE by {seq}, {batch}. ")
    require(lengths.shape == (x.shape[batch],), f"REVERSE_SEQUENCE takes {x.shape[batch]} lengths. ")
    require(not np.any(lengths > x.shape[seq]), "seq_lengths[i] <= SizeOfDimension(input, seq_dim) was not true. ")
    positions = np.arange(x.shape[seq], dtype=np.int64)
    ends = lengths.astype(np.int64)[:, None]
    source = np.where(positions < ends, ends - 1 - positions, positions)
    y = np.empty_like(x)
    rows = np.arange(x.shape[batch])[:, None]
    np.moveaxis(y, (batch, seq), (0, 1))[...] = np.moveaxis(x, (batch, seq), (0, 1))[rows, source]
    return y
