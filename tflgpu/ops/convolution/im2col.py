"""Convolutions as matrix products: filters as matrices, and the patches of images that they are multiplied with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tflgpu.arithmetic.fixed_point import FLOAT32_EXACT, FLOAT64_EXACT
from tflgpu.model.graph import Array
from tflgpu.ops.cache_blocks import in_order
from tflgpu.ops.convolution.convolution import Run
from tflgpu.ops.convolution.window import Copy, PaddedRows, Window, blocks, patches
from tflgpu.ops.matmul.integer_matmul import KEPT
from tflgpu.ops.registry import Step
from tflgpu.ops.scratch import scratch

ROWS = 128
"""Fewer rows than this make BLAS slow."""
PATCHES = 1 << 18
"""Elements of patches in scratch at a time (1 MiB of float32)."""


class Filters:
    """Weights (oc, ..., ci) as one matrix (k, oc / groups) a group, for products with patches (rows, k).

    Float weights are used as they lie. Integer ones give exact sums: in float32 in pieces of k that stay within 2^24,
    or in float64. largest: the largest magnitude of a code in the patches; None for floats. zero_point is subtracted.
    constant: False where the weights' content changes; `load` must be called after each change then.
    """

    def __init__(
        self,
        weights: Array,
        groups: int = 1,
        largest: int | None = None,
        zero_point: int = 0,
        constant: bool = True,
        dtype: np.dtype | type = np.float32,
    ):
        self.oc, self.k, self.groups = weights.shape[0], int(np.prod(weights.shape[1:])), groups
        self.n = self.oc // groups
        self.dtype = np.dtype(dtype)
        self._weights, self._zero_point, self._largest = weights.reshape(self.oc, self.k), zero_point, largest
        self.constant = constant
        self.sums, self.bound = np.zeros(self.oc, np.int64), 0
        self.pieces = [slice(0, self.k)]
        self._kept: Array | None = None
        if largest is None:
            self._kept = self._weights
        else:
            self._plan(largest)
        self.accumulator = np.dtype(np.float32 if self.dtype == np.float32 and len(self.pieces) == 1 else np.float64)

    def _plan(self, largest: int) -> None:
        limit = FLOAT32_EXACT if self.dtype == np.float32 else FLOAT64_EXACT
        if self.constant:
            if self._zero_point:
                self._weights, self._zero_point = self._weights.astype(np.int16) - np.int16(self._zero_point), 0
            self.sums = self._weights.sum(axis=1, dtype=np.int64)
            self.pieces, self.bound = _pieces(self._weights, largest, limit)
            if self._weights.size <= KEPT:
                self._kept = self._weights.astype(self.dtype)
        else:
            info = np.iinfo(self._weights.dtype)
            most = max(abs(int(info.min) - self._zero_point), abs(int(info.max) - self._zero_point))
            size = max(1, limit // (largest * most))
            self.pieces = [slice(s, min(s + size, self.k)) for s in range(0, self.k, size)]
            self.bound = largest * most * self.k
            self._kept = np.zeros(self._weights.shape, self.dtype)

    def load(self) -> None:
        """Takes in the present content of weights that are not constant."""
        if self._largest is not None and self._kept is not None:
            np.subtract(self._weights, self.dtype.type(self._zero_point), out=self._kept, dtype=self.dtype)
            self.sums[...] = self._kept.sum(axis=1, dtype=np.float64)

    def bind(self, rows: Array, out: Array) -> Step:
        """A step that writes products into out (m, oc) of rows: (m, k), or (groups, m, k)."""
        matrix = self._kept
        if matrix is not None and len(self.pieces) == 1:
            if self.groups == 1:
                right = matrix.T
            else:
                right = matrix.reshape(self.groups, self.n, self.k).transpose(0, 2, 1)
                out = out.reshape(len(out), self.groups, self.n).transpose(1, 0, 2)
            return lambda: np.matmul(rows, right, out)
        steps: list[Step] = []
        for group in range(self.groups):
            left = rows if self.groups == 1 else rows[group]
            width = self.n if matrix is not None else max(1, min(self.n, KEPT // max(self.k, 1)))
            for start in range(group * self.n, (group + 1) * self.n, width):
                steps.append(self._bind_columns(left, start, min(start + width, (group + 1) * self.n), out))
        return in_order(steps)

    def _bind_columns(self, rows: Array, start: int, stop: int, out: Array) -> Step:
        target, source = out[:, start:stop], self._weights[start:stop]
        right = self._scratch(stop - start) if self._kept is None else self._kept[start:stop]
        convert = self._kept is None
        single = len(self.pieces) == 1
        partial = None if single else scratch("partial", target.shape, np.float32)
        pairs = [(rows[:, piece], right[:, piece].T) for piece in self.pieces]

        def step() -> None:
            if convert:
                right[...] = source
            if partial is None:
                np.matmul(*pairs[0], target)
                return
            for number, pair in enumerate(pairs):
                np.matmul(*pair, partial)
                if number:
                    np.add(target, partial, target)
                else:
                    target[...] = partial

        return step

    def runs(
        self, x: Array, window: Window, pad: float, target: Callable[[slice], Array], per_image: bool, large: bool
    ) -> list[Run]:
        """The convolution of x (b, h, w, c) in blocks of rows; see `convolution.Sums`."""
        runs = []
        for copies, matrix, rows, image in _patch_blocks(x, window, self, pad, per_image, large):
            sums = target(rows)
            runs.append(Run(tuple(copies), self.bind(matrix, sums), rows, image, sums))
        return runs

    def _scratch(self, n: int) -> Array:
        return scratch("weights", (n, self.k), self.dtype)


def _pieces(weights: Array, largest: int, limit: int) -> tuple[list[slice], int]:
    """Slices of k, as few as keep every sum of largest * |weight| within limit; and the largest sum over all of k."""
    oc, k = weights.shape
    if oc == 0 or k == 0:
        return [slice(0, k)], 0
    most = max(abs(int(weights.min())), abs(int(weights.max())))
    if most * largest * k <= limit:
        return [slice(0, k)], most * largest * k
    sums = np.zeros((oc, k + 1), np.int64)
    np.cumsum(np.abs(weights, dtype=np.int64), axis=1, out=sums[:, 1:])
    bound = int(sums[:, -1].max()) * largest
    pieces, start = [], 0
    while start < k:
        over = np.argmax((sums - sums[:, start : start + 1]) * largest > limit, axis=1)
        stop = int(over[over > 0].min(initial=k + 1)) - 1
        stop = min(max(stop, start + 1), k)
        pieces.append(slice(start, stop))
        start = stop
    return pieces, bound


Block = tuple["list[Copy]", Array, slice, int]
"""What to copy first, the patches (m, k) or (groups, m, k), the rows of the output, and the image they are of."""


def _patch_blocks(x: Array, window: Window, filters: Filters, pad: float, per_image: bool, large: bool) -> list[Block]:
    """The blocks that cover the convolution of x (b, h, w, c). `x` is read when the copies run."""
    out_limit = (1 << 16 if large else 1 << 15) // max(1, filters.oc)
    least = 2 * ROWS if filters.oc * filters.k > KEPT else ROWS
    rows = max(least, min(out_limit, PATCHES // max(1, filters.k * filters.groups)))
    b, h, w, c = x.shape
    pointwise = window.taps == window.sh == window.sw == filters.groups == 1 and window.inside(h, w)
    if pointwise and not per_image and x.flags.c_contiguous:
        return _flat_blocks(x.reshape(-1, c), filters.dtype, rows)
    planned: list[Block] = []
    parts = blocks(window, window.ow, rows)
    if not parts or window.ow == 0:
        return []
    direct = window.inside(h, w) and (x.dtype == filters.dtype or window.taps == 1)
    padded = None if direct else PaddedRows(window, x.shape, parts[0][1], filters.dtype, pad)
    # Of one block alone, the padding stays as it was made.
    alone = b * len(parts) == 1
    for image in range(b):
        for first, places in parts:
            copies: list[Copy] = []
            if padded is None:
                seen = patches(x[image], window, places, first)
            else:
                copies = [one for one in padded.copies(x[image], first, places) if not alone or one[1] is not pad]
                seen = patches(padded.data[:, 0], window, places)
            matrix = _as_matrix(seen, filters, copies)
            start = (image * window.oh + first) * window.ow
            planned.append((copies, matrix, slice(start, start + places * window.ow), image))
    return planned


def _flat_blocks(flat: Array, dtype: np.dtype, rows: int) -> list[Block]:
    """Blocks of a convolution whose patches are the pixels."""
    m = len(flat)
    if m == 0:
        return []
    size = -(-m // -(-m // rows))
    store = None if flat.dtype == dtype else scratch("patches", (size, flat.shape[1]), dtype)
    planned: list[Block] = []
    for start in range(0, m, size):
        source = flat[start : start + size]
        part = slice(start, start + len(source))
        if store is None:
            planned.append(([], source, part, 0))
        else:
            planned.append(([(store[: len(source)], source)], store[: len(source)], part, 0))
    return planned


def _as_matrix(seen: Array, filters: Filters, copies: list[Copy]) -> Array:
    """The matrix of the patches `seen` (places, ow, kh, kw, c): in place where they lie so, else copied to scratch."""
    m = seen.shape[0] * seen.shape[1]
    groups, k = filters.groups, filters.k
    if groups == 1 and seen.dtype == filters.dtype and _is_matrix(seen):
        return np.lib.stride_tricks.as_strided(seen, (m, k), (_row_stride(seen), seen.itemsize), writeable=False)
    matrix = scratch("patches", (groups, m, k), filters.dtype)
    kh, kw = seen.shape[2:4]
    split = seen.reshape(*seen.shape[:4], groups, -1) if groups > 1 else seen[..., None, :]
    copies.append((matrix.reshape(groups, *seen.shape[:2], kh, kw, -1), split.transpose(4, 0, 1, 2, 3, 5)))
    return matrix[0] if groups == 1 else matrix


def _row_stride(seen: Array) -> int:
    places, ow = seen.shape[:2]
    k_bytes = int(np.prod(seen.shape[2:])) * seen.itemsize
    return seen.strides[1] if ow > 1 else seen.strides[0] if places > 1 else k_bytes


def _is_matrix(seen: Array) -> bool:
    """Whether patches (places, ow, kh, kw, c) are the rows of a matrix that BLAS can read."""
    places, ow, kh, kw, c = seen.shape
    s = seen.strides
    item = seen.itemsize
    inner = item
    for size, stride in ((c, s[4]), (kw, s[3]), (kh, s[2])):
        if size > 1 and stride != inner:
            return False
        inner *= size
    merged = ow == 1 or places == 1 or s[0] == s[1] * ow
    return merged and _row_stride(seen) >= inner
