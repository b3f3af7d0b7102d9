"""Exact products of integer codes by float BLAS, without a float copy of large weights."""

from __future__ import annotations

import numpy as np

from tflgpu.graph import Array

KEPT = 1 << 16
"""Weights of up to so many elements keep a float copy (256 KiB in float32); larger ones are converted block by block at
each product, about 0.1 ns an element, which keeps an interpreter's memory near that of its model."""

_FLOAT32_EXACT = 1 << 24
"""float32 holds every integer up to here."""


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
        self.product = np.zeros((rows, n), self.dtype if whole else np.float64)
        self._partial = None if whole else np.empty((rows, n), np.float32)
        self._weights = weights
        self._kept = weights.astype(self.dtype) if keep or weights.size <= KEPT else None
        self._block = max(1, KEPT // max(k, 1))
        self._scratch = np.empty((min(self._block, n), k), self.dtype) if self._kept is None else None

    def multiply(self, codes: Array) -> Array:
        """codes (rows, k), of this matrix's `dtype`, times weights transposed: `product` (rows, n), overwritten."""
        if self._kept is not None:
            self._columns(codes, self._kept, self.product, self._partial)
            return self.product
        assert self._scratch is not None
        n = len(self._weights)
        for start in range(0, n, self._block):
            stop = min(start + self._block, n)
            block = self._scratch[: stop - start]
            np.copyto(block, self._weights[start:stop])
            partial = None if self._partial is None else self._partial[:, start:stop]
            self._columns(codes, block, self.product[:, start:stop], partial)
        return self.product

    def _columns(self, codes: Array, block: Array, product: Array, partial: Array | None) -> None:
        if partial is None:
            np.matmul(codes, block.T, out=product)
            return
        product.fill(0)
        for start in range(0, codes.shape[1], self._piece):
            piece = slice(start, start + self._piece)
            np.matmul(codes[:, piece], block[:, piece].T, out=partial)
            np.add(product, partial, out=product)


def exact_depth(largest: int, largest_weight: int) -> int:
    """How many products of codes and weights of these magnitudes float32 can add up without rounding."""
    return max(1, _FLOAT32_EXACT // max(1, largest * largest_weight))


def _exact_piece(weights: Array, largest: int) -> int:
    n, k = weights.shape
    depth = exact_depth(largest, 255 if weights.dtype == np.uint8 else 128)
    if depth >= k:
        return k
    block = max(1, KEPT // max(k, 1))
    sums = (np.abs(weights[i : i + block], dtype=np.int16).sum(axis=1, dtype=np.int64) for i in range(0, n, block))
    return k if all(int(s.max()) * largest <= _FLOAT32_EXACT for s in sums) else depth
