"""CUDA programs compiled for the CPU, kept on disk by their text."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tflgpu.delegates.cache import ProgramCache, process_folder, write_whole

HERE = Path(__file__).parent

_runtimes: dict[str, ctypes.CDLL] = {}  # by file name, by which the loader too takes two copies for one


class CompileException(Exception):
    """The C++ compiler refused a program; the text is what it said."""


def compiler() -> str:
    """The C++ compiler: $CXX, g++ or clang++. Raises ValueError where there is none."""
    for name in (os.environ.get("CXX"), "g++", "clang++"):
        if name and shutil.which(name):
            return name
    raise ValueError(
        "cuda delegate: device=emulator needs a C++ compiler; looked for $CXX, g++ and clang++ and found none. "
        "Install one, e.g. apt install g++"
    )


class Programs:
    """Programs compiled to shared libraries, kept on disk by their text."""

    def __init__(self, cache: ProgramCache, check: bool):
        self._cache, self.check = cache, check
        self._folder = process_folder(self, "tflgpu-emulator-")
        self._compiler = compiler()
        self._flags = ["-std=c++17", "-fPIC", "-shared", "-w", "-O2", *_processor_flags()]
        self._loaded: dict[tuple[str, tuple[str, ...], str], tuple[ctypes.CDLL, Path]] = {}
        sources = sorted(
            [HERE / "cuda_emulator.h", HERE / "ptx.h", HERE / "runtime.cpp", *(HERE / "include").iterdir()]
        )
        self._salt = "\n".join(source.read_text() for source in sources if source.is_file())
        check_flags = ["-DEMU_CHECK"] if check else []
        text = (HERE / "runtime.cpp").read_text()
        built = self._built(text, [*check_flags, "-I", str(HERE)], soname=True)
        # Local, and linked to: one process may have the runtime with checks beside that without.
        self._link = [f"-L{self._folder}", f"-l:{built.name}", "-Wl,-rpath,$ORIGIN"]
        self.runtime = _runtimes.setdefault(built.name, ctypes.CDLL(str(built)))
        self.runtime.emu_errors.restype = ctypes.c_char_p

    def load(self, code: str, options: tuple[str, ...], name: str) -> tuple[ctypes.CDLL, Path]:
        """The program's library, which has emu_go_NAME and emu_describe_NAME for the kernel of that name."""
        key = code, options, name
        if key not in self._loaded:
            flags = ["-fvisibility=hidden", "-nostdlib", "-ffp-contract=off", "-fno-strict-aliasing"]
            flags += ["-fno-threadsafe-statics"]
            flags += [option for option in options if option.startswith("-D")]
            if self.check:
                flags += ["-g1", "-O1", "-fsanitize=thread", "-fsanitize=alignment", "-fno-tree-sra"]
            flags += ["-I", str(HERE), "-I", str(HERE / "include"), "-include", "cuda_emulator.h"]
            path = self._built(f"{code}\nEMU_KERNEL({name})\n", flags, self._link)
            self._loaded[key] = ctypes.CDLL(str(path)), path
        return self._loaded[key]

    def load_translated(self, text: str) -> ctypes.CDLL:
        """The library of a program that ptx.py has translated."""
        flags = ["-fvisibility=hidden", "-ffp-contract=off", "-fno-strict-aliasing", "-fno-threadsafe-statics", "-O1"]
        flags += ["-I", str(HERE), "-include", "cuda_emulator.h"]
        return ctypes.CDLL(str(self._built(text, flags, [*self._link, "-lm"])))

    def _built(self, text: str, flags: Sequence[str], libraries: Sequence[str] = (), soname: bool = False) -> Path:
        key = "\n".join([self._salt, self._compiler, *self._flags, *flags[: flags.index("-I")], str(self.check), text])
        path = self._folder / (hashlib.sha256(key.encode()).hexdigest()[:32] + ".so")
        if path.exists():
            return path
        kept = self._cache.get(key)
        if kept is not None:
            write_whole(path, kept, sync=False)
            return path
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            source, library = Path(folder) / "program.cpp", Path(folder) / "program.so"
            source.write_text(text)
            command = [self._compiler, *self._flags, *flags, str(source), "-o", str(library), *libraries]
            if soname:
                command.append(f"-Wl,-soname,{path.name}")
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise CompileException(f"{' '.join(command)}\n{done.stderr[:8000]}")
            self._cache.put(key, library.read_bytes())
            library.replace(path)
        return path


def _processor_flags() -> list[str]:
    """Fused multiply-add in hardware where there is; without it each one is a call."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split())
    except OSError:
        return []
    return ["-march=x86-64-v3"] if {"avx2", "fma", "bmi2", "f16c", "movbe"} <= flags else []


GLOBAL, _SHARED, _IMAGE = 1, 3, 4
_symbols: dict[tuple[Path, str], list[tuple[str, int, int, int]]] = {}


def data_of(library: Path, anchor: str) -> list[tuple[str, int, int, int]]:
    """Name, offset from the symbol `anchor`, bytes and kind of each shared array, and of the library's other data."""
    if (library, anchor) not in _symbols:
        nm = subprocess.run(["nm", "-S", "-C", str(library)], capture_output=True, text=True, check=True).stdout
        at = {m[2]: int(m[1], 16) for m in re.finditer(r"^(\w{8,}) (?:\w{8,} )?\w (.+)$", nm, re.M)}
        sized = re.findall(r"^(\w{8,}) (\w{8,}) [dDbBrR] (.+)$", nm, re.M)
        first, last, base = at.get("__start_emu_shared", 0), at.get("__stop_emu_shared", 0), at[anchor]
        _symbols[library, anchor] = [
            (name.split("::")[-1], int(a, 16) - base, int(n, 16), _SHARED if first <= int(a, 16) < last else _IMAGE)
            for a, n, name in sized
            # Of other kernels in the library, which have C names, not; of C++ functions that this one calls, yes.
            if "::" not in name or "(" in name or " " in name or name.startswith(anchor.removeprefix("emu_go_") + "::")
        ]
    return _symbols[library, anchor]
