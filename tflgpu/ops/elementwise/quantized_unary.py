"""Unary operators as functions of the quantized value, from the scale and zero point of a node's input and output."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from tflgpu.arithmetic import fixed_point as fp
from tflgpu.arithmetic.fixed_point_functions import inv_sqrt_multiplier
from tflgpu.arithmetic.lookup_tables import lut_int8, lut_int16, lut_int16_lookup
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.elementwise.lookup_table import QuantizedUnary
from tflgpu.ops.registry import require
from tflgpu.ops.tensor_quantization import require_symmetric, scale_and_zero_point

RealFunction = Callable[[Array], Array]


def clamp(quantized: Array, spec: TensorSpec) -> Array:
    limits = np.iinfo(spec.dtype)
    return np.clip(quantized, limits.min, limits.max).astype(spec.dtype)


def table_of(f: RealFunction, node: Node) -> QuantizedUnary:
    """f by the tables that the reference makes: one entry for each 8-bit value, or 513 for int16 with lines between."""
    x, y = node.input(0), node.outputs[0]
    require_symmetric(x, y)
    table = _table(f, x.dtype, *scale_and_zero_point(x), *scale_and_zero_point(y))
    if x.type == "INT16":
        return QuantizedUnary(lambda quantized: lut_int16_lookup(table, quantized))
    return QuantizedUnary(lambda quantized: table[quantized.view(np.uint8)])


@lru_cache(maxsize=256)
def _table(
    f: RealFunction, dtype: np.dtype, scale: np.float32, zero_point: int, out_scale: np.float32, out_zero_point: int
) -> Array:
    """Read-only. Cached, since checking, preparing and lowering a node each ask for it."""
    scales = scale, zero_point, out_scale, out_zero_point
    table = lut_int16(f, *scales) if dtype == np.int16 else lut_int8(f, *scales, dtype=dtype)
    table.flags.writeable = False
    return table


def rescaled(node: Node, lo: float | None = None, hi: float | None = None) -> QuantizedUnary:
    """The input at the output's scale, clamped to the reals lo and hi: RELU and its kin."""
    x, y = node.input(0), node.outputs[0]
    require_symmetric(x, y)
    (x_scale, x_zero), (y_scale, y_zero) = scale_and_zero_point(x), scale_and_zero_point(y)
    m, e = fp.quantize_multiplier(float(x_scale / y_scale))
    limits = np.iinfo(y.dtype)
    lowest = limits.min if lo is None else max(limits.min, _wrapped(y_zero + _steps(lo, y_scale)))
    highest = limits.max if hi is None else min(limits.max, _wrapped(y_zero + _steps(hi, y_scale)))

    def relu(quantized: Array) -> Array:
        value = fp.mbqm(quantized.astype(np.int64) - x_zero, m, e) + np.int32(y_zero)
        return np.minimum(np.maximum(value, np.int32(lowest)), np.int32(highest)).astype(y.dtype)

    return QuantizedUnary(relu)


def _wrapped(value: int) -> int:
    return int(fp.wrap(np.asarray(value)))


def _steps(real: float, scale: np.float32) -> int:
    return int(fp.to_int32(fp.round_half_away(np.asarray(np.float32(real) / scale, np.float32))))


def leaky_relu(node: Node) -> QuantizedUnary:
    x, y = node.input(0), node.outputs[0]
    require_symmetric(x, y)
    alpha = np.float32(node.options.alpha)
    (x_scale, x_zero), (y_scale, y_zero) = scale_and_zero_point(x), scale_and_zero_point(y)
    m1, e1 = fp.quantize_multiplier(float(x_scale / y_scale))
    m2, e2 = fp.quantize_multiplier(float(x_scale * alpha / y_scale))
    sign = -1 if m2 < 0 else 1

    def leaky(quantized: Array) -> Array:
        v = quantized.astype(np.int64) - x_zero
        value = np.where(v >= 0, fp.mbqm(v, m1, e1), sign * fp.mbqm(v, abs(m2), e2))
        return clamp(value + y_zero, y)

    return QuantizedUnary(leaky)


def absolute(node: Node) -> QuantizedUnary:
    x, y = node.input(0), node.outputs[0]
    require_symmetric(x, y)
    m, e = fp.quantize_multiplier(float(x.scale / y.scale))
    rescale = x.scale != y.scale

    def absolute_value(quantized: Array) -> Array:
        value = np.abs(quantized.astype(np.int64) - x.zero_point)
        return clamp((fp.mbqm(value, m, e) if rescale else value) + y.zero_point, y)

    return QuantizedUnary(absolute_value)


def exponential(node: Node) -> QuantizedUnary:
    return table_of(_real_exp, node)


def _real_exp(x: Array) -> Array:
    # In double and rounded: the reference's exp is exact to the last bit nearly everywhere.
    return np.exp(x.astype(np.float64)).astype(np.float32)


def logarithm(node: Node) -> QuantizedUnary:
    y = node.outputs[0]
    # The log of what is not positive is the least number that the output can hold.
    least = np.float32(np.iinfo(y.dtype).min - y.zero_point) * y.scale

    def log(x: Array) -> Array:
        positive = np.where(x <= 0, np.float32(1), x).astype(np.float64)
        return np.where(x <= 0, least, np.log(positive).astype(np.float32))

    return table_of(log, node)


def square_root(node: Node) -> QuantizedUnary:
    x, y = node.input(0), node.outputs[0]
    require_symmetric(x, y)

    def root(quantized: Array) -> Array:
        real = x.scale * np.maximum(quantized.astype(np.int64) - x.zero_point, 0).astype(np.float32)
        # Truncated, not rounded.
        return clamp(fp.to_int32(np.sqrt(real) / y.scale).astype(np.int64) + y.zero_point, y)

    return QuantizedUnary(root, x.zero_point, "Sqrt is only defined for non-negative values")


def reciprocal_square_root(node: Node) -> QuantizedUnary:
    x, y = node.input(0), node.outputs[0]
    message = "Rsqrt is only defined for positive values"
    if x.type == "INT16":
        largest = np.float32(32767) * y.scale
        f = table_of(lambda r: np.where(r <= 0, largest, np.float32(1) / np.sqrt(np.where(r <= 0, largest, r))), node)
        return QuantizedUnary(f.function, x.zero_point, message)
    m, e = fp.quantize_multiplier(1.0 / float(np.sqrt(x.scale) * y.scale))

    def rsqrt(quantized: Array) -> Array:
        v = quantized.astype(np.int64) - x.zero_point
        root, shift = inv_sqrt_multiplier(np.maximum(v, 1))
        # 20 bits keep the integers large between the two.
        value = fp.mbqm(fp.mbqm(np.ones_like(v), root, shift + 20), m, e - 20)
        return np.where(v == 0, 127, clamp(value.astype(np.int64) + y.zero_point, y)).astype(y.dtype)

    return QuantizedUnary(rsqrt, x.zero_point, message)


def _int16_multiplier(scale: float) -> tuple[int, int]:
    m, e = fp.quantize_multiplier(scale)
    return (32767 if m >= 2**31 - 1 - 2**15 else (m + 2**15) >> 16), e


def hard_swish(node: Node) -> QuantizedUnary:
    x, y = node.input(0), node.outputs[0]
    (x_scale, x_zero), (y_scale, y_zero) = scale_and_zero_point(x), scale_and_zero_point(y)
    fine = np.float32(1 / 128) * x_scale
    om, oe = _int16_multiplier(float(fine / y_scale))
    rm, re = _int16_multiplier(float(fine / (np.float32(3) / np.float32(32768))))
    require(oe <= 0, "params->output_multiplier_exponent <= 0 was not true. ")

    def swish(quantized: Array) -> Array:
        h = fp.wrap((quantized.astype(np.int64) - x_zero) << 7, 16)
        value = fp.srdhm(h, om, 16).astype(np.int64)
        gate = fp.sat_shl(h, re - 1, 16) if re > 0 else h
        gate = fp.srdhm(gate, rm, 16).astype(np.int64)
        gate = fp.sat_shl(gate, re if re < 0 else min(re, 1), 16).astype(np.int64)
        gate = fp.wrap((gate + 32768) >> 1, 16)
        # Here the high half of the product is truncated towards zero, unlike above.
        product = gate * value
        product = np.minimum(np.where(product >= 0, product >> 15, -((-product) >> 15)), 32767)
        return clamp(fp.rdbp(product, -oe).astype(np.int64) + y_zero, y)

    return QuantizedUnary(swish)
