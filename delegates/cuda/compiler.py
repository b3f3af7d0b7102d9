"""Kernels compiled by NVRTC through CuPy, and kept on disk.

Not by giving RawModule their text: CuPy then adds -ftz=true, which takes denormal numbers for 0, and searches for the
headers of tensor cores only beside NVRTC, where a wheel of NVRTC has none.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tflgpu.delegates.cache import ProgramCache, process_folder, write_whole
from tflgpu.delegates.process_end import awaited

OPTIONS = ("-std=c++17", "--fmad=false")
"""A product and a sum round twice, as on the CPU, but where a kernel says fma."""

PROBE = 'extern "C" __global__ void probe() {}\n'
TENSOR_CORES = "#include <cuda_fp16.h>\n#include <mma.h>\n"

SHT_NOBITS = 8
"""The type of an ELF section that takes no bytes in the file."""

GRID_WIDE = "GRID_WIDE"
"""Defined in programs whose blocks wait for one another: a cooperative launch runs all of them at once."""


class Compiler:
    """For one device, the current one whenever a method is called."""

    def __init__(self, cupy: Any, cache: ProgramCache):
        self._cupy, self._cache = cupy, cache
        self._folder = process_folder(self, "tflgpu-cuda-")
        self._modules: dict[str, Any] = {}
        self.built = 0
        """How many programs this process has loaded."""
        self._headers: tuple[str, ...] = ()

    def find_headers(self) -> str:
        """Looks for those of tensor cores. "", or what the compiler says where none of the usual folders has them."""
        said = ""
        for folder in header_folders(self._cupy):
            self._headers = (f"-I{folder}",) if folder else ()
            try:
                self.function(TENSOR_CORES + PROBE, "probe")
                return ""
            except self._cupy.cuda.compiler.CompileException as error:
                said = said or next((line for line in str(error).splitlines() if "error" in line), str(error))
        return said

    @awaited
    def function(self, text: str, name: str) -> Any:
        """The kernel of that name. Raises CuPy's CompileException."""
        if text not in self._modules:
            self.built += 1
            together = f"#define {GRID_WIDE} " in text
            path = str(self._program(text))
            self._modules[text] = self._cupy.RawModule(path=path, enable_cooperative_groups=together)
        kernel = self._modules[text].get_function(name)
        kernel.compile()  # loads it, which would otherwise happen in the first run, perhaps while that is recorded
        return kernel

    def _program(self, text: str) -> Path:
        """A file of this process with the program, which is compiled unless it was kept."""
        device = self._cupy.cuda.Device()
        options = (*OPTIONS, *self._headers)
        key = "\n".join([str(device.compute_capability), str(self._cupy.cuda.nvrtc.getVersion()), *options, text])
        path = self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.cubin"
        if not path.exists():
            program = self._cache.get(key)
            if program is None:
                program = whole(self._cupy.cuda.compiler.compile_using_nvrtc(text, options)[0])
                self._cache.put(key, program)
            write_whole(path, program, sync=False)
        return path


def whole(program: bytes) -> bytes:
    """The program with the last byte that CuPy's getCUBIN cuts off, a NUL, where the ELF headers ask for it.

    A driver that is given a file sees its length; CuPy's own loader gives it a C string, which ends with that NUL.
    """
    return program + bytes(max(elf_size(program) - len(program), 0))


def elf_size(program: bytes) -> int:
    """How many bytes an ELF file's program and section headers and its sections take; 0 for what is no such file."""
    if program[:6] != b"\x7fELF\2\1" or len(program) < 64:  # 64 bits, little-endian
        return 0
    segments, sections = struct.unpack_from("<QQ", program, 32)
    segment_bytes, segment_count, section_bytes, section_count = struct.unpack_from("<4H", program, 54)
    ends = [segments + segment_bytes * segment_count, sections + section_bytes * section_count]
    for header in range(sections, min(ends[1], len(program) - section_bytes + 1), section_bytes or 1):
        kind, _, _, offset, size = struct.unpack_from("<I4Q", program, header + 4)
        ends += [offset + size] if kind != SHT_NOBITS else []
    return max(ends)


def header_folders(cupy: Any) -> Iterator[str]:
    """Where CUDA's headers may be, "" first: NVRTC has some of its own."""
    yield ""
    roots = [cupy.cuda.get_cuda_path(), os.environ.get("CUDA_PATH"), os.environ.get("CUDA_HOME")]
    nvcc = shutil.which("nvcc")
    roots += [str(Path(nvcc).resolve().parent.parent)] if nvcc else []
    roots += ["/usr/local/cuda", *_of_packages()]
    for root in dict.fromkeys(root for root in roots if root):
        include = Path(root) / "include"
        if (include / "mma.h").exists():
            yield str(include)


def _of_packages() -> Iterator[str]:
    """Roots in Python packages that bring the headers: NVIDIA's wheels, Triton."""
    for package, below in (("nvidia", ("cu13", "cuda_runtime", "cuda_nvcc")), ("triton", ("backends/nvidia",))):
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations or ()) if found else ():
            yield from (str(Path(folder) / name) for name in below)
