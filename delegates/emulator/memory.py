"""The emulated device's memory, under CuPy's names."""

from __future__ import annotations

import ctypes

import numpy as np

from tflgpu.model.graph import Array

MEMORY = 1 << 33
"""Bytes that the emulated device says it has."""


class CUDARuntimeError(RuntimeError):
    """status: cudaErrorMemoryAllocation, where more than MEMORY bytes are wanted."""

    status = 2


class ndarray:
    """Bytes on the device."""

    def __init__(self, shape: tuple[int, ...], dtype: str = "u1", memptr: Memory | None = None):
        assert memptr is not None and dtype == "u1"
        self.data = memptr
        self.nbytes = int(np.prod(shape))

    def __getitem__(self, bounds: slice) -> ndarray:
        first, last, _ = bounds.indices(self.nbytes)
        return ndarray((last - first,), "u1", Memory(self.data.array[first:last]))


class Memory:
    """An address in device memory."""

    owner: object = None

    def __init__(self, array: Array):
        self.array = array
        self.ptr = array.ctypes.data


def unowned_memory(ptr: int, size: int, owner: object) -> Memory:
    """Memory of somebody else's."""
    memory = Memory(np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(ptr)))
    memory.owner = owner
    return memory


def allocated(size: int) -> Memory:
    """Memory that holds NaN whatever it is taken for."""
    if size > MEMORY:
        raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
    block = np.full(size + 256, 0xFF, np.uint8)
    start = -block.ctypes.data % 256
    return Memory(block[start : start + size])
