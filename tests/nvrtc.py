"""NVRTC from the PyPI wheels, which compiles for any GPU on a machine that has none."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)


@dataclass(frozen=True)
class Compiled:
    """What ptxas reports of one kernel: registers a thread, bytes spilled, bytes of shared memory a block."""

    registers: int
    spilled: int
    shared: int


class Nvrtc:
    """Skips the test where the wheels nvidia-cuda-nvrtc-cu12, -runtime- and -nvcc- (for mma.h) are not installed."""

    def __init__(self) -> None:
        wheels = [_wheel(name) for name in ("cuda_nvrtc", "cuda_runtime", "cuda_nvcc")]
        (library,) = (wheels[0] / "lib").glob("libnvrtc.so.*[0-9]")
        self._library = ctypes.CDLL(str(library))
        self._includes = [f"-I{wheel / 'include'}" for wheel in wheels[1:]]

    def compile(self, text: str, architecture: int, options: tuple[str, ...]) -> dict[str, Compiled]:
        """Each kernel's figures. Raises AssertionError with the log where the text does not compile."""
        return dict(_figures(self._compiled(text, architecture, ("--ptxas-options=-v", *options))[0]))

    def ptx(self, text: str, architecture: int, options: tuple[str, ...]) -> str:
        """The program in PTX. Raises AssertionError with the log where the text does not compile."""
        return self._compiled(text, architecture, options)[1]

    def _compiled(self, text: str, architecture: int, options: tuple[str, ...]) -> tuple[str, str]:
        """The log, and the PTX."""
        lib, program = self._library, ctypes.c_void_p()
        assert lib.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None) == 0
        flags = [f"--gpu-architecture=sm_{architecture}", *options, *self._includes]
        encoded = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        result = lib.nvrtcCompileProgram(program, len(flags), encoded)
        size = ctypes.c_size_t()
        lib.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        lib.nvrtcGetProgramLog(program, log)
        report = log.value.decode()
        assert result == 0, f"sm_{architecture}:\n{report}"
        lib.nvrtcGetPTXSize(program, ctypes.byref(size))
        ptx = ctypes.create_string_buffer(size.value)
        lib.nvrtcGetPTX(program, ptx)
        lib.nvrtcDestroyProgram(ctypes.byref(program))
        return report, ptx.value.decode()


def _wheel(name: str) -> Path:
    package = pytest.importorskip("nvidia", reason="pip install nvidia-cuda-nvrtc-cu12")
    for folder in package.__path__:
        if (Path(folder) / name).is_dir():
            return Path(folder) / name
    pytest.skip(f"the wheel nvidia-{name.replace('_', '-')}-cu12 is not installed")


def _figures(log: str) -> list[tuple[str, Compiled]]:
    found = []
    for part in re.split(r"Compiling entry function '", log)[1:]:
        name = part[: part.index("'")]
        spills = sum(map(int, re.findall(r"(\d+) bytes spill", part)))
        registers = re.search(r"Used (\d+) registers", part)
        shared = re.search(r"(\d+) bytes smem", part)
        assert registers
        found.append((name, Compiled(int(registers[1]), spills, int(shared[1]) if shared else 0)))
    return found
