"""Exact products of integer codes by float BLAS, without a float copy of large weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tflgpu.arithmetic.fixed_point import FLOAT32_EXACT
from tflgpu.model.graph import Array
from tflgpu.ops.scratch import copied, scratch

KEPT = 1 << 16
"""Weights of up to so many elements keep a float copy (256 KiB in float32); larger ones are converted block by block at
each product, about 0.1 ns an element, which keeps an interpreter's memory near that of its model."""

TILE = 1 << 15
"""Elements of a product that are made, and finished, at a time: they stay in the cache between the two."""

_NARROWEST = 128
"""Rows of large weights that are converted at a time at least: a product of fewer columns is slower in BLAS."""

SMALL = 1 << 11
"""Elements of a product up to which the calls that make it cost more than its arithmetic."""


class IntegerMatrix:
    """Weights (n, k) of integer codes, as the right side of exact products: codes (rows, k) times weights transposed.

    largest: the largest magnitude among the codes. 8-bit codes and weights (largest <= 255) are multiplied in float32,
    in pieces of k whose sums stay within 2^24; wider ones in float64, whose 2^53 no tensor here reaches.
    keep: keeps a float copy of weights of any size, for products that are taken many times an invoke (recurrence).
    """

    def __init__(self, weights: Array, rows: int, largest: int = 128, keep: bool = False):
        n, k = weights.shape
        wide = largest > 255 or weights.dtype.itemsize > 1
        self.dtype = np.dtype(np.float64 if wide else np.float32)
        self._piece = k if wide else _exact_piece(weights, largest)
        whole = self._piece >= k
        self.product_dtype = self.dtype if whole else np.dtype(np.float64)
        self._weights = weights
        self._kept = copied(weights, self.dtype) if keep or weights.size <= KEPT else None
        self._columns = n if self._kept is not None else min(n, max(_NARROWEST, KEPT // max(k, 1)))
        self._rows = max(1, min(rows, TILE // max(self._columns, 1)))
        self.tile_size = self._rows * self._columns
        self._tile = scratch("tile", self.tile_size, self.product_dtype)
        self._partial = scratch("partial", 0 if whole else self.tile_size, np.float32)
        self._block = scratch("weights", (0 if self._kept is not None else self._columns, k), self.dtype)
        self._product = np.empty((rows, n), self.product_dtype) if self._kept is not None and keep else None

    def multiply(self, codes: Array) -> Array:
        """codes (rows, k) of dtype `dtype` times weights transposed: (rows, n), overwritten by the next call."""
        if self._product is None:
            self._product = np.empty((len(codes), len(self._weights)), self.product_dtype)
        if self._kept is not None and self.product_dtype == self.dtype:
            return np.matmul(codes, self._kept.T, out=self._product)
        for rows, columns, tile in self.tiles(codes):
            self._product[rows, columns] = tile
        return self._product

    def tiles(self, codes: Array) -> Iterator[tuple[slice, slice, Array]]:
        """The product of `multiply` piece by piece: rows, columns, and a contiguous array, valid till the next."""
        n = len(self._weights)
        for start in range(0, n, self._columns):
            columns = slice(start, min(start + self._columns, n))
            width = columns.stop - start
            if self._kept is None:
                weights = self._block[:width]
                np.copyto(weights, self._weights[columns])
            else:
                weights = self._kept
            for first in range(0, len(codes), self._rows):
                rows = slice(first, min(first + self._rows, len(codes)))
                size = (rows.stop - first) * width
                product = self._tile[:size].reshape(-1, width)
                self._multiply(codes[rows], weights.T, product, self._partial[:size])
                yield rows, columns, product

    def _multiply(self, codes: Array, weights: Array, product: Array, partial: Array) -> None:
        if not partial.size:
            np.matmul(codes, weights, out=product)
            return
        part = partial.reshape(product.shape)
        product.fill(0)
        for start in range(0, codes.shape[1], self._piece):
            piece = slice(start, start + self._piece)
            np.matmul(codes[:, piece], weights[piece], out=part)
            np.add(product, part, out=product)


def largest_code(dtype: np.dtype, zero_point: int) -> int:
    """The largest magnitude of a code of this type less the zero point."""
    limits = np.iinfo(dtype)
    return max(int(limits.max) - zero_point, zero_point - int(limits.min))


def exact_depth(largest: int, largest_weight: int) -> int:
    """How many products of codes and weights of these magnitudes float32 can add up without rounding."""
    return max(1, FLOAT32_EXACT // max(1, largest * largest_weight))


def exact_throughout(weights: Array, largest: int) -> bool:
    """Whether float32 can add up all products of weights (n, k) with codes of magnitude up to `largest`."""
    return _exact_piece(weights, largest) >= weights.shape[1]


def _exact_piece(weights: Array, largest: int) -> int:
    n, k = weights.shape
    depth = exact_depth(largest, 255 if weights.dtype == np.uint8 else 128)
    if depth >= k:
        return k
    block = max(1, KEPT // max(k, 1))
    sums = (np.abs(weights[i : i + block], dtype=np.int16).sum(axis=1, dtype=np.int64) for i in range(0, n, block))
    return k if all(int(s.max()) * largest <= FLOAT32_EXACT for s in sums) else depth
