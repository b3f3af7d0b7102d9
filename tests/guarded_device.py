"""An OpenCL device whose every buffer lies between guard bytes and begins full of poison."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyopencl as cl

from tflgpu.delegates.cache import ProgramCache, cache_folder
from tflgpu.delegates.device_memory import OTHER
from tflgpu.delegates.opencl.choice import find_device
from tflgpu.delegates.opencl.device import OpenClDevice

GUARD = 256
POISON = 0xA5


class GuardedDevice(OpenClDevice):
    """device: as the option of that name. cpu: whether it is taken for a CPU; None leaves that to the device."""

    def __init__(self, device: str = "cpu", cpu: bool | None = None) -> None:
        self._wholes: list[tuple[cl.Buffer, int]] = []
        self._inside: dict[int, cl.Buffer] = {}
        self._uploaded: set[int] = set()
        super().__init__(find_device(device), ProgramCache(cache_folder("", "opencl")))
        if cpu is not None and cpu != self.limits.cpu:
            self.limits = replace(self.limits.minus("vnni", "vnni_assembly"), cpu=cpu, vector=8)

    @property
    def _guard(self) -> int:
        return -(-GUARD // self.limits.alignment) * self.limits.alignment

    def allocate(self, nbytes: int, what: str = OTHER) -> cl.Buffer:
        whole = super().allocate(nbytes + 2 * self._guard, what)
        cl.enqueue_copy(self.queue, whole, np.full(nbytes + 2 * self._guard, POISON, np.uint8))
        self._wholes.append((whole, nbytes))
        inside = whole.get_sub_region(self._guard, nbytes)
        self._inside[inside.int_ptr] = whole
        return inside

    def exchange(self, nbytes: int) -> cl.Buffer:
        return self.allocate(nbytes)

    def slice(self, buffer: cl.Buffer, offset: int, nbytes: int) -> cl.Buffer:
        """Of a buffer that was uploaded, the slice; of an arena, whose slices share nothing, a buffer with guards."""
        if buffer.int_ptr not in self._uploaded:
            return self.allocate(nbytes)
        return self._inside[buffer.int_ptr].get_sub_region(self._guard + offset, nbytes)

    def upload(self, buffer: cl.Buffer, host: Any) -> None:
        self._uploaded.add(buffer.int_ptr)
        super().upload(buffer, host)

    def check_guards(self) -> None:
        """Raises AssertionError where a kernel wrote beside a buffer of those allocated since the last check."""
        wholes = list(self._wholes)
        self._wholes.clear()
        self._inside.clear()
        self._uploaded.clear()
        for whole, nbytes in wholes:
            found = np.empty(whole.size, np.uint8)
            cl.enqueue_copy(self.queue, found, whole)
            assert (found[: self._guard] == POISON).all(), f"a kernel wrote before its buffer of {nbytes} bytes"
            assert (found[self._guard + nbytes :] == POISON).all(), f"a kernel wrote after its buffer of {nbytes} bytes"
