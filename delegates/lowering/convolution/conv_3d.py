"""CONV_3D and CONV_3D_TRANSPOSE: as GEMMs of 2-D convolutions where the weights are constant."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import MAX_ELEMENTS, Buffer, Launch, Lowered, Packed, Ref, Temp
from tflgpu.delegates.lowering.convolution.window import Window
from tflgpu.delegates.lowering.gemm.problem import Gather, Gemm, GemmEpilogue, Operand
from tflgpu.delegates.lowering.gemm.selection import lowered
from tflgpu.delegates.lowering.registry import f32, lowers, size
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.convolution.conv_3d import Window3D, window_of
from tflgpu.ops.fused_activation import float_range


@lowers("CONV_3D")
def conv_3d(node: Node, limits: DeviceLimits) -> Lowered:
    """x (n, d, h, w, c) -> (n, od, oh, ow, oc): a 2-D convolution of images whose channels are kd depths of c each."""
    x, weights, out = node.input(0), node.input(1), node.outputs[0]
    bias = node.optional(2)
    window = window_of(node, x.shape[1:4], weights.shape[:3])
    few, taps = window.cropped(x.shape[1:4], constant=weights.data is not None)
    n, _, h, w, c = x.shape
    (kd, kh, kw), (od, oh, ow), oc = few.taps, few.output, out.shape[4]
    (_, sh, sw), (_, dh, dw), (_, top, left) = few.strides, few.dilations, few.before
    stacked = (n * od, h, w, kd * c)
    if not _has_gemm(weights, bias, limits) or not size(out) or math.prod(stacked) > MAX_ELEMENTS:
        return [_direct(node, x, bias, window)]
    images, before = _depths(x, few, limits)
    bounds = float_range(node.options.fused_activation_function, out.dtype)
    gemm = Gemm(
        "convolution",
        Operand(x, images),
        _packed(weights, _constant(weights)[taps].transpose(4, 1, 2, 0, 3)),
        Operand(replace(out, shape=(n * od, oh, ow, oc)), Ref(out.index)),
        n * od * oh * ow,
        oc,
        kd * kh * kw * c,
        Gather(stacked, Window(kh, kw, sh, sw, dh, dw, oh, ow, top, left)),
        GemmEpilogue(*bounds),
        bias,
        tuple(before),
    )
    return lowered(gemm, limits)


def _depths(x: TensorSpec, window: Window3D, limits: DeviceLimits) -> tuple[Buffer, Lowered]:
    """x as images, one for each output depth, whose channels are the depths of its window one after another."""
    n, d, h, w, c = x.shape
    kd, od = window.taps[0], window.output[0]
    if (kd, window.strides[0], window.before[0], od) == (1, 1, 0, d):
        return Ref(x.index), []
    images = Temp(4 * n * od * h * w * kd * c)
    # A row each, or an element each.
    items = n * od * h * (1 if limits.cpu else w * kd * c)
    sizes = {"size": items, "d": d, "h": h, "w": w, "od": od, "kd": kd}
    steps = {"stride": window.strides[0], "dilation": window.dilations[0], "pad": window.before[0]}
    return images, [
        Launch(
            "conv_3d.depth_windows",
            (items,),
            (1 if limits.cpu else 64,),
            inputs={"x": Ref(x.index)},
            outputs={"out": images},
            sizes=sizes | steps,
            defines={"DEPTHS": 1, "C": c} | ({"CPU": 1} if limits.cpu else {}),
            single=limits.cpu,
        )
    ]


@lowers("CONV_3D_TRANSPOSE")
def conv_3d_transpose(node: Node, limits: DeviceLimits) -> Lowered:
    """x (n, d, h, w, c) -> (n, od, oh, ow, oc): a GEMM of x and all taps, whose products each output then sums."""
    x, weights, out = node.input(2), node.input(1), node.outputs[0]
    bias = node.optional(3)
    window = window_of(node, out.shape[1:4], weights.shape[:3])
    *taps, oc, c = weights.shape
    pixels, columns = math.prod(x.shape[:4]), math.prod(taps) * oc
    if not _has_gemm(weights, bias, limits) or not size(out) or pixels * columns > MAX_ELEMENTS or not pixels:
        return [_direct(node, x, bias, window)]
    products = Temp(4 * pixels * columns)
    gemm = Gemm(
        "dense",
        Operand.of(x),
        _packed(weights, _constant(weights).reshape(columns, c)),
        Operand(replace(out, shape=(pixels, columns)), products),
        pixels,
        columns,
        c,
        Gather.plain_rows(pixels, c),
        GemmEpilogue(*float_range("NONE", out.dtype)),
    )
    direct = _direct(node, x, bias, window)
    # A row each, or an element each.
    items = math.prod(out.shape[:3]) if limits.cpu else size(out)
    summed = replace(
        direct,
        kernel="conv_3d.sum_taps",
        threads=(items,),
        block=(1 if limits.cpu else 64,),
        inputs={"x": products, "bias": direct.inputs["bias"]},
        sizes={**direct.sizes, "size": items},
        defines={"TAPS": 1} | ({"CPU": 1} if limits.cpu else {}),
        single=limits.cpu,
    )
    return [*lowered(gemm, limits), summed]


def _has_gemm(weights: TensorSpec, bias: TensorSpec | None, limits: DeviceLimits) -> bool:
    constant = weights.data is not None and (bias is None or bias.data is not None)
    return constant and (limits.has("register_tiles") or limits.has("warps"))


def _constant(weights: TensorSpec) -> Array:
    assert weights.data is not None
    return weights.data


def _packed(weights: TensorSpec, value: Array) -> Operand:
    """The weights as (n, ...), for kernels to pack."""
    spec = replace(weights, shape=value.shape, data=value)
    return Operand(spec, Ref(weights.index), transposed=True, constant=Packed(lambda: value))


def _direct(node: Node, x: TensorSpec, bias: TensorSpec | None, window: Window3D) -> Launch:
    """The direct kernel: one work-item sums an output."""
    out, transposed = node.outputs[0], node.op == "CONV_3D_TRANSPOSE"
    added: Buffer = np.zeros(out.shape[4], np.float32) if bias is None else Ref(bias.index)
    bounds = float_range(node.options.fused_activation_function, out.dtype)
    sizes = {"size": size(out)}
    for names, values in (
        (("d", "h", "w", "c"), x.shape[1:]),
        (("od", "oh", "ow", "oc"), out.shape[1:]),
        (("kd", "kh", "kw"), window.taps),
        (("stride_d", "stride_h", "stride_w"), window.strides),
        (("dilation_d", "dilation_h", "dilation_w"), window.dilations),
        (("pad_d", "pad_h", "pad_w"), window.before),
    ):
        sizes |= dict(zip(names, values, strict=True))
    return Launch(
        "conv_3d.conv_3d",
        (size(out),),
        inputs={"x": Ref(x.index), "weights": Ref(node.input(1).index), "bias": added},
        outputs={"out": Ref(out.index)},
        sizes=sizes,
        scalars={"low": f32(bounds[0]), "high": f32(bounds[1])},
        defines={"TRANSPOSED": 1} if transposed else {},
    )
