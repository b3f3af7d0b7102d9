"""Memory that a step works in: small pieces are the step's own, large ones are shared by the steps of a thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tflgpu.graph import Array, Shape
from tflgpu.ops.shape_rules import elements

OWN = 1 << 15
"""Bytes up to which a workspace is kept for itself."""
RETAINED = 1 << 24
"""Bytes up to which a thread keeps what its steps share, for each use; what is larger is freed after each step."""


class _Shared(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[str, Array] = {}


_shared = _Shared()


class Workspace:
    """Arrays of given shapes and dtypes, of undefined content, to be taken anew by each step by calling this.

    use: what the arrays are for. Steps of one thread run one after another, so those of equal use share memory: an
    interpreter needs the largest and not the sum. Two that are held at once must differ in use.
    """

    def __init__(self, use: str, *arrays: tuple[Shape, npt.DTypeLike]):
        self._use = use
        self._layout: list[tuple[Shape, np.dtype, int]] = []
        at = 0
        for shape, dtype in arrays:
            self._layout.append((shape, np.dtype(dtype), at))
            at += -(-elements(shape) * np.dtype(dtype).itemsize // 64) * 64
        self._nbytes = at
        self._own = self._arrays(np.empty(at, np.uint8)) if at <= OWN else None

    def __call__(self) -> Sequence[Array]:
        if self._own is not None:
            return self._own
        if self._nbytes > RETAINED:
            return self._arrays(np.empty(self._nbytes, np.uint8))
        buffer = _shared.buffers.get(self._use)
        if buffer is None or buffer.size < self._nbytes:
            buffer = _shared.buffers[self._use] = np.empty(self._nbytes, np.uint8)
        return self._arrays(buffer)

    def _arrays(self, buffer: Array) -> list[Array]:
        return [np.ndarray(shape, dtype, buffer.data, at) for shape, dtype, at in self._layout]
