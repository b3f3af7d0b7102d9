"""FULLY_CONNECTED as a GEMM problem: float, quantized or hybrid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Lowered, Packed
from tflgpu.delegates.lowering.gemm.hybrid import quantize_rows
from tflgpu.delegates.lowering.gemm.problem import Gather, Gemm, GemmEpilogue, Operand, RowScales
from tflgpu.delegates.lowering.gemm.selection import lowered
from tflgpu.delegates.lowering.registry import constant, lowers, require, size
from tflgpu.model.graph import Node, Quantization
from tflgpu.ops.fused_activation import float_range, quantized_range
from tflgpu.ops.matmul.hybrid import block_weight_sums

HYBRID = {("FLOAT32", kind, "FLOAT32") for kind in ("INT8", "INT4", "INT2")}
QUANTIZED = {(kind, weights, kind) for kind in ("INT8", "INT16") for weights in ("INT8", "INT4", "INT2")} | {
    ("UINT8", "UINT8", "UINT8")
}
HYBRID_RANGES = {"NONE": (-np.inf, np.inf), "RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


@lowers("FULLY_CONNECTED")
def fully_connected(node: Node, limits: DeviceLimits) -> Lowered:
    """Rows of x times weights (units, depth) transposed, plus bias."""
    x, weights, out = node.input(0), node.input(1), node.outputs[0]
    require(node.options.weights_format == "DEFAULT", "shuffled weights")
    units, depth = weights.shape
    require(depth > 0, "weights without columns")
    rows = size(out) // units if units else 0
    types = (x.type, weights.type, out.type)
    gather = Gather.plain_rows(rows, depth)
    operands = Operand.of(x), Operand.of(weights, transposed=True, pack=True), Operand.of(out)
    epilogue = GemmEpilogue(-np.inf, np.inf)
    g = Gemm("dense", *operands, rows, units, depth, gather, epilogue, node.optional(2))
    if types == ("FLOAT32", "FLOAT32", "FLOAT32"):
        low, high = float_range(node.options.fused_activation_function)
        return lowered(replace(g, epilogue=GemmEpilogue(low, high)), limits)
    if types in HYBRID:
        return lowered(_hybrid(g, node, limits), limits)
    require(types in QUANTIZED, f"{types[0]} input with {types[1]} weights to {types[2]}")
    require(limits.double, "a device without double precision")
    return lowered(_quantized(g, node), limits)


def _quantized(g: Gemm, node: Node) -> Gemm:
    """Requantized in float64, as the reference does it."""
    x, weights, out = node.input(0), node.input(1), node.outputs[0]
    require(all(s.quantization is not None for s in (x, weights, out)), "a tensor without quantization parameters")
    assert weights.quantization is not None
    scales = float(x.scale) * weights.quantization.scale.astype(np.float64) / float(out.scale)
    low, high = quantized_range(node.options.fused_activation_function, out)
    rescale = (np.ascontiguousarray(np.broadcast_to(scales, (g.n,))),)
    y = replace(g.y, zero_point=0 if weights.quantization.per_channel else weights.zero_point)
    epilogue = GemmEpilogue(low, high, rescale, out.zero_point)
    return replace(g, x=replace(g.x, zero_point=x.zero_point), y=y, epilogue=epilogue)


def _blockwise(g: Gemm, quantization: Quantization, limits: DeviceLimits) -> Gemm:
    """float32 times 4-bit weights whose rows have a scale for each block; the reference ignores the activation."""
    kind, block = g.y.spec.type, quantization.block_size
    require(kind == "INT4" and block % 8 == 0, f"{kind} by blocks of {block}")
    scale = np.ascontiguousarray(quantization.scale.astype(np.float32).reshape(g.n, -1))
    rows = quantize_rows(g.x.buffer, g.m, g.k, True, limits)
    scales = RowScales(rows, Packed(lambda: block_weight_sums(g.y.rows, scale)), blocks=scale)
    found = _on_rows(g, scales)
    require(found.packed_int4, "weights or a bias that are not constant")
    return found


def _hybrid(g: Gemm, node: Node, limits: DeviceLimits) -> Gemm:
    """float32 times quantized weights: the rows of x are quantized at run time."""
    weights, o = node.input(1), node.options
    values, quantization = constant(weights, "weights"), weights.quantization
    require(quantization is not None, "weights without scales")
    assert quantization is not None
    if quantization.block_size:
        return _blockwise(g, quantization, limits)
    require(o.fused_activation_function in HYBRID_RANGES, f"activation {o.fused_activation_function}")
    # The x86 build multiplies -128 as +128 in some cases.
    require(g.k < 16 or int(values.min(initial=0)) > -128, "weights of -128")
    rows = quantize_rows(g.x.buffer, g.m, g.k, o.asymmetric_quantize_inputs, limits)
    low, high = HYBRID_RANGES[o.fused_activation_function]
    scale = quantization.scale
    return _on_rows(g, RowScales(rows, Packed(lambda: scale)), low, high)


def _on_rows(g: Gemm, scales: RowScales, low: float = -np.inf, high: float = np.inf) -> Gemm:
    """The problem on rows that are quantized at run time."""
    x = replace(g.x, spec=replace(g.x.spec, type="INT8"), buffer=scales.rows.values)
    return replace(g, x=x, epilogue=GemmEpilogue(low, high, row_scales=scales), before=(scales.rows.launch,))
