"""How the CPU kernels that compute images row by row share the rows among work-items."""

from __future__ import annotations

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.lowering.registry import size
from tflgpu.model.graph import TensorSpec

SMALL = 2048
"""Elements below which a second work-item costs more than it saves."""


def rows_of(out: TensorSpec, limits: DeviceLimits) -> dict[str, int]:
    """The rows of images (n, oh, ow, c), and how many work-items, `items`, share them."""
    rows = out.shape[0] * out.shape[1]
    return {"rows": rows, "items": max(1, min(rows, limits.units * 4, size(out) // SMALL))}


def vectors(channels: int, limits: DeviceLimits) -> dict[str, object]:
    """The macros for vectors of at least 4 channels."""
    return {"VW": next(n for n in (16, 8, 4) if n <= min(channels, limits.vector)), "OUT_T": "f32"}
