"""exp, 1/x, 1/sqrt, log, logistic and tanh of fixed-point numbers, bit for bit as TensorFlow Lite's reference has them.

Qa.b is a number of a integer bits: raw value / 2^b. Arguments and results are as in fixed_point.
"""

from __future__ import annotations

import numpy as np

from tflgpu.arithmetic.fixed_point import (
    INT32_MAX,
    Array,
    Integers,
    clz32,
    int32,
    int64,
    rdbp_int64,
    saturate,
    shift_int64,
    srdhm_int64,
    wrap,
)


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
    x2 = srdhm_int64(x, x, width)
    x3 = srdhm_int64(x2, x, width)
    x4 = srdhm_int64(x2, x2, width)
    third = _constant(715827883, width)
    y = wrap(srdhm_int64(wrap(rdbp_int64(x4, 2) + x3, width), third, width) + x2, width)
    y = rdbp_int64(y, 1)
    base = _constant(1895147668, width)
    total = base + srdhm_int64(wrap(x + y, width), base, width)
    return saturate(total, width) if width == 16 else wrap(total, width)


def exp_on_negative_values(a: Integers, integer_bits: int = 5, width: int = 32) -> Array:
    """exp(a) as Q0.(width-1) for a <= 0 as Q(integer_bits)."""
    return int32(_exp_negative(int64(a), integer_bits, width))


def _exp_negative(a: Array, integer_bits: int, width: int) -> Array:
    fraction_bits = width - 1 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    modulo = (a & (quarter - 1)) - quarter
    result = _exp_between_minus_one_quarter_and_zero(shift_int64(modulo, integer_bits, width), width)
    rest = modulo - a
    for bit, factor in _EXP_OF_BITS:
        if integer_bits > bit:
            scaled = srdhm_int64(result, _constant(factor, width), width)
            result = np.where(rest & (1 << (fraction_bits + bit)), scaled, result)
    if integer_bits > 5:
        result = np.where(a < -(1 << (fraction_bits + 5)), 0, result)
    return np.where(a == 0, (1 << (width - 1)) - 1, result)


def _newton_reciprocal(a: Array, width: int) -> Array:
    """1 / half_sum(1, a) in Q2, before the last doubling, for a Q0 in [0, 1]."""
    half = _half_sum(a, (1 << (width - 1)) - 1)
    x = wrap(_constant(1515870810, width) + srdhm_int64(half, _constant(-1010580540, width), width), width)
    for _ in range(3):
        residue = wrap((1 << (width - 3)) - srdhm_int64(half, x, width), width)
        x = wrap(x + shift_int64(srdhm_int64(x, residue, width), 2, width), width)
    return x


def one_over_one_plus_x(a: Integers, width: int = 32) -> Array:
    """1 / (1 + a) as Q0.(width-1) for a Q0 in [0, 1]."""
    return int32(shift_int64(_newton_reciprocal(int64(a), width), 1, width))


def get_reciprocal(x: Integers, integer_bits: int) -> tuple[Array, Array]:
    """(r, bits) with 1/x ~ r * 2^-31 * 2^-bits, for x > 0 with integer_bits bits before the point."""
    x = int64(x)
    headroom = clz32(x).astype(np.int64)
    shifted = wrap(((x << headroom) & 0xFFFFFFFF) - (1 << 31))
    return one_over_one_plus_x(shifted), int32(integer_bits - headroom)


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
    half_a = rdbp_int64(a, 1)
    # Q3.28 throughout: products of Q3 come in Q6 and Q9.
    root = np.full(x.shape, 1 << 28, np.int64)
    for _ in range(5):
        cube = shift_int64(srdhm_int64(srdhm_int64(root, root), root), 6)
        root = shift_int64(wrap(srdhm_int64(root, (1 << 28) + (1 << 27)) - srdhm_int64(half_a, cube)), 3)
    m = srdhm_int64(root, 1518500250)
    m = wrap(m << np.maximum(-shift, 0))
    return int32(np.where(small, INT32_MAX, m)), int32(np.where(small, 0, -np.maximum(shift, 0)))


def log_x(v: Integers) -> Array:
    """log of v (Q12.19, at least 1) as Q5.26."""
    v = int64(v)
    sqrt_half, quarter = 1518500250, int(rdbp_int64(int64(1 << 29), 6))
    lz = clz32(v).astype(np.int64)
    ra = shift_int64(srdhm_int64(shift_int64(v, lz - 1), sqrt_half), 1)
    za = saturate(shift_int64(12 - lz, 25) + quarter)
    headroom = clz32(srdhm_int64(v, sqrt_half)).astype(np.int64) - 1
    rb = shift_int64(v, headroom)
    zb = saturate(shift_int64(12 - headroom, 25) - quarter)
    r, z = np.minimum(ra, rb), np.maximum(za, zb)
    p = _half_sum(r, 1805811301)
    q = wrap(2 * wrap(r - 1805811301))
    square = srdhm_int64(q, q)
    numerator = wrap(srdhm_int64(q, r) + srdhm_int64(srdhm_int64(q, square), 117049297))
    factor = wrap(1057819769 + q + srdhm_int64(square, 127690142))
    denominator = wrap(srdhm_int64(p, factor) + srdhm_int64(q, 638450708))
    recip = one_over_one_plus_x(denominator).astype(np.int64)
    return int32(shift_int64(wrap(srdhm_int64(z, 1488522236) + srdhm_int64(rdbp_int64(numerator, 6), recip)), 1))


def gemmlowp_logistic(a: Integers, integer_bits: int, width: int = 16) -> Array:
    """1 / (1 + exp(-a)) as Q0.(width-1), for a as Q(integer_bits) of `width` bits."""
    a = int64(a)
    positive = one_over_one_plus_x(_exp_negative(-np.abs(a), integer_bits, width), width).astype(np.int64)
    result = np.where(a < 0, (1 << (width - 1)) - 1 - positive, positive)
    return int32(np.where(a == 0, 1 << (width - 2), result))


def gemmlowp_tanh(a: Integers, integer_bits: int, width: int = 16) -> Array:
    """tanh(a) as Q0.(width-1), for a as Q(integer_bits) of `width` bits."""
    a = int64(a)
    x = _newton_reciprocal(_exp_negative(-np.abs(a), integer_bits + 1, width), width)
    result = shift_int64(wrap(x - (1 << (width - 3)), width), 2, width)
    return int32(np.where(a == 0, 0, np.where(a < 0, -result, result)))
