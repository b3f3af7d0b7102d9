"""The convolution of any operator as a GEMM problem: float, quantized or hybrid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Lowered, Packed
from tflgpu.delegates.lowering.gemm.hybrid import quantize_rows
from tflgpu.delegates.lowering.gemm.problem import Gather, Gemm, GemmEpilogue, Kind, Operand, RowScales
from tflgpu.delegates.lowering.gemm.selection import lowered
from tflgpu.delegates.lowering.registry import constant, require, size
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.convolution.conv import IN_ORDER, check_hybrid_axis
from tflgpu.ops.convolution.integer_convolution import check_quantization, has_wide_sums, scale_factors
from tflgpu.ops.fused_activation import float_range
from tflgpu.ops.matmul.hybrid import channel_scale
from tflgpu.ops.matmul.requantize import rescale

HYBRID = {("FLOAT32", "INT8"), ("FLOAT32", "INT4")}
INTEGERS = {("INT8", "INT8"), ("INT8", "INT4"), ("UINT8", "UINT8"), ("INT16", "INT8"), ("INT16", "INT4")}

Inputs = tuple[TensorSpec, TensorSpec, TensorSpec | None]
"""x (n, h, w, c), weights and bias. Weights are (oc, kh, kw, c / groups), of depthwise convolutions (1, kh, kw, oc)."""


def convolution(node: Node, kind: Kind, inputs: Inputs, gather: Gather, limits: DeviceLimits) -> Lowered:
    """The launches. kind transposed: the window of gather slides over the output."""
    (x, weights, _), out = inputs, node.outputs[0]
    types = (x.type, weights.type)
    if types == ("FLOAT32", "FLOAT32") and out.type == "FLOAT32":
        epilogue = _of_floats(node, kind, x, gather)
    elif types in HYBRID and out.type == "FLOAT32":
        return lowered(_without_groups(_hybrid(node, kind, inputs, gather, limits), limits), limits)
    else:
        supported = types in INTEGERS and out.type == x.type
        require(supported, f"{types[0]} input with {types[1]} weights to {out.type}")
        epilogue = _of_integers(node, kind, inputs)
    x_zero = x.zero_point if epilogue.rescale else 0
    problem = _problem(node, kind, inputs, Operand.of(x, x_zero), gather, epilogue)
    return lowered(_without_groups(problem, limits) if epilogue.rescale else problem, limits)


def _problem(node: Node, kind: Kind, inputs: Inputs, x: Operand, gather: Gather, epilogue: GemmEpilogue) -> Gemm:
    (spec, weights, bias), out = inputs, node.outputs[0]
    zero_point = weights.zero_point if spec.type == "UINT8" else 0
    y = Operand.of(weights, zero_point, transposed=True, pack=True)
    n, k = out.shape[3], gather.depth // gather.groups
    return Gemm(kind, x, y, Operand.of(out), size(out) // n if n else 0, n, k, gather, epilogue, bias)


FEW_GROUPS = 8
"""So many times the multiplications by dot products of bytes take less time than those of the groups without them."""


def _without_groups(g: Gemm, limits: DeviceLimits) -> Gemm:
    """The integer convolution of few groups as one of all channels, whose other weights are zero points."""
    few = 1 < g.gather.groups <= FEW_GROUPS and g.kind == "convolution" and limits.has("vnni")
    if not few or g.y.constant is None or g.y.spec.type not in ("INT8", "UINT8") or g.epilogue.wide:
        return g
    oc, kh, kw, depth = g.y.spec.shape
    shape = (oc, kh, kw, depth * g.gather.groups)

    def weights() -> Array:
        dense = np.full(shape, g.y.zero_point, g.y.value.dtype)
        of_group = oc // g.gather.groups
        for group in range(g.gather.groups):
            rows, channels = slice(group * of_group, (group + 1) * of_group), slice(group * depth, (group + 1) * depth)
            dense[rows, ..., channels] = g.y.value[rows]
        return dense

    y = replace(g.y, spec=replace(g.y.spec, shape=shape, data=None), constant=Packed(weights))
    return replace(g, y=y, k=g.gather.depth, gather=replace(g.gather, groups=1))


def _activation(node: Node) -> str:
    name: str = getattr(node.options, "fused_activation_function", "NONE")
    return name


def _of_floats(node: Node, kind: Kind, x: TensorSpec, gather: Gather) -> GemmEpilogue:
    few = x.shape[3] == 1 and size(node.outputs[0]) <= IN_ORDER and gather.window.taps <= 16
    # Where large terms cancel out, only the reference's rounding errors remain.
    return GemmEpilogue(*float_range(_activation(node)), in_order=few and kind != "transposed")


def _of_integers(node: Node, kind: Kind, inputs: Inputs) -> GemmEpilogue:
    (x, weights, bias), out = inputs, node.outputs[0]
    channels, wide = out.shape[3], has_wide_sums(node, x)
    check_quantization(node, x, weights, bias, symmetric_filter=kind != "depthwise")
    scaling = rescale(scale_factors(x, weights, bias, out, channels), channels, out, _activation(node), wide)
    arrays = np.ascontiguousarray(scaling.multiplier), np.ascontiguousarray(scaling.exponent)
    return GemmEpilogue(scaling.lo, scaling.hi, arrays, scaling.zero_point, wide=wide)


def _hybrid(node: Node, kind: Kind, inputs: Inputs, gather: Gather, limits: DeviceLimits) -> Gemm:
    """Each image is quantized at run time, then summed as integers."""
    (x, weights, _), channels = inputs, node.outputs[0].shape[3]
    require(kind != "transposed", "float input with integer weights")
    require(weights.quantization is not None, "weights without scales")
    assert weights.quantization is not None
    scale = channel_scale(weights, channels).astype(np.float32)
    if kind == "convolution":
        check_hybrid_axis(weights, gather.groups)
    else:
        require(scale.size == weights.shape[weights.quantization.axis], "scales of another dimension")
    asymmetric = kind == "depthwise" or gather.groups > 1 or not bool((scale == scale[0]).all())
    if not asymmetric:
        # The x86 build multiplies -128 as +128 in some cases where rows are not a multiple of 4.
        plain = channels % 4 == 0 or int(constant(weights, "weights").min(initial=0)) > -128
        require(plain, "weights of -128 in a hybrid convolution")
    operand = Operand.of(x)
    rows = quantize_rows(operand.buffer, x.shape[0], size(x) // max(x.shape[0], 1), asymmetric, limits)
    each = gather.window.oh * gather.window.ow
    scales = RowScales(rows, Packed(lambda: scale), each, asymmetric and kind == "convolution", asymmetric)
    epilogue = GemmEpilogue(*float_range(_activation(node)), row_scales=scales)
    quantized = replace(operand, spec=replace(x, type="INT8"), buffer=rows.values)
    return replace(_problem(node, kind, inputs, quantized, gather, epilogue), before=(rows.launch,))
