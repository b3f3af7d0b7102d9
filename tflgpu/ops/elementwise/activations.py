"""Activation functions: floats in place, 8-bit quantized values by lookup table, 16-bit ones in fixed point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tflgpu.arithmetic import fixed_point as fp
from tflgpu.arithmetic.erf import erfc_exactly, erfc_of_positive
from tflgpu.arithmetic.sigmoid_table import SIGMOID
from tflgpu.model.graph import Array, Node
from tflgpu.ops.cache_blocks import blocked
from tflgpu.ops.elementwise import quantized_unary
from tflgpu.ops.elementwise.elementwise import binary_shape, unary
from tflgpu.ops.elementwise.lookup_table import QuantizedUnary
from tflgpu.ops.fused_activation import clamp
from tflgpu.ops.registry import Step, kernel, require
from tflgpu.ops.tensor_quantization import require_symmetric, scale_and_zero_point

_F = np.float32
_ONE = np.array(1, _F)


def _clamped(lo: float, hi: float) -> Callable[[Array, Array], object]:
    low, high = np.array(lo, _F), np.array(hi, _F)
    return lambda x, y: clamp(x, low, high, y)


_positive_part = _clamped(0, np.inf)
_negative_part = _clamped(-np.inf, 0)
_to_17 = _clamped(-np.inf, 17)
_to_6 = _clamped(0, 6)


def leaky_relu(node: Node) -> Callable[[Array, Array], None]:
    alpha = np.array(node.options.alpha, _F)
    pick = np.maximum if alpha <= 1 else np.minimum

    def leaky(x: Array, y: Array) -> None:
        np.multiply(x, alpha, out=y)
        pick(x, y, out=y)

    def flat(x: Array, y: Array) -> None:  # infinity times 0 is NaN, but what is above 0 stays as it is
        np.multiply(x, alpha, out=y)
        np.copyto(y, x, where=x > 0)

    return leaky if alpha and np.isfinite(alpha) else flat


def elu(x: Array, y: Array) -> None:
    _negative_part(x, y)
    np.expm1(y, out=y)
    np.maximum(x, y, out=y)


def hard_swish(x: Array, y: Array) -> None:
    np.add(x, _F(3), out=y)
    _to_6(y, y)
    np.multiply(x, y, out=y)
    np.divide(y, _F(6), out=y)


def logistic(x: Array, y: Array) -> None:
    """exp(x) / (1 + exp(x)), which keeps its precision for negative x; from 17 on it is 1."""
    _to_17(x, y)
    np.exp(y, y)
    np.divide(y, y + _ONE, y)


def gelu(x: Array, y: Array) -> None:
    """x / 2 * erfc(-x / sqrt(2)), as max(x, 0) - |x| / 2 * erfc(|x| / sqrt(2))."""
    # From 20 on erfc is 0, which an infinity must not be multiplied with; -infinity is, and gives NaN.
    z = np.minimum(x, _F(20))
    np.abs(z, out=z)
    tail = z * _F(0.5)
    np.multiply(z, _F(np.sqrt(0.5)), out=z)
    q = np.empty_like(y)
    erfc_of_positive(z, q, y)
    np.multiply(q, tail, out=q)
    _positive_part(x, y)
    np.subtract(y, q, out=y)


def gelu_approximate(x: Array, y: Array) -> None:
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x³)))."""
    np.multiply(x, x, out=y)
    np.multiply(y, _F(0.044715), out=y)
    np.add(y, _F(1), out=y)
    np.multiply(y, x, out=y)
    np.multiply(y, _F(np.sqrt(2 / np.pi)), out=y)
    np.tanh(y, out=y)
    np.add(y, _F(1), out=y)
    np.multiply(y, _F(0.5), out=y)
    np.multiply(y, x, out=y)


# The real functions of lookup tables follow the reference to the rounding of each operation, in double where its own
# function is exact to the last bit nearly everywhere.


def _real_gelu(x: Array) -> Array:
    return _F(0.5) * x * erfc_exactly(x * _F(-np.sqrt(0.5)))


def _real_gelu_approximate(x: Array) -> Array:
    root = _F(np.sqrt(2 / np.pi))
    inner = root * (x + _F(0.044715) * x * x * x)
    return _F(0.5) * x * (_F(1) + np.tanh(inner.astype(np.float64)).astype(_F))


def _real_logistic(x: Array) -> Array:
    return _F(1) / (_F(1) + np.exp(-x.astype(np.float64)).astype(_F))


def _real_tanh(x: Array) -> Array:
    return np.tanh(x.astype(np.float64)).astype(_F)


def _real_elu(x: Array) -> Array:
    return np.where(x < 0, np.expm1(np.minimum(x, _F(0)).astype(np.float64)), x)


def _quantized_gelu(node: Node) -> QuantizedUnary:
    return quantized_unary.table_of(_real_gelu_approximate if node.options.approximate else _real_gelu, node)


def _sigmoid_argument(node: Node, exact_shifts: tuple[int, ...]) -> Callable[[Array], Array]:
    """f(int16 values): the argument of the sigmoid table, in multiples of 1 / (24 * 512), rounded."""
    x, y = node.input(0), node.outputs[0]
    require_symmetric(x, y)
    require(fp.log2_if_power_of_two(y.scale) == -15, "output_scale_log2_rounded != -kOutputFractionalBits. ")
    exponent = fp.log2_if_power_of_two(x.scale)
    if exponent is not None and 12 + exponent in exact_shifts:
        multiplier, shift = 3 << (12 + exponent), 0
    else:
        real, shift = float(x.scale) * 4096.0 * 3.0, 0
        while real <= 32767.0 / 2.0 and shift <= 30:
            real, shift = real * 2.0, shift + 1
        require(real < 2**31, f"{x} has a scale of {x.scale}. ")
        multiplier = int(real)
    half = (1 << shift) >> 1
    return lambda quantized: (quantized.astype(np.int64) * multiplier + half) >> shift


def _interpolated(v: Array, bits: int, last: int) -> Array:
    """The sigmoid table at |v| / 2^bits, linearly, scaled by 2^bits; `last` from where the table ends."""
    magnitude = np.abs(v)
    index = magnitude >> bits
    low = np.minimum(index, 254)
    value = (SIGMOID[low] << bits) + (magnitude & ((1 << bits) - 1)) * (SIGMOID[low + 1] - SIGMOID[low])
    return np.where(index >= 255, last, value)


def _quantized_logistic(node: Node) -> QuantizedUnary:
    y = node.outputs[0]
    if y.type != "INT16":
        require(y.scale == _F(1 / 256), "output->params.scale == 1. / 256 was not true. ")
        return quantized_unary.table_of(_real_logistic, node)
    require(y.scale == _F(1 / 32768), "output->params.scale == 1. / 32768 was not true. ")
    argument = _sigmoid_argument(node, exact_shifts=(0,))

    def compute(quantized: Array) -> Array:
        v = argument(quantized)
        r = _interpolated(v, 9, 0x7FFF << 10)
        return (np.where(v >= 0, r + 512, (1 << 25) - r + 511) >> 10).astype(np.int16)

    return QuantizedUnary(compute)


def _quantized_tanh(node: Node) -> QuantizedUnary:
    if node.outputs[0].type != "INT16":
        return quantized_unary.table_of(_real_tanh, node)
    argument = _sigmoid_argument(node, exact_shifts=(0, 1))

    def compute(quantized: Array) -> Array:
        v = argument(quantized)
        r = _interpolated(v, 8, 0xFFFF << 8)
        return (np.where(v >= 0, r - (1 << 23) + 128, -r + (1 << 23) + 127) >> 8).astype(np.int16)

    return QuantizedUnary(compute)


def _quantized_elu(node: Node) -> QuantizedUnary:
    return quantized_unary.table_of(_real_elu, node)


def _quantized_relu(lo: float, hi: float | None) -> Callable[[Node], QuantizedUnary]:
    return lambda node: quantized_unary.rescaled(node, lo, hi)


_8BIT = "INT8 UINT8"
unary("RELU", _positive_part, f"FLOAT32 FLOAT16 INT16 {_8BIT}", 3, quantized=_quantized_relu(0, None))
unary("RELU6", _to_6, f"FLOAT32 FLOAT16 INT16 {_8BIT}", 3, quantized=_quantized_relu(0, 6))
unary("RELU_N1_TO_1", _clamped(-1, 1), f"FLOAT32 FLOAT16 {_8BIT}", quantized=_quantized_relu(-1, 1))
unary("RELU_0_TO_1", _clamped(0, 1), f"FLOAT32 FLOAT16 {_8BIT}", quantized=_quantized_relu(0, 1))
unary(
    "LEAKY_RELU",
    leaky_relu,
    f"FLOAT32 FLOAT16 INT16 {_8BIT}",
    2,
    quantized=quantized_unary.leaky_relu,
    of_node=True,
    output_type=0,
)
unary("ELU", elu, "FLOAT32 FLOAT16 INT8", quantized=_quantized_elu)
unary(
    "GELU",
    lambda node: gelu_approximate if node.options.approximate else gelu,
    f"FLOAT32 FLOAT16 INT16 {_8BIT}",
    3,
    quantized=_quantized_gelu,
    of_node=True,
)
unary("HARD_SWISH", hard_swish, f"FLOAT32 FLOAT16 {_8BIT}", quantized=quantized_unary.hard_swish)
unary("LOGISTIC", logistic, f"FLOAT32 FLOAT16 BFLOAT16 INT16 {_8BIT}", 3, quantized=_quantized_logistic)
unary("TANH", np.tanh, f"FLOAT32 FLOAT16 BFLOAT16 INT16 {_8BIT}", 3, quantized=_quantized_tanh)


def _check_prelu(node: Node) -> None:
    x, alpha, y = node.input(0), node.input(1), node.outputs[0]
    require(x.shape == y.shape, "HaveSameShapes(input, output) was not true. ")
    alphas = ("INT8", "INT16") if x.type == "INT16" else (x.type,)
    require(alpha.type in alphas, f"PRELU: alpha of type {alpha.type} for {x.type}; supported: {', '.join(alphas)}. ")


@kernel(
    "PRELU", inputs=2, types=f"FLOAT32 FLOAT16 INT16 {_8BIT}", shape=binary_shape, check=_check_prelu, output_type=0
)
def prelu(node: Node, inputs: tuple[Array, Array], outputs: tuple[Array]) -> Step:
    """x where x >= 0, else x * alpha; alpha broadcasts to x. int16 takes an int8 alpha."""
    x, alpha, y = node.input(0), node.input(1), node.outputs[0]
    if x.dtype.kind == "f":
        if alpha.data is None or not np.isfinite(alpha.data).all():
            return blocked(_prelu_of_any, inputs, outputs[0])
        return blocked(_prelu_of_finite, inputs, outputs[0], scratch=[x.dtype])
    scale, x_zero = scale_and_zero_point(x)
    alpha_scale, alpha_zero = scale_and_zero_point(alpha)
    y_scale, y_zero = scale_and_zero_point(y)
    rescale = fp.rescaler(*fp.quantize_multiplier(float(scale / y_scale)))
    rescale_product = fp.rescaler(*fp.quantize_multiplier(float(scale * alpha_scale / y_scale)))
    limits = np.iinfo(y.dtype)

    def compute(a: Array, b: Array, out: Array, v: Array, product: Array, scratch: Array) -> None:
        np.subtract(a, x_zero, out=v, dtype=np.int64)
        np.subtract(b, alpha_zero, out=product, dtype=np.int64)
        np.multiply(product, v, out=product)
        negative = v < 0
        rescale(v, scratch)
        rescale_product(product, scratch)
        np.copyto(v, product, where=negative)
        np.add(v, y_zero, out=v)
        v.clip(limits.min, limits.max, out=v)
        np.copyto(out, v, casting="unsafe")

    return blocked(compute, inputs, outputs[0], scratch=[np.int64] * 3)


def _prelu_of_any(x: Array, alpha: Array, y: Array) -> None:
    np.multiply(x, alpha, out=y)
    np.copyto(y, x, where=x >= 0)


def _prelu_of_finite(x: Array, alpha: Array, y: Array, scratch: Array) -> None:
    """The same faster: 0 times a finite alpha is 0."""
    _negative_part(x, scratch)
    np.multiply(scratch, alpha, out=scratch)
    _positive_part(x, y)
    np.add(y, scratch, out=y)
