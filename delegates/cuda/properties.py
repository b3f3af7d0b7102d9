"""What the CUDA runtime says of a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_BLOCKS = 16
"""Blocks of a barrier kernel at the most: an iteration that keeps more of them busy is worth launches of its own."""


def properties_of(runtime: Any, number: int) -> Mapping[str, Any]:
    """The properties of a GPU. Raises ValueError that says which there are where it is none of them."""
    count = runtime.getDeviceCount()
    if number < count:
        found: Mapping[str, Any] = runtime.getDeviceProperties(number)
        return found
    names = [runtime.getDeviceProperties(i)["name"].decode() for i in range(count)]
    known = "; ".join(f"{i}: {name}" for i, name in enumerate(names))
    raise ValueError(f"cuda delegate: no GPU {number}; found {known}")


def blocks_at_once(runtime: Any, number: int, properties: Mapping[str, Any]) -> int:
    """How many blocks of a megakernel may wait for one another; they sleep meanwhile, as only newer GPUs can."""
    launches = runtime.deviceGetAttribute(runtime.cudaDevAttrCooperativeLaunch, number)
    return min(properties["multiProcessorCount"], MOST_BLOCKS) if launches and properties["major"] >= 7 else 1
