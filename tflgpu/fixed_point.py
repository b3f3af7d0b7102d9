"""Integer rescaling, fixed-point functions and lookup tables, bit for bit those of TensorFlow Lite's reference kernels.

Integers are NumPy arrays or Python ints; results are int32 arrays where nothing else is said, and sums wrap at 32 bits
where the reference's do. Qa.b is a fixed-point number of a integer bits: raw value / 2^b. The rounding is the "double
rounding" that TensorFlow Lite is built with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Integers = npt.ArrayLike

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def int64(x: Integers) -> Array:
    return np.asarray(x, np.int64)


def wrap(x: Array, width: int = 32) -> Array:
    """x modulo 2^width as a signed number, in int64."""
    return x.astype(np.int32 if width == 32 else np.int16).astype(np.int64)


def saturate(x: Array, width: int = 32) -> Array:
    """x clamped to the signed integers of `width` bits."""
    return np.clip(x, -(1 << (width - 1)), (1 << (width - 1)) - 1)


def round_half_away(x: Array) -> Array:
    """x rounded to whole numbers, halves away from zero, in x's floating type."""
    # The number below one half: one half itself would take the number below it up to 1.
    x = np.asarray(x)
    rounded: Array = np.trunc(x + np.copysign(np.nextafter(x.dtype.type(0.5), x.dtype.type(0)), x))
    return rounded


def to_int32(x: Array) -> Array:
    """A float cut towards zero to int32. NaN and what does not fit become INT32_MIN, as on x86."""
    fits = np.abs(x) < 2.0**31
    return np.where(fits, x, x.dtype.type(INT32_MIN)).astype(np.int32)


def log2_if_power_of_two(scale: np.float32) -> int | None:
    """The exponent of a scale that is a power of two to within 0.1 %, or None."""
    if not scale > 0:
        return None
    exponent = np.log(np.float32(scale)) * (np.float32(1) / np.log(np.float32(2)))
    rounded = round_half_away(exponent)
    return int(rounded) if abs(exponent - rounded) < np.float32(1e-3) else None


def quantize_multiplier(multiplier: float) -> tuple[int, int]:
    """(m, e) with multiplier ~ m * 2^(e-31) and 2^30 <= |m| < 2^31; (0, 0) for what is 0 or below 2^-32.

    Also for NaN and infinities, which tensors without scales give, as on x86.
    """
    if not math.isfinite(multiplier):
        return 0, 0
    fraction, e = math.frexp(multiplier)
    # floor(|.| + 0.5) is exact: the product has at most 53 bits, of which 22 lie behind the point.
    m = int(math.copysign(math.floor(abs(fraction) * 2.0**31 + 0.5), fraction))
    if m == 1 << 31:
        m, e = m // 2, e + 1
    if m == 0 or e < -31:
        return 0, 0
    return m, e


def quantize_multipliers(multipliers: npt.ArrayLike) -> tuple[Array, Array]:
    """quantize_multiplier of each: (m int32, e int32), 1-D."""
    pairs = [quantize_multiplier(float(d)) for d in np.ravel(np.asarray(multipliers, np.float64))]
    m, e = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(m, np.int32), np.array(e, np.int32)


def srdhm(a: Integers, b: Integers, width: int = 32) -> Array:
    """Saturating rounding doubling high product: (a*b + 2^(width-2)) >> (width-1), halves towards plus infinity."""
    return _int32(_srdhm(int64(a), int64(b), width))


def _srdhm(a: Array, b: Array | int, width: int = 32) -> Array:
    product: Array = a * b
    product = (product + (1 << (width - 2))) >> (width - 1)
    # Only lowest * lowest exceeds.
    return np.minimum(product, (1 << (width - 1)) - 1)


def rdbp(x: Integers, n: Integers) -> Array:
    """x / 2^n rounded, halves away from zero. 0 <= n < 63."""
    return _int32(_rdbp(int64(x), int64(n)))


def _rdbp(x: Array, n: Array | int) -> Array:
    n = int64(n)
    half = (np.int64(1) << n) >> 1
    return (x + half - ((x < 0) & (n > 0))) >> n


def _int32(x: Array) -> Array:
    return np.asarray(x).astype(np.int32)


def mbqm(x: Integers, m: Integers, e: Integers) -> Array:
    """x * m * 2^(e-31) in two roundings; x wraps at 32 bits when shifted left. Arguments broadcast."""
    e = int64(e)
    shifted = wrap(int64(x) << np.maximum(e, 0))
    return _int32(_rdbp(_srdhm(shifted, int64(m)), np.maximum(-e, 0)))


def rescaler(m: Integers, e: Integers) -> Callable[[Array, Array], None]:
    """mbqm in place: f(x, scratch) for int64 arrays x, holding int32 values, and scratch of the same shape.

    m and e broadcast to x; m must not be -2^31. Everything that depends on them alone is computed here.
    """
    m, e = int64(m), int64(e)
    left, right = np.maximum(e, 0), np.maximum(-e, 0)
    any_left, any_right, all_right = bool(left.any()), bool(right.any()), bool(right.all())
    up, sign_bit, shift31 = np.array(1 << 30), np.array(63), np.array(31)
    half, shifted = (np.int64(1) << right) >> 1, (right > 0).astype(np.int64)

    def rescale(x: Array, scratch: Array) -> None:
        if any_left:
            np.left_shift(x, left, out=x)
            np.copyto(x, x.astype(np.int32))
        np.multiply(x, m, out=x)
        np.add(x, up, out=x)
        np.right_shift(x, shift31, out=x)
        if any_right:
            # One less for what is negative: halves go away from zero.
            np.right_shift(x, sign_bit, out=scratch)
            if not all_right:
                np.multiply(scratch, shifted, out=scratch)
            np.add(x, scratch, out=x)
            np.add(x, half, out=x)
            np.right_shift(x, right, out=x)

    return rescale


def mbqm64(x: Integers, m: Integers, e: Integers) -> Array:
    """x (int64, below 2^47) * m * 2^(e-31) with 16 bits of m and one rounding, halves up. -31 <= e < 8."""
    m, e = int64(m), int64(e)
    m16 = np.where(m < 0x7FFF0000, (m + (1 << 15)) >> 16, 0x7FFF)
    shift = 15 - e
    return _int32((int64(x) * m16 + (np.int64(1) << (shift - 1))) >> shift)


def sat_shl(x: Integers, n: Integers, width: int = 32) -> Array:
    """x * 2^n, saturating, for n >= 0; rdbp(x, -n) for n < 0."""
    return _int32(_pot(int64(x), int64(n), width))


def _pot(x: Array, n: Array | int, width: int = 32) -> Array:
    n = int64(n)
    left = saturate(x << np.maximum(n, 0), width)
    return np.where(n >= 0, left, _rdbp(x, np.maximum(-n, 0)))


def clz32(x: Integers) -> Array:
    """Leading zero bits of x as an unsigned 32-bit number; 32 for 0."""
    return _int32(32 - np.frexp((int64(x) & 0xFFFFFFFF).astype(np.float64))[1])


def _half_sum(a: Array, b: Array | int) -> Array:
    total: Array = a + b
    return np.where(total >= 0, (total + 1) >> 1, -((1 - total) >> 1))


def _constant(c: int, width: int) -> int:
    """A Q0.31 constant, rounded to `width` bits."""
    return c if width == 32 else (c + (1 << 15)) >> 16


# exp(-2^j) in Q0.31 for the bit of weight 2^j.
_EXP_OF_BITS = (
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)


def _exp_between_minus_one_quarter_and_zero(a: Array, width: int) -> Array:
    """exp of a Q0 in [-1/4, 0), by its Taylor series around -1/8."""
    x = wrap(a + (1 << (width - 4)), width)
    x2 = _srdhm(x, x, width)
    x3 = _srdhm(x2, x, width)
    x4 = _srdhm(x2, x2, width)
    third = _constant(715827883, width)
    y = wrap(_srdhm(wrap(_rdbp(x4, 2) + x3, width), third, width) + x2, width)
    y = _rdbp(y, 1)
    base = _constant(1895147668, width)
    total = base + _srdhm(wrap(x + y, width), base, width)
    return saturate(total, width) if width == 16 else wrap(total, width)


def exp_on_negative_values(a: Integers, integer_bits: int = 5, width: int = 32) -> Array:
    """exp(a) as Q0.(width-1) for a <= 0 as Q(integer_bits)."""
    return _int32(_exp_negative(int64(a), integer_bits, width))


def _exp_negative(a: Array, integer_bits: int, width: int) -> Array:
    fraction_bits = width - 1 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    modulo = (a & (quarter - 1)) - quarter
    result = _exp_between_minus_one_quarter_and_zero(_pot(modulo, integer_bits, width), width)
    rest = modulo - a
    for bit, factor in _EXP_OF_BITS:
        if integer_bits > bit:
            scaled = _srdhm(result, _constant(factor, width), width)
            result = np.where(rest & (1 << (fraction_bits + bit)), scaled, result)
    if integer_bits > 5:
        result = np.where(a < -(1 << (fraction_bits + 5)), 0, result)
    return np.where(a == 0, (1 << (width - 1)) - 1, result)


def _newton_reciprocal(a: Array, width: int) -> Array:
    """1 / half_sum(1, a) in Q2, before the last doubling, for a Q0 in [0, 1]."""
    half = _half_sum(a, (1 << (width - 1)) - 1)
    x = wrap(_constant(1515870810, width) + _srdhm(half, _constant(-1010580540, width), width), width)
    for _ in range(3):
        residue = wrap((1 << (width - 3)) - _srdhm(half, x, width), width)
        x = wrap(x + _pot(_srdhm(x, residue, width), 2, width), width)
    return x


def one_over_one_plus_x(a: Integers, width: int = 32) -> Array:
    """1 / (1 + a) as Q0.(width-1) for a Q0 in [0, 1]."""
    return _int32(_pot(_newton_reciprocal(int64(a), width), 1, width))


def get_reciprocal(x: Integers, integer_bits: int) -> tuple[Array, Array]:
    """(r, bits) with 1/x ~ r * 2^-31 * 2^-bits, for x > 0 with integer_bits bits before the point."""
    x = int64(x)
    headroom = clz32(x).astype(np.int64)
    shifted = wrap(((x << headroom) & 0xFFFFFFFF) - (1 << 31))
    return one_over_one_plus_x(shifted), _int32(integer_bits - headroom)


def inv_sqrt_multiplier(v: Integers) -> tuple[Array, Array]:
    """(m, e) with 1/sqrt(v) ~ m * 2^(e-31), for mbqm. v <= 1 gives (2^31 - 1, 0)."""
    v = int64(v)
    small = v <= 1
    x = np.where(small, 2, v)
    shift = np.full(x.shape, 11, np.int64)
    for _ in range(2):
        large = x >= 1 << 29
        x, shift = np.where(large, x // 4, x), shift + large
    pairs = (clz32(x).astype(np.int64) - 1) // 2 - 1
    a = (x << (2 * pairs)) >> 1
    shift = shift - pairs
    half_a = _rdbp(a, 1)
    # Q3.28 throughout: products of Q3 come in Q6 and Q9.
    root = np.full(x.shape, 1 << 28, np.int64)
    for _ in range(5):
        cube = _pot(_srdhm(_srdhm(root, root), root), 6)
        root = _pot(wrap(_srdhm(root, (1 << 28) + (1 << 27)) - _srdhm(half_a, cube)), 3)
    m = _srdhm(root, 1518500250)
    m = wrap(m << np.maximum(-shift, 0))
    return _int32(np.where(small, INT32_MAX, m)), _int32(np.where(small, 0, -np.maximum(shift, 0)))


def log_x(v: Integers) -> Array:
    """log of v (Q12.19, at least 1) as Q5.26."""
    v = int64(v)
    sqrt_half, quarter = 1518500250, int(_rdbp(int64(1 << 29), 6))
    lz = clz32(v).astype(np.int64)
    ra = _pot(_srdhm(_pot(v, lz - 1), sqrt_half), 1)
    za = saturate(_pot(12 - lz, 25) + quarter)
    headroom = clz32(_srdhm(v, sqrt_half)).astype(np.int64) - 1
    rb = _pot(v, headroom)
    zb = saturate(_pot(12 - headroom, 25) - quarter)
    r, z = np.minimum(ra, rb), np.maximum(za, zb)
    p = _half_sum(r, 1805811301)
    q = wrap(2 * wrap(r - 1805811301))
    square = _srdhm(q, q)
    numerator = wrap(_srdhm(q, r) + _srdhm(_srdhm(q, square), 117049297))
    factor = wrap(1057819769 + q + _srdhm(square, 127690142))
    denominator = wrap(_srdhm(p, factor) + _srdhm(q, 638450708))
    recip = one_over_one_plus_x(denominator).astype(np.int64)
    return _int32(_pot(wrap(_srdhm(z, 1488522236) + _srdhm(_rdbp(numerator, 6), recip)), 1))


def gemmlowp_logistic(a: Integers, integer_bits: int, width: int = 16) -> Array:
    """1 / (1 + exp(-a)) as Q0.(width-1), for a as Q(integer_bits) of `width` bits."""
    a = int64(a)
    positive = one_over_one_plus_x(_exp_negative(-np.abs(a), integer_bits, width), width).astype(np.int64)
    result = np.where(a < 0, (1 << (width - 1)) - 1 - positive, positive)
    return _int32(np.where(a == 0, 1 << (width - 2), result))


def gemmlowp_tanh(a: Integers, integer_bits: int, width: int = 16) -> Array:
    """tanh(a) as Q0.(width-1), for a as Q(integer_bits) of `width` bits."""
    a = int64(a)
    x = _newton_reciprocal(_exp_negative(-np.abs(a), integer_bits + 1, width), width)
    result = _pot(wrap(x - (1 << (width - 3)), width), 2, width)
    return _int32(np.where(a == 0, 0, np.where(a < 0, -result, result)))


def codes(dtype: npt.DTypeLike) -> Array:
    """All 256 codes of int8 or uint8, in the order of their bits: tables are indexed with a code's uint8 view."""
    return np.arange(256, dtype=np.uint8).view(dtype)


def lut_int8(
    f: Callable[[Array], Array],
    input_scale: np.float32,
    input_zero_point: int,
    output_scale: np.float32,
    output_zero_point: int,
    dtype: npt.DTypeLike = np.int8,
) -> Array:
    """f of every real that an 8-bit code stands for, quantized: 256 codes of dtype, indexed by the code's bits."""
    real = np.float32(input_scale) * (codes(dtype).astype(np.int32) - np.int32(input_zero_point)).astype(np.float32)
    with np.errstate(all="ignore"):
        scaled = np.asarray(f(real), np.float32) * (np.float32(1) / np.float32(output_scale))
        real_codes = round_half_away(scaled) + np.float32(output_zero_point)
        limits = np.iinfo(np.dtype(dtype))
        if limits.min < 0:
            # Upstream's compiler makes one saturating cast of the cast and the clamp, in which NaN is 0.
            real_codes = np.clip(np.nan_to_num(real_codes, nan=0.0), limits.min, limits.max)
        return np.clip(to_int32(real_codes), limits.min, limits.max).astype(dtype)


def lut_int16(
    f: Callable[[Array], Array],
    input_scale: float | np.floating[Any],
    input_zero_point: int,
    output_scale: float | np.floating[Any],
    output_zero_point: int,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """f sampled at 513 places of the int16 range, corrected for the error half-way; dtype is what f is computed in."""
    real: Callable[[Any], Any] = np.dtype(dtype).type
    s_in, s_out = real(input_scale), real(output_scale)
    low, high = s_in * real(-32768 - input_zero_point), s_in * real(32767 - input_zero_point)
    inverse = real(65536) / (s_out * real(32767 - output_zero_point) - s_out * real(-32768 - output_zero_point))
    step = (high - low) / real(512)
    places = low + np.arange(513, dtype=dtype) * step
    with np.errstate(all="ignore"):
        values = np.asarray(f(places), dtype) * inverse
        middles = round_half_away(np.asarray(f(places[:512] + step / real(2)), dtype) * inverse)
        samples = round_half_away(values)
        interpolated = round_half_away((values[1:] + samples[:512]) / real(2))
        table = np.empty(513, dtype)
        table[:512] = samples[:512] - round_half_away((interpolated - middles) / real(2))
        table[512:] = round_half_away(np.asarray(f(np.array([high], dtype)), dtype) * inverse)
        # std::max(x, low) keeps a NaN, which x86 then makes 0 of: INT32_MIN cut to 16 bits.
        table = np.clip(table, real(-32768), real(32767))
        return to_int32(table).astype(np.int16)


def lut_int16_lookup(table: Array, x: Array) -> Array:
    """table (of lut_int16) at the int16 codes x, linear between its places: int16."""
    x = np.asarray(x, np.int16)
    index = (x >> 7).astype(np.int32) + 256
    base = table[index].astype(np.int32)
    slope = (table[index + 1] - table[index]).astype(np.int32)
    return (base + ((slope * (x & 0x7F).astype(np.int32) + 64) >> 7)).astype(np.int16)
