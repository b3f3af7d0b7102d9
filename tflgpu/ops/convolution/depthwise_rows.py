"""Depthwise convolution over rows of output pixels as long vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tflgpu.arithmetic.fixed_point import FLOAT32_EXACT
from tflgpu.model.graph import Array
from tflgpu.ops.convolution.convolution import RowBlock
from tflgpu.ops.convolution.window import PaddedRows, Window, row_ranges
from tflgpu.ops.matmul.requantize import fold
from tflgpu.ops.registry import Step
from tflgpu.ops.scratch import scratch

BLOCK = 1 << 15
"""Accumulators at a time: with the rows that they read, what a core's own cache holds."""


GEMM_SPEED = 8
"""Multiply-adds of GEMM in the time that one takes here."""


class DepthwiseWeights:
    """Weights (kh, kw, oc) of a depthwise convolution of oc / multiplier channels; `convolution.ConvolutionWeights`.

    A row of output pixels is one vector (ow * oc), so that each tap is one multiply-add of vectors, however few the
    channels: weights are repeated along the row as far as that pays. largest: the largest magnitude of an image's
    quantized values; None for floats. zero_point is subtracted from the weights. in_order: whether to add up tap by
    tap, in the reference's order and rounding.
    """

    def __init__(
        self,
        weights: Array,
        multiplier: int,
        largest: int | None = None,
        dtype: np.dtype | type = np.float32,
        zero_point: int = 0,
        constant: bool = True,
    ):
        self.kh, self.kw, self.oc = weights.shape
        self.multiplier, self.constant = multiplier, constant
        self.multiplies, self.whole_images = GEMM_SPEED * self.kh * self.kw, False
        self._weights, self._zero_point = weights, zero_point
        self.accumulator = np.dtype(dtype)
        self.weight_sums, self.bound = np.zeros(self.oc, np.int64), 0
        self._tiled: list[tuple[Array, slice, int]] = []
        self.in_order = False
        if largest is not None:
            self._plan(largest)

    def _plan(self, largest: int) -> None:
        centred = self._weights.astype(np.int64) - self._zero_point
        self.weight_sums[...] = centred.sum(axis=(0, 1))
        magnitude = np.abs(centred) if self.constant else np.full(centred.shape, 255)
        self.bound = int(magnitude.sum(axis=(0, 1)).max(initial=0)) * largest
        if self.bound > FLOAT32_EXACT:
            self.accumulator = np.dtype(np.float64)

    def load(self) -> None:
        """Reads the present content of weights that are not constant."""
        centred = self._weights.astype(self.accumulator) - self.accumulator.type(self._zero_point)
        if self._weights.dtype.kind != "f":
            self.weight_sums[...] = centred.sum(axis=(0, 1), dtype=np.float64)
        for tiled, across, together in self._tiled:
            tiled[...] = np.tile(centred[:, across], together)

    def _tile(self, across: slice, together: int) -> Array:
        for tiled, had, times in self._tiled:
            if (had, times) == (across, together):
                return tiled
        centred = self._weights[:, across].astype(self.accumulator) - self.accumulator.type(self._zero_point)
        self._tiled.append((np.tile(centred, together), across, together))
        return self._tiled[-1][0]

    def row_blocks(
        self, x: Array, window: Window, pad: float, target: Callable[[slice], Array], per_image: bool, large: bool
    ) -> list[RowBlock]:
        """The convolution of x (b, h, w, c) in blocks of rows; see `convolution.ConvolutionWeights`."""
        ranges = row_ranges(window, window.ow * self.oc, BLOCK)
        if not ranges or window.ow == 0 or self.oc == 0:
            return []
        phases = 1 if window.ow == 1 else window.sw
        padded = PaddedRows(window, x.shape, ranges[0][1], self.accumulator, pad, phases, self.multiplier)
        alone = len(x) * len(ranges) == 1
        partial = scratch("partial", ranges[0][1] * window.ow * self.oc, self.accumulator)
        together = fold(window.ow, self.oc)
        row_blocks = []
        for image in range(len(x)):
            for first, count in ranges:
                copies = [one for one in padded.copies(x[image], first, count) if not alone or one[1] is not pad]
                start = (image * window.oh + first) * window.ow
                rows = slice(start, start + count * window.ow)
                sums = target(rows)
                compute = self._bind(padded, count, together, sums, partial)
                row_blocks.append(RowBlock(tuple(copies), compute, rows, image, sums))
        return row_blocks

    def _bind(self, padded: PaddedRows, count: int, together: int, out: Array, partial: Array) -> Step:
        """A step that convolves the rows in `padded` into out (count * ow, oc)."""
        shape = (count, padded.window.ow // together, together * self.oc)
        sums, partial = out.reshape(shape), partial[: out.size].reshape(shape)
        if self.in_order:
            return self._in_order(padded, shape, sums, partial)
        operands = []
        for phase in range(padded.phases):
            seen = padded.taps(count, phase)
            if seen is not None:
                view, across = seen
                operand = view.reshape(*view.shape[:2], *shape)
                operands.append((operand, self._tile(across, together)))
        (view, weights), *others = operands
        if not others:
            return lambda: np.einsum("ijrqe,ije->rqe", view, weights, out=sums)

        def step() -> None:
            np.einsum("ijrqe,ije->rqe", view, weights, out=sums)
            for more, weight in others:
                np.einsum("ijrqe,ije->rqe", more, weight, out=partial)
                np.add(sums, partial, sums)

        return step

    def _in_order(self, padded: PaddedRows, shape: tuple[int, int, int], sums: Array, partial: Array) -> Step:
        """A step that multiplies and adds one tap after another, without einsum's fused rounding."""
        pairs: dict[tuple[int, int], tuple[Array, Array]] = {}
        for phase in range(padded.phases):
            seen = padded.taps(shape[0], phase)
            if seen is not None:
                view, across = seen
                operand, weights = view.reshape(*view.shape[:2], *shape), self._tile(across, shape[2] // self.oc)
                for i in range(self.kh):
                    pairs |= {(i, j): (operand[i, n], weights[i, n]) for n, j in enumerate(range(self.kw)[across])}
        first, *others = [pairs[tap] for tap in sorted(pairs)]

        def step() -> None:
            np.multiply(*first, sums)
            for view, weights in others:
                np.multiply(view, weights, partial)
                np.add(sums, partial, sums)

        return step
