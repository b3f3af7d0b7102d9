"""A stand-in for CuPy that runs CUDA kernels on the CPU: the very same texts, compiled by a C++ compiler.

Has what CudaDevice asks of CuPy and nothing else, under the same names and with the same parameters, so that the
device, its streams and its graphs are the real ones.
"""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path
from types import SimpleNamespace

from tflgpu.delegates.cache import NOWHERE, ProgramCache
from tflgpu.delegates.emulator import cublas
from tflgpu.delegates.emulator.kernel import MULTIPROCESSORS, Module, resident
from tflgpu.delegates.emulator.memory import MEMORY, CUDARuntimeError, allocated, ndarray, unowned_memory
from tflgpu.delegates.emulator.programs import CompileException, Programs
from tflgpu.delegates.emulator.streams import Event, Stream, current, elapsed_time


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
            get_elapsed_time=elapsed_time,
            Memory=allocated,
            MemoryPointer=lambda mem, offset: mem,
            Stream=lambda null=False, non_blocking=False, ptds=False, priority=None: Stream(),
            alloc_pinned_memory=lambda size: bytearray(size),
            UnownedMemory=unowned_memory,
            cublas=cublas.binding(lambda work: current().do(work)),
            compiler=SimpleNamespace(CompileException=CompileException, compile_using_nvrtc=_program),
            driver=SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=resident),
            get_cuda_path=lambda: None,
            nvrtc=SimpleNamespace(getVersion=lambda: (12, 9)),
            get_current_stream=lambda: stream,
            runtime=runtime,
        )

    def RawModule(
        self, code: str = "", *, path: str = "", options: tuple[str, ...] = (), enable_cooperative_groups: bool = False
    ) -> Module:
        return Module(self.programs, code or Path(path).read_text(), options, enable_cooperative_groups)


class Device:
    """The only one."""

    compute_capability = "90"

    def __init__(self, device: int = 0):
        self.id = device

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def _memcpy_async(dst: int, src: int, size: int, kind: int, stream: int) -> None:
    def copy() -> None:
        ctypes.memmove(dst, src, size)

    current().do(copy)


runtime = SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
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


def _program(source: str, options: tuple[str, ...] = ()) -> tuple[bytes, None]:
    """What stands for a compiled program is its text: it is compiled for the CPU when a kernel of it is wanted."""
    return source.encode(), None
