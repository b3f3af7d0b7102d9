"""Operators on shapes: SHAPE, RANK, RESHAPE and its kin, FILL, RANGE, BROADCAST_ARGS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.registry import OPS, OpError, Step, alias, function, kernel, require, value
from tflgpu.ops.shape_rules import elements, normalized_axis, sized
from tflgpu.ops.tensor_quantization import require_same_quantization

# Types whose elements take 1, 2, 4 or 8 bytes: TensorFlow Lite's kernels that only look at the size take all of them.
FIXED_SIZE = (
    "FLOAT32 FLOAT16 BFLOAT16 FLOAT64 INT8 UINT8 INT16 UINT16 INT32 UINT32 INT64 UINT64 BOOL COMPLEX64 "
    "FLOAT8_E4M3FN FLOAT8_E5M2"
)
INDICES = ("INT32", "INT64")


def require_index_type(node: Node, position: int, types: Sequence[str] = INDICES) -> None:
    """Raises OpError where the input at `position`, which holds indices or sizes, is of another type than `types`."""
    spec = node.input(position)
    require(
        spec.type in types,
        f"{node.op} input {position} of type {spec.type} is not supported; supported: {', '.join(types)}. ",
    )


def require_same_type(node: Node, *positions: int) -> None:
    """Raises OpError where the inputs at `positions` are not all of one type."""
    types = [node.input(p).type for p in positions]
    require(len(set(types)) == 1, f"{node.op} inputs {list(positions)} must be of one type, not {', '.join(types)}. ")


def require_output_type(node: Node) -> None:
    """Raises OpError where an output is not of the type of the operator's main input, whose elements it is to hold."""
    kind = node.input(OPS[node.op].typed_input).type
    for output in node.outputs:
        require(output.type == kind, f"{node.op}: input of type {kind}, but output of type {output.type}. ")


def sliced(x: Array, index: Iterable[Any]) -> Array:
    """x[index], for an index of integers and slices, as a view even of a single element."""
    whole: tuple[Any, ...] = (*index, ...)
    return x[whole]


def _rank_shape(node: Node) -> list[Shape]:
    return [(len(node.input(0).shape),)]


@function("SHAPE", inputs=1, shape=_rank_shape, output_type="out_type")
def shape(node: Node, x: Array) -> Array:
    """The shape of x as a vector of int32 or int64. Only x's shape is read, never its elements."""
    require(node.options.out_type in INDICES, f"Unknown shape output data type: {node.options.out_type} ")
    return np.array(x.shape, node.outputs[0].dtype)


@function("RANK", inputs=1, shape=lambda node: [()], output_type="INT32")
def rank(node: Node, x: Array) -> Array:
    """The number of dimensions of x, an int32 scalar. Only x's shape is read, never its elements."""
    return np.array(x.ndim, np.int32)


@alias("RESHAPE", inputs="1-2")
def reshape(node: Node) -> Shape:
    """x under the shape that input 1 (an int32 vector) or else the option new_shape gives; one dimension may be -1."""
    given = node.optional(1)
    if given is not None and given.type == "INT32" and len(given.shape) == 1:
        wanted = tuple(int(d) for d in value(given))
    else:
        new_shape = node.options.new_shape
        wanted = () if new_shape is None else tuple(int(d) for d in new_shape)
        # Old converters wrote [0] for a scalar.
        wanted = () if wanted == (0,) else wanted
    return resolved(node.input(0).shape, wanted)


def resolved(shape: Shape, wanted: Shape) -> Shape:
    """`wanted` with its -1 replaced so that it has the elements of `shape`. Raises OpError where none fits."""
    require(wanted.count(-1) <= 1, "stretch_dim != -1: more than one dimension of the new shape is -1. ")
    require(all(d >= -1 for d in wanted), "output shape contains negative dimension")
    count = elements(shape)
    if -1 in wanted:
        known = [d for d in wanted if d != -1]
        # Zeros are ignored where both are empty, as in TensorFlow Lite.
        if count == 0 and elements(known) != 0:
            stretched = 0
        else:
            stretched = elements([d for d in shape if d]) // elements([d for d in known if d])
        wanted = tuple(stretched if d == -1 else d for d in wanted)
    require(elements(wanted) == count, f"num_input_elements != num_output_elements ({count} != {elements(wanted)})")
    return wanted


@alias("SQUEEZE", inputs=1, version=2)
def squeeze(node: Node) -> Shape:
    """x without the dimensions squeeze_dims, each of size 1; without all of size 1 where none is named."""
    old = node.input(0).shape
    named = node.options.squeeze_dims
    axes = [] if named is None else [normalized_axis(int(axis), len(old)) for axis in named]
    require(all(old[axis] == 1 for axis in axes), f"SQUEEZE of shape {list(old)}: dimensions {axes} are not all 1. ")
    if not axes:
        return tuple(d for d in old if d != 1)
    return tuple(d for axis, d in enumerate(old) if axis not in axes)


@alias("EXPAND_DIMS", inputs=2, output_type=0)
def expand_dims(node: Node) -> Shape:
    """x with a dimension of size 1 put before dimension `axis` (input 1, int32 or int64, one element)."""
    require_index_type(node, 1)
    require_same_quantization(node, (node.input(0), *node.outputs))
    axis_value = value(node.input(1))
    require(axis_value.size == 1, "EXPAND_DIMS axis must have one element. ")
    old = node.input(0).shape
    axis = normalized_axis(int(axis_value.reshape(())), len(old) + 1)
    return (*old[:axis], 1, *old[axis:])


def _fill_shape(node: Node) -> list[Shape]:
    require_index_type(node, 0)
    dims, filler = node.input(0), node.input(1)
    require(len(dims.shape) == 1 and filler.shape == (), "FILL takes a vector of dimensions and a scalar value. ")
    require(filler.type == node.outputs[0].type, f"FILL of {filler.type} cannot give {node.outputs[0].type}. ")
    require_same_quantization(node, (filler, *node.outputs))
    wanted = value(dims)
    require(not np.any(wanted < 0), f"Fill dimensions must be >= 0 got {wanted.tolist()}")
    return [sized(wanted)]


@kernel(
    "FILL",
    inputs=2,
    version=5,
    types=FIXED_SIZE + " STRING",
    typed_input=1,
    shape=_fill_shape,
    check=require_output_type,
    output_type=1,
)
def fill(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """A tensor of shape `dims` (input 0) in which every element is the scalar input 1."""
    filler, y = inputs[1], outputs[0]
    return lambda: np.copyto(y, filler)


def _range_shape(node: Node) -> list[Shape]:
    require_same_type(node, 0, 1, 2)
    require(all(node.input(i).shape == () for i in range(3)), "RANGE takes three scalars. ")
    start, limit, delta = (value(node.input(i))[()] for i in range(3))
    require(delta != 0, "!std::equal_to<T>()(delta, 0): the delta of RANGE must not be 0. ")
    rising, falling = start <= limit and delta > 0, start >= limit and delta < 0
    require(rising or falling, f"RANGE from {start} to {limit} by {delta} never ends. ")
    if node.input(0).type != "FLOAT32":
        return [sized([-(-abs(int(limit) - int(start)) // abs(int(delta)))])]
    with np.errstate(all="ignore"):
        size = np.ceil(abs((limit - start) / delta))
    require(np.isfinite(size), f"RANGE from {start} to {limit} by {delta} never ends. ")
    return [sized([int(size)])]


@function(
    "RANGE",
    inputs=3,
    version=2,
    types="FLOAT32 INT32 INT64",
    shape=_range_shape,
    check=require_output_type,
    output_type=0,
)
def range_(node: Node, start: Array, limit: Array, delta: Array) -> Array:
    """start, start + delta, ... below limit. Floats by repeated addition in float32, as in TensorFlow Lite."""
    (size,) = node.outputs[0].shape
    if start.dtype != np.float32:
        return start + np.arange(size, dtype=start.dtype) * delta
    steps = np.full(size, delta, np.float32)
    steps[:1] = start
    return np.add.accumulate(steps, dtype=np.float32)


def _broadcast_args_shape(node: Node) -> list[Shape]:
    require_same_type(node, 0, 1)
    a, b = node.input(0).shape, node.input(1).shape
    require(len(a) == len(b) == 1, "BROADCAST_ARGS takes two vectors. ")
    return [max(a, b)]


@function("BROADCAST_ARGS", inputs=2, types="INT32 INT64", shape=_broadcast_args_shape, check=require_output_type)
def broadcast_args(node: Node, a: Array, b: Array) -> Array:
    """The shape (a vector) to which tensors of the shapes a and b (vectors) broadcast."""
    size = max(a.size, b.size)
    a, b = (np.concatenate([np.ones(size - v.size, v.dtype), v]) for v in (a, b))
    if np.any((a != b) & (a != 1) & (b != 1)):
        raise OpError(f"Given shapes, {a.tolist()} and {b.tolist()}, are not broadcastable. ")
    return np.where(a == 1, b, a)
