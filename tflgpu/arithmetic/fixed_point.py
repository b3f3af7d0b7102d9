"""Rounding and rescaling of integers, bit for bit as TensorFlow Lite's reference kernels have it.

Integers are NumPy arrays or Python ints; results are int32 arrays unless said otherwise, and sums wrap at 32 bits
where the reference's do. The rounding is the "double rounding" that TensorFlow Lite is built with. Functions whose name
ends in _int64 take and return int64 arrays that hold int32 values.
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
FLOAT32_EXACT, FLOAT64_EXACT = 1 << 24, 1 << 53
"""These types hold every integer up to here."""


def int64(x: Integers) -> Array:
    return np.asarray(x, np.int64)


def wrap(x: Array, width: int = 32) -> Array:
    """x modulo 2^width as a signed number, in int64."""
    return x.astype(np.int32 if width == 32 else np.int16).astype(np.int64)


def saturate(x: Array, width: int = 32) -> Array:
    """x clamped to the signed integers of `width` bits."""
    return np.clip(x, -(1 << (width - 1)), (1 << (width - 1)) - 1)


def round_half_away(x: Array) -> Array:
    """x rounded to whole numbers, ties away from zero, in x's floating type."""
    # The number below one half: one half itself would take the number below it up to 1.
    x = np.asarray(x)
    rounded: Array = np.trunc(x + np.copysign(np.nextafter(x.dtype.type(0.5), x.dtype.type(0)), x))
    return rounded


def to_int32(x: Array) -> Array:
    """A float truncated to int32. NaN and what does not fit become INT32_MIN, as on x86."""
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
    # floor(|.| + 0.5) is exact: the product has at most 53 bits, of which 22 lie after the point.
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
    """Saturating rounding doubling high product: (a*b + 2^(width-2)) >> (width-1), ties towards plus infinity."""
    return int32(srdhm_int64(int64(a), int64(b), width))


def srdhm_int64(a: Array, b: Array | int, width: int = 32) -> Array:
    product: Array = a * b
    product = (product + (1 << (width - 2))) >> (width - 1)
    # Only lowest * lowest exceeds.
    return np.minimum(product, (1 << (width - 1)) - 1)


def rdbp(x: Integers, n: Integers) -> Array:
    """x / 2^n rounded, ties away from zero. 0 <= n < 63."""
    return int32(rdbp_int64(int64(x), int64(n)))


def rdbp_int64(x: Array, n: Array | int) -> Array:
    n = int64(n)
    half = (np.int64(1) << n) >> 1
    return (x + half - ((x < 0) & (n > 0))) >> n


def int32(x: Array) -> Array:
    return np.asarray(x).astype(np.int32)


def mbqm(x: Integers, m: Integers, e: Integers) -> Array:
    """x * m * 2^(e-31) in two roundings; x wraps at 32 bits when shifted left. Arguments broadcast."""
    e = int64(e)
    shifted = wrap(int64(x) << np.maximum(e, 0))
    return int32(rdbp_int64(srdhm_int64(shifted, int64(m)), np.maximum(-e, 0)))


def rescaler(m: Integers, e: Integers) -> Callable[[Array, Array], None]:
    """mbqm in place: f(x, scratch) for int64 arrays x, holding int32 values, and scratch of the same shape.

    m and e broadcast to x; m must not be -2^31. All that depends on them alone is computed once, here.
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
            # One less for what is negative, so that ties go away from zero.
            np.right_shift(x, sign_bit, out=scratch)
            if not all_right:
                np.multiply(scratch, shifted, out=scratch)
            np.add(x, scratch, out=x)
            np.add(x, half, out=x)
            np.right_shift(x, right, out=x)

    return rescale


def mbqm64(x: Integers, m: Integers, e: Integers) -> Array:
    """x (int64, below 2^47) * m * 2^(e-31) with 16 bits of m and one rounding, ties up. -31 <= e < 8."""
    m, e = int64(m), int64(e)
    m16 = np.where(m < 0x7FFF0000, (m + (1 << 15)) >> 16, 0x7FFF)
    shift = 15 - e
    return int32((int64(x) * m16 + (np.int64(1) << (shift - 1))) >> shift)


def sat_shl(x: Integers, n: Integers, width: int = 32) -> Array:
    """x * 2^n, saturating, for n >= 0; rdbp(x, -n) for n < 0."""
    return int32(shift_int64(int64(x), int64(n), width))


def shift_int64(x: Array, n: Array | int, width: int = 32) -> Array:
    n = int64(n)
    left = saturate(x << np.maximum(n, 0), width)
    return np.where(n >= 0, left, rdbp_int64(x, np.maximum(-n, 0)))


def clz32(x: Integers) -> Array:
    """Leading zero bits of x as an unsigned 32-bit number; 32 for 0."""
    return int32(32 - np.frexp((int64(x) & 0xFFFFFFFF).astype(np.float64))[1])
