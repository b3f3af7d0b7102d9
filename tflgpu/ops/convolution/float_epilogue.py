"""The epilogue of float convolutions: bias and activation."""

from __future__ import annotations

import numpy as np

from tflgpu.model.graph import Array
from tflgpu.ops.fused_activation import clamp, float_range
from tflgpu.ops.matmul.requantize import fold
from tflgpu.ops.registry import Step


class FloatEpilogue:
    """Adds a bias (oc,) to rows (m, oc) and clamps them, in place."""

    def __init__(self, bias: Array | None, activation: str):
        self._bias = bias
        lo, hi = float_range(activation)
        self._lo, self._hi = lo, hi
        self._tiled: dict[int, Array] = {}

    def bind(self, rows: Array) -> Step:
        """The step for C-contiguous rows (m, oc)."""
        lo, hi = self._lo, self._hi
        if self._bias is None:
            return lambda: clamp(rows, lo, hi, rows)
        together = fold(*rows.shape)
        if together not in self._tiled:
            self._tiled[together] = np.tile(self._bias, together)
        bias, rows = self._tiled[together], rows.reshape(len(rows) // together, -1)

        def step() -> None:
            np.add(rows, bias, rows)
            clamp(rows, lo, hi, rows)

        return step

    def load(self) -> None:
        """Reads the present content of a bias that is not constant."""
        for together, tiled in self._tiled.items():
            tiled[...] = np.tile(self._bias, together) if self._bias is not None else 0
