"""Exact products of integer codes by float BLAS, without a float copy of large weights."""

from __future__ import annotations

import numpy as np

from tflgpu.graph import Array

KEPT = 1 << 16
"""Weights of up to so many elements keep a float32 copy (256 KiB); larger ones are converted block by block at each
product, which costs about 0.1 ns an element and keeps an interpreter's memory near that of its model."""


class IntegerMatrix:
    """Weights (n, k) of integer codes, as the right side of exact products: codes (rows, k) times weights transposed.

    largest: the largest magnitude among the codes. 8-bit codes (largest <= 255) are multiplied in float32, in pieces of k
    whose sums stay within 2^24; wider ones in float64, whose 2^53 no tensor here reaches.
    weights: None where they are not constant; each call of `multiply` is given them then.
    """

    def __init__(self, weights: Array | None, rows: int, n: int, k: int, largest: int = 128):
        self._weights = weights
        self._dtype = np.dtype(np.float32 if largest <= 255 else np.float64)
        self._piece = k if self._dtype == np.float64 else self._exact_piece(weights, k, largest)
        whole = self._piece >= k
        self.product = np.zeros((rows, n), self._dtype if whole else np.float64)
        self._partial = None if whole else np.empty((rows, n), np.float32)
        self._block = max(1, KEPT // max(k, 1))
        self._kept: Array | None = None
        if weights is not None and weights.size <= KEPT:
            self._kept = weights.astype(self._dtype)
        else:
            self._scratch = np.empty((min(self._block, n), k), self._dtype)

    @staticmethod
    def _exact_piece(weights: Array | None, k: int, largest: int) -> int:
        """How many of the k columns can be summed at once in float32 without rounding."""
        if largest * 128 * k <= 1 << 24:
            return k
        if weights is not None:
            # A float32 product with ones is exact enough a bound: it errs by less than 2^-12 of it.
            total = max(int(np.abs(row, dtype=np.int16).sum(dtype=np.int64)) for row in weights) if len(weights) else 0
            if largest * total <= 1 << 24:
                return k
        return max(1, (1 << 24) // (largest * 128))

    def multiply(self, codes: Array, weights: Array | None = None) -> Array:
        """codes (rows, k), of this matrix's float dtype, times weights transposed: `product` (rows, n), overwritten."""
        if self._kept is not None:
            self._columns(codes, self._kept, self.product, self._partial)
            return self.product
        source = self._weights if weights is None else weights
        assert source is not None
        n = source.shape[0]
        for start in range(0, n, self._block):
            stop = min(start + self._block, n)
            block = self._scratch[: stop - start]
            np.copyto(block, source[start:stop])
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
