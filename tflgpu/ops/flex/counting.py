"""Counts and lookups: bincounts, UniqueWithCounts, InTopKV2, Cumprod, and scatters into a tensor's values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.flex.inputs import one_integer
from tflgpu.ops.flex.node_def import attribute
from tflgpu.ops.registry import function, require, value
from tflgpu.ops.shape_rules import normalized_axis, same_as_input, sized

INTEGERS = "INT32 INT64"
NUMBERS = "FLOAT32 FLOAT64 FLOAT16 INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64"


def _count(node: Node) -> int:
    (count,) = sized([one_integer(node, 1, value(node.input(1)))])
    return count


def _dense_shape(node: Node) -> list[Shape]:
    x, weights = node.input(0), node.input(2)
    require(len(x.shape) <= 2, "Shape must be at most rank 2")
    require(weights.shape in (x.shape, (0,)) or 0 in weights.shape, f"{weights} must be empty or fit {x}. ")
    return [(*x.shape[:-1], _count(node))]


@function("FlexDenseBincount", inputs=3, types=INTEGERS, shape=_dense_shape, custom=True)
def dense_bincount(node: Node, x: Array, size: Array, weights: Array) -> Array:
    """How often each of 0 … size - 1 is in x (n,) or in each row of x (m, n), or the sum of its weights.

    With binary_output, whether it is there at all.
    """
    require((x >= 0).all(), "Input arr must be non-negative!")
    out = np.zeros(node.outputs[0].shape, node.outputs[0].dtype)
    x = np.atleast_1d(x)
    inside = x < out.shape[-1]
    at = (*np.nonzero(inside)[:-1], x[inside])
    if attribute(node, "binary_output", False):
        out[at] = 1
    else:
        np.add.at(out, at, weights[inside] if weights.size else out.dtype.type(1))
    return out


def _bincount_shape(node: Node) -> list[Shape]:
    x, weights = node.input(0), node.input(2)
    require(weights.shape in (x.shape, (0,)), f"{weights} must be empty or fit {x}. ")
    return [(_count(node),)]


@function("FlexBincount", inputs=3, types="INT32", shape=_bincount_shape, custom=True)
def bincount(node: Node, x: Array, size: Array, weights: Array) -> Array:
    """How often each of 0 … size - 1 is in x, whatever its shape, or the sum of its weights."""
    return dense_bincount(node, x.reshape(-1), size, weights.reshape(-1))


@function("FlexUniqueWithCounts", inputs=1, outputs=3, custom=True)
def unique_with_counts(node: Node, x: Array) -> tuple[Array, Array, Array]:
    """The different values of x (n,) as they first come, which of them each element is, and how often each comes."""
    require(x.ndim == 1, f"unique expects a 1D vector, not {node.input(0)}. ")
    elements = x.tolist()
    order = {element: i for i, element in reversed(list(enumerate(elements)))}
    first = np.array(sorted(order.values()), np.int64)
    number = {elements[at]: i for i, at in enumerate(first)}
    index = np.array([number[element] for element in elements], np.int64)
    counts = np.bincount(index, minlength=len(first))
    return x[first], index.astype(node.outputs[1].dtype), counts.astype(node.outputs[2].dtype)


def _in_top_shape(node: Node) -> list[Shape]:
    x, targets = node.input(0), node.input(1)
    fits = len(x.shape) == 2 and targets.shape == x.shape[:1] and targets.type in ("INT32", "INT64")
    require(fits, f"{targets} must have an integer for each row of {x}. ")
    return [targets.shape]


@function("FlexInTopKV2", inputs=3, types="FLOAT32", shape=_in_top_shape, custom=True)
def in_top_k(node: Node, x: Array, targets: Array, k: Array) -> Array:
    """Whether the target of each row of x (n, classes) is among its k largest; those that tie with the last too."""
    if x.shape[1] == 0:
        return np.zeros(targets.shape, bool)
    known = (targets >= 0) & (targets < x.shape[1])
    wanted = x[np.arange(len(x)), np.where(known, targets, 0)]
    return known & np.isfinite(x).all(axis=1) & ((x > wanted[:, None]).sum(axis=1) < k)


@function("FlexCumprod", inputs=2, types=f"{NUMBERS} COMPLEX64 COMPLEX128", shape=same_as_input, custom=True)
def cumprod(node: Node, x: Array, axis: Array) -> Array:
    """Running products along an axis; `exclusive` of each element, from the end where `reverse`."""
    along = normalized_axis(one_integer(node, 1, axis), x.ndim)
    backwards = np.flip(x, along) if attribute(node, "reverse", False) else x
    with np.errstate(all="ignore"):
        out = np.cumprod(backwards, along, dtype=x.dtype)
    if attribute(node, "exclusive", False):
        out = np.roll(out, 1, along)
        out[(slice(None),) * along + (slice(0, 1),)] = 1
    return np.flip(out, along) if attribute(node, "reverse", False) else out


def _scatter_shape(node: Node) -> list[Shape]:
    x, indices, updates = (node.input(i) for i in range(3))
    require(indices.type in ("INT32", "INT64") and len(indices.shape) > 0, f"{indices} must be integers. ")
    depth = indices.shape[-1]
    require(depth <= len(x.shape) and updates.type == x.type, f"{updates} does not fit {x}. ")
    wanted = (*indices.shape[:-1], *x.shape[depth:])
    require(updates.shape == wanted, f"{updates} must be of the shape {list(wanted)}. ")
    return [x.shape]


def _scattered(combine: Callable[..., object]) -> Callable[..., Array]:
    """x with the updates combined into the elements or slices that the indices name."""

    def run(node: Node, x: Array, indices: Array, updates: Array) -> Array:
        out, depth = x.copy(), indices.shape[-1]
        sizes = np.array(x.shape[:depth])
        require(((indices >= 0) & (indices < sizes)).all(), f"{node.op}: an index is outside of {list(x.shape)}. ")
        with np.errstate(all="ignore"):
            combine(out, tuple(indices[..., i] for i in range(depth)), updates)
        return out

    return run


def _put(out: Array, at: Sequence[Array], updates: Array) -> None:
    out[tuple(at)] = updates


for _name, _combine in {
    "Add": np.add.at,
    "Max": np.maximum.at,
    "Min": np.minimum.at,
    "Sub": np.subtract.at,
    "Update": _put,
}.items():
    function(f"FlexTensorScatter{_name}", inputs=3, types=NUMBERS, shape=_scatter_shape, custom=True)(
        _scattered(_combine)
    )
