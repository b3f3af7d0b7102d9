"""Small models of convolutions with what may be fused into their kernels on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pattern_models import Pattern, Writer


def _convolution(w: Writer, op: str, x: int, oc: int, k: int, stride: int, act: str, quantized: bool) -> int:
    """CONV_2D or DEPTHWISE_CONV_2D with "SAME" padding."""
    n, h, wide, c = w.shapes[x]
    shape = (1, k, k, c) if op == "DEPTHWISE_CONV_2D" else (oc, k, k, c)
    axis, rng = (3 if op == "DEPTHWISE_CONV_2D" else 0), np.random.default_rng(k + oc)
    options: dict[str, Any] = {"padding": "SAME", "stride_w": stride, "stride_h": stride}
    options |= {"fused_activation_function": act} | ({"depth_multiplier": 1} if axis else {})
    fields: dict[str, Any] = {}
    if quantized:
        scale = rng.uniform(0.01, 0.03, oc).astype(np.float32)
        zeros = np.zeros(oc, np.int64)
        weights = rng.integers(-99, 100, shape).astype(np.int8)
        f = w.g.constant(f"w{len(w.shapes)}", weights, type="INT8", scale=scale, zero_point=zeros, axis=axis)
        bias = rng.integers(-999, 999, oc).astype(np.int32)
        b = w.g.constant(f"b{len(w.shapes)}", bias, type="INT32", scale=scale * 0.1, zero_point=zeros, axis=0)
        fields = {"scale": 0.3, "zero_point": 5}
    else:
        weights = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:3] if axis else shape[1:]))
        f = w.g.constant(f"w{len(w.shapes)}", weights.astype(np.float32))
        b = w.g.constant(f"b{len(w.shapes)}", rng.normal(size=oc).astype(np.float32))
    made = [n, -(-h // stride), -(-wide // stride), oc]
    out = int(w.g.tensor(f"y{len(w.shapes)}", "INT8" if quantized else "FLOAT32", made, **fields))
    w.shapes[out] = tuple(made)
    w.g.node(op, [x, int(f), int(b)], [out], version=3, **options)
    return out


def separable(
    shape: Sequence[int],
    oc: int,
    k: int = 3,
    stride: int = 1,
    quantized: bool = False,
    between: str = "",
    residual: bool = False,
    both: bool = False,
    wanted: bool = False,
) -> Callable[[Writer], list[int]]:
    """A depthwise convolution, `between`, a pointwise one, a residual sum; both: another pointwise one."""

    def write(w: Writer) -> list[int]:
        x = int(w.g.input("x", "INT8", list(shape), scale=0.1, zero_point=-3)) if quantized else w.input(*shape)
        w.shapes[x] = tuple(shape)
        y = _convolution(w, "DEPTHWISE_CONV_2D", x, shape[3], k, stride, "NONE" if between else "RELU6", quantized)
        y = w.unary(between, y) if between else y
        outputs = [_convolution(w, "CONV_2D", y, oc, 1, 1, "NONE", quantized)]
        if residual:
            outputs = [w.binary("ADD", outputs[0], x)]
        if both:
            outputs.append(_convolution(w, "CONV_2D", y, oc + 1, 1, 1, "NONE", quantized))
        return outputs + ([y] if wanted else [])

    return write


SEPARABLES = [
    Pattern("with a residual sum", separable((1, 7, 7, 32), 32, residual=True), compiled=True),
    Pattern("split along the channels", separable((1, 4, 4, 160), 24), compiled=True),
    Pattern("stride 2", separable((2, 9, 7, 16), 40, stride=2)),
    Pattern("5 x 5 and an activation between", separable((1, 6, 6, 24), 80, k=5, between="HARD_SWISH"), compiled=True),
    Pattern("larger blocks", separable((1, 13, 13, 16), 400)),
    Pattern("quantized", separable((1, 7, 7, 32), 40, quantized=True), compiled=True),
    Pattern(
        "quantized, channels in single words", separable((1, 9, 9, 36), 70, quantized=True, stride=2), compiled=True
    ),
    Pattern("quantized, split along the channels", separable((1, 3, 3, 640), 24, quantized=True)),
]

NO_SEPARABLES = [
    Pattern("an output", separable((1, 7, 7, 16), 32, wanted=True)),
    Pattern("another reader", separable((1, 7, 7, 16), 32, both=True)),
    Pattern("more work than the GEMM", separable((1, 7, 7, 16), 8)),
]


def _swish(w: Writer, x: int) -> int:
    return w.binary("MUL", x, w.unary("LOGISTIC", x))


def _gemm_then(*ops: str) -> Callable[[Writer], list[int]]:
    """Rows times weights, and unary operators."""

    def write(w: Writer) -> list[int]:
        x = w.input(5, 40)
        y = _convolution(w, "CONV_2D", w.reshape(x, 1, 5, 1, 40), 24, 1, 1, "NONE", False)
        for op in ops:
            y = w.unary(op, y)
        return [y]

    return write


def _convolution_then_swish(w: Writer) -> list[int]:
    return [_swish(w, _convolution(w, "CONV_2D", w.input(1, 9, 8, 12), 20, 3, 1, "NONE", False))]


def _depthwise_then_swish(w: Writer) -> list[int]:
    return [_swish(w, _convolution(w, "DEPTHWISE_CONV_2D", w.input(2, 9, 8, 12), 12, 3, 1, "NONE", False))]


def _split_then_swish(w: Writer) -> list[int]:
    return [_swish(w, _convolution(w, "CONV_2D", w.input(1, 2, 2, 260), 20, 3, 1, "NONE", False))]


def _broadcasts_after_a_convolution(w: Writer) -> list[int]:
    """A number for each channel, for each row, for each column, and for all."""
    y = _convolution(w, "CONV_2D", w.input(2, 5, 7, 12), 8, 1, 1, "NONE", False)
    y = w.binary("MUL", y, w.input(2, 1, 1, 8))
    y = w.binary("ADD", y, w.input(1, 5, 1, 1))
    y = w.binary("MAXIMUM", y, w.input(7, 1))
    return [w.binary("DIV", y, w.constant(np.float32(3)))]


EPILOGUES = [
    Pattern("GELU", _gemm_then("GELU"), {"gemm": 1}),
    Pattern("functions one after another", _gemm_then("TANH", "ABS", "EXP"), {"gemm": 1}),
    Pattern("swish after a convolution", _convolution_then_swish, {"gemm": 1}, compiled=True),
    Pattern("swish after a depthwise convolution", _depthwise_then_swish, {"depthwise_strips": 1}, compiled=True),
    Pattern("swish after a split convolution", _split_then_swish, {"gemm": 1}),
    Pattern("broadcasts", _broadcasts_after_a_convolution, {"gemm": 1}),
]
"""Convolutions with operators after them that become their epilogues."""
