"""Reductions of the rows that a vector of ids puts into the same segment: SEGMENT_SUM and UNSORTED_SEGMENT_*."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.registry import function, require, value


def _require_int32(*specs: TensorSpec) -> None:
    for spec in specs:
        require(spec.type == "INT32", f"{spec} must be INT32. ")


def _segments(node: Node) -> list[Shape]:
    data, ids = node.input(0), node.input(1)
    _require_int32(ids)
    require(len(data.shape) >= 1 and ids.shape == data.shape[:1], f"{ids} must give every row of {data} its segment. ")
    rising = value(ids)
    steps = np.diff(rising.astype(np.int64))
    require(rising.size == 0 or rising[0] == 0, "segment_ids must start at 0. ")
    require(((steps == 0) | (steps == 1)).all(), "delta == 0 || delta == 1 was not true.")
    return [(int(rising[-1]) + 1 if rising.size else 0, *data.shape[1:])]


@function("SEGMENT_SUM", inputs=2, types="FLOAT32 INT32", shape=_segments)
def segment_sum(node: Node, data: Array, ids: Array) -> Array:
    """The sum of the rows of every segment; ids start at 0 and rise by 0 or 1."""
    out = np.zeros((int(ids[-1]) + 1 if ids.size else 0, *data.shape[1:]), data.dtype)
    with np.errstate(all="ignore"):
        np.add.at(out, ids, data)
    return out


def _numbered_segments(node: Node) -> list[Shape]:
    data, ids, count = node.input(0), node.input(1), node.input(2)
    _require_int32(ids, count)
    rank = len(ids.shape)
    require(ids.shape == data.shape[:rank], f"the shape of {ids} must begin that of {data}. ")
    require(count.shape in ((), (1,)), f"{count}: the number of segments must be one number. ")
    segments = int(value(count).reshape(-1)[0])
    require(segments >= 0, f"the number of segments is {segments}. ")
    if ids.data is not None:
        _require_below(ids.data, segments)
    return [(segments, *data.shape[rank:])]


def _require_below(ids: Array, segments: int) -> None:
    require(ids.max(initial=-1) < segments, "max_index < num_segments_ was not true.")


# fmax and fmin, since a NaN never wins there.
UFUNCS: dict[str, tuple[np.ufunc, Callable[[np.dtype], object]]] = {
    "UNSORTED_SEGMENT_SUM": (np.add, lambda dtype: 0),
    "UNSORTED_SEGMENT_PROD": (np.multiply, lambda dtype: 1),
    "UNSORTED_SEGMENT_MAX": (np.fmax, lambda dtype: _limits(dtype).min),
    "UNSORTED_SEGMENT_MIN": (np.fmin, lambda dtype: _limits(dtype).max),
}


def _limits(dtype: np.dtype) -> np.finfo | np.iinfo:
    return np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)


def _unsorted_segment(node: Node, data: Array, ids: Array, count: Array) -> Array:
    """The sum, product, greatest or least of the rows of every segment; rows with negative ids are left out.

    An empty segment gets the neutral element: 0, 1, or the type's least or greatest finite number.
    """
    ufunc, neutral = UFUNCS[node.op]
    out = np.full(node.outputs[0].shape, neutral(data.dtype), data.dtype)
    flat = ids.reshape(-1)
    _require_below(flat, len(out))
    rows = data.reshape(flat.size, *data.shape[ids.ndim :])
    with np.errstate(all="ignore"):
        ufunc.at(out, flat[flat >= 0], rows[flat >= 0])
    return out


for _name in UFUNCS:
    function(_name, inputs=3, types="FLOAT32 INT32", shape=_numbered_segments)(_unsorted_segment)
