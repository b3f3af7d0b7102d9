"""NVRTC by ctypes: CUDA's compiler, which needs no driver. From NVIDIA's wheels, or where the loader finds it."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from tflgpu.delegates.emulator.programs import CompileException


class Nvrtc:
    """Raises ValueError that says what to install where there is none."""

    def __init__(self) -> None:
        folders = list(_folders())
        found = [str(file) for folder in folders for file in sorted((folder / "lib").glob("libnvrtc.so.*[0-9]"))]
        name = (*found, ctypes.util.find_library("nvrtc"))[0]
        if name is None:
            raise ValueError(
                "cuda delegate: device=ptx needs NVRTC, and no GPU: pip install nvidia-cuda-nvrtc-cu12 "
                "nvidia-cuda-runtime-cu12 nvidia-cuda-nvcc-cu12"
            )
        self._library = ctypes.CDLL(name)
        self.includes = tuple(f"-I{folder / 'include'}" for folder in folders if (folder / "include").is_dir())

    def getVersion(self) -> tuple[int, int]:
        """As CuPy's module calls it."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return major.value, minor.value

    def ptx(self, source: str, options: Sequence[str]) -> bytes:
        """What it makes of a text. Raises CompileException."""
        library, program = self._library, ctypes.c_void_p()
        if library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None):
            raise CompileException("NVRTC makes no program")
        try:
            flags = [option.encode() for option in (*options, *self.includes)]
            if library.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags)):
                raise CompileException(self._text(program, "ProgramLog").decode(errors="replace"))
            return self._text(program, "PTX")
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _text(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._library[f"nvrtcGet{what}Size"](program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._library[f"nvrtcGet{what}"](program, text)
        return text.value


def _folders() -> list[Path]:
    """Of CUDA's wheels and toolkit, those that are there."""
    found = importlib.util.find_spec("nvidia")
    wheels = [Path(folder) for folder in (found.submodule_search_locations or ())] if found else []
    names = ("cu13", "cuda_nvrtc", "cuda_runtime", "cuda_nvcc")
    usual = [Path(root) for root in (os.environ.get("CUDA_PATH"), "/usr/local/cuda") if root]
    return [folder for folder in (*(wheel / name for wheel in wheels for name in names), *usual) if folder.is_dir()]
