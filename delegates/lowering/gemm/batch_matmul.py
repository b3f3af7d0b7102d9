"""BATCH_MATMUL as a GEMM problem: float, quantized or hybrid."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tflgpu.arithmetic.fixed_point import quantize_multiplier
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.ir import Copy
from tflgpu.delegates.launch import Buffer, Lowered, Op, Packed, Temp
from tflgpu.delegates.lowering.gemm.hybrid import quantize_rows
from tflgpu.delegates.lowering.gemm.problem import Gather, Gemm, GemmEpilogue, Operand, RowScales
from tflgpu.delegates.lowering.gemm.selection import lowered
from tflgpu.delegates.lowering.registry import lowers, require, size
from tflgpu.delegates.lowering.strided_index import index_map, standin
from tflgpu.model.graph import Node
from tflgpu.ops.matmul.batch_matmul import groups_of
from tflgpu.ops.matmul.hybrid import weight_scale

QUANTIZED = {("INT8", "INT8", "INT8"), ("INT16", "INT16", "INT16"), ("INT16", "INT8", "INT16")}


@lowers("BATCH_MATMUL")
def batch_matmul(node: Node, limits: DeviceLimits) -> Lowered:
    """x (..., m, k) times y (..., k, n), leading dimensions broadcast."""
    x, y, out, o = node.input(0), node.input(1), node.outputs[0], node.options
    if not size(out):
        return []
    m, n = out.shape[-2:]
    k = x.shape[-2] if o.adj_x else x.shape[-1]
    operands = Operand.of(x, transposed=bool(o.adj_x)), Operand.of(y, transposed=bool(o.adj_y)), Operand.of(out)
    epilogue = GemmEpilogue(-np.inf, np.inf)
    g = Gemm("batched", *operands, m, n, k, Gather.plain_rows(m, k), epilogue)
    types = (x.type, y.type, out.type)
    if types == ("FLOAT32", "FLOAT32", "FLOAT32"):
        return lowered(g, limits)
    if types == ("FLOAT32", "INT8", "FLOAT32"):
        return lowered(_hybrid(g, node, limits), limits)
    require(types in QUANTIZED or types == ("INT8", "INT8", "INT32"), f"{types[0]} times {types[1]} to {types[2]}")
    return lowered(_quantized(g), limits)


def _quantized(g: Gemm) -> Gemm:
    x, y, out = g.x.spec, g.y.spec, g.out.spec
    bounds = np.iinfo(out.dtype)
    low, high = int(bounds.min), int(bounds.max)
    if out.type == "INT32":  # the sums themselves
        rescale = np.full(g.n, 1 << 30, np.int32), np.ones(g.n, np.int32)
        return replace(g, epilogue=GemmEpilogue(low, high, rescale))
    multiplier, exponent = quantize_multiplier(float(x.scale * y.scale) / float(out.scale))
    rescale = np.full(g.n, multiplier, np.int32), np.full(g.n, exponent, np.int32)
    return replace(
        g,
        x=replace(g.x, zero_point=x.zero_point),
        y=replace(g.y, zero_point=y.zero_point),
        epilogue=GemmEpilogue(low, high, rescale, out.zero_point, wide=x.type == "INT16"),
    )


def _hybrid(g: Gemm, node: Node, limits: DeviceLimits) -> Gemm:
    """float32 times int8: the rows of x are quantized at run time."""
    x, y, o = g.x.spec, g.y.spec, node.options
    scale = weight_scale(y)
    require(scale.size == 1 or scale.size >= g.n, f"{scale.size} scales for {g.n} columns")
    require(g.k, "matrices of depth 0")
    rows_of_x, before = _by_rows(g)
    rows = quantize_rows(rows_of_x, size(x) // g.k, g.k, bool(o.asymmetric_quantize_inputs), limits)
    x_shape = (*x.shape[:-2], g.m, g.k)
    batches, *found = groups_of(node, x_shape, (*y.shape[:-2], g.k, g.n))
    scale_of, columns_of = (np.broadcast_to(p, batches).astype(np.int32).reshape(-1) for p in found)
    columns, each = Packed(lambda: scale[: g.n]), g.size // g.n // math.prod(batches)
    asymmetric = bool(o.asymmetric_quantize_inputs)
    scales = RowScales(rows, columns, each, asymmetric=asymmetric, scale_of=scale_of, columns_of=columns_of)
    return replace(
        g,
        x=Operand(replace(x, type="INT8", shape=x_shape), rows.values),
        epilogue=GemmEpilogue(-np.inf, np.inf, row_scales=scales),
        before=(*before, rows.launch),
    )


def _by_rows(g: Gemm) -> tuple[Buffer, tuple[Op, ...]]:
    """x with contiguous rows, and the launches that transpose it."""
    if not g.x.transposed:
        return g.x.buffer, ()
    x, temp = g.x.spec, Temp(4 * size(g.x.spec))
    base = standin(x.shape, x.dtype)
    moved = Copy(g.x.buffer, temp, size(x), "u32", index_map(base.swapaxes(-1, -2), base))
    return temp, (moved,)
