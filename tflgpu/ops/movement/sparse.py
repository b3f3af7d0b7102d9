"""DENSIFY, and the dense form of other sparse constants."""

from __future__ import annotations

import numpy as np

from tflgpu.model.graph import Array, DimensionMetadata, Node, Shape, Sparsity, TensorSpec
from tflgpu.ops.registry import function, require
from tflgpu.ops.shape_rules import elements


def dense_values(spec: TensorSpec) -> Array:
    """The value of a constant in its dense shape: as it is, or expanded where it is sparse. Raises OpError.

    A sparse constant is a tree (TACO): the levels of `dim_metadata`, in traversal order, are the tensor's dimensions
    and then those of the blocks into which the dimensions of `block_map` are cut; its leaves, in order, are the values.
    """
    require(spec.data is not None, f"{spec} must be constant. ")
    values = spec.data
    assert values is not None
    if spec.sparsity is None:
        return values
    _check(spec, spec.sparsity)
    out = np.zeros(spec.shape, values.dtype)
    if not out.size:
        return out
    levels = _leaves(spec.sparsity.dim_metadata, elements(spec.shape))
    require(len(levels[0]) == values.size, f"{spec} has {values.size} values for {len(levels[0])} positions. ")
    coordinates = _coordinates(spec, spec.sparsity, levels)
    inside = all(bool(((c >= 0) & (c < size)).all()) for c, size in zip(coordinates, spec.shape, strict=True))
    require(inside, f"a value of {spec} lies outside its shape. ")
    out[tuple(coordinates)] = values.reshape(-1)
    return out


def _check(spec: TensorSpec, sparsity: Sparsity) -> None:
    rank, levels = len(spec.shape), len(sparsity.dim_metadata)
    ordered = sorted(sparsity.traversal_order) == list(range(levels))
    # Dimensions first, blocks after them, as the expansion to dense coordinates needs.
    ordered = ordered and sorted(sparsity.traversal_order[:rank]) == list(range(rank))
    mapped = len(sparsity.block_map) == levels - rank and all(0 <= d < rank for d in sparsity.block_map)
    require(rank and ordered and mapped, f"the sparsity of {spec} is invalid. ")


def _leaves(metadata: tuple[DimensionMetadata, ...], limit: int) -> list[Array]:
    """The index of every leaf at every level, in the order of the values."""
    parents = np.zeros(1, np.int64)
    levels: list[Array] = []
    for level in metadata:
        if level.format == "DENSE":
            size = level.dense_size
            require(size >= 0 and len(parents) * size <= limit, "a sparse tensor has more positions than its shape. ")
            parent = np.repeat(np.arange(len(parents)), size)
            index = np.tile(np.arange(size, dtype=np.int64), len(parents))
            parents = parents[parent] * size + index
        else:
            segments, indices = np.asarray(level.array_segments), np.asarray(level.array_indices)
            segments, indices = segments.astype(np.int64), indices.astype(np.int64)
            rising = segments.size and segments[0] >= 0 and (np.diff(segments) >= 0).all()
            require(rising and segments[-1] <= len(indices), "the segments of a sparse tensor are invalid. ")
            require(not parents.size or parents.max() + 1 < len(segments), "a sparse tensor lacks segments. ")
            first, counts = segments[parents], segments[parents + 1] - segments[parents]
            require(counts.sum() <= limit, "a sparse tensor has more positions than its shape. ")
            parent = np.repeat(np.arange(len(parents)), counts)
            starts = np.cumsum(counts) - counts
            parents = first[parent] + np.arange(len(parent)) - starts[parent]
            index = indices[parents]
        levels = [earlier[parent] for earlier in levels] + [index]
    return levels


def _coordinates(spec: TensorSpec, sparsity: Sparsity, levels: list[Array]) -> list[Array]:
    rank, order = len(spec.shape), sparsity.traversal_order
    coordinates = [levels[order.index(d)] for d in range(rank)]
    for level in range(rank, len(order)):
        block = order[level] - rank
        dimension = sparsity.block_map[block]
        size = sparsity.dim_metadata[order[rank + block]].dense_size
        coordinates[dimension] = coordinates[dimension] * size + levels[level]
    return coordinates


def _densify_shape(node: Node) -> list[Shape]:
    x = node.input(0)
    require(x.data is not None, "IsConstantTensor(op_context.input) was not true. ")
    require(x.sparsity is not None, "op_context.input->sparsity != nullptr was not true. ")
    return [x.shape]


@function("DENSIFY", inputs=1, types="FLOAT32 FLOAT16 INT8", shape=_densify_shape, output_type=0)
def densify(node: Node, x: Array) -> Array:
    """The sparse constant x in its dense shape."""
    return dense_values(node.input(0))
