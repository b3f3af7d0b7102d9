"""Exact integer GEMM by float BLAS, without a float copy of large weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tflgpu.arithmetic.fixed_point import FLOAT32_EXACT
from tflgpu.model.graph import Array
from tflgpu.ops.scratch import copied, scratch

FLOAT_COPY_ELEMENTS = 1 << 16
"""Weights of up to so many elements keep a float copy (256 KiB in float32); larger ones are converted block by block at
each multiply, about 0.1 ns an element, which keeps an interpreter's memory near that of its model."""

TILE = 1 << 15
"""Elements of a result that GEMM and its epilogue take at a time: they stay in the cache between the two."""

_NARROWEST = 128
"""Rows of large weights that are converted at a time at least: GEMM of fewer columns is slower in BLAS."""

SMALL = 1 << 11
"""Elements of a result up to which the calls of a GEMM cost more than its arithmetic."""


class IntegerMatrix:
    """Integer weights (n, k) as the right side of an exact GEMM: quantized (rows, k) times weights transposed.

    largest: the largest magnitude among `quantized`. 8-bit values and weights (largest <= 255) are multiplied in
    float32, over slices of k whose sums stay within 2^24; wider ones in float64, whose 2^53 no tensor here reaches.
    keep: keeps a float copy of weights of any size, for a GEMM that runs many times an invoke (recurrence).
    """

    def __init__(self, weights: Array, rows: int, largest: int = 128, keep: bool = False):
        n, k = weights.shape
        wide = largest > 255 or weights.dtype.itemsize > 1
        self.dtype = np.dtype(np.float64 if wide else np.float32)
        self._k_slice = k if wide else _exact_depth_of(weights, largest)
        whole = self._k_slice >= k
        self.accumulator = self.dtype if whole else np.dtype(np.float64)
        self._weights = weights
        self._float_weights = copied(weights, self.dtype) if keep or weights.size <= FLOAT_COPY_ELEMENTS else None
        converted = min(n, max(_NARROWEST, FLOAT_COPY_ELEMENTS // max(k, 1)))
        self._columns = converted if self._float_weights is None else n
        self._rows = max(1, min(rows, TILE // max(self._columns, 1)))
        self.tile_size = self._rows * self._columns
        self._tile = scratch("tile", self.tile_size, self.accumulator)
        self._partial = scratch("partial", 0 if whole else self.tile_size, np.float32)
        self._block = scratch("weights", (0 if self._float_weights is not None else self._columns, k), self.dtype)
        self._result = np.empty((rows, n), self.accumulator) if self._float_weights is not None and keep else None

    def multiply(self, quantized: Array) -> Array:
        """quantized (rows, k) of dtype `dtype` times weights transposed: (rows, n), overwritten by the next call."""
        if self._result is None:
            self._result = np.empty((len(quantized), len(self._weights)), self.accumulator)
        if self._float_weights is not None and self.accumulator == self.dtype:
            return np.matmul(quantized, self._float_weights.T, out=self._result)
        for rows, columns, product in self.tiles(quantized):
            self._result[rows, columns] = product
        return self._result

    def tiles(self, quantized: Array) -> Iterator[tuple[slice, slice, Array]]:
        """The result of `multiply` tile by tile: rows, columns, and a contiguous array, valid until the next."""
        n = len(self._weights)
        for start in range(0, n, self._columns):
            columns = slice(start, min(start + self._columns, n))
            width = columns.stop - start
            if self._float_weights is None:
                weights = self._block[:width]
                np.copyto(weights, self._weights[columns])
            else:
                weights = self._float_weights
            for first in range(0, len(quantized), self._rows):
                rows = slice(first, min(first + self._rows, len(quantized)))
                size = (rows.stop - first) * width
                tile = self._tile[:size].reshape(-1, width)
                self._multiply(quantized[rows], weights.T, tile, self._partial[:size])
                yield rows, columns, tile

    def _multiply(self, quantized: Array, weights: Array, tile: Array, partial: Array) -> None:
        if not partial.size:
            np.matmul(quantized, weights, out=tile)
            return
        addend = partial.reshape(tile.shape)
        tile.fill(0)
        for start in range(0, quantized.shape[1], self._k_slice):
            k_slice = slice(start, start + self._k_slice)
            np.matmul(quantized[:, k_slice], weights[k_slice], out=addend)
            np.add(tile, addend, out=tile)


def largest_magnitude(dtype: np.dtype, zero_point: int) -> int:
    """The largest magnitude of a value of this type less the zero point."""
    limits = np.iinfo(dtype)
    return max(int(limits.max) - zero_point, zero_point - int(limits.min))


def exact_depth(largest: int, largest_weight: int) -> int:
    """How many products of values and weights of these magnitudes float32 can add up without rounding."""
    return max(1, FLOAT32_EXACT // max(1, largest * largest_weight))


def exact_throughout(weights: Array, largest: int) -> bool:
    """Whether float32 can add up all products of weights (n, k) with values of magnitude up to `largest`."""
    return _exact_depth_of(weights, largest) >= weights.shape[1]


def _exact_depth_of(weights: Array, largest: int) -> int:
    n, k = weights.shape
    depth = exact_depth(largest, 255 if weights.dtype == np.uint8 else 128)
    if depth >= k:
        return k
    block = max(1, FLOAT_COPY_ELEMENTS // max(k, 1))
    sums = (np.abs(weights[i : i + block], dtype=np.int16).sum(axis=1, dtype=np.int64) for i in range(0, n, block))
    return k if all(int(s.max()) * largest <= FLOAT32_EXACT for s in sums) else depth
