"""GEMM of a few rows with constant weights: what a time step of a recurrent layer, or one token, takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from tflgpu.model.graph import Array
from tflgpu.ops.matmul.hybrid import HybridMatrix, RowQuantizer
from tflgpu.ops.matmul.integer_matmul import FLOAT_COPY_ELEMENTS
from tflgpu.ops.scratch import copied

_TOGETHER = 1 << 19
"""From so many elements of a matrix on, a GEMV is worth waking the threads of OpenBLAS."""

_ALONE = 9000 if np.__version__.startswith("1.") else _TOGETHER
"""Up to so many, OpenBLAS wakes none: the one in NumPy 1 is older than 0.3.27, and wakes them too early."""

_EXACT_DEPTH = 1 << 10
"""So many products of 8-bit values add up exactly in float32."""

_EXACT_CENTRED = 1 << 9
"""So many products of 8-bit values less their zero point with 8-bit weights add up exactly in float32."""

FEW_ROWS = 8
"""Up to so many rows, the scales of a quantization are computed row by row."""


# As arrays: NumPy is slower with scalars.
_LOWEST, _HIGHEST = np.array(-128, np.float32), np.array(127, np.float32)


class Linear(Protocol):
    def __call__(self, x: Array, out: Array) -> None:
        """out (rows, n) += x (rows, k) times weights (n, k) transposed."""


def hybrid_gemm(weights: Array, scale: Array, rows: int, asymmetric: bool, often: bool = False) -> Linear:
    """The GEMM of float32 rows with 8-bit weights (n, k), of scale (1,) or (n,), as `HybridMatrix` computes it.

    often: it runs many times an invoke, and may keep a float copy of weights of any size.
    """
    weights = weights.view(np.int8)
    small = often or weights.size <= FLOAT_COPY_ELEMENTS
    if small and rows <= FEW_ROWS and weights.shape[1] <= _EXACT_DEPTH and weights.min(initial=0) > -128:
        return HybridGemv(weights, scale, rows, asymmetric)
    return _any_rows(weights, scale, rows, asymmetric, often)


def _any_rows(weights: Array, scale: Array, rows: int, asymmetric: bool, often: bool = False) -> Linear:
    hybrid = HybridMatrix(weights, scale, rows, asymmetric, keep=often, centre=True)
    quantizer = RowQuantizer(rows, weights.shape[1], asymmetric, shared=not often, centred=hybrid.centred)

    def accumulate(x: Array, out: Array) -> None:
        hybrid.accumulate(quantizer(x), out)

    return accumulate


def gemm_with(matrix: Array, rows: int) -> Callable[[Array], Array]:
    """f(x (rows, k)) -> x times matrix (n, k) transposed, in storage that the next call overwrites."""
    n, k = matrix.shape
    if rows == 1 and _ALONE < n * k < _TOGETHER:
        count = -(-n * k // _ALONE)
        height = -(-n // count)
        padded = np.zeros((count * height, k), matrix.dtype)
        padded[:n] = matrix
        blocks = padded.reshape(count, height, k)
        slices = np.empty((count, height), matrix.dtype)
        joined = slices.reshape(1, -1)[:, :n]

        def in_blocks(x: Array) -> Array:
            np.matmul(blocks, x[0], out=slices)
            return joined

        return in_blocks
    result, transposed = np.empty((rows, n), matrix.dtype), matrix.T
    if rows == 1:
        multiply, row = matrix.dot, result[0]

        def of_row(x: Array) -> Array:
            multiply(x[0], row)
            return result

        return of_row

    def at_once(x: Array) -> Array:
        return np.matmul(x, transposed, out=result)

    return at_once


def exact_gemm(weights: Array, rows: int) -> tuple[Callable[[Array], Array], np.dtype]:
    """`gemm_with` 8-bit weights, exact for 8-bit values, and the float dtype of its arguments and results."""
    dtype = np.dtype(np.float32 if weights.shape[1] <= _EXACT_DEPTH else np.float64)
    return gemm_with(copied(weights, dtype), rows), dtype


class HybridGemv:
    """RowQuantizer and HybridMatrix in one, for few rows, weights without -128 and a depth of at most 1024."""

    def __init__(self, weights: Array, scale: Array, rows: int, asymmetric: bool):
        n, k = weights.shape
        self._asymmetric = asymmetric
        self._beyond_numbers = lambda: _any_rows(weights, scale, rows, asymmetric)
        self._gemm, _ = exact_gemm(weights, rows)
        self._scale = np.broadcast_to(np.asarray(scale, np.float32), (n,)).reshape(1, n)
        self._centred = k <= _EXACT_CENTRED
        self._weight_sums = weights.sum(axis=1, dtype=np.int64).astype(np.float32).reshape(1, n)
        self._quantized, self._signed_half = np.empty((rows, k), np.float32), np.empty((rows, k), np.float32)
        # The x86 build's vector code, eight elements at a time, rounds the float just below a half up.
        self._half = np.full((rows, k), 0.5, np.float32)
        self._half[:, k - k % 8 :] = np.nextafter(np.float32(0.5), np.float32(0))
        # A scalar broadcasts three times as fast as an array of one.
        column = () if rows == 1 else (rows, 1)
        self._inverses, self._scales, self._zero_points = (np.zeros(column, np.float32) for _ in range(3))
        self._inverse_of, self._scale_of, self._zero_point_of = (
            c.reshape(-1) for c in (self._inverses, self._scales, self._zero_points)
        )
        self._row_scale = np.empty((rows, n), np.float32)
        self._rescale = self._asymmetric_scale if asymmetric else self._symmetric_scale

    def __call__(self, x: Array, out: Array) -> None:
        if not x.size:
            return
        beyond = False
        for row, (low, high) in enumerate(_ranges(x)):
            if not high - low < math.inf:
                self._beyond_numbers()(x, out)
                return
            beyond |= self._rescale(row, low, high)
        quantized, signed_half, row_scale = self._quantized, self._signed_half, self._row_scale
        np.multiply(x, self._inverses, quantized)
        np.copysign(self._half, quantized, signed_half)
        np.add(quantized, signed_half, quantized)
        np.trunc(quantized, quantized)
        if not self._asymmetric:
            result = self._gemm(quantized)
        elif self._centred:
            if beyond:
                np.maximum(quantized, _LOWEST - self._zero_points, out=quantized)
                np.minimum(quantized, _HIGHEST - self._zero_points, out=quantized)
            result = self._gemm(quantized)
        else:
            np.add(quantized, self._zero_points, quantized)
            if beyond:
                np.maximum(quantized, _LOWEST, out=quantized)
                np.minimum(quantized, _HIGHEST, out=quantized)
            result = self._gemm(quantized)
            # Both sides are exact, so that the difference is rounded once, as an integer made a float would be.
            np.multiply(self._weight_sums, self._zero_points, row_scale)
            np.subtract(result, row_scale, result)
        np.multiply(self._scale, self._scales, row_scale)
        np.multiply(result, row_scale, result)
        np.add(out, result, out)

    def _symmetric_scale(self, row: int, low: float, high: float) -> bool:
        """Sets the row's scale. Returns whether its values may leave the 8-bit range, which symmetric ones cannot."""
        largest = max(-low, high)
        # Assigning rounds to float32; double precision is wide enough for that to be the only rounding.
        self._scale_of[row] = largest / 127.0 if largest else 1.0
        self._inverse_of[row] = 127.0 / largest if largest else 0.0
        return False

    def _asymmetric_scale(self, row: int, low: float, high: float) -> bool:
        low, high = min(low, 0.0), max(high, 0.0)
        scale = float(np.float32(high - low)) / 255.0
        if scale == 0.0:
            self._scale_of[row], self._inverse_of[row], self._zero_point_of[row] = 1.0, 0.0, 0.0
            return False
        from_low, from_high = low / scale, high / scale
        zero_point = -128.0 - from_low if 128.0 + abs(from_low) < 127.0 + abs(from_high) else 127.0 - from_high
        zero_point = min(max(math.trunc(zero_point + math.copysign(0.5, zero_point)), -128), 127)
        self._zero_point_of[row] = zero_point
        self._scale_of[row] = scale
        self._inverse_of[row] = 1.0 / float(self._scale_of[row])
        # A hundredth is more than float32 can be wrong by.
        return from_low + zero_point < -128.49 or from_high + zero_point > 127.49


def _ranges(x: Array) -> Iterable[tuple[float, float]]:
    """The least and the greatest element of each row; both NaN where one is."""
    if len(x) == 1:
        return ((x.item(x.argmin()), x.item(x.argmax())),)
    return zip(np.minimum.reduce(x, axis=1).tolist(), np.maximum.reduce(x, axis=1).tolist(), strict=True)
