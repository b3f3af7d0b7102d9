"""Convolutions as GEMM: filters as matrices, and the im2col matrices of images that they are multiplied with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tflgpu.arithmetic.fixed_point import FLOAT32_EXACT, FLOAT64_EXACT
from tflgpu.model.graph import Array
from tflgpu.ops.cache_blocks import in_order
from tflgpu.ops.convolution.convolution import RowBlock
from tflgpu.ops.convolution.window import Copy, PaddedRows, Window, im2col_view, row_ranges
from tflgpu.ops.matmul.integer_matmul import FLOAT_COPY_ELEMENTS
from tflgpu.ops.registry import Step
from tflgpu.ops.scratch import scratch

ROWS = 128
"""Fewer rows than this make BLAS slow."""
IM2COL_ELEMENTS = 1 << 18
"""Elements of an im2col matrix in scratch at a time (1 MiB of float32)."""


class Im2colWeights:
    """Weights (oc, ..., ci) as one matrix (k, oc / groups) a group, to multiply im2col matrices (rows, k) with.

    Float weights are used in place. Integer ones give exact sums: in float32 over slices of k that stay within 2^24,
    or in float64. largest: the largest magnitude of a quantized value of the image; None for floats. zero_point is
    subtracted. constant: False where the weights' content changes; then `load` must be called after each change.
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
        self.constant, self.multiplies, self.whole_images = constant, self.k, False
        self.weight_sums, self.bound = np.zeros(self.oc, np.int64), 0
        self.k_slices = [slice(0, self.k)]
        self._float_weights: Array | None = None
        if largest is None:
            self._float_weights = self._weights
        else:
            self._plan(largest)
        self.accumulator = np.dtype(np.float32 if self.dtype == np.float32 and len(self.k_slices) == 1 else np.float64)

    def _plan(self, largest: int) -> None:
        limit = FLOAT32_EXACT if self.dtype == np.float32 else FLOAT64_EXACT
        if self.constant:
            if self._zero_point:
                self._weights, self._zero_point = self._weights.astype(np.int16) - np.int16(self._zero_point), 0
            self.weight_sums = self._weights.sum(axis=1, dtype=np.int64)
            self.k_slices, self.bound = _exact_k_slices(self._weights, largest, limit)
            if self._weights.size <= FLOAT_COPY_ELEMENTS:
                self._float_weights = self._weights.astype(self.dtype)
        else:
            info = np.iinfo(self._weights.dtype)
            most = max(abs(int(info.min) - self._zero_point), abs(int(info.max) - self._zero_point))
            size = max(1, limit // (largest * most))
            self.k_slices = [slice(s, min(s + size, self.k)) for s in range(0, self.k, size)]
            self.bound = largest * most * self.k
            self._float_weights = np.zeros(self._weights.shape, self.dtype)

    def load(self) -> None:
        """Reads the present content of weights that are not constant."""
        if self._largest is not None and self._float_weights is not None:
            np.subtract(self._weights, self.dtype.type(self._zero_point), out=self._float_weights, dtype=self.dtype)
            self.weight_sums[...] = self._float_weights.sum(axis=1, dtype=np.float64)

    def bind(self, rows: Array, out: Array) -> Step:
        """A step that writes rows, (m, k) or (groups, m, k), times the weights into out (m, oc)."""
        matrix = self._float_weights
        if matrix is not None and len(self.k_slices) == 1:
            if self.groups == 1:
                right = matrix.T
            else:
                right = matrix.reshape(self.groups, self.n, self.k).transpose(0, 2, 1)
                out = out.reshape(len(out), self.groups, self.n).transpose(1, 0, 2)
            return lambda: np.matmul(rows, right, out)
        steps: list[Step] = []
        for group in range(self.groups):
            left = rows if self.groups == 1 else rows[group]
            width = self.n if matrix is not None else max(1, min(self.n, FLOAT_COPY_ELEMENTS // max(self.k, 1)))
            for start in range(group * self.n, (group + 1) * self.n, width):
                steps.append(self._bind_columns(left, start, min(start + width, (group + 1) * self.n), out))
        return in_order(steps)

    def _bind_columns(self, rows: Array, start: int, stop: int, out: Array) -> Step:
        target, source = out[:, start:stop], self._weights[start:stop]
        right = self._scratch(stop - start) if self._float_weights is None else self._float_weights[start:stop]
        convert = self._float_weights is None
        single = len(self.k_slices) == 1
        partial = None if single else scratch("partial", target.shape, np.float32)
        pairs = [(rows[:, k_slice], right[:, k_slice].T) for k_slice in self.k_slices]

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

    def row_blocks(
        self, x: Array, window: Window, pad: float, target: Callable[[slice], Array], per_image: bool, large: bool
    ) -> list[RowBlock]:
        """The convolution of x (b, h, w, c) in blocks of rows; see `convolution.ConvolutionWeights`."""
        row_blocks = []
        for copies, matrix, rows, image in _im2col_blocks(x, window, self, pad, per_image, large):
            accumulators = target(rows)
            row_blocks.append(RowBlock(tuple(copies), self.bind(matrix, accumulators), rows, image, accumulators))
        return row_blocks

    def _scratch(self, n: int) -> Array:
        return scratch("weights", (n, self.k), self.dtype)


def _exact_k_slices(weights: Array, largest: int, limit: int) -> tuple[list[slice], int]:
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
    k_slices, start = [], 0
    while start < k:
        over = np.argmax((sums - sums[:, start : start + 1]) * largest > limit, axis=1)
        stop = int(over[over > 0].min(initial=k + 1)) - 1
        stop = min(max(stop, start + 1), k)
        k_slices.append(slice(start, stop))
        start = stop
    return k_slices, bound


Block = tuple["list[Copy]", Array, slice, int]
"""What to copy first, the matrix (m, k) or (groups, m, k), which output pixels, and which image they belong to."""


def _im2col_blocks(
    x: Array, window: Window, weights: Im2colWeights, pad: float, per_image: bool, large: bool
) -> list[Block]:
    """The blocks that cover the convolution of x (b, h, w, c). `x` is read when the copies run."""
    out_limit = (1 << 16 if large else 1 << 15) // max(1, weights.oc)
    least = 2 * ROWS if weights.oc * weights.k > FLOAT_COPY_ELEMENTS else ROWS
    rows = max(least, min(out_limit, IM2COL_ELEMENTS // max(1, weights.k * weights.groups)))
    b, h, w, c = x.shape
    pointwise = window.taps == window.sh == window.sw == weights.groups == 1 and window.inside(h, w)
    if pointwise and not per_image and x.flags.c_contiguous:
        return _flat_blocks(x.reshape(-1, c), weights.dtype, rows)
    planned: list[Block] = []
    ranges = row_ranges(window, window.ow, rows)
    if not ranges or window.ow == 0:
        return []
    direct = window.inside(h, w) and (x.dtype == weights.dtype or window.taps == 1)
    padded = None if direct else PaddedRows(window, x.shape, ranges[0][1], weights.dtype, pad)
    # With a single block, the padding stays as it was made.
    alone = b * len(ranges) == 1
    for image in range(b):
        for first, count in ranges:
            copies: list[Copy] = []
            if padded is None:
                view = im2col_view(x[image], window, count, first)
            else:
                copies = [one for one in padded.copies(x[image], first, count) if not alone or one[1] is not pad]
                view = im2col_view(padded.data[:, 0], window, count)
            matrix = _as_matrix(view, weights, copies)
            start = (image * window.oh + first) * window.ow
            planned.append((copies, matrix, slice(start, start + count * window.ow), image))
    return planned


def _flat_blocks(flat: Array, dtype: np.dtype, rows: int) -> list[Block]:
    """Blocks of a 1x1 convolution, whose im2col matrix is the pixels."""
    m = len(flat)
    if m == 0:
        return []
    size = -(-m // -(-m // rows))
    store = None if flat.dtype == dtype else scratch("im2col", (size, flat.shape[1]), dtype)
    planned: list[Block] = []
    for start in range(0, m, size):
        source = flat[start : start + size]
        pixels = slice(start, start + len(source))
        if store is None:
            planned.append(([], source, pixels, 0))
        else:
            planned.append(([(store[: len(source)], source)], store[: len(source)], pixels, 0))
    return planned


def _as_matrix(view: Array, weights: Im2colWeights, copies: list[Copy]) -> Array:
    """The matrix of `view` (count, ow, kh, kw, c): the same memory where its strides allow, else a copy in scratch."""
    m = view.shape[0] * view.shape[1]
    groups, k = weights.groups, weights.k
    if groups == 1 and view.dtype == weights.dtype and _is_matrix(view):
        return np.lib.stride_tricks.as_strided(view, (m, k), (_row_stride(view), view.itemsize), writeable=False)
    matrix = scratch("im2col", (groups, m, k), weights.dtype)
    kh, kw = view.shape[2:4]
    split = view.reshape(*view.shape[:4], groups, -1) if groups > 1 else view[..., None, :]
    copies.append((matrix.reshape(groups, *view.shape[:2], kh, kw, -1), split.transpose(4, 0, 1, 2, 3, 5)))
    return matrix[0] if groups == 1 else matrix


def _row_stride(view: Array) -> int:
    count, ow = view.shape[:2]
    k_bytes = int(np.prod(view.shape[2:])) * view.itemsize
    return view.strides[1] if ow > 1 else view.strides[0] if count > 1 else k_bytes


def _is_matrix(view: Array) -> bool:
    """Whether an im2col view (count, ow, kh, kw, c) has the strides of a matrix that BLAS can read."""
    count, ow, kh, kw, c = view.shape
    s = view.strides
    item = view.itemsize
    inner = item
    for size, stride in ((c, s[4]), (kw, s[3]), (kh, s[2])):
        if size > 1 and stride != inner:
            return False
        inner *= size
    merged = ow == 1 or count == 1 or s[0] == s[1] * ow
    return merged and _row_stride(view) >= inner
