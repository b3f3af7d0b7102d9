"""The activation that arithmetic operators apply to their result, as a range to clamp to."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tflgpu.arithmetic.fixed_point import INT32_MAX, INT32_MIN, round_half_away
from tflgpu.model.graph import Array, TensorSpec
from tflgpu.ops.registry import require

FLT_MAX = np.float32(np.finfo(np.float32).max)

_BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "RELU": (0.0, None),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
"""Real bounds; None and any other activation leave the type's own."""


@cache
def float_range(activation: str, dtype: np.dtype | type = np.float32) -> tuple[np.number[Any], np.number[Any]]:
    """(lo, hi) to clamp floats or plain integers to. NONE gives the finite limits: infinities become ±FLT_MAX."""
    dtype = np.dtype(dtype)
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    lo, hi = _BOUNDS.get(activation, (None, None))
    return dtype.type(limits.min if lo is None else lo), dtype.type(limits.max if hi is None else hi)


def quantized_value(real: float, scale: np.float32, zero_point: int) -> int:
    """The unclamped quantized value of a real number. Raises OpError where it does not fit into 32 bits."""
    with np.errstate(all="ignore"):
        value = round_half_away(np.asarray(np.float32(real) / np.float32(scale), np.float32))
    require(INT32_MIN <= value <= np.float32(INT32_MAX), "no_integer_overflow_from_quantization was not true. ")
    return zero_point + int(value)


def quantized_range(activation: str, output: TensorSpec) -> tuple[int, int]:
    """(lo, hi) to clamp the quantized values of `output` (int8, uint8 or int16) to."""
    require(output.type in ("INT8", "UINT8", "INT16"), f"an activation on {output.type} is not supported. ")
    limits = np.iinfo(output.dtype)
    qmin, qmax = int(limits.min), int(limits.max)
    lo, hi = _BOUNDS.get(activation, (None, None))
    return (
        qmin if lo is None else max(qmin, quantized_value(lo, output.scale, output.zero_point)),
        qmax if hi is None else min(qmax, quantized_value(hi, output.scale, output.zero_point)),
    )


def apply(activation: str, array: Array) -> None:
    """Clamps a float or plain integer array in place to the activation's range. NaN stays NaN."""
    lo, hi = float_range(activation, array.dtype)
    np.maximum(array, lo, out=array)
    np.minimum(array, hi, out=array)


Clamp = Callable[[Array, "np.generic | Array", "np.generic | Array", Array], object]


def _in_two_passes(x: Array, lo: np.generic | Array, hi: np.generic | Array, out: Array) -> None:
    np.maximum(x, lo, out=out)
    np.minimum(out, hi, out=out)


def _clip_ufunc() -> Clamp:
    core = "numpy._core.umath" if hasattr(np, "_core") else "numpy.core.umath"
    found: Clamp = getattr(importlib.import_module(core), "clip", _in_two_passes)
    return found


clamp = _clip_ufunc()
"""clamp(x, lo, hi, out): the ufunc that `ndarray.clip` calls; that call takes three times as long. NaN stays NaN."""
