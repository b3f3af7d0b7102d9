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

    def machine_code(self, text: str, architecture: int, options: tuple[str, ...]) -> bytes:
        """The program as a CUBIN."""
        return self._compiled(text, architecture, options)[1]

    def ptx(self, text: str, architecture: int, options: tuple[str, ...]) -> str:
        """The program in PTX."""
        return self._compiled(text, architecture, options, "PTX")[1].rstrip(b"\0").decode()

    def _compiled(
        self, text: str, architecture: int, options: tuple[str, ...], made: str = "CUBIN"
    ) -> tuple[str, bytes]:
        """The compiler's log and what it made."""
        lib, program = self._library, ctypes.c_void_p()
        assert lib.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None) == 0
        flags = [f"--gpu-architecture=sm_{architecture}", *options, *self._includes]
        encoded = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        result = lib.nvrtcCompileProgram(program, len(flags), encoded)
        log = self._text(program, "ProgramLog").decode()
        binary = b"" if result else self._text(program, made)
        lib.nvrtcDestroyProgram(ctypes.byref(program))
        assert result == 0, f"sm_{architecture}:\n{log}"
        return log.rstrip("\0"), binary

    def _text(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        getattr(self._library, f"nvrtcGet{what}")(program, text)
        return text.raw


def _wheel(name: str) -> Path:
    package = pytest.importorskip("nvidia", reason="pip install nvidia-cuda-nvrtc-cu12")
    for folder in package.__path__:
        if (Path(folder) / name).is_dir():
            return Path(folder) / name
    pytest.skip(f"the wheel nvidia-{name.replace('_', '-')}-cu12 is not installed")


def _figures(log: str) -> list[tuple[str, Compiled]]:
    found = []
    for entry in re.split(r"Compiling entry function '", log)[1:]:
        name = entry[: entry.index("'")]
        spills = sum(map(int, re.findall(r"(\d+) bytes spill", entry)))
        registers = re.search(r"Used (\d+) registers", entry)
        shared = re.search(r"(\d+) bytes smem", entry)
        assert registers
        found.append((name, Compiled(int(registers[1]), spills, int(shared[1]) if shared else 0)))
    return found
