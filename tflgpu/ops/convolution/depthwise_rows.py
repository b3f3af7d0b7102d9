"""Depthwise convolution: every channel summed over its window by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tflgpu.arithmetic.fixed_point import FLOAT32_EXACT
from tflgpu.model.graph import Array
from tflgpu.ops.convolution.convolution import Run
from tflgpu.ops.convolution.window import PaddedRows, Window, blocks
from tflgpu.ops.matmul.requantize import fold
from tflgpu.ops.registry import Step
from tflgpu.ops.scratch import scratch

BLOCK = 1 << 15
"""Sums at a time: with the rows that they read, what a core's own cache holds."""


class Taps:
    """Weights (kh, kw, oc) of a depthwise convolution of oc / multiplier channels; a `convolution.Sums`.

    A row of places is one long vector (ow * oc), so that each tap is one multiply-add of vectors whatever the number of
    channels: weights are repeated along the row as far as that pays. largest: the largest magnitude of an image's
    codes; None for floats. zero_point is subtracted from the weights. in_order: whether to add up tap by tap, in the
    reference's order and rounding.
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
        self._weights, self._zero_point = weights, zero_point
        self.accumulator = np.dtype(dtype)
        self.sums, self.bound = np.zeros(self.oc, np.int64), 0
        self._tiled: list[tuple[Array, slice, int]] = []
        self.in_order = False
        if largest is not None:
            self._plan(largest)

    def _plan(self, largest: int) -> None:
        centred = self._weights.astype(np.int64) - self._zero_point
        self.sums[...] = centred.sum(axis=(0, 1))
        magnitude = np.abs(centred) if self.constant else np.full(centred.shape, 255)
        self.bound = int(magnitude.sum(axis=(0, 1)).max(initial=0)) * largest
        if self.bound > FLOAT32_EXACT:
            self.accumulator = np.dtype(np.float64)

    def load(self) -> None:
        """Takes in the present content of weights that are not constant."""
        centred = self._weights.astype(self.accumulator) - self.accumulator.type(self._zero_point)
        if self._weights.dtype.kind != "f":
            self.sums[...] = centred.sum(axis=(0, 1), dtype=np.float64)
        for tiled, across, together in self._tiled:
            tiled[...] = np.tile(centred[:, across], together)

    def _tile(self, across: slice, together: int) -> Array:
        for tiled, had, times in self._tiled:
            if (had, times) == (across, together):
                return tiled
        centred = self._weights[:, across].astype(self.accumulator) - self.accumulator.type(self._zero_point)
        self._tiled.append((np.tile(centred, together), across, together))
        return self._tiled[-1][0]

    def runs(
        self, x: Array, window: Window, pad: float, target: Callable[[slice], Array], per_image: bool, large: bool
    ) -> list[Run]:
        """The convolution of x (b, h, w, c) in blocks of rows; see `convolution.Sums`."""
        parts = blocks(window, window.ow * self.oc, BLOCK)
        if not parts or window.ow == 0 or self.oc == 0:
            return []
        phases = 1 if window.ow == 1 else window.sw
        padded = PaddedRows(window, x.shape, parts[0][1], self.accumulator, pad, phases, self.multiplier)
        alone = len(x) * len(parts) == 1
        partial = scratch("partial", parts[0][1] * window.ow * self.oc, self.accumulator)
        together = fold(window.ow, self.oc)
        runs = []
        for image in range(len(x)):
            for first, places in parts:
                copies = [one for one in padded.copies(x[image], first, places) if not alone or one[1] is not pad]
                start = (image * window.oh + first) * window.ow
                rows = slice(start, start + places * window.ow)
                sums = target(rows)
                product = self._bind(padded, places, together, sums, partial)
                runs.append(Run(tuple(copies), product, rows, image, sums))
        return runs

    def _bind(self, padded: PaddedRows, places: int, together: int, out: Array, partial: Array) -> Step:
        """A step that sums what lies in padded into out (places * ow, oc)."""
        shape = (places, padded.window.ow // together, together * self.oc)
        sums, partial = out.reshape(shape), partial[: out.size].reshape(shape)
        if self.in_order:
            return self._in_order(padded, shape, sums, partial)
        operands = []
        for phase in range(padded.phases):
            seen = padded.taps(places, phase)
            if seen is not None:
                view, across = seen
                split = view.reshape(*view.shape[:2], *shape)
                operands.append((split, self._tile(across, together)))
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
                split, weights = view.reshape(*view.shape[:2], *shape), self._tile(across, shape[2] // self.oc)
                for i in range(self.kh):
                    pairs |= {(i, j): (split[i, n], weights[i, n]) for n, j in enumerate(range(self.kw)[across])}
        first, *others = [pairs[tap] for tap in sorted(pairs)]

        def step() -> None:
            np.multiply(*first, sums)
            for view, weights in others:
                np.multiply(view, weights, partial)
                np.add(sums, partial, sums)

        return step
