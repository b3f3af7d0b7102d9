"""Operators that order, select and locate values: ARG_MAX ARG_MIN TOPK_V2 UNIQUE WHERE BUCKETIZE, and CUMSUM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.movement.shape import require_output_type
from tflgpu.ops.registry import Step, function, kernel, require, value
from tflgpu.ops.shape_rules import normalized_axis, same_as_input


def _one_axis(node: Node, axis: Array) -> int:
    require(axis.size == 1, f"{node.input(1)}: the axis must be one number. ")
    return normalized_axis(int(axis.reshape(-1)[0]), len(node.input(0).shape))


def _without_axis(node: Node) -> list[Shape]:
    x, axis = node.input(0), node.input(1)
    require(axis.type in ("INT32", "INT64"), f"{axis}: the axis must be INT32 or INT64. ")
    require(len(x.shape) >= 1, "NumDimensions(input) >= 1 was not true.")
    require(
        node.options.output_type in ("INT32", "INT64"), f"Unknown index output data type: {node.options.output_type}"
    )
    a = _one_axis(node, value(axis))
    require(x.shape[a] > 0, "Cannot compute ArgMin/ArgMax over an empty axis.")
    return [x.shape[:a] + x.shape[a + 1 :]]


ARG_TYPES = "FLOAT32 INT32 INT8 UINT8 BOOL"


@kernel("ARG_MAX", inputs=2, version=3, types=ARG_TYPES, shape=_without_axis, output_type="output_type")
def arg_max(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """The index along an axis of the first greatest element."""
    return _arg_extreme(node, inputs, outputs, np.argmax)


@kernel("ARG_MIN", inputs=2, version=3, types=ARG_TYPES, shape=_without_axis, output_type="output_type")
def arg_min(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """The index along an axis of the first least element."""
    return _arg_extreme(node, inputs, outputs, np.argmin)


NARROW, MANY = 64, 1024
"""Up to this depth and from so many rows on, searching column by column is faster than row by row."""

BLOCK = 1 << 12
"""Rows searched at once, so that their columns stay in the cache."""


def _arg_extreme(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...], find: Callable[..., Any]) -> Step:
    x, y = inputs[0], outputs[0]
    axis = _one_axis(node, value(node.input(1)))
    if axis == x.ndim - 1 and x.shape[-1] <= NARROW and y.size >= MANY and x.dtype != np.bool_:
        return _by_columns(x.reshape(y.size, -1), y.reshape(-1), find)
    return _by_rows(x, y, axis, find)


def _by_rows(x: Array, y: Array, axis: int, find: Callable[..., Any]) -> Step:
    found = np.empty(y.shape, np.intp)

    def step() -> None:
        find(x, axis=axis, out=found)
        if x.dtype == np.float32:
            chosen = np.take_along_axis(x, np.expand_dims(found, axis), axis)
            if np.isnan(chosen).any():
                _prefer_numbers(x, axis, found, find)
        np.copyto(y, found, casting="unsafe")

    return step


def _by_columns(x: Array, y: Array, find: Callable[..., Any]) -> Step:
    """The same along the rows of x (rows, depth), of at most 255 columns."""
    beats, keep = (np.greater, np.maximum) if find is np.argmax else (np.less, np.minimum)
    block = min(BLOCK, len(x))
    columns, best = np.empty((x.shape[1], block), x.dtype), np.empty(block, x.dtype)
    better, position, found = np.empty(block, np.bool_), np.empty(block, np.uint8), np.empty(block, np.uint8)

    def search(rows: Array, out: Array) -> None:
        n = len(rows)
        cs, b, won, p, f = columns[:, :n], best[:n], better[:n], position[:n], found[:n]
        np.copyto(cs, rows.T)
        np.copyto(b, cs[0])
        f.fill(0)
        for i in range(1, len(cs)):
            beats(cs[i], b, out=won)
            # Later positions are greater, so that a maximum keeps the last improvement.
            np.multiply(won.view(np.uint8), np.uint8(i), out=p)
            np.maximum(f, p, out=f)
            keep(b, cs[i], out=b)
        if x.dtype == np.float32 and np.isnan(b).any():
            _by_rows(rows, out, 1, find)()
        else:
            np.copyto(out, f)

    def step() -> None:
        with np.errstate(invalid="ignore"):
            for start in range(0, len(x), block):
                search(x[start : start + block], y[start : start + block])

    return step


def _prefer_numbers(x: Array, axis: int, found: Array, find: Callable[..., Any]) -> None:
    """The search where there are NaNs: NumPy finds the first NaN, TensorFlow Lite a number where there is one."""
    worst = np.float32(-np.inf if find is np.argmax else np.inf)
    not_a_number = np.isnan(x)
    numbers = np.where(not_a_number, worst, x)
    find(numbers, axis=axis, out=found)
    chosen = np.take_along_axis(numbers, np.expand_dims(found, axis), axis)
    first_number = np.argmin(not_a_number, axis=axis)
    np.copyto(found, first_number, where=np.squeeze(chosen == worst, axis))


def _k(spec: TensorSpec) -> int:
    require(spec.type in ("INT32", "INT16"), f"{spec}: k must be INT32 or INT16. ")
    k = value(spec)
    require(k.size == 1, f"{spec}: k must be one number. ")
    return max(0, int(k.reshape(-1)[0]))


def _first_k(node: Node) -> list[Shape]:
    x, values, positions = node.input(0), *node.outputs
    shape = x.shape
    require(x.type == values.type, f"TOPK_V2: values of type {values.type} of an input of type {x.type}. ")
    require(len(shape) >= 1, "TopK k input must have 1 or more dimensions.")
    k = _k(node.input(1))
    require(k <= shape[-1], "TopK k is higher than the internal dimension.")
    require(k == 0 or positions.type != "INT16" or shape[-1] <= 32767, "TopK row size exceeds output index type range.")
    return [(*shape[:-1], k)] * 2


@function("TOPK_V2", inputs=2, outputs=2, version=3, types="FLOAT32 INT8 UINT8 INT16 INT32 INT64", shape=_first_k)
def topk_v2(node: Node, x: Array, k: Array) -> tuple[Array, Array]:
    """The k greatest of every row, falling, and their positions. The first of equals comes first, NaN last."""
    # ~x falls as the integer x rises, and unlike -x for every value.
    key = -x if x.dtype == np.float32 else ~x
    order = np.argsort(key, axis=-1, kind="stable")[..., : max(0, int(k.reshape(-1)[0]))]
    return np.take_along_axis(x, order, -1), order.astype(node.outputs[1].dtype)


@function("UNIQUE", inputs=1, outputs=2, types="FLOAT32 INT8 UINT8 INT16 INT32 INT64")
def unique(node: Node, x: Array) -> tuple[Array, Array]:
    """The distinct values of a vector in order of first appearance, and the index of each element's value."""
    require(x.ndim == 1, f"{node.input(0)}: UNIQUE needs one dimension. ")
    values, first, which = np.unique(x, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), node.outputs[1].dtype)
    rank[order] = np.arange(len(order))
    return values[order], rank[which.reshape(x.shape)]


def _true_count(node: Node) -> list[Shape]:
    condition = value(node.input(0))
    require(condition.ndim > 0, "Where op requires condition w/ rank > 0")
    return [(int(np.count_nonzero(condition)), condition.ndim)]


@function(
    "WHERE",
    inputs=1,
    version=2,
    types="BOOL FLOAT32 INT32 INT64 UINT32 INT8 UINT8",
    shape=_true_count,
    output_type="INT64",
)
def where(node: Node, condition: Array) -> Array:
    """The coordinates (n, rank) of the elements that are not zero, in row-major order."""
    return np.argwhere(condition).astype(np.int64)


def _boundaries(node: Node) -> Array:
    return np.asarray(node.options.boundaries if node.options.boundaries is not None else (), np.float32)


def _bucketize_shape(node: Node) -> list[Shape]:
    boundaries = _boundaries(node)
    require(np.all(boundaries[1:] >= boundaries[:-1]), "Expected sorted boundaries")
    return same_as_input(node)


@function("BUCKETIZE", inputs=1, types="FLOAT32 FLOAT64 INT32 INT64", shape=_bucketize_shape, output_type="INT32")
def bucketize(node: Node, x: Array) -> Array:
    """How many boundaries are at most each element: int32."""
    boundaries = _boundaries(node)
    # An integer is compared with a float32 as a float32.
    x = x if x.dtype == np.float64 else x.astype(np.float32)
    return np.searchsorted(boundaries.astype(x.dtype), x, side="right").astype(np.int32)


def _cumsum_shape(node: Node) -> list[Shape]:
    axis = node.input(1)
    require(axis.type == "INT32", f"{axis}: the axis must be INT32. ")
    require(len(node.input(0).shape) >= 1, "NumDimensions(input) >= 1 was not true.")
    return [node.input(0).shape]


@function("CUMSUM", inputs=2, types="FLOAT32 INT32 INT64", shape=_cumsum_shape, check=require_output_type)
def cumsum(node: Node, x: Array, axis: Array) -> Array:
    """Running sums along an axis, from its end where `reverse`, without the element itself where `exclusive`."""
    a = _one_axis(node, axis)
    along = np.flip(x, a) if node.options.reverse else x
    with np.errstate(all="ignore"):
        total = np.add.accumulate(along, axis=a, dtype=x.dtype)
    if node.options.exclusive:
        before = np.zeros_like(total)
        later, earlier = (
            tuple(s if i == a else slice(None) for i in range(x.ndim)) for s in (slice(1, None), slice(-1))
        )
        before[later] = total[earlier]
        total = before
    return np.flip(total, a) if node.options.reverse else total
