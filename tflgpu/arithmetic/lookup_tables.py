"""Lookup tables of a real function for 8- or 16-bit quantized values, bit for bit as TensorFlow Lite makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tflgpu.arithmetic.fixed_point import Array, round_half_away, to_int32


def all_quantized_values(dtype: npt.DTypeLike) -> Array:
    """Every value of an 8- or 16-bit integer type, in the order of its bits as an unsigned number."""
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    return np.arange(1 << 8 * unsigned.itemsize).astype(unsigned).view(dtype)


def lut_int8(
    f: Callable[[Array], Array],
    input_scale: np.float32,
    input_zero_point: int,
    output_scale: np.float32,
    output_zero_point: int,
    dtype: npt.DTypeLike = np.int8,
) -> Array:
    """f of every 8-bit quantized value: 256 quantized values of dtype, indexed by the bits of the argument."""
    centred = all_quantized_values(dtype).astype(np.int32) - np.int32(input_zero_point)
    real = np.float32(input_scale) * centred.astype(np.float32)
    with np.errstate(all="ignore"):
        scaled = np.asarray(f(real), np.float32) * (np.float32(1) / np.float32(output_scale))
        result = round_half_away(scaled) + np.float32(output_zero_point)
        limits = np.iinfo(np.dtype(dtype))
        if limits.min < 0:
            # Upstream's compiler makes one saturating cast of the cast and the clamp, in which NaN is 0.
            result = np.clip(np.nan_to_num(result, nan=0.0), limits.min, limits.max)
        return np.clip(to_int32(result), limits.min, limits.max).astype(dtype)


def lut_int16(
    f: Callable[[Array], Array],
    input_scale: float | np.floating[Any],
    input_zero_point: int,
    output_scale: float | np.floating[Any],
    output_zero_point: int,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """f sampled at 513 points of the int16 range, corrected for the error half-way; dtype is what f is computed in."""
    real: Callable[[Any], Any] = np.dtype(dtype).type
    s_in, s_out = real(input_scale), real(output_scale)
    low, high = s_in * real(-32768 - input_zero_point), s_in * real(32767 - input_zero_point)
    inverse = real(65536) / (s_out * real(32767 - output_zero_point) - s_out * real(-32768 - output_zero_point))
    step = (high - low) / real(512)
    points = low + np.arange(513, dtype=dtype) * step
    with np.errstate(all="ignore"):
        values = np.asarray(f(points), dtype) * inverse
        middles = round_half_away(np.asarray(f(points[:512] + step / real(2)), dtype) * inverse)
        samples = round_half_away(values)
        interpolated = round_half_away((values[1:] + samples[:512]) / real(2))
        table = np.empty(513, dtype)
        table[:512] = samples[:512] - round_half_away((interpolated - middles) / real(2))
        table[512:] = round_half_away(np.asarray(f(np.array([high], dtype)), dtype) * inverse)
        # std::max(x, low) keeps a NaN, which x86 then makes 0 of: INT32_MIN cut to 16 bits.
        table = np.clip(table, real(-32768), real(32767))
        return to_int32(table).astype(np.int16)


def lut_int16_lookup(table: Array, x: Array) -> Array:
    """table (of lut_int16) at the int16 values x, linear between its points: int16."""
    x = np.asarray(x, np.int16)
    index = (x >> 7).astype(np.int32) + 256
    base = table[index].astype(np.int32)
    slope = (table[index + 1] - table[index]).astype(np.int32)
    return (base + ((slope * (x & 0x7F).astype(np.int32) + 64) >> 7)).astype(np.int16)
