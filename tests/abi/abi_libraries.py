"""The delegates in tests/native, compiled once a session; a test that needs one says so where there is no compiler."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "native"
_folders: list[tempfile.TemporaryDirectory[str]] = []  # which are removed with the process


@functools.cache
def compiled(name: str | Path) -> Path:
    """The path of the library made of tests/native/<name>.cc, or of the source at a path."""
    source = name if isinstance(name, Path) else SOURCES / f"{name}.cc"
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler (g++ or clang++) to build a native delegate with")
    library = _folder() / f"{source.stem}.so"
    command = [compiler, "-std=c++17", "-O1", "-Wall", "-Wextra", "-fPIC", "-shared", "-o", str(library)]
    built = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return library


def _folder() -> Path:
    _folders.append(tempfile.TemporaryDirectory(prefix="tflgpu-native-"))
    return Path(_folders[-1].name)
