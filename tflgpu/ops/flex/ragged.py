"""Sparse and ragged tensors: SparseTensorDenseMatMul, SparseSegmentMean and its kin, RaggedTensorToTensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.flex.inputs import sizes
from tflgpu.ops.flex.node_def import MalformedNodeDef, attribute, attributes
from tflgpu.ops.registry import Runtime, function, require, value
from tflgpu.ops.shape_rules import elements, sized


def _product_shape(node: Node) -> list[Shape]:
    indices, values, size, b = (node.input(i) for i in range(4))
    fits = len(indices.shape) == 2 and indices.shape[1:] == (2,) and indices.shape[:1] == values.shape
    require(fits and size.shape == (2,), f"{indices} and {values} are no sparse matrix. ")
    require(len(b.shape) == 2 and b.type == values.type, f"{b} must be a matrix of {values.type}. ")
    rows, columns = sizes(node, 2)[:: -1 if attribute(node, "adjoint_a", False) else 1]
    inner, outer = b.shape[:: -1 if attribute(node, "adjoint_b", False) else 1]
    require(columns == inner, f"Cannot multiply A and B because inner dimension does not match: {columns} vs. {inner}.")
    return [(rows, outer)]


@function(
    "FlexSparseTensorDenseMatMul",
    inputs=4,
    types="FLOAT32 FLOAT64 INT32 COMPLEX64 COMPLEX128",
    typed_input=1,
    shape=_product_shape,
    custom=True,
)
def sparse_tensor_dense_mat_mul(node: Node, indices: Array, values: Array, size: Array, b: Array) -> Array:
    """A sparse matrix times b, each transposed and conjugated where the attributes say so."""
    row, column = indices[:, 0], indices[:, 1]
    if attribute(node, "adjoint_a", False):
        row, column, values = column, row, np.conj(values)
    b = np.conj(b.T) if attribute(node, "adjoint_b", False) else b
    out = np.zeros(node.outputs[0].shape, b.dtype)
    inside = ((row >= 0) & (row < len(out)) & (column >= 0) & (column < len(b))).all()
    require(inside, f"{node.op}: an index is out of bounds. ")
    for r, c, v in zip(row.tolist(), column.tolist(), values, strict=True):
        out[r] += v * b[c]
    return out


def _segment_shape(node: Node, runtime: Runtime) -> list[Shape]:
    x, indices, segments = (node.input(i) for i in range(3))
    fits = len(x.shape) > 0 and len(indices.shape) == 1 and indices.shape == segments.shape
    fits &= {indices.type, segments.type} <= {"INT32", "INT64"}
    require(fits, f"{node.op}: {indices} and {segments} must be integers, equally many. ")
    last = value(segments)
    count = int(last[-1]) + 1 if last.size else 0
    require(count >= 0, "segment ids must be >= 0")
    return [(count, *x.shape[1:])]


def _segments(node: Node, runtime: Runtime, x: Array, indices: Array, segments: Array) -> Array:
    """The sum, mean, or sum over the root of their number, of the rows of x that belong to each segment."""
    require((np.diff(segments) >= 0).all() and (segments >= 0).all(), "segment ids are not increasing")
    require(((indices >= 0) & (indices < len(x))).all(), f"{node.op}: an index is out of range of {len(x)} rows. ")
    out = np.zeros(node.outputs[0].shape, x.dtype)
    np.add.at(out, segments, x[indices])
    count = np.bincount(segments, minlength=len(out)).reshape(-1, *(1,) * (x.ndim - 1)).astype(x.dtype)
    if node.op.endswith("Sum"):
        return out
    return out / np.maximum(np.sqrt(count) if node.op.endswith("SqrtN") else count, 1)


for _name in ("Mean", "SqrtN", "Sum"):
    function(
        f"FlexSparseSegment{_name}",
        inputs=3,
        types="FLOAT32 FLOAT64",
        shape=_segment_shape,
        custom=True,
        stateful=True,
    )(_segments)


KINDS = ("FIRST_DIM_SIZE", "VALUE_ROWIDS", "ROW_SPLITS")


def _partitions(node: Node) -> list[str]:
    kinds = attributes(node).get("row_partition_types", [])
    if not isinstance(kinds, list) or not kinds or any(k not in (kind.encode() for kind in KINDS) for k in kinds):
        raise MalformedNodeDef(f"{node.op}: the attribute row_partition_types is {kinds!r}. ")
    require(kinds[0] != b"VALUE_ROWIDS", f"{node.op}: cannot handle VALUE_ROWIDS in first dimension.")
    require(len(kinds) == len(node.inputs) - 3, f"{node.op}: {len(kinds)} partitions for {len(node.inputs)} inputs. ")
    return [kind.decode() for kind in kinds]


@function("FlexRaggedTensorToTensor", inputs="4+", custom=True, stateful=True)
def ragged_tensor_to_tensor(
    node: Node, runtime: Runtime, shape: Array, values: Array, default: Array, *partitions: Array
) -> Array:
    """A ragged tensor with rows filled up with the default value, or cut, to a shape; -1 for the longest row's."""
    lengths = _row_lengths(node, runtime, partitions)
    ragged = len(lengths)
    sizes = [lengths[0][0], *(max(rows, default=0) for rows in lengths[1:])] if ragged else []
    inner = values.shape[1:]
    rank = ragged + len(inner)
    given = [-1] * rank if shape.ndim == 0 else [int(d) for d in shape]
    require(len(given) == rank, f"{node.op}: a shape of {len(given)} dimensions for {rank}. ")
    wanted = [d if d >= 0 else own for d, own in zip(given, (*sizes, *inner), strict=True)]
    require(tuple(wanted[ragged:]) == inner, f"{node.op}: values of {list(inner)} do not fit {given}. ")
    full = sized(wanted)
    runtime.meter.reserve(elements(full) * values.dtype.itemsize, str(node))
    out = np.empty(full, values.dtype)
    out[...] = default
    for at, one in _positions(lengths, full[:ragged]):
        require(one < len(values), f"{node.op}: there are {len(values)} values. ")
        out[at] = values[one]
    return out


def _row_lengths(node: Node, runtime: Runtime, partitions: Sequence[Array]) -> list[list[int]]:
    """For every ragged dimension how many entries each row has; the first has one row."""
    found: list[list[int]] = []
    kinds = _partitions(node)
    for number, (kind, partition) in enumerate(zip(kinds, partitions, strict=True)):
        flat = [int(v) for v in partition.reshape(-1)]
        if kind == "FIRST_DIM_SIZE":
            require(number == 0 and len(flat) == 1 and flat[0] >= 0, f"{node.op}: the first dimension's size. ")
            runtime.meter.reserve(64 * flat[0], f"{node}, with {flat[0]:,} rows,")
            found.append(flat)
        elif kind == "VALUE_ROWIDS":
            rows = sum(found[-1])
            require(all(0 <= row < rows for row in flat) and flat == sorted(flat), f"{node.op}: invalid row ids. ")
            found.append(np.bincount(flat, minlength=rows).tolist() if flat else [0] * rows)
        else:
            valid = len(flat) > 0 and flat[0] == 0 and flat == sorted(flat)
            require(valid, f"{node.op}: row splits must begin with 0 and not fall. ")
            if number == 0:
                found.append([len(flat) - 1])
            require(len(flat) - 1 == sum(found[-1]), f"{node.op}: {len(flat)} row splits for {sum(found[-1])} rows. ")
            found.append(np.diff(flat).tolist())
    return found


def _positions(lengths: Sequence[Sequence[int]], sizes: Shape) -> list[tuple[tuple[int, ...], int]]:
    """Where in the dense tensor each value goes that fits into it, and which one."""
    found: list[tuple[tuple[int, ...], int]] = [((), 0)]
    for rows, size in zip(lengths, sizes, strict=True):
        starts = np.concatenate([[0], np.cumsum(rows)]).tolist()
        found = [((*at, i), starts[row] + i) for at, row in found for i in range(min(rows[row], size))]
    return found
