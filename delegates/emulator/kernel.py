"""Kernels of the emulated device, under CuPy's names: compiled for the CPU, and launched on a stream."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tflgpu.delegates.emulator.memory import ndarray
from tflgpu.delegates.emulator.programs import GLOBAL, Programs, data_of
from tflgpu.delegates.emulator.streams import current

MULTIPROCESSORS = 132

_lock = threading.RLock()  # there is one set of fibers in a process


def resident(func: int, blockSize: int, dynamicSMemSize: int) -> int:
    """Blocks of so many threads that a multiprocessor runs at once."""
    return 2048 // blockSize


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
        if cooperative and np.prod(grid) > MULTIPROCESSORS * resident(0, int(np.prod(block)), shared_mem):
            raise RuntimeError("cudaErrorCooperativeLaunchTooLarge: too many blocks in cooperative launch")
        pointers = (ctypes.c_void_p * max(len(kept), 1))(*map(ctypes.addressof, kept))
        launch = _Launch(_three(grid), _three(block), pointers, cooperative)
        buffers = [(a, kind) for a, (_, kind) in zip(args, self._parameters, strict=True) if isinstance(a, ndarray)]

        def run() -> None:
            with _lock:
                self._watch(buffers)
                errors = self._go(ctypes.byref(launch.struct))
                if errors:
                    found = self._programs.runtime.emu_errors().decode(errors="replace")
                    raise RuntimeError(f"{self.name}: {errors} errors\n{found}")

        run.kept, run.name = kept, self.name  # type: ignore[attr-defined]
        current().do(run)

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
        if not self._programs.check:
            return
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
