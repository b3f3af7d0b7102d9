"""One GPU as a Device, through the module `cupy` or what stands for it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tflgpu.delegates.autotune import Tuner
from tflgpu.delegates.cache import NOWHERE, ProgramCache
from tflgpu.delegates.cuda.compiler import Compiler
from tflgpu.delegates.cuda.cublas import Cublas, Routine
from tflgpu.delegates.cuda.external import address_of, described
from tflgpu.delegates.cuda.graph import RecordedPartition, captured
from tflgpu.delegates.cuda.properties import blocks_at_once, properties_of
from tflgpu.delegates.cuda.timing import Timing
from tflgpu.delegates.device import Call, CompileError, DeviceLimits
from tflgpu.delegates.device_memory import BOUNDARY, OTHER, WORKSPACES, DeviceMemory
from tflgpu.delegates.program import Dialect, numbered
from tflgpu.delegation.forks import Opened
from tflgpu.delegation.launch_times import LaunchTimes, by_kernel
from tflgpu.memory import Tensor
from tflgpu.model.graph import Array, Shape, TensorSpec

OUT_OF_MEMORY = 2
"""cudaErrorMemoryAllocation."""


class CudaDevice:
    """One GPU and a stream on it. Satisfies device.Device; a buffer is a one-dimensional CuPy array of bytes."""

    dialect = Dialect("tflgpu.kernels_cuda", "cu", "prelude.cuh", types="types.cuh")

    def __init__(self, cupy: Any, number: int = 0, precision: str = "fp32", cache: ProgramCache = NOWHERE):
        self._cupy, self._cuda = cupy, cupy.cuda
        self.runtime = cupy.cuda.runtime
        properties = properties_of(self.runtime, number)
        self.name = f"{properties['name'].decode()} (compute capability {properties['major']}.{properties['minor']})"
        self._opened = Opened(self.name)
        self.memory = DeviceMemory(self._opened)
        self.limits = DeviceLimits(
            max_block=256,
            alignment=256,
            units=properties["multiProcessorCount"],
            precision=precision,
            blocks=blocks_at_once(self.runtime, number, properties),
            kernel_families=frozenset({"warps", "chains"}),
        )
        self.graphs = True
        self.profile = False
        self.nodes: tuple[str, ...] = ()
        self.notes: list[str] = []
        """What the report should say of this device, e.g. that a graph could not be recorded."""
        self._device = self._cuda.Device(number)
        with self._device:
            self.stream = self._cuda.Stream(non_blocking=True)
        self._timing = Timing(self._cuda, self.stream)
        self._compiler = Compiler(cupy, cache)
        self.tuner: Tuner | None = None
        self._cublas: Cublas | None = None
        self._use_tensor_cores(properties["major"] * 10 + properties["minor"])
        self._pinned: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()
        self._mirrored: dict[int, int] = {}
        self._external: set[int] = set()

    def with_own_queue(self) -> CudaDevice:
        self._opened.require()
        other = copy(self)
        with self._device:
            other.stream = self._cuda.Stream(non_blocking=True)
        other._timing = self._timing.on(other.stream)
        other._cublas = None if self._cublas is None else other._new_cublas()
        other._pinned, other._mirrored, other._external = weakref.WeakValueDictionary(), {}, set()
        return other

    def _new_cublas(self) -> Cublas:
        with self.active():
            return Cublas(self._cupy, partial(self.allocate, what=WORKSPACES), self.stream.ptr)

    def _use_tensor_cores(self, capability: int) -> None:
        """Where the GPU has them and mma.h is installed. Raises ValueError where precision needs what is not there."""
        wanted = self.limits.precision
        enough = capability >= (80 if wanted == "tf32" else 75)
        with self.active():
            said = self._compiler.find_headers()
        if enough and not said:
            self.limits = replace(self.limits, tensor_cores=True)
            return
        reason = "the GPU has no tensor cores for it"
        if enough:
            reason = f"mma.h does not compile ({said}); CUDA's toolkit or pip install 'cupy-cuda12x[ctk]' has it"
        if wanted != "fp32":
            raise ValueError(f"cuda delegate: precision={wanted} is not available on {self.name}: {reason}")
        self.notes.append(f"int8 does without tensor cores: {reason}")

    @property
    def identity(self) -> str:
        """What a choice among variants belongs to: the GPU, the driver, the compiler, and how floats are multiplied."""
        versions = self.runtime.driverGetVersion(), self.runtime.runtimeGetVersion()
        return f"{self.name}\ndriver {versions[0]}, runtime {versions[1]}\n{self.limits.precision}"

    def autotune(self, cache: ProgramCache = NOWHERE) -> None:
        """From now on variants of a launch are timed, cuBLAS among them where it is installed, and the fastest taken.

        cache: where choices are kept.
        """
        try:
            self._cublas = self._new_cublas()
            self.limits = self.limits.plus("cublas")
        except (ImportError, OSError, AttributeError, RuntimeError, MemoryError) as error:
            self.notes.append(f"autotune does without cuBLAS: {str(error).splitlines()[0]}")
        self.tuner = Tuner(f"{self.identity}\n{'cuBLAS' if self._cublas else ''}", cache)

    @contextmanager
    def active(self) -> Iterator[None]:
        """This device and its stream are CuPy's current ones. Raises ForkedError where they are another process's."""
        self._opened.require()
        with self._device, self.stream:
            yield

    def allocate(self, nbytes: int, what: str = OTHER) -> Any:
        """A buffer of its own. Raises MemoryError that says what was wanted, what is held and what is free.

        Not of a pool: constants are freed in no stream's order, which only freeing to the driver waits for.
        """
        buffer = self.memory.allocated(nbytes, what, lambda: self._new_buffer(nbytes, what))
        self._mirrored.pop(buffer.data.ptr, None)
        self._external.discard(buffer.data.ptr)
        return buffer

    def exchange(self, nbytes: int) -> Any:
        """A buffer for what enters or leaves partitions."""
        return self.allocate(nbytes, BOUNDARY)

    def _new_buffer(self, nbytes: int, what: str) -> Any:
        with self.active():
            try:
                memory = self._cuda.Memory(nbytes)
            except self.runtime.CUDARuntimeError as error:
                if error.status != OUT_OF_MEMORY:
                    raise
                free, total = self.runtime.memGetInfo()
                raise MemoryError(
                    f"{self.memory.wanted(nbytes, what)}; {free:,} of the device's {total:,} bytes are free"
                ) from error
            return self._cupy.ndarray((nbytes,), "u1", self._cuda.MemoryPointer(memory, 0))

    def slice(self, buffer: Any, offset: int, nbytes: int) -> Any:
        return buffer[offset : offset + nbytes]

    def upload(self, buffer: Any, host: Array) -> None:
        """Pinned memory too is read before this returns: nobody says when it changes."""
        self.copy_in(buffer, np.ascontiguousarray(host))
        self.stream.synchronize()

    def copy_in(self, buffer: Any, host: Array) -> None:
        """Puts a copy to the device on the stream."""
        self._mirrored.pop(buffer.data.ptr, None)
        if host.nbytes:
            kind = self.runtime.memcpyHostToDevice
            with self.active():
                self.runtime.memcpyAsync(buffer.data.ptr, host.ctypes.data, host.nbytes, kind, self.stream.ptr)

    def download(self, buffer: Any, host: Array) -> None:
        if host.nbytes and self._mirrored.get(buffer.data.ptr) != host.ctypes.data:
            self.copy_out(buffer, host)
        self.synchronize()

    def copy_out(self, buffer: Any, host: Array) -> None:
        """Puts a copy to the host on the stream."""
        if host.nbytes:
            kind = self.runtime.memcpyDeviceToHost
            with self.active():
                self.runtime.memcpyAsync(host.ctypes.data, buffer.data.ptr, host.nbytes, kind, self.stream.ptr)

    def mirror(self, buffer: Any, host: Array | None) -> None:
        """The stream already holds the copy of buffer's coming value to host; None: it does not."""
        if host is None:
            self._mirrored.pop(buffer.data.ptr, None)
        else:
            self._mirrored[buffer.data.ptr] = host.ctypes.data

    def host_array(self, shape: Shape, dtype: npt.DTypeLike) -> Array | None:
        """Zeroed pinned memory, which copies run to and from while the host goes on; None where there is none."""
        count = int(np.prod(shape, dtype=np.int64))
        nbytes = count * np.dtype(dtype).itemsize
        if not nbytes:
            return None
        self._opened.require()
        try:
            with self._device:
                block = np.frombuffer(self._cuda.alloc_pinned_memory(nbytes), np.uint8, nbytes)
        except Exception:  # the operating system pins no more: pageable memory serves
            return None
        array = block.view(dtype).reshape(shape)
        array.fill(0)
        self._pinned[array.ctypes.data] = array
        return array

    def is_pinned(self, host: Array) -> bool:
        """Whether host is an array that host_array made."""
        return host.ctypes.data in self._pinned

    def external(self, array: Any, spec: TensorSpec) -> Any:
        """A buffer that is a caller's array. Raises ValueError where type, shape, order or address does not fit."""
        with self.active():
            array = described(array, spec, self._cupy)
        address, nbytes = address_of(array.__cuda_array_interface__, spec)
        memory = self._cuda.UnownedMemory(address, nbytes, array)
        self._external.add(address)
        return self._cupy.ndarray((nbytes,), "u1", self._cuda.MemoryPointer(memory, 0))

    def is_external(self, buffer: Any) -> bool:
        """Whether a buffer is a caller's array, which nobody wants copied to the host with every run."""
        return buffer.data.ptr in self._external

    def wait_for(self, stream: int) -> None:
        """What is put on this device's stream from now on runs after what is on that stream now."""
        with self.active():
            event = self._cuda.Event(disable_timing=True)
            self.runtime.eventRecord(event.ptr, stream)
            self.stream.wait_event(event)

    def kernel(self, text: str, name: str) -> Any:
        try:
            with self.active():
                function = self._compiler.function(text, name)
        except self._cuda.compiler.CompileException as error:
            raise CompileError(f"{name} for {self.name}:\n{error}\n{numbered(text)}") from error
        self.memory.programs = self._compiler.built
        return function

    def routine(self, name: str) -> Any:
        """The library's routine of that name, to be bound as a kernel is."""
        assert self._cublas is not None
        return Routine(name, getattr(self._cublas, name))

    def bind(self, kernel: Any, args: Sequence[Any], grid: Sequence[int], block: Sequence[int]) -> Call:
        if kernel.enable_cooperative_groups:
            (blocks,), (threads,) = grid, block
            of_one = self._cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(kernel.kernel.ptr, threads, 0)
            grid = (min(blocks, of_one * self.limits.units),)
        fixed = tuple(grid), tuple(block), tuple(args)

        def call() -> None:
            kernel(*fixed)

        buffers = {a.data.ptr: a.nbytes for a in args if not isinstance(a, np.generic)}
        if not self.profile:
            return call
        return self._timing.noted(LaunchTimes(kernel.name, self.nodes), call, sum(buffers.values()))

    def times(self) -> dict[str, tuple[int, float]]:
        """Runs and milliseconds of each kernel so far, by its name; nothing unless the option `profile` is set."""
        return by_kernel(self.launches())

    def launches(self) -> Sequence[LaunchTimes]:
        """Every launch that was prepared, with its runs so far; none unless the option `profile` is set."""
        self.synchronize()
        return self._timing.launches()

    def traffic(self) -> dict[str, int]:
        """Bytes of the buffers that each kernel's runs so far were given, by its name, as `times` has their times."""
        return dict(self._timing.traffic)

    def seconds_of(self, call: Call) -> float:
        """One run's time on the GPU."""
        with self.active():
            return self._timing.seconds_of(call, self.recorded)

    def sequence(self, calls: Sequence[Call]) -> Call:
        fixed = tuple(calls)

        def run() -> None:
            with self.active():
                for call in fixed:
                    call()

        return run

    def with_copies(self, reads: Sequence[Tensor], writes: Sequence[Tensor], run: Call) -> Call:
        """run, with the copies that bring what it reads to the device and its results to the host."""
        return RecordedPartition(self, reads, writes, run).step

    def recorded(self, run: Call) -> Call:
        """run as a CUDA graph, whose replay this returns. Raises RuntimeError where it cannot be recorded."""
        with self.active():
            graph = captured(self.stream, run)
        device, stream, require = self._device, self.stream, self._opened.require

        def replay() -> None:
            require()
            with device:
                graph.launch(stream)

        return replay

    def synchronize(self) -> None:
        self._opened.require()
        with self._device:
            self.stream.synchronize()
