"""The emulated device by NVRTC's own PTX: what stands for CuPy with device=ptx, where device.py has device=emulator.

NVRTC needs no driver. Its PTX is translated by ptx.py, so that kernels run as the compiler understood them, with every
access to memory checked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tflgpu.delegates.cache import NOWHERE, ProgramCache
from tflgpu.delegates.emulator.device import Emulator
from tflgpu.delegates.emulator.kernel import Kernel
from tflgpu.delegates.emulator.memory import ndarray
from tflgpu.delegates.emulator.nvrtc import Nvrtc
from tflgpu.delegates.emulator.programs import CompileException, Programs
from tflgpu.delegates.emulator.ptx import UnknownInstruction, translated

ARCHITECTURE = "--gpu-architecture=compute_90"

ENTRY = """extern "C" __attribute__((visibility("default"))) int emu_go_{name}(EmuLaunch* launch) {{
    launch->shared_begin = __start_emu_shared;
    launch->shared_end = __stop_emu_shared;
    return emu_run(launch, ptx_{name});
}}
"""


class PtxEmulator(Emulator):
    """Raises ValueError where there is no NVRTC or no C++ compiler."""

    def __init__(self, cache: ProgramCache = NOWHERE):
        super().__init__(cache)
        nvrtc = Nvrtc()

        def compiled(source: str, options: Sequence[str] = ()) -> tuple[bytes, None]:
            return nvrtc.ptx(source, (ARCHITECTURE, *options)), None

        self.cuda.compiler = SimpleNamespace(CompileException=CompileException, compile_using_nvrtc=compiled)
        self.cuda.nvrtc = nvrtc

    def RawModule(
        self, code: str = "", *, path: str = "", options: tuple[str, ...] = (), enable_cooperative_groups: bool = False
    ) -> Any:
        return PtxModule(self.programs, code or Path(path).read_text(), enable_cooperative_groups)


class PtxModule:
    """A program, translated when a kernel is first asked for."""

    def __init__(self, programs: Programs, ptx: str, cooperative: bool):
        self._programs, self._ptx, self._cooperative = programs, ptx, cooperative

    def get_function(self, name: str) -> PtxKernel:
        try:
            program = translated(self._ptx)
        except UnknownInstruction as error:
            raise CompileException(f"device=ptx does not know the instruction: {error}") from error
        library = self._programs.load_translated(program.text + "\n" + ENTRY.format(name=name))
        return PtxKernel(self._programs, library, name, program.parameters[name], self._cooperative)


class _Buffer(ctypes.Structure):
    """Buffer of ptx.h."""

    _fields_ = [("begin", ctypes.c_uint64), ("end", ctypes.c_uint64), ("marks", ctypes.c_void_p)]


class PtxKernel(Kernel):
    """One kernel of a program."""

    def __init__(
        self,
        programs: Programs,
        library: ctypes.CDLL,
        name: str,
        parameters: Sequence[tuple[int, bool]],
        cooperative: bool,
    ):
        self._programs, self.name, self._library = programs, name, library
        self.enable_cooperative_groups = cooperative
        self.kernel = SimpleNamespace(ptr=id(self))
        self._go = library[f"emu_go_{name}"]
        self._parameters = [(size, int(address)) for size, address in parameters]

    def _value(self, k: int, argument: Any) -> Any:
        size, may_be_address = self._parameters[k]
        if may_be_address and isinstance(argument, np.generic) and argument.itemsize == size:
            return (ctypes.c_char * size).from_buffer_copy(argument.tobytes())
        return super()._value(k, argument)

    def _watch(self, buffers: Sequence[tuple[ndarray, int]]) -> None:
        """Tells the program which memory the kernel may touch, each buffer once, however many parameters have it."""
        spans = sorted({(buffer.data.ptr, buffer.nbytes) for buffer, _ in buffers})
        self._marks = [np.zeros(nbytes, np.uint8) for _, nbytes in spans]
        given = [
            _Buffer(start, start + nbytes, marks.ctypes.data)
            for (start, nbytes), marks in zip(spans, self._marks, strict=True)
        ]
        self._buffers = (_Buffer * len(given))(*given)
        self._library.ptx_set_buffers(len(given), self._buffers)
