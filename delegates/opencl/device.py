"""Running on an OpenCL device: its buffers, copies and launches."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from platform import machine
from typing import Any

import numpy as np
import pyopencl as cl

from tflgpu.delegates.autotune import Tuner
from tflgpu.delegates.cache import NOWHERE, ProgramCache
from tflgpu.delegates.device import Call
from tflgpu.delegates.device_memory import BOUNDARY, OTHER, DeviceMemory
from tflgpu.delegates.lowering.gemm.vnni_assembly import LANES
from tflgpu.delegates.opencl import capabilities
from tflgpu.delegates.opencl.choice import Rank, describe, rank
from tflgpu.delegates.opencl.external import buffer_of
from tflgpu.delegates.opencl.limits import language, limits_of, shares_memory
from tflgpu.delegates.opencl.programs import Programs
from tflgpu.delegates.process_end import awaited, synchronized_at_end
from tflgpu.delegates.program import Dialect
from tflgpu.delegation.forks import Opened
from tflgpu.delegation.launch_times import LaunchTimes, by_kernel
from tflgpu.memory import aligned_zeros
from tflgpu.model.graph import Array, TensorSpec

FUTEX = "-DFUTEX"
"""The build option for persistent_kernel.clh to let threads sleep."""

EARLY = 4
"""Launches after which a partition's queue is flushed for the first time."""

PAGE = 4096
"""Bytes at whose multiples a runtime takes memory of the host's for its own, as it is."""


class DeviceBuffer(cl.Buffer):
    """A buffer of which weak references are possible, unlike of pyopencl's own."""


class SharedBuffer(DeviceBuffer):
    """Memory of the host's that a device uses where it is: copies are NumPy's, and cost a tenth of the runtime's."""

    def __init__(self, context: cl.Context, nbytes: int):
        self.memory = self._view = aligned_zeros(nbytes, PAGE)
        super().__init__(context, cl.mem_flags.READ_WRITE | cl.mem_flags.USE_HOST_PTR, hostbuf=self.memory)

    def like(self, host: Array) -> Array:
        """The memory as an array of host's shape and type."""
        if self._view.shape != host.shape or self._view.dtype != host.dtype:
            self._view = self.memory[: host.nbytes].view(host.dtype).reshape(host.shape)
        return self._view


class OpenClDevice:
    """One OpenCL device with an in-order queue. Satisfies device.Device."""

    dialect = Dialect("tflgpu.kernels_cl", "cl", "prelude.clh", "vectors.clh", "types.clh")

    def __init__(
        self, device: cl.Device, cache: ProgramCache = NOWHERE, profile: bool = False, precision: str = "fp32"
    ):
        self.name = describe(device)
        self._opened = Opened(self.name)
        self.memory = DeviceMemory(self._opened)
        self.limits = replace(limits_of(device), precision=precision)
        if profile:  # which times launches
            self.limits = self.limits.minus("persistent")
        self.context = cl.Context([device])
        self._profile = profile
        self.queue = self._new_queue()
        self.nodes: tuple[str, ...] = ()
        self._events: list[tuple[LaunchTimes, cl.Event]] = []
        self._launches: list[LaunchTimes] = []
        self.programs = Programs(self.context, device, cache, self._build_options(device))
        self._shares = self.limits.cpu and shares_memory(device)
        self._idle = True
        self.tuner: Tuner | None = None
        if self.limits.vector == LANES and rank(device) == Rank.INTEL_CPU:
            self._probe_assembly()

    def _build_options(self, device: cl.Device) -> list[str]:
        options = list(language(device))
        if self.limits.exact_division:
            options.append("-cl-fp32-correctly-rounded-divide-sqrt")
        if self.limits.has("persistent") and sys.platform == "linux" and machine() == "x86_64":
            options.append(FUTEX)
        return options

    def _probe_assembly(self) -> None:
        """Has the device use assembly for what it is seen to compute rightly with it."""
        if capabilities.multiplies_bytes(self):
            self.limits = self.limits.plus("vnni", "vnni_assembly")
        self.programs.options.append(capabilities.VBMI)
        if not capabilities.looks_up_bytes(self):
            self.programs.options.remove(capabilities.VBMI)
        self._events.clear()
        self._launches.clear()

    @property
    def identity(self) -> str:
        """What a compiled program belongs to: the device, its driver, a CPU's instructions, and the build options."""
        return self.programs.identity

    def with_own_queue(self) -> OpenClDevice:
        self._opened.require()
        other = copy(self)
        other.queue, other._idle = other._new_queue(), True
        return other

    def _new_queue(self) -> cl.CommandQueue:
        flags: dict[str, Any] = {"properties": cl.command_queue_properties.PROFILING_ENABLE} if self._profile else {}
        synchronized_at_end(self)
        return cl.CommandQueue(self.context, **flags)

    def allocate(self, nbytes: int, what: str = OTHER) -> cl.Buffer:
        try:
            return self.memory.allocated(
                nbytes, what, lambda: DeviceBuffer(self.context, cl.mem_flags.READ_WRITE, nbytes)
            )
        except cl.Error as error:
            raise MemoryError(f"{self.memory.wanted(nbytes, what)}: {error}") from error

    def exchange(self, nbytes: int) -> cl.Buffer:
        """A buffer that the host reads and writes often: where the device can, in memory of the host's."""
        if not self._shares:
            return self.allocate(nbytes, BOUNDARY)
        return self.memory.allocated(nbytes, BOUNDARY, lambda: SharedBuffer(self.context, nbytes))

    def external(self, array: Any, spec: TensorSpec) -> cl.Buffer:
        """A buffer that is a caller's array, of this device's `context`. Raises ValueError where it does not fit."""
        self._opened.require()
        return buffer_of(array, spec, self.context)

    def wait_for(self, stream: int) -> None:
        """What is put on this device's queue from now on runs after what is on the queue of that address, `int_ptr`."""
        if stream:
            follow(self.queue, stream)

    def slice(self, buffer: cl.Buffer, offset: int, nbytes: int) -> cl.Buffer:
        return buffer.get_sub_region(offset, nbytes)

    def upload(self, buffer: cl.Buffer, host: Array) -> None:
        self._opened.require()
        if isinstance(buffer, SharedBuffer):
            self._wait()
            np.copyto(buffer.like(host), host)
        elif host.nbytes:
            copy_and_wait(self.queue, buffer, np.ascontiguousarray(host))

    def download(self, buffer: cl.Buffer, host: Array) -> None:
        self._opened.require()
        if isinstance(buffer, SharedBuffer):
            self._wait()
            np.copyto(host, buffer.like(host))
        elif host.nbytes:
            copy_and_wait(self.queue, host, buffer)

    def kernel(self, text: str, name: str) -> cl.Kernel:
        self._opened.require()
        kernel = self.programs.kernel(text, name)
        self.memory.programs = self.programs.made
        return kernel

    def bind(self, kernel: cl.Kernel, args: Sequence[Any], grid: Sequence[int], block: Sequence[int]) -> Call:
        kernel.set_args(*args)
        queue, enqueue = self.queue, cl.enqueue_nd_range_kernel
        whole, local = tuple(g * b for g, b in zip(grid, block, strict=True)), tuple(block)

        def call() -> None:
            self._idle = False
            enqueue(queue, kernel, whole, local)

        if self._profile:
            launch, events = LaunchTimes(kernel.function_name, self.nodes), self._events
            self._launches.append(launch)

            def timed_call() -> None:
                self._idle = False
                events.append((launch, enqueue(queue, kernel, whole, local)))

            call = timed_call

        # The kernel holds its buffers' handles, and the call must keep the Python objects that own them.
        call.args = args  # type: ignore[attr-defined]
        return call

    def sequence(self, calls: Sequence[Call]) -> Call:
        # The device begins with the first launches while the others are still being queued.
        start, rest, flush = tuple(calls[:EARLY]), tuple(calls[EARLY:]), self.queue.flush
        require = self._opened.require

        def run() -> None:
            require()
            for call in start:
                call()
            flush()
            for call in rest:
                call()
            flush()

        return run

    def times(self) -> dict[str, tuple[int, float]]:
        """Runs and milliseconds of each kernel so far, by its name; nothing unless the option `profile` is set."""
        return by_kernel(self.launches())

    def launches(self) -> Sequence[LaunchTimes]:
        """Every launch that was prepared, with its runs so far; none unless the option `profile` is set."""
        self._opened.require()
        for launch, event in self._events:
            wait_for(event)
            launch.ran(event.profile.start, event.profile.end)
        self._events.clear()
        return self._launches

    def synchronize(self) -> None:
        self._opened.require()
        finish(self.queue)

    def _wait(self) -> None:
        """Returns when no kernel runs, at no cost where none was launched since the last wait."""
        if not self._idle:
            finish(self.queue)
            self._idle = True


@awaited
def finish(queue: cl.CommandQueue) -> None:
    queue.finish()


@awaited
def follow(queue: cl.CommandQueue, address: int) -> None:
    """Makes what comes to the queue run after what is on the one of that address now."""
    other = cl.CommandQueue.from_int_ptr(address)
    marker = cl.enqueue_marker(other)
    other.flush()
    cl.enqueue_barrier(queue, wait_for=[marker])


@awaited
def wait_for(event: cl.Event) -> None:
    event.wait()


@awaited
def copy_and_wait(queue: cl.CommandQueue, target: Any, source: Any) -> None:
    cl.enqueue_copy(queue, target, source, is_blocking=True)
