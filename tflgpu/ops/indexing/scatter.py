"""SCATTER_ND and SPARSE_TO_DENSE: rows written at index vectors."""

from __future__ import annotations

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.indexing.indexing import flat_indices
from tflgpu.ops.movement.shape import require_index_type, require_output_type, require_same_type
from tflgpu.ops.registry import function, require, value
from tflgpu.ops.shape_rules import elements, sized


def _scatter_nd_shape(node: Node) -> list[Shape]:
    require_same_type(node, 0, 2)
    require_index_type(node, 0, ("INT32",))
    indices, updates, spec = node.input(0).shape, node.input(1).shape, node.input(2)
    require(indices and updates and len(spec.shape) == 1, "SCATTER_ND takes vectors or more, and a vector of sizes. ")
    shape = sized(value(spec))
    fits = indices[-1] <= len(shape) and updates == (*indices[:-1], *shape[indices[-1] :])
    require(fits, f"SCATTER_ND: updates {list(updates)} at {list(indices)} do not fit into {list(shape)}. ")
    return [shape]


@function(
    "SCATTER_ND",
    inputs=3,
    types="FLOAT32 INT8 UINT8 INT32 INT64 BOOL",
    typed_input=1,
    shape=_scatter_nd_shape,
    check=require_output_type,
    output_type=1,
)
def scatter_nd(node: Node, indices: Array, updates: Array, shape: Array) -> Array:
    """Zeros of `shape` with `updates` added at the index vectors `indices` (..., nd); the same index adds again."""
    y = np.zeros(node.outputs[0].shape, updates.dtype)
    leading = y.shape[: indices.shape[-1]]
    flat = flat_indices(indices, leading, "scatter_nd index out of bounds").reshape(-1)
    if y.size and updates.size:
        rows, added = y.reshape(elements(leading), -1), updates.reshape(flat.size, -1)
        if np.unique(flat).size == flat.size:
            rows[flat] = added
        else:
            np.add.at(rows, flat, added)
    return y


def _sparse_to_dense_shape(node: Node) -> list[Shape]:
    require_index_type(node, 0)
    require_index_type(node, 1)
    require_same_type(node, 2, 3)
    indices, spec, values = node.input(0).shape, node.input(1), node.input(2).shape
    require(len(indices) < 3, f"Wrong indices dimensions {len(indices)}, should be less than 3.")
    require(len(spec.shape) == 1 and len(values) < 2, "SPARSE_TO_DENSE takes a vector of sizes and one of values. ")
    require(elements(node.input(3).shape) == 1, "SPARSE_TO_DENSE takes one default value. ")
    depth = indices[1] if len(indices) == 2 else 1
    fits = depth == spec.shape[0] <= 4 and (not values or values[0] == (indices[0] if indices else 1))
    require(fits, f"SPARSE_TO_DENSE: {list(indices)} indices, {spec.shape[0]} sizes, {list(values)} values. ")
    return [sized(value(spec))]


@function(
    "SPARSE_TO_DENSE",
    inputs=4,
    version=3,
    types="FLOAT32 INT8 UINT8 INT32 INT64",
    typed_input=2,
    shape=_sparse_to_dense_shape,
    check=require_output_type,
    output_type=2,
)
def sparse_to_dense(node: Node, indices: Array, shape: Array, values: Array, default: Array) -> Array:
    """A tensor of `shape` of the default value with `values` at `indices` (count, rank); the last of an index wins."""
    y = np.full(node.outputs[0].shape, default.reshape(()), values.dtype)
    vectors = indices.reshape(-1, y.ndim)
    flat = flat_indices(vectors, y.shape, "sparse_to_dense index out of bounds")
    if flat.size:
        y.reshape(-1)[flat] = values
    return y
