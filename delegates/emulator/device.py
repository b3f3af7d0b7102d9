"""A stand-in for CuPy that runs CUDA kernels on the CPU: the very same texts, compiled by a C++ compiler.

Has what CudaDevice asks of CuPy and nothing else, under the same names and with the same parameters, so that the
device, its streams and its graphs are the real ones.
"""

from __future__ import annotations

import ctypes
import platform
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tflgpu.delegates.cache import NOWHERE, ProgramCache
from tflgpu.delegates.emulator import cublas
from tflgpu.delegates.emulator.programs import GLOBAL, CompileException, Programs, data_of
from tflgpu.model.graph import Array

MEMORY = 1 << 33
"""Bytes that the emulated device says it has."""

MULTIPROCESSORS = 132

_lock = threading.RLock()  # there is one set of fibers in a process


class OutOfMemoryError(MemoryError):
    """More than MEMORY bytes are wanted."""


class Emulator:
    """The namespace that stands for the module `cupy`. check: whether kernels' accesses to memory are watched."""

    def __init__(self, cache: ProgramCache = NOWHERE, check: bool = False):
        self.check = check
        self.programs = Programs(cache, check)
        stream = Stream()
        self.ndarray = ndarray
        self.cuda = SimpleNamespace(
            Device=Device,
            Event=Event,
            get_elapsed_time=_elapsed_time,
            MemoryPointer=lambda mem, offset: mem,
            MemoryPool=MemoryPool,
            Stream=lambda null=False, non_blocking=False, ptds=False, priority=None: Stream(),
            alloc_pinned_memory=lambda size: bytearray(size),
            UnownedMemory=unowned_memory,
            cublas=cublas.binding(lambda work: _current().do(work)),
            compiler=SimpleNamespace(CompileException=CompileException, compile_using_nvrtc=_program),
            driver=SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=_resident),
            get_cuda_path=lambda: None,
            nvrtc=SimpleNamespace(getVersion=lambda: (12, 9)),
            get_current_stream=lambda: stream,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            runtime=runtime,
        )

    def RawModule(
        self, code: str = "", *, path: str = "", options: tuple[str, ...] = (), enable_cooperative_groups: bool = False
    ) -> Module:
        return Module(self.programs, code or Path(path).read_text(), options, enable_cooperative_groups)


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


class MemoryPool:
    """Gives out memory that holds NaN whatever it is taken for."""

    def malloc(self, size: int) -> Memory:
        if size > MEMORY:
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes")
        block = np.full(size + 256, 0xFF, np.uint8)
        start = -block.ctypes.data % 256
        return Memory(block[start : start + size])

    def free_all_blocks(self) -> None:
        """Nothing is kept."""


class Device:
    """The only one."""

    compute_capability = "90"

    def __init__(self, device: int = 0):
        self.id = device

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Stream:
    """Work is done when it is launched, or recorded while a capture is under way."""

    ptr = 0

    def __init__(self) -> None:
        self.recorded: list[Callable[[], None]] | None = None

    def __enter__(self) -> Stream:
        _entered().append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _entered().pop()

    def do(self, work: Callable[[], None]) -> None:
        if self.recorded is None:
            work()
        else:
            self.recorded.append(work)

    def wait_event(self, event: Event) -> None:
        """Nothing: all before it is done."""

    def synchronize(self) -> None:
        if self.recorded is not None:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")

    def begin_capture(self, mode: int | None = None) -> None:
        self.recorded = []

    def end_capture(self) -> Graph:
        work, self.recorded = self.recorded, None
        assert work is not None
        return Graph(work)


_of_thread = threading.local()


def _entered() -> list[Stream]:
    """The streams that this thread has entered; the last is its current one."""
    streams: list[Stream] = _of_thread.__dict__.setdefault("streams", [])
    return streams


def _current() -> Stream:
    return _entered()[-1]


clock = time.perf_counter
"""Seconds, by which events are timed."""


class Event:
    """Past when it is recorded."""

    ptr = 0

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False):
        self.seconds = 0.0

    def record(self, stream: Stream | None = None) -> None:
        self.seconds = clock()

    def synchronize(self) -> None:
        """Nothing: it is past."""


def _elapsed_time(start_event: Event, end_event: Event) -> float:
    return (end_event.seconds - start_event.seconds) * 1e3


class Graph:
    """Recorded work."""

    def __init__(self, work: Sequence[Callable[[], None]]):
        self._work = tuple(work)

    def launch(self, stream: Stream | None = None) -> None:
        for work in self._work:
            work()


def _memcpy_async(dst: int, src: int, size: int, kind: int, stream: int) -> None:
    def copy() -> None:
        ctypes.memmove(dst, src, size)

    _current().do(copy)


runtime = SimpleNamespace(
    memcpyHostToDevice=1,
    memcpyDeviceToHost=2,
    memcpyAsync=_memcpy_async,
    eventRecord=lambda event, stream: None,
    getDeviceCount=lambda: 1,
    getDeviceProperties=lambda device: {
        "name": f"emulator on {platform.machine()}".encode(),
        "major": 9,
        "minor": 0,
        "multiProcessorCount": MULTIPROCESSORS,
        "sharedMemPerBlock": 49152,
    },
    cudaDevAttrCooperativeLaunch=95,
    deviceGetAttribute=lambda attrib, device: 1,
    driverGetVersion=lambda: 12090,
    runtimeGetVersion=lambda: 12090,
    memGetInfo=lambda: (MEMORY, MEMORY),
)


def _resident(func: int, blockSize: int, dynamicSMemSize: int) -> int:
    """Blocks of so many threads that a multiprocessor runs at once."""
    return 2048 // blockSize


def _program(source: str, options: tuple[str, ...] = ()) -> tuple[bytes, None]:
    """What stands for a compiled program is its text: it is compiled for the CPU when a kernel of it is wanted."""
    return source.encode(), None


class Module:
    """A program, compiled when a kernel is first asked for."""

    def __init__(self, programs: Programs, code: str, options: tuple[str, ...], cooperative: bool):
        self._programs, self._code, self._options, self._cooperative = programs, code, options, cooperative

    def get_function(self, name: str) -> Kernel:
        library, path = self._programs.load(self._code, self._options, name)
        return Kernel(self._programs, library, path, name, self._cooperative)


class Kernel:
    """One kernel of a program."""

    def __init__(self, programs: Programs, library: ctypes.CDLL, path: Path, name: str, cooperative: bool):
        self._programs, self._path, self.name = programs, path, name
        self.enable_cooperative_groups = cooperative
        self.kernel = SimpleNamespace(ptr=id(self))
        self._go = getattr(library, f"emu_go_{name}")
        describe = getattr(library, f"emu_describe_{name}")
        count = describe(None, None)
        sizes, kinds = (ctypes.c_int * count)(), (ctypes.c_int * count)()
        describe(sizes, kinds)
        self._parameters = list(zip(sizes, kinds, strict=True))

    def compile(self) -> None:
        """It is."""

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], shared_mem: int = 0
    ) -> None:
        """Launches on the current stream. args: ndarrays and NumPy scalars of exactly the parameters' sizes."""
        if len(args) != len(self._parameters):
            raise TypeError(f"{self.name} takes {len(self._parameters)} arguments, not {len(args)}")
        kept = [self._value(k, a) for k, a in enumerate(args)]
        cooperative = self.enable_cooperative_groups
        if cooperative and np.prod(grid) > MULTIPROCESSORS * _resident(0, int(np.prod(block)), shared_mem):
            raise RuntimeError("cudaErrorCooperativeLaunchTooLarge: too many blocks in cooperative launch")
        pointers = (ctypes.c_void_p * max(len(kept), 1))(*map(ctypes.addressof, kept))
        launch = _Launch(_three(grid), _three(block), pointers, cooperative)
        buffers = [(a, kind) for a, (_, kind) in zip(args, self._parameters, strict=True) if isinstance(a, ndarray)]

        def run() -> None:
            with _lock:
                if self._programs.check:
                    self._watch(buffers)
                errors = self._go(ctypes.byref(launch.struct))
                if errors:
                    found = self._programs.runtime.emu_errors().decode(errors="replace")
                    raise RuntimeError(f"{self.name}: {errors} errors\n{found}")

        run.kept, run.name = kept, self.name  # type: ignore[attr-defined]
        _current().do(run)

    def _value(self, k: int, argument: Any) -> Any:
        size, kind = self._parameters[k]
        if isinstance(argument, ndarray) != (kind > 0):
            raise TypeError(f"{self.name}, argument {k}: {'a pointer' if kind else 'a value'}, not {argument!r}")
        if isinstance(argument, ndarray):
            return ctypes.c_void_p(argument.data.ptr)
        if not isinstance(argument, np.generic) or argument.itemsize != size:
            raise TypeError(f"{self.name}, argument {k}: {size} bytes, not {argument!r} of {type(argument)}")
        return (ctypes.c_char * size).from_buffer_copy(argument.tobytes())

    def _watch(self, buffers: Sequence[tuple[ndarray, int]]) -> None:
        """Tells the runtime which memory the kernel may touch."""
        region = self._programs.runtime.emu_region
        self._programs.runtime.emu_regions_clear()
        written = {buffer.data.ptr for buffer, kind in buffers if kind == GLOBAL}
        for k, (buffer, kind) in enumerate(buffers):
            if kind != GLOBAL and buffer.data.ptr in written:
                continue  # read and written in place
            name = f"buffer {k} of {self.name}".encode()
            region(ctypes.c_void_p(buffer.data.ptr), ctypes.c_size_t(buffer.nbytes), kind, name)
        base = ctypes.cast(self._go, ctypes.c_void_p).value
        assert base is not None
        for symbol, offset, size, kind in data_of(self._path, f"emu_go_{self.name}"):
            region(ctypes.c_void_p(base + offset), ctypes.c_size_t(size), kind, symbol.encode())


class _Launch:
    """EmuLaunch of cuda_emulator.h."""

    class Struct(ctypes.Structure):
        _fields_ = [
            ("grid", ctypes.c_uint * 3),
            ("block", ctypes.c_uint * 3),
            ("args", ctypes.c_void_p),
            ("shared_begin", ctypes.c_void_p),
            ("shared_end", ctypes.c_void_p),
            ("cooperative", ctypes.c_int),
        ]

    def __init__(self, grid: tuple[int, ...], block: tuple[int, ...], args: Any, cooperative: bool):
        self._args = args
        three = ctypes.c_uint * 3
        pointers = ctypes.cast(args, ctypes.c_void_p)
        self.struct = self.Struct(three(*grid), three(*block), pointers, None, None, cooperative)


def _three(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return (*sizes, 1, 1, 1)[:3]
