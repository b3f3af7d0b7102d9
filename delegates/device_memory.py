"""What a delegate holds of a device's memory: counted by what it is for, limited, and each constant only once."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count as numbers
from typing import Any, TypeVar

import numpy as np

from tflgpu.delegation.forks import Opened
from tflgpu.delegation.options import Option, count
from tflgpu.model.graph import Array
from tflgpu.runtime.threads import locked

MEMORY_OPTIONS = {
    "memory_limit": Option(0, count, "the most bytes of device memory that its interpreters hold together; 0: no limit")
}

WEIGHTS, ARENAS, BOUNDARY, CELLS, WORKSPACES, OTHER = (
    "weights",
    "arenas",
    "boundary tensors",
    "cells",
    "workspaces",
    "other buffers",
)

WHY: Mapping[str, str] = {
    WEIGHTS: "constants as kernels read them, each once for all signatures, shapes and interpreters that use it",
    ARENAS: "tensors inside partitions: an arena for each partition of each plan in use or cached",
    BOUNDARY: "inputs, outputs, variables and faults of partitions, in each plan in use or cached",
    CELLS: "counters of kernels, a buffer for each partition that has such kernels",
    WORKSPACES: "what the vendor's library computes in, one for each interpreter",
    OTHER: "what nothing else names",
}
"""What buffers are for, and why they are held."""

Buffer = TypeVar("Buffer")


@dataclass(frozen=True)
class Held:
    """Buffers of one purpose: which, how many bytes in how many buffers, and why they are held."""

    what: str
    nbytes: int
    buffers: int
    why: str

    def __str__(self) -> str:
        return f"{self.what:<16} {self.nbytes:>15,} bytes in {self.buffers:>5,} buffers: {self.why}"


@dataclass(frozen=True, repr=False)
class MemoryReport:
    """What a delegate holds on its device for all of its interpreters together. limit: in bytes; 0 where there is none.

    rows: one for each purpose that anything is held for, the largest first.
    """

    device: str
    limit: int
    rows: tuple[Held, ...]

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return sum(row.nbytes for row in self.rows)

    def __repr__(self) -> str:
        limit = f" of at most {self.limit:,}" if self.limit else ""
        return "\n".join([f"{self.nbytes:,} bytes{limit} on {self.device}", *(f"  {row}" for row in self.rows)])


class Constant:
    """A constant's buffer on the device, which stays as long as any partition holds this object."""

    def __init__(self, buffer: Any):
        self.buffer = buffer


class DeviceMemory:
    """The memory of a device that the interpreters of one delegate hold together.

    opened: the device, by its name. limit: in bytes; 0 for none. Interpreters may run in several threads.
    """

    def __init__(self, opened: Opened, limit: int = 0):
        self.limit = limit
        self.made: Counter[str] = Counter()
        """How many buffers have been allocated so far, by what they are for."""
        self.programs = 0
        """How many programs have been built so far; their memory is the runtime's."""
        self._opened = opened
        self._held: dict[int, tuple[str, int]] = {}
        self._numbers = numbers()
        self._constants: weakref.WeakValueDictionary[bytes, Constant] = weakref.WeakValueDictionary()
        self._lock = threading.RLock()

    def allocated(self, nbytes: int, what: str, allocate: Callable[[], Buffer]) -> Buffer:
        """What `allocate` returns, counted as nbytes for as long as that object lives. what: one of WHY.

        Raises MemoryError beyond the limit, ForkedError where the device is another process's.
        """
        self._opened.require()
        return locked(self._lock, lambda: self._allocated(nbytes, what, allocate))

    def _allocated(self, nbytes: int, what: str, allocate: Callable[[], Buffer]) -> Buffer:
        if self.limit and self.nbytes + nbytes > self.limit:
            raise MemoryError(f"{self.wanted(nbytes, what)}; memory_limit is {self.limit:,}")
        buffer, number = allocate(), next(self._numbers)
        # It takes no lock, since it may run at any line, of these methods too.
        weakref.finalize(buffer, self._held.pop, number, None).atexit = False
        self._held[number] = what, nbytes
        self.made[what] += 1
        return buffer

    def constant(self, value: Array, upload: Callable[[Array], Any]) -> Constant:
        """The value's bytes on the device, by `upload` unless they are there already, whoever has put them there.

        value: C-contiguous. upload: returns a buffer that kernels of any queue may read at once.
        """
        self._opened.require()  # since another thread may have held the lock when this process was forked
        key = hashlib.sha256(value.reshape(-1).view(np.uint8).data).digest()
        return locked(self._lock, lambda: self._constant(key, value, upload))

    def _constant(self, key: bytes, value: Array, upload: Callable[[Array], Any]) -> Constant:
        found = self._constants.get(key)
        if found is None:
            found = self._constants[key] = Constant(upload(value))
        return found

    @property
    def nbytes(self) -> int:
        """Bytes that are held now."""
        return sum(nbytes for _, nbytes in list(self._held.values()))

    def wanted(self, nbytes: int, what: str) -> str:
        """What is asked for and what is held already, in words, for errors."""
        held = ", ".join(f"{row.what} {row.nbytes:,}" for row in self.report().rows)
        return (
            f"{nbytes:,} bytes for {what} are wanted on {self._opened.name}, where this delegate holds "
            f"{self.nbytes:,} bytes{f' ({held})' if held else ''}"
        )

    def report(self) -> MemoryReport:
        """What is held now, and why."""
        nbytes, buffers = Counter[str](), Counter[str]()
        for what, size in list(self._held.values()):
            nbytes[what] += size
            buffers[what] += 1
        rows = tuple(Held(what, size, buffers[what], WHY[what]) for what, size in nbytes.most_common())
        return MemoryReport(self._opened.name, self.limit, rows)
