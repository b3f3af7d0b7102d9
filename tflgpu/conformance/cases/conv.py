"""Convolutions: plain, depthwise, transposed, of volumes; floats, quantized, and floats by quantized weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from tflgpu.conformance.cases.case import Case, OneOp, T, i32, one, q, row, shaped, words
from tflgpu.ops.shape_rules import window_size

FAMILY = "conv"
Shape = tuple[int, ...]

KINDS = ("FLOAT32", "INT8", "UINT8", "INT16", "HYBRID")
"""HYBRID: floats with int8 weights by channel."""

IMAGES: tuple[tuple[Shape, Shape], ...] = (
    ((1, 5, 7, 3), (3, 3)),
    ((2, 4, 5, 4), (1, 1)),
    ((1, 7, 7, 1), (5, 3)),
    ((1, 3, 3, 17), (3, 3)),
    ((1, 6, 1, 2), (2, 1)),
)
STEPS = ((1, 1, 1, 1), (2, 2, 1, 1), (2, 1, 1, 1), (1, 1, 2, 2))
"""Strides by height and width, dilations by height and width."""
UNLIKE = ((3, 2), (3, 4, 1, 1)), ((2, 3), (1, 1, 3, 2)), ((2, 2), (4, 3, 1, 1)), ((3, 3), (1, 1, 2, 1))
"""Windows, strides and dilations, of which some are not the same down and across; strides above 2."""
REAL_LAYERS = (((1, 28, 28, 16), (3, 3), 32), ((1, 14, 14, 64), (1, 1), 65))
TRANSPOSED: tuple[tuple[Shape, Shape, Shape, tuple[int, int]], ...] = (
    ((1, 3, 4, 4), (3, 3), (1, 6, 8, 5), (2, 2)),
    ((2, 3, 3, 2), (2, 2), (2, 3, 3, 3), (1, 1)),
    ((1, 2, 2, 1), (4, 4), (1, 4, 4, 1), (2, 2)),
    ((1, 4, 3, 3), (3, 1), (1, 4, 6, 2), (1, 2)),
    ((1, 2, 2, 1), (2, 2), (1, 5, 5, 1), (2, 2)),  # VALID with output padding: the last row and column are empty
    ((2, 2, 3, 5), (1, 3), (2, 8, 10, 17), (3, 3)),
)


def cases() -> Iterator[Case]:
    for kind in KINDS:
        for (x, (kh, kw)), steps, padding in product(IMAGES, STEPS, ("SAME", "VALID")):
            if padding == "VALID" and (x[1] < (kh - 1) * steps[2] + 1 or x[2] < (kw - 1) * steps[3] + 1):
                continue
            for activation in ("NONE", "RELU6") if x[0] == 2 else ("NONE",):
                yield _conv(kind, x, (kh, kw), 6, steps, padding, activation)
                if kind != "HYBRID" or steps[2] == 1:
                    yield _depthwise(kind, x, (kh, kw), 1 + x[0] % 2, steps, padding, activation)
        for (window, steps), padding in product(UNLIKE, ("SAME", "VALID")):
            yield _conv(kind, (2, 9, 11, 20), window, 19, steps, padding, "NONE")
            if kind != "HYBRID" or steps[2] == 1:
                yield _depthwise(kind, (2, 9, 11, 20), window, 1, steps, padding, "NONE")
        for x, window, oc in REAL_LAYERS:
            yield _conv(kind, x, window, oc, (1, 1, 1, 1), "SAME", "RELU")
            yield _depthwise(kind, x, (3, 3), 1, (2, 2, 1, 1), "SAME", "RELU")
    for kind in ("FLOAT32", "INT8", "UINT8", "INT16"):
        for x, kernel, out, stride in TRANSPOSED:
            for padding in ("SAME", "VALID"):
                yield _transposed(kind, x, kernel, out, stride, padding)
    yield from _odd()
    yield from _float16()
    yield from _volumes()


def _float16() -> Iterator[Case]:
    h, bias = "FLOAT16", T("FLOAT16", (4,), constant=True)
    for activation in ("NONE", "RELU6"):
        inputs = [T(h, (1, 7, 7, 5)), T(h, (4, 3, 3, 5), "unit", True), bias]
        yield row(FAMILY, "CONV_2D", inputs, [T(h)], activation.lower(), **_options((1, 2, 1, 1), "SAME", activation))
    inputs = [T(h, (1, 7, 7, 4)), T(h, (1, 3, 3, 4), "unit", True), bias]
    options = {**_options((1, 2, 1, 1), "SAME", "NONE"), "depth_multiplier": 1}
    yield row(FAMILY, "DEPTHWISE_CONV_2D", inputs, [T(h)], **options)


VOLUMES: tuple[tuple[Shape, Shape, int, Shape, Shape, str, str], ...] = (
    ((1, 5, 4, 3, 2), (2, 2, 3), 3, (2, 1, 2), (1, 1, 1), "SAME", "RELU6"),
    ((1, 5, 4, 3, 2), (2, 2, 3), 3, (1, 2, 1), (1, 1, 1), "VALID", "NONE"),
    ((2, 5, 6, 7, 3), (2, 3, 3), 16, (1, 1, 1), (1, 1, 1), "SAME", "NONE"),
    ((1, 5, 6, 7, 4), (3, 3, 3), 5, (2, 2, 2), (1, 1, 1), "SAME", "NONE"),
    ((1, 4, 5, 6, 8), (1, 1, 1), 4, (1, 1, 1), (1, 1, 1), "SAME", "RELU"),
    ((2, 4, 5, 6, 1), (1, 2, 3), 33, (2, 2, 1), (1, 1, 1), "VALID", "NONE"),
    ((1, 7, 8, 9, 5), (2, 2, 2), 3, (1, 1, 1), (2, 2, 2), "VALID", "NONE"),
    ((1, 6, 6, 6, 16), (2, 2, 2), 16, (2, 2, 2), (1, 1, 1), "VALID", "RELU6"),
)
"""x, taps, output channels, strides, dilations, padding and activation of 3-D convolutions and their transposes."""


def _volumes() -> Iterator[Case]:
    f = "FLOAT32"
    for x, taps, oc, strides, dilations, padding, activation in VOLUMES:
        options: dict[str, Any] = {"padding": padding, "fused_activation_function": activation}
        options |= {f"stride_{axis}": n for axis, n in zip("dhw", strides, strict=True)}
        options |= {f"dilation_{axis}_factor": n for axis, n in zip("dhw", dilations, strict=True)}
        fits = zip(x[1:4], taps, strides, dilations, strict=True)
        y = (x[0], *(window_size(n, k, s, d, padding)[0] for n, k, s, d in fits), oc)
        weights = T(f, (*taps, x[4], oc), "unit", True)
        detail = f"{shaped(taps)},stride={shaped(strides)},dilation={shaped(dilations)},{padding.lower()}"
        for bias in (T(f, (oc,)), T(f, (oc,), constant=True)):
            told = f"{detail},constant bias" if bias.constant else detail
            yield row(FAMILY, "CONV_3D", [T(f, x), weights, bias], [T(f)], told, **options)
        inputs = [i32(*x), weights, T(f, y)]
        yield row(FAMILY, "CONV_3D_TRANSPOSE", inputs, [T(f)], detail, **options)


def _options(steps: tuple[int, ...], padding: str, activation: str) -> dict[str, Any]:
    sh, sw, dh, dw = steps
    return {
        "padding": padding,
        "stride_h": sh,
        "stride_w": sw,
        "dilation_h_factor": dh,
        "dilation_w_factor": dw,
        "fused_activation_function": activation,
    }


def layer(kind: str, x: Shape, weights: Shape, oc: int, depth: int, axis: int) -> tuple[T, T, T, T]:
    """Input, weights, bias and output of a layer. depth: how many products make one element."""
    if kind == "FLOAT32":
        return T(kind, x), T(kind, weights, constant=True), T(kind, (oc,), constant=True), T(kind)
    scales = np.linspace(0.01, 0.03, oc).astype(np.float32)
    zeros = np.zeros(oc, np.int64)
    if kind == "HYBRID":
        w = T("INT8", weights, "within:-127:127", True, scales, zeros, axis)
        return T("FLOAT32", x), w, T("FLOAT32", (oc,), constant=True), T("FLOAT32")
    spec = q(kind, *x)
    reach = float(np.sqrt(depth)) * spec.scale * 127 * (40 if kind == "INT16" else 1)
    out = q(kind, scale=round(reach * 0.02, 6))
    if kind == "UINT8":
        w = T(kind, weights, "within:1:255", True, 0.02, 120)
        return spec, w, T("INT32", (oc,), constant=True, scale=spec.scale * 0.02), out
    w = T("INT8", weights, "within:-127:127", True, scales, zeros, axis)
    bias = T("INT64" if kind == "INT16" else "INT32", (oc,), "normal", True, spec.scale * scales, zeros, 0)
    return spec, w, bias, out


def _type(kind: str) -> str:
    return "FLOAT32" if kind == "HYBRID" else kind


def _conv(kind: str, x: Shape, kernel: Shape, oc: int, steps: tuple[int, ...], padding: str, activation: str) -> Case:
    options = _options(steps, padding, activation)
    weights = (oc, *kernel, x[3])
    inputs = layer(kind, x, weights, oc, kernel[0] * kernel[1] * x[3], 0)
    version = {"HYBRID": 5, "INT8": 3, "INT16": 4}.get(kind, 1)
    detail = [shaped(x, weights), *_steps(options), *(["hybrid"] if kind == "HYBRID" else [])]
    return one(FAMILY, _type(kind), detail, OneOp("CONV_2D", inputs[:3], inputs[3:], options, version))


def _depthwise(
    kind: str, x: Shape, kernel: Shape, m: int, steps: tuple[int, ...], padding: str, activation: str
) -> Case:
    options = {**_options(steps, padding, activation), "depth_multiplier": m}
    weights = (1, *kernel, x[3] * m)
    inputs = layer(kind, x, weights, x[3] * m, kernel[0] * kernel[1], 3)
    version = {"HYBRID": 6, "INT8": 3, "INT16": 5}.get(kind, 2)
    detail = [shaped(x, weights), *_steps(options), *(["hybrid"] if kind == "HYBRID" else [])]
    return one(FAMILY, _type(kind), detail, OneOp("DEPTHWISE_CONV_2D", inputs[:3], inputs[3:], options, version))


def _steps(options: dict[str, Any]) -> list[str]:
    """Strides and dilations only where they are not 1."""
    return words({key: value for key, value in options.items() if value != 1})


def _transposed(kind: str, x: Shape, kernel: Shape, out: Shape, stride: tuple[int, int], padding: str) -> Case:
    h, w = (
        (size - (k if padding == "VALID" else 1)) // s + 1 for size, k, s in zip(out[1:3], kernel, stride, strict=True)
    )
    x = (x[0], h, w, x[3])
    weights = (out[3], *kernel, x[3])
    data, filters, _, result = layer(kind, x, weights, out[3], kernel[0] * kernel[1] * x[3], 0)
    options = {"padding": padding, "stride_h": stride[0], "stride_w": stride[1]}
    model = OneOp("TRANSPOSE_CONV", [np.array(out, np.int32), filters, data], [result], options)
    return one(FAMILY, kind, [shaped(x, weights), f"to={shaped(out)}", *_steps(options)], model)


def _odd() -> Iterator[Case]:
    """Groups, weights that are computed, and a bias that is absent."""
    options = _options((1, 1, 1, 1), "SAME", "NONE")
    x, bias = T("FLOAT32", (1, 5, 7, 4)), T("FLOAT32", (6,), constant=True)
    grouped = T("FLOAT32", (6, 3, 3, 2), constant=True)
    yield one(
        FAMILY, "FLOAT32", ["1x5x7x4", "groups=2"], OneOp("CONV_2D", [x, grouped, bias], [T("FLOAT32")], options, 6)
    )
    computed = T("FLOAT32", (6, 3, 3, 4))
    yield one(
        FAMILY,
        "FLOAT32",
        ["1x5x7x4", "computed weights"],
        OneOp("CONV_2D", [x, computed, bias], [T("FLOAT32")], options),
    )
    for values in ("wide", "unit"):
        spec = T("FLOAT32", (1, 5, 7, 4), values)
        weights = T("FLOAT32", (6, 3, 3, 4), constant=True)
        yield one(
            FAMILY, "FLOAT32", ["1x5x7x4", values], OneOp("CONV_2D", [spec, weights, bias], [T("FLOAT32")], options)
        )
