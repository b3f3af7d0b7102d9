"""bfloat16 as its bits in uint16, to and from float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def to_float32(bits: Array) -> Array:
    """The float32 values of bfloat16 bits: exact."""
    return (np.asarray(bits, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def from_float32(x: Array) -> Array:
    """The bits of the bfloat16 nearest to each float32, ties to even; every NaN becomes the quiet one of its sign."""
    raw = np.ascontiguousarray(x, np.float32).view(np.uint32).reshape(np.shape(x))
    upper = raw >> np.uint32(16)
    rounded = (raw + np.uint32(0x7FFF) + (upper & np.uint32(1))) >> np.uint32(16)
    nan = (upper & np.uint32(0x8000)) | np.uint32(0x7FC0)
    return np.where(np.isnan(x), nan, rounded).astype(np.uint16)
