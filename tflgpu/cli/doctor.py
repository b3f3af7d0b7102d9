"""`tflgpu doctor`: what is installed, which delegates work, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from importlib.metadata import entry_points

from rich.markup import escape
from rich.table import Table

import tflgpu
from tflgpu.cli.models import console
from tflgpu.delegate import BUILT_IN, ENTRY_POINTS

# package -> (what it is for, how to get it)
_PACKAGES = {
    "numpy": ("the CPU executor", "pip install tflgpu"),
    "flatbuffers": ("reading models", "pip install tflgpu"),
    "pyopencl": ("the OpenCL delegate", "pip install 'tflgpu[opencl]'"),
    "pocl-binary-distribution": ("OpenCL on the CPU", "pip install 'tflgpu[opencl]'"),
    "intel-opencl-rt": ("OpenCL on the CPU, Intel's", "pip install 'tflgpu[opencl-intel]'"),
    "cupy-cuda12x": ("the CUDA delegate, CUDA 12", "pip install 'tflgpu[cuda12]'"),
    "cupy-cuda13x": ("the CUDA delegate, CUDA 13", "pip install 'tflgpu[cuda13]'"),
    "threadpoolctl": ("num_threads on the CPU", "pip install 'tflgpu[threads]'"),
    "ai-edge-litert": ("comparing with LiteRT", "pip install 'tflgpu[interop]'"),
    "ml_dtypes": ("bfloat16 tensors", "pip install 'tflgpu[interop]'"),
    "pillow": ("images as inputs of tflgpu run", "pip install 'tflgpu[cli]'"),
}


def doctor() -> None:
    """Show what is installed, which delegates work and on which device, and what is missing."""
    console.print(f"tflgpu {tflgpu.__version__}, Python {sys.version.split()[0]}, {platform.platform()}")
    packages = Table("package", "version", "for")
    for name, (purpose, remedy) in _PACKAGES.items():
        version = _version(name)
        packages.add_row(name, version or "[yellow]missing[/]", purpose if version else escape(f"{purpose}: {remedy}"))
    console.print(packages)
    delegates = Table("delegate", "")
    for name in sorted({*BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINTS))}):
        delegates.add_row(name, *_tried(name))
    console.print(delegates)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tried(name: str) -> tuple[str]:
    """Whether the delegate loads here, and why not."""
    try:
        return (f"[green]works[/]: {escape(str(tflgpu.load_delegate(name)))}",)
    except (OSError, ValueError, ImportError) as error:
        return (f"[yellow]{escape(str(error).strip())}[/]",)
