"""STABLEHLO_GATHER and STABLEHLO_SCATTER: windows read or written at index vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.movement.shape import FIXED_SIZE, require_index_type, require_output_type, require_same_type
from tflgpu.ops.registry import OpError, Runtime, Step, Subgraph, kernel, require
from tflgpu.ops.shape_rules import elements, sized


def dimensions_of(vector: Any, rank: int, name: str) -> list[int]:
    """An option that lists dimensions of a tensor of this rank. Raises OpError for one out of range, or twice."""
    found = [] if vector is None else [int(d) for d in vector]
    require(
        all(0 <= d < rank for d in found) and len(set(found)) == len(found),
        f"{name} {found} does not list dimensions of a tensor of rank {rank}. ",
    )
    return found


def index_vectors(indices: Array, index_vector_dim: int) -> Array:
    """indices with its index vectors last: (..., length); of length 1 where index_vector_dim is past the end."""
    require(0 <= index_vector_dim <= indices.ndim, f"index_vector_dim {index_vector_dim} is out of range. ")
    if index_vector_dim == indices.ndim:
        return indices[..., None]
    return np.moveaxis(indices, index_vector_dim, -1)


def _strides(shape: Shape) -> list[int]:
    """For every dimension, how many elements one step in it is."""
    return [elements(shape[i + 1 :]) for i in range(len(shape))]


def _window_offsets(window: Sequence[int], strides: Sequence[int]) -> Array:
    """For every element of a window of these sizes, its distance from the first: an array of the window's shape."""
    offsets: Array = np.zeros((), np.int64)
    for size, stride in zip(window, strides, strict=True):
        offsets = offsets[..., None] + np.arange(size, dtype=np.int64) * stride
    return offsets


def order_of(rank: int, window_dims: Sequence[int]) -> list[int]:
    """The transposition from (batch dimensions, window dimensions) to where window_dims says the latter are."""
    batch = iter(range(rank - len(window_dims)))
    window = iter(range(rank - len(window_dims), rank))
    return [next(window) if d in window_dims else next(batch) for d in range(rank)]


def gather_dimensions(node: Node) -> tuple[list[int], list[int], list[int], list[int], Shape]:
    """slice_sizes, the kept dimensions of the operand, start_index_map, offset_dims, and the output's shape."""
    options, x = node.options, node.input(0).shape
    require_index_type(node, 1)
    sizes = [int(s) for s in (() if options.slice_sizes is None else options.slice_sizes)]
    fits = len(sizes) == len(x) and all(0 <= s <= d for s, d in zip(sizes, x, strict=True))
    require(fits, f"STABLEHLO_GATHER: slices of {sizes} do not fit into {list(x)}. ")
    collapsed = dimensions_of(options.collapsed_slice_dims, len(x), "collapsed_slice_dims")
    kept = [d for d in range(len(x)) if d not in collapsed]
    vectors = index_vectors(np.empty(node.input(1).shape, np.bool_), int(options.index_vector_dim)).shape
    targets = dimensions_of(options.start_index_map, len(x), "start_index_map")
    require(len(targets) == vectors[-1], f"STABLEHLO_GATHER: index vectors of {vectors[-1]}, but {targets} to index. ")
    rank = len(vectors) - 1 + len(kept)
    offset_dims = sorted(dimensions_of(options.offset_dims, rank, "offset_dims"))
    require(len(offset_dims) == len(kept), f"STABLEHLO_GATHER: offset_dims {offset_dims} for windows of {len(kept)}. ")
    made = (*vectors[:-1], *(sizes[d] for d in kept))
    return sizes, kept, targets, offset_dims, sized(made[i] for i in order_of(rank, offset_dims))


@kernel(
    "STABLEHLO_GATHER",
    inputs=2,
    types=FIXED_SIZE,
    shape=lambda node: [gather_dimensions(node)[4]],
    check=require_output_type,
)
def stablehlo_gather(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """Windows of slice_sizes of x, at the index vectors in input 1, clamped so that they lie inside of x."""
    x, y = inputs[0], outputs[0]
    sizes, kept, targets, offset_dims, _ = gather_dimensions(node)
    if not y.size:
        return lambda: None
    vectors = index_vectors(inputs[1], int(node.options.index_vector_dim))
    strides = _strides(x.shape)
    last = np.array([x.shape[d] - sizes[d] for d in targets], np.int64)
    steps = np.array([strides[d] for d in targets], np.int64)
    window = _window_offsets([sizes[d] for d in kept], [strides[d] for d in kept])
    order = order_of(y.ndim, offset_dims)
    flat = x.reshape(-1)

    def step() -> None:
        starts = np.clip(vectors, 0, last) @ steps
        flat_indices = starts.reshape(starts.shape + (1,) * window.ndim) + window
        np.take(flat, flat_indices.transpose(order), out=y, mode="clip")

    return step


COMPUTATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "update": lambda old, new: new,
    "add": np.add,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def computation(body: Subgraph) -> str:
    """Which of COMPUTATIONS the graph of a scatter computes, found by running it. Raises OpError where it is none.

    Told apart by (3, 5) and (5, 3) for numbers; for bool, where two of them may be the same, by all four pairs.
    """
    specs = body.inputs
    require(len(specs) == 2, "stablehlo.scatter takes a computation of two arguments. ")
    dtype = specs[0].dtype
    pairs = [(a, b) for a in (0, 1) for b in (0, 1)] if dtype == np.bool_ else [(3, 5), (5, 3)]
    fitting = set(COMPUTATIONS)
    for pair in pairs:
        old, new = (np.full(spec.shape, v, dtype) for spec, v in zip(specs, pair, strict=True))
        results = body.run((old, new))
        require(len(results) == 1, "stablehlo.scatter takes a computation of one result. ")
        fitting = {name for name in fitting if np.array_equal(COMPUTATIONS[name](old, new), results[0])}
    for name in COMPUTATIONS:
        if name in fitting:
            return name
    raise OpError(
        "Only update, Add, Multiply, Maximum and Minimum operations are currently supported for stablehlo.scatter."
    )


def _scatter_shape(node: Node, runtime: Runtime) -> list[Shape]:
    require_index_type(node, 1)
    require_same_type(node, 0, 2)
    return [node.input(0).shape]


SCATTER_TYPES = "FLOAT32 FLOAT16 FLOAT64 INT8 UINT8 INT16 UINT16 INT32 UINT32 INT64 UINT64 BOOL"


@kernel(
    "STABLEHLO_SCATTER", inputs=3, types=SCATTER_TYPES, shape=_scatter_shape, stateful=True, check=require_output_type
)
def stablehlo_scatter(node: Node, inputs: Sequence[Array], outputs: Sequence[Array], runtime: Runtime) -> Step:
    """x with windows of updates (input 2) combined into it at the index vectors in input 1; those outside are ignored.

    Combined by the graph update_computation_subgraph_index: update, add, multiply, maximum or minimum.
    """
    options, (x, indices, updates), y = node.options, inputs, outputs[0]
    name = computation(runtime.subgraph(int(options.update_computation_subgraph_index)))
    vectors = index_vectors(indices, int(options.index_vector_dim))
    window_dims = sorted(dimensions_of(options.update_window_dims, updates.ndim, "update_window_dims"))
    inserted = dimensions_of(options.inserted_window_dims, x.ndim, "inserted_window_dims")
    targets = dimensions_of(options.scatter_dims_to_operand_dims, x.ndim, "scatter_dims_to_operand_dims")
    kept = [d for d in range(x.ndim) if d not in inserted]
    batch = tuple(d for i, d in enumerate(updates.shape) if i not in window_dims)
    fits = len(window_dims) == len(kept) and vectors.shape == (*batch, len(targets))
    require(fits, f"STABLEHLO_SCATTER: updates {list(updates.shape)} do not fit indices {list(indices.shape)}. ")
    window = [updates.shape[d] for d in window_dims]
    # From row-major order of the updates, in which TensorFlow Lite walks them, to (batch, window) and back.
    order = order_of(updates.ndim, window_dims)
    strides = _strides(x.shape)

    def step() -> None:
        np.copyto(y, x)
        flat_indices = np.zeros(updates.shape, np.int64)
        inside = np.ones(updates.shape, np.bool_)
        for dim in range(x.ndim):
            at: Array = np.zeros(batch + (1,) * len(window), np.int64)
            if dim in targets:
                at = vectors[..., targets.index(dim)].astype(np.int64).reshape(at.shape)
            if dim in kept:
                shape = [1] * updates.ndim
                shape[len(batch) + kept.index(dim)] = -1
                at = at + np.arange(window[kept.index(dim)], dtype=np.int64).reshape(shape)
            at = np.broadcast_to(at, (*batch, *window)).transpose(order)
            inside &= (at >= 0) & (at < x.shape[dim])
            flat_indices += at * strides[dim]
        _combine(name, y.reshape(-1), flat_indices[inside], updates[inside])

    return step


def _combine(name: str, y: Array, flat_indices: Array, updates: Array) -> None:
    """Combines updates into y at these indices, one after another."""
    if name == "update":
        y[flat_indices] = updates
        return
    if name in ("maximum", "minimum") and updates.dtype.kind == "f":
        _keep_most(getattr(np, name), y, flat_indices, updates)
        return
    with np.errstate(all="ignore"):
        getattr(np, name).at(y, flat_indices, updates)


def _keep_most(most: np.ufunc, y: Array, flat_indices: Array, updates: Array) -> None:
    """std::max or std::min of floats: never an update's NaN, and of 0 and -0, which are equal, the first."""
    numbers = ~np.isnan(updates)
    flat_indices, updates = flat_indices[numbers], updates[numbers]
    zeros, first = updates == 0, y.copy()
    first[flat_indices[zeros][::-1]] = updates[zeros][::-1]
    np.copyto(first, y, where=y == 0)
    most.at(y, flat_indices, updates)
    np.copyto(y, first, where=y == 0)
