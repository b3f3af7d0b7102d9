"""Operators that read at places given by a tensor of indices, which are checked where they are used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Fault, Launch, Lowered, Ref
from tflgpu.delegates.lowering.movement.movement import copy, view
from tflgpu.delegates.lowering.registry import bits_type, c_type, constant, i32, lowers, require, size
from tflgpu.model.graph import Node, TensorSpec


@lowers("GATHER")
def gather(node: Node, limits: DeviceLimits) -> Lowered:
    """The slices of x at `positions` along an axis; the first batch_dims dimensions are walked in step."""
    x, positions, out = node.input(0), node.input(1), node.outputs[0]
    require(x.type != "INT4", "GATHER of INT4")
    axis = node.options.axis % len(x.shape)
    batch_dims = node.options.batch_dims % (len(positions.shape) + 1) if node.options.batch_dims else 0
    if node.options.batch_dims < 0:
        batch_dims = node.options.batch_dims + len(positions.shape)
    args: tuple[Any, ...] = (
        Ref(x.index),
        Ref(positions.index),
        Ref(out.index),
        i32(size(out)),
        i32(math.prod(x.shape[batch_dims:axis])),
        i32(x.shape[axis]),
        i32(math.prod(positions.shape[batch_dims:])),
        i32(math.prod(x.shape[axis + 1 :])),
        Fault("gather index out of bounds"),
    )
    defines = {"T": bits_type(out), "INDEX_T": c_type(positions, limits), "AXIS": 1}
    return [Launch("indexing.gather", args, (size(out),), defines=defines)]


@lowers("GATHER_ND")
def gather_nd(node: Node, limits: DeviceLimits) -> Lowered:
    """The slices of x at vectors of up to 6 indices."""
    x, indices, out = node.input(0), node.input(1), node.outputs[0]
    nd = indices.shape[-1]
    require(nd <= 6, f"vectors of {nd} indices")
    require(size(x) > 0, "a tensor without elements")
    sizes = [*x.shape[:nd], *[1] * (6 - nd)]
    args: tuple[Any, ...] = (
        Ref(x.index),
        Ref(indices.index),
        Ref(out.index),
        i32(size(out)),
        i32(nd),
        i32(math.prod(x.shape[nd:])),
        *map(i32, sizes),
        Fault("gather_nd index out of bounds"),
    )
    defines = {"T": bits_type(out), "INDEX_T": c_type(indices, limits)}
    return [Launch("indexing.gather_nd", args, (size(out),), defines=defines)]


@lowers("ONE_HOT")
def one_hot(node: Node, limits: DeviceLimits) -> Lowered:
    """on_value where the new dimension's place is the index, else off_value."""
    indices, out = node.input(0), node.outputs[0]
    depth = int(constant(node.input(1), "a depth").reshape(-1)[0])
    axis = node.options.axis % len(out.shape)
    inner = math.prod(out.shape[axis + 1 :])
    args: tuple[Any, ...] = (
        Ref(indices.index),
        Ref(node.input(2).index),
        Ref(node.input(3).index),
        Ref(out.index),
        i32(size(out)),
        i32(depth),
        i32(inner),
    )
    defines = {"T": bits_type(out), "INDEX_T": c_type(indices, limits), "ONE_HOT": 1}
    return [Launch("indexing.one_hot", args, (size(out),), defines=defines)]


@lowers("EMBEDDING_LOOKUP")
def embedding_lookup(node: Node, limits: DeviceLimits) -> Lowered:
    """Rows of x of the output's own type."""
    rows, x, out = node.input(0), node.input(1), node.outputs[0]
    if x.type in ("INT8", "UINT8") and out.type in ("FLOAT32", "FLOAT16"):
        return [_dequantized_rows(rows, x, out)]
    require(x.type == out.type, f"rows of {x.type} as {out.type}")
    depth = math.prod(x.shape[1:])
    args: tuple[Any, ...] = (
        Ref(x.index),
        Ref(rows.index),
        Ref(out.index),
        i32(size(out)),
        i32(1),
        i32(x.shape[0]),
        i32(size(rows)),
        i32(depth),
        Fault("Embedding Lookup: index out of bounds. "),
    )
    defines = {"T": bits_type(out), "INDEX_T": c_type(rows, limits), "AXIS": 1}
    return [Launch("indexing.gather", args, (size(out),), defines=defines)]


def _dequantized_rows(rows: TensorSpec, x: TensorSpec, out: TensorSpec) -> Launch:
    """Rows of codes as floats. uint8 codes are read as int8, as the CPU reads them."""
    require(x.quantization is None or not x.quantization.block_size, "scales by block")
    scale = np.zeros(1, np.float32) if x.quantization is None else x.quantization.scale.astype(np.float32)
    args: tuple[Any, ...] = (
        Ref(x.index),
        Ref(rows.index),
        np.ascontiguousarray(scale),
        Ref(out.index),
        *map(i32, (size(out), x.shape[0], math.prod(x.shape[1:]), int(scale.size > 1))),
        Fault("Embedding Lookup: index out of bounds. "),
    )
    defines = {"OUT_T": "u16", "RESULT": "to_f16"} if out.type == "FLOAT16" else {"OUT_T": "f32", "RESULT": ""}
    return Launch("indexing.embed", args, (size(out),), defines=defines)


@lowers("HASHTABLE_LOOKUP")
def hashtable_lookup(node: Node, limits: DeviceLimits) -> Lowered:
    """Rows of a table by their keys, and whether there was one."""
    wanted, keys, table = (node.input(i) for i in range(3))
    out, hits = node.outputs
    inner = math.prod(table.shape[1:])
    require(table.shape[0] > 0 and inner > 0, "a table without elements")
    args: tuple[Any, ...] = (
        *(Ref(spec.index) for spec in (wanted, keys, table, out, hits)),
        *map(i32, (size(out), table.shape[0], inner)),
    )
    return [Launch("indexing.lookup", args, (size(out),), defines={"T": bits_type(out), "KEYS": 1})]


@lowers("SLICE")
def slice_(node: Node, limits: DeviceLimits) -> Lowered:
    """A view, or, where the begin is computed, what it says when it runs."""
    x, begin, out = node.input(0), node.input(1), node.outputs[0]
    if begin.data is not None:
        return view(node, limits)
    require(len(x.shape) <= 6, f"{len(x.shape)} dimensions from a place that is computed")
    empty = 6 - len(x.shape)
    args: tuple[Any, ...] = (
        *(Ref(spec.index) for spec in (x, begin, out)),
        *map(i32, (size(out), empty, *[1] * empty, *x.shape, *[1] * empty, *out.shape)),
        Fault("Invalid begin and size."),
    )
    defines = {"T": bits_type(out), "INDEX_T": c_type(begin, limits), "START": 1}
    return [Launch("indexing.slice_at", args, (size(out),), defines=defines)]


@lowers("DYNAMIC_UPDATE_SLICE")
def dynamic_update_slice(node: Node, limits: DeviceLimits) -> Lowered:
    """x with `update` over it from `start` on, which is moved so that all of it lies inside."""
    x, update, start, out = node.input(0), node.input(1), node.input(2), node.outputs[0]
    require(len(x.shape) <= 6, f"{len(x.shape)} dimensions")
    empty = 6 - len(x.shape)
    sizes = [*[1] * empty, *x.shape]
    inner = [*[1] * empty, *update.shape]
    args: tuple[Any, ...] = (
        Ref(update.index),
        Ref(start.index),
        Ref(out.index),
        i32(size(update)),
        i32(empty),
        *map(i32, sizes),
        *map(i32, inner),
    )
    defines = {"T": bits_type(out), "INDEX_T": c_type(start, limits), "UPDATE": 1}
    return [copy(x, out), Launch("indexing.update_slice", args, (size(update),), defines=defines)]
