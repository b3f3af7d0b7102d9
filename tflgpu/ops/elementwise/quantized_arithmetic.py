"""ADD, SUB, MUL, DIV and SQUARED_DIFFERENCE of quantized values: in fixed point, of 8-bit values by lookup tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tflgpu.arithmetic import fixed_point as fp
from tflgpu.arithmetic.fixed_point_functions import get_reciprocal
from tflgpu.arithmetic.lookup_tables import all_quantized_values
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.elementwise.elementwise import InPlace
from tflgpu.ops.elementwise.quantized_binary import QuantizedBinary, by_tables
from tflgpu.ops.fused_activation import clamp, quantized_range
from tflgpu.ops.registry import require
from tflgpu.ops.tensor_quantization import require_symmetric, scale_and_zero_point

_I32, _I64 = np.int32, np.int64

ToCommonScale = Callable[[Array, Array, Array], None]
Store = Callable[[Array, Array, Array], None]


def _store(zero_point: int, lo: int, hi: int) -> Store:
    """f(v, y, narrow): v + zero_point, clamped, as y; overwrites v. narrow: an int32 array, faster to clamp than v."""
    zero, low, high = np.array(zero_point, _I64), np.array(lo, _I32), np.array(hi, _I32)

    def store(v: Array, y: Array, narrow: Array) -> None:
        np.add(v, zero, out=v)
        np.copyto(narrow, v, casting="unsafe")
        clamp(narrow, low, high, narrow)
        np.copyto(y, narrow, casting="unsafe")

    return store


def _twice_the_larger_scale(a: TensorSpec, b: TensorSpec) -> float:
    scales = [a.scale, b.scale]
    require(all(s > 0 for s in scales), f"scales {scales} must be positive. ")
    return float(np.float32(2) * max(scales))


def _to_common_scale(spec: TensorSpec, twice: float, bits: int) -> ToCommonScale:
    """What takes an input to 2^-bits of a scale that both inputs have: f(quantized, out, scratch)."""
    rescale = fp.rescaler(*fp.quantize_multiplier(float(spec.scale) / twice))
    zero_point, shift = np.array(spec.zero_point, _I64), np.array(bits, _I64)

    def to_common(quantized: Array, out: Array, scratch: Array) -> None:
        np.subtract(quantized, zero_point, out=out, dtype=np.int64)
        np.left_shift(out, shift, out=out)
        rescale(out, scratch)

    return to_common


def _at_common_scale(
    specs: Sequence[TensorSpec], twice: float, bits: int, join: InPlace, multiplier: tuple[int, int], store: Store
) -> InPlace:
    """Both inputs at 2^-bits of their common scale, joined, rescaled by the multiplier (m, e) and stored."""
    scale_a, scale_b = (_to_common_scale(spec, twice, bits) for spec in specs)
    rescale = fp.rescaler(*multiplier)

    def compute(a: Array, b: Array, out: Array, u: Array, v: Array, scratch: Array, narrow: Array) -> None:
        scale_a(a, u, scratch)
        scale_b(b, v, scratch)
        join(u, v, u)
        rescale(u, scratch)
        store(u, out, narrow)

    return compute


def _sum_at_common_scale(node: Node, f: np.ufunc) -> QuantizedBinary:
    """ADD and SUB: both inputs at a common scale with 20 (8-bit) or 15 (16-bit) more bits, f, and to the output's."""
    a, b, y = node.input(0), node.input(1), node.outputs[0]
    bits = 15 if y.type == "INT16" else 20
    twice = _twice_the_larger_scale(a, b)
    real = twice / float(np.float32(1 << bits) * y.scale)
    require(node.op != "ADD" or real < 1, "ADD: the output's scale is too small for the inputs' scales. ")
    m, e = fp.quantize_multiplier(real)
    lo, hi = quantized_range(node.options.fused_activation_function, y)

    def tabulated() -> InPlace:
        first, second = (_table(_to_common_scale(spec, twice, bits), y.dtype) for spec in (a, b))
        return by_tables(f, first, second, (m, e), y.zero_point, lo, hi)

    def computed() -> InPlace:
        return _at_common_scale((a, b), twice, bits, f, (m, e), _store(y.zero_point, lo, hi))

    by_table = y.dtype.itemsize == 1 and e <= 0
    return QuantizedBinary(tabulated, (_I64, _I64)) if by_table else QuantizedBinary(computed, (_I64, _I64, _I64, _I32))


def _table(to_common: ToCommonScale, dtype: np.dtype) -> Array:
    """What every 8-bit value becomes, in the order of their bits."""
    table = np.empty(256, _I64)
    to_common(all_quantized_values(dtype), table, np.empty_like(table))
    return table


def _sum_at_powers_of_two(node: Node, f: np.ufunc) -> QuantizedBinary | None:
    """The int16 sum where all scales are powers of two and the option allows it, else None."""
    x1, x2, y = node.input(0), node.input(1), node.outputs[0]
    exponents = [fp.log2_if_power_of_two(spec.scale) for spec in (x1, x2, y)]
    if not node.options.pot_scale_int16 or None in exponents:
        return None
    shift1, shift2 = (e - exponents[2] for e in exponents[:2])  # type: ignore[operator]
    require(shift1 == 0 or shift2 == 0, "data->input1_shift == 0 || data->input2_shift == 0 was not true. ")
    require(shift1 <= 0 and shift2 <= 0, "data->input1_shift <= 0 was not true. ")
    lo, hi = quantized_range(node.options.fused_activation_function, y)

    def compute(a: Array, b: Array, out: Array, u: Array) -> None:
        total = fp.saturate(f(fp.rdbp(a, -shift1), fp.rdbp(b, -shift2), dtype=_I64), 16)
        np.copyto(out, np.clip(total, lo, hi, out=u), casting="unsafe")

    return QuantizedBinary(lambda: compute, (_I64,))


def quantized_sum(node: Node) -> QuantizedBinary:
    """ADD and SUB. Raises OpError for scales or zero points that they do not take, as the functions below."""
    f = np.add if node.op == "ADD" else np.subtract
    specs = (node.input(0), node.input(1), node.outputs[0])
    require_symmetric(*specs)
    by_shifts = _sum_at_powers_of_two(node, f) if specs[2].type == "INT16" else None
    return by_shifts or _sum_at_common_scale(node, f)


def quantized_mul(node: Node) -> QuantizedBinary:
    """MUL, of two 8-bit values also by lookup tables; of int16 into 8-bit values as fractions."""
    x1, x2, y = node.input(0), node.input(1), node.outputs[0]
    lo, hi = quantized_range(node.options.fused_activation_function, y)
    if x1.type == "INT16" and y.type != "INT16":
        return _product_of_fractions(scale_and_zero_point(y)[1], lo, hi)
    require_symmetric(x1, x2, y)
    (s1, z1), (s2, z2), (s, z) = map(scale_and_zero_point, (x1, x2, y))
    m, e = fp.quantize_multiplier(float(s1 * s2 / s))

    def tabulated() -> InPlace:
        first, second = (all_quantized_values(y.dtype).astype(_I64) - zero for zero in (z1, z2))
        return by_tables(np.multiply, first, second, (m, e), z, lo, hi)

    def computed() -> InPlace:
        rescale, store = fp.rescaler(m, e), _store(z, lo, hi)
        zero1, zero2 = np.array(z1, _I64), np.array(z2, _I64)

        def compute(a: Array, b: Array, out: Array, u: Array, v: Array, narrow: Array) -> None:
            np.subtract(a, zero1, out=u, dtype=_I64)
            np.subtract(b, zero2, out=v, dtype=_I64)
            np.multiply(u, v, out=u)
            rescale(u, v)
            store(u, out, narrow)

        return compute

    by_table = y.dtype.itemsize == x1.dtype.itemsize == 1 and e <= 0
    return QuantizedBinary(tabulated, (_I64, _I64)) if by_table else QuantizedBinary(computed, (_I64, _I64, _I32))


def _product_of_fractions(zero_point: int, lo: int, hi: int) -> QuantizedBinary:
    """int16 inputs as fractions of 1, the 8-bit output as its upper half: no scale is looked at."""

    def compute(a: Array, b: Array, out: Array) -> None:
        value = fp.rdbp(fp.srdhm(a, b, 16), 8).astype(_I64) + zero_point
        np.copyto(out, np.clip(value, lo, hi), casting="unsafe")

    return QuantizedBinary(lambda: compute)


def _leading_sign_bits(x: Array) -> Array:
    """Bits after the sign bit that equal it, of int32 values."""
    return fp.clz32(np.where(x < 0, ~x, x)).astype(_I64) - 1


def _shifted_as_x86(x: Array, n: Array) -> Array:
    """x / 2^n rounded. By more than 31 bits, which small quotients come to, it is what x86 makes of an int32 shift.

    C leaves that undefined: quotients near 0 come out as 1 or as large numbers. It is the shipped reference's result,
    to the bit, on all pairs of 8-bit values.
    """
    return np.where(n < 32, fp.rdbp(x, np.clip(n, 0, 31)), (x >> (n & 31)) + (x >= 0))


def quantized_div(node: Node) -> QuantizedBinary:
    """DIV: by the reciprocal of the divisor's magnitude."""
    x1, x2, y = node.input(0), node.input(1), node.outputs[0]
    (s1, z1), (s2, z2), (s, z) = map(scale_and_zero_point, (x1, x2, y))
    m, e = fp.quantize_multiplier(float(s1 / (s2 * s)))
    lo, hi = quantized_range(node.options.fused_activation_function, y)

    def compute(a: Array, b: Array, out: Array) -> None:
        v1, v2 = a.astype(_I64) - z1, b.astype(_I64) - z2
        v1, v2 = np.where(v2 < 0, -v1, v1), np.abs(v2)
        inverse, bits = get_reciprocal(np.maximum(v2, 1), 31)
        headroom = _leading_sign_bits(v1)
        product = fp.srdhm(fp.mbqm(v1, inverse, headroom), m).astype(_I64)
        value = fp.wrap(_shifted_as_x86(product, bits + headroom - e) + z)
        np.copyto(out, np.clip(value, lo, hi), casting="unsafe")

    return QuantizedBinary(lambda: compute)


def quantized_difference(node: Node) -> QuantizedBinary:
    """SQUARED_DIFFERENCE: at a common scale with 7 more bits."""
    specs, y = (node.input(0), node.input(1)), node.outputs[0]
    twice = _twice_the_larger_scale(*specs)
    multiplier = fp.quantize_multiplier(twice * twice / float(np.float32(1 << 14) * y.scale))
    limits = np.iinfo(y.dtype)

    def computed() -> InPlace:
        store = _store(y.zero_point, int(limits.min), int(limits.max))
        return _at_common_scale(specs, twice, 7, squared_difference, multiplier, store)

    return QuantizedBinary(computed, (_I64, _I64, _I64, _I32))


def squared_difference(a: Array, b: Array, y: Array) -> None:
    """y = (a - b)^2, in place."""
    np.subtract(a, b, out=y)
    np.multiply(y, y, out=y)
