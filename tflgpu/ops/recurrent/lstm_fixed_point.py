"""Fixed point of the integer LSTM kernels: scales, clip values, lookup tables of gate functions, roundings."""

from __future__ import annotations

import functools
import math

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm, srdhm
from tflgpu.arithmetic.fixed_point_functions import gemmlowp_logistic, gemmlowp_tanh
from tflgpu.arithmetic.lookup_tables import all_quantized_values
from tflgpu.model.graph import Array, TensorSpec
from tflgpu.ops import fused_activation
from tflgpu.ops.recurrent.linear import Tensor, single_scale
from tflgpu.ops.registry import require


def effective_scale(weights: Tensor, other: np.float32, divisor: np.float32) -> np.float32:
    """weights' scale * other / divisor, each operation in float32."""
    return np.float32(np.float32(single_scale(weights.spec) * other) / divisor)


def power_of_two(spec: TensorSpec) -> int:
    """The k of a scale 2^k. Raises OpError for other scales."""
    exact = math.log2(spec.scale) if spec.scale > 0 else 0.5
    require(abs(exact - round(exact)) < 1e-3, f"{spec} must have a power of two as its scale. ")
    return round(exact)


Range = tuple[Array, Array]
"""The least and the greatest value, as arrays: NumPy is slower with scalars."""


def _range(low: int, high: int) -> Range:
    return np.array(low, np.int64), np.array(high, np.int64)


INT16 = _range(-32768, 32767)
INT8 = _range(-128, 127)


def clip_range(clip: float, scale: np.float32, limits: Range) -> Range:
    """The range of a type's values within a real clip value; the whole type where that is 0, or less than one step."""
    largest = int(min(np.float32(clip) / scale, np.float32(limits[1]))) if clip > 0 else 0
    return _range(-largest, largest) if largest > 0 else limits


def clamp(x: Array, low: Array, high: Array) -> None:
    """x to [low, high] in place."""
    fused_activation.clamp(x, low, high, x)


@functools.cache
def table(function: str, integer_bits: int) -> Array:
    """gemmlowp's 16-bit logistic or tanh of every int16, indexed by its bits: int64."""
    every = all_quantized_values(np.int16)
    return {"logistic": gemmlowp_logistic, "tanh": gemmlowp_tanh}[function](every, integer_bits).astype(np.int64)


def look_up(lut: Array, x: Array, out: Array) -> None:
    """out = lut[x], for int16 values x held in any integer type."""
    lut.take(x, out=out, mode="wrap")


# As arrays: NumPy is slower with Python's integers.
_SHIFTS = [np.array(n, np.int64) for n in range(64)]
_HALF = [np.array((1 << n) >> 1, np.int64) for n in range(63)]


def shift_right(x: Array, n: int, scratch: Array) -> None:
    """x /= 2^n in place, ties away from zero; n >= 1."""
    np.right_shift(x, _SHIFTS[63], out=scratch)
    np.add(x, scratch, out=x)
    np.add(x, _HALF[n], out=x)
    np.right_shift(x, _SHIFTS[n], out=x)


def mbqm_up(x: Array, m: int, e: int) -> Array:
    """mbqm whose second rounding takes ties up, as the x86 build's vector code does: int64."""
    if e >= 0:
        return mbqm(x, m, e).astype(np.int64)
    return (srdhm(x, m).astype(np.int64) + (1 << (-e - 1))) >> -e
