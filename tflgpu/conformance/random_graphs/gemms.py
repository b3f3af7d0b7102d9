"""Steps of random graphs that multiply by weights of every kind, with what often surrounds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.conformance.random_graphs.draw import CLOSE, EXACT, LARGEST, Draw, Value, image, number, step
from tflgpu.conformance.random_graphs.elements import arithmetic, binary, requantize, residual, squashed, unary
from tflgpu.model.graph import Array


def weights_of(d: Draw, x: Value, shape: Sequence[int], channel_axis: int, op: str) -> tuple[int, Any, int]:
    """A constant, its scales (None for floats), and how exact a float result can be."""
    fan = max(math.prod(shape) // max(shape[channel_axis], 1), 1)
    real = d.normal(*shape) / np.float32(math.sqrt(fan))
    if x.real:
        kind = d.among(("float", "float", "float", "half", "hybrid", "stored"))
        if kind == "hybrid" and x.exact == EXACT and op != "TRANSPOSE_CONV":
            each = op == "DEPTHWISE_CONV_2D" or (op != "BATCH_MATMUL" and d.chance(0.5))
            scales = channel_scales(d, shape, channel_axis, each, real)
            quantized = quantized_values(real, scales, channel_axis)
            return d.constant(quantized, scale=scales, zero_point=0, axis=channel_axis), None, CLOSE
        if kind == "half":
            half = d.constant(real.astype(np.float16))
            out = d.tensor(Value(-1, "FLOAT32", tuple(shape)))
            d.graph.node("DEQUANTIZE", [half], [out.index])
            return out.index, None, CLOSE
        if kind == "stored":
            per = op != "BATCH_MATMUL" and d.chance(0.5)
            scales = channel_scales(d, shape, channel_axis, per, real)
            stored = d.constant(
                quantized_values(real, scales, channel_axis), scale=scales, zero_point=0, axis=channel_axis
            )
            out = d.tensor(Value(-1, "FLOAT32", tuple(shape)))
            d.graph.node("DEQUANTIZE", [stored], [out.index], version=5 if per else 2)
            return out.index, None, CLOSE
        return d.constant(real), None, CLOSE
    if x.type == "UINT8":
        scale, zero = float(np.abs(real).max() / 127), d.number(100, 150)
        quantized = np.clip(np.round(real / scale) + zero, 0, 255).astype(np.uint8)
        return d.constant(quantized, scale=scale, zero_point=zero), np.array([scale], np.float32), EXACT
    scales = channel_scales(d, shape, channel_axis, op != "BATCH_MATMUL" and d.chance(0.7), real)
    quantized = quantized_values(real, scales, channel_axis)
    if d.chance(0.1) and x.type == "INT8" and op in ("CONV_2D", "FULLY_CONNECTED"):
        scales = scales * 18
        narrow = np.clip(quantized // 18, -8, 7).astype(np.int8)
        return d.constant(narrow, type="INT4", scale=scales, zero_point=0, axis=channel_axis), scales, EXACT
    return d.constant(quantized, scale=scales, zero_point=0, axis=channel_axis), scales, EXACT


def channel_scales(d: Draw, shape: Sequence[int], axis: int, per_channel: bool, real: Array) -> Array:
    if not per_channel:
        return np.array([max(np.abs(real).max(), 1e-3) / 127], np.float32)
    most = np.abs(real).max(axis=tuple(k for k in range(len(shape)) if k != axis))
    return np.asarray(np.maximum(most, 1e-3) / 127, np.float32)


def quantized_values(real: Array, scales: Array, axis: int) -> Array:
    around = scales.reshape([-1 if k == axis else 1 for k in range(real.ndim)]) if scales.size > 1 else scales
    return np.clip(np.round(real / around), -127, 127).astype(np.int8)


def bias_of(d: Draw, x: Value, n: int, scales: Any) -> int:
    if scales is None:
        return d.constant(d.normal(n) * np.float32(d.chance(0.9)))
    by = (np.float32(x.scale) * scales).astype(np.float32)
    values = np.round(d.normal(n) / np.maximum(by, 1e-6))
    dtype = np.int64 if x.type == "INT16" else np.int32
    return d.constant(np.clip(values, -(2**30), 2**30).astype(dtype), scale=by, zero_point=0)


def gemm_output(d: Draw, x: Value, shape: Sequence[int], exact: int) -> Value:
    most = min(x.most * 2 + 1, 50.0)
    if x.real:
        return Value(-1, "FLOAT32", tuple(shape), x.most * 8 + 4, max(exact, CLOSE))
    return d.quantize(x.type, shape, most)


def window(d: Draw, x: Value, kh: int, kw: int) -> tuple[dict[str, Any], int, int]:
    """Options of a window over images and the size of what comes out."""
    h, w = x.shape[1:3]
    dh, dw = (d.among((1, 1, 2)), d.among((1, 1, 2))) if d.chance(0.3) else (1, 1)
    sh, sw = (d.among((1, 2, 3)), d.among((1, 2))) if d.chance(0.4) and (dh, dw) == (1, 1) else (1, 1)
    eh, ew = (kh - 1) * dh + 1, (kw - 1) * dw + 1
    same = d.chance(0.6) or eh > h or ew > w
    oh, ow = (-(-h // sh), -(-w // sw)) if same else ((h - eh) // sh + 1, (w - ew) // sw + 1)
    options: dict[str, Any] = {"padding": "SAME" if same else "VALID", "stride_h": sh, "stride_w": sw}
    return options | {"dilation_h_factor": dh, "dilation_w_factor": dw}, oh, ow


@step(5, image)
def conv(d: Draw, x: Value) -> None:
    kh, kw, oc, c = d.among((1, 1, 2, 3)), d.among((1, 1, 3)), d.among((1, 3, 4, 8, 16, 17)), x.shape[3]
    options, oh, ow = window(d, x, kh, kw)
    w, scales, exact = weights_of(d, x, (oc, kh, kw, c), 0, "CONV_2D")
    out = gemm_output(d, x, (x.shape[0], oh, ow, oc), exact)
    after_bias(
        d, d.add("CONV_2D", [x, w, bias_of(d, x, oc, scales)], out, fused_activation_function=d.activation(), **options)
    )


@step(4, image)
def depthwise(d: Draw, x: Value) -> None:
    kh, kw, c, times = d.among((1, 2, 3, 5)), d.among((1, 3)), x.shape[3], d.among((1, 1, 1, 2))
    options, oh, ow = window(d, x, kh, kw)
    w, scales, exact = weights_of(d, x, (1, kh, kw, c * times), 3, "DEPTHWISE_CONV_2D")
    out = gemm_output(d, x, (x.shape[0], oh, ow, c * times), exact)
    bias = bias_of(d, x, c * times, scales)
    options |= {"depth_multiplier": times, "fused_activation_function": d.activation()}
    y = d.add("DEPTHWISE_CONV_2D", [x, w, bias], out, **options)
    if d.chance(0.5) and number(y):
        pointwise(d, y)


def pointwise(d: Draw, x: Value) -> None:
    oc = d.among((3, 8, 16))
    w, scales, exact = weights_of(d, x, (oc, 1, 1, x.shape[3]), 0, "CONV_2D")
    out = gemm_output(d, x, (*x.shape[:3], oc), exact)
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "fused_activation_function": d.activation()}
    after_bias(d, d.add("CONV_2D", [x, w, bias_of(d, x, oc, scales)], out, **options))


@step(4, lambda v: number(v) and len(v.shape) >= 2)
def dense(d: Draw, x: Value) -> None:
    n, k = d.among((1, 3, 8, 16, 33)), x.shape[-1]
    w, scales, exact = weights_of(d, x, (n, k), 0, "FULLY_CONNECTED")
    keep = d.batched or d.chance(0.5)
    shape = (*x.shape[:-1], n) if keep else (math.prod(x.shape[:-1]), n)
    bias = bias_of(d, x, n, scales) if d.chance(0.8) else None
    out = gemm_output(d, x, shape, exact)
    options = {"keep_num_dims": keep, "fused_activation_function": d.activation()}
    after_bias(d, d.add("FULLY_CONNECTED", [x, w, bias], out, **options))


@step(1, lambda v: image(v) and v.type != "INT16")
def transpose_conv(d: Draw, x: Value) -> None:
    n, h, w, c = x.shape
    k, s, oc = d.among((2, 3, 4)), d.among((1, 2)), d.among((1, 3, 8))
    if d.batched or n * h * w * s * s * oc > LARGEST * 2:
        return
    weights, scales, exact = weights_of(d, x, (oc, k, k, c), 0, "TRANSPOSE_CONV")
    same = d.chance(0.6)
    shape = (n, h * s, w * s, oc) if same else (n, (h - 1) * s + k, (w - 1) * s + k, oc)
    inputs: list[Any] = [d.ints(list(shape)), weights, x]
    if d.chance(0.6):
        inputs.append(bias_of(d, x, oc, scales))
    options = {"padding": "SAME" if same else "VALID", "stride_h": s, "stride_w": s}
    d.add("TRANSPOSE_CONV", inputs, gemm_output(d, x, shape, exact), **options)


@step(2, lambda v: number(v) and 2 <= len(v.shape) <= 4 and v.type != "UINT8")
def matmul(d: Draw, x: Value) -> None:
    m, k = x.shape[-2:]
    adj_x, adj_y = d.chance(0.2), d.chance(0.4)
    if adj_x:
        m, k = k, m
    others = [
        v
        for v in d.values
        if v.type == x.type
        and number(v)
        and len(v.shape) == len(x.shape)
        and v.shape[:-2] == x.shape[:-2]
        and v.shape[-1 if adj_y else -2] == k
    ]
    if others and d.chance(0.7) and (not d.batched or len(x.shape) > 2):
        y: Any = d.among(others)
        n = y.shape[-2 if adj_y else -1]
    elif not d.batched or len(x.shape) > 2:
        n = d.among((1, 4, 8))
        y, _, exact = weights_of(d, x, (n, k) if adj_y else (k, n), 0, "BATCH_MATMUL")
        del exact
    else:
        return
    if d.batched and adj_x and len(x.shape) == 2:
        return
    out = gemm_output(d, x, (*x.shape[:-2], m, n), CLOSE)
    out = replace(out, most=min(out.most * k, 1e6)) if x.real else out
    d.add("BATCH_MATMUL", [x, y], out, adj_x=adj_x, adj_y=adj_y)


def after_bias(d: Draw, y: Value) -> None:
    """What often follows a GEMM."""
    kind = d.number(0, 7) if number(y) and y.shape else 7
    if kind == 0:
        unary(d, y)
    elif kind == 1:
        residual(d, y)
    elif kind == 2:
        binary(d, y)
    elif kind == 3 and y.quantized:
        requantize(d, y)
    elif kind == 4 and len(y.shape) == 4:
        excite(d, y)


@step(1, lambda v: image(v) and v.type != "INT16")
def excite(d: Draw, x: Value) -> None:
    """Squeeze and excite."""
    n, _, _, c = x.shape
    mean = d.like(x, (n, 1, 1, c))
    y = d.add("MEAN", [x, d.ints([1, 2])], replace(mean, exact=CLOSE if x.real else EXACT), keep_dims=True)
    for oc, activation in ((max(c // 2, 1), "RELU"), (c, "NONE")):
        w, scales, exact = weights_of(d, y, (oc, 1, 1, y.shape[3]), 0, "CONV_2D")
        out = gemm_output(d, y, (n, 1, 1, oc), exact)
        options = {"padding": "SAME", "stride_h": 1, "stride_w": 1, "fused_activation_function": activation}
        y = d.add("CONV_2D", [y, w, bias_of(d, y, oc, scales)], out, **options)
    y = squashed(d, y, "LOGISTIC")
    arithmetic(d, "MUL", *((x, y) if d.chance(0.7) else (y, x)))
