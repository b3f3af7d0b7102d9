"""`tflgpu doctor`: what is installed, which delegates work, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from importlib.metadata import entry_points

from rich.text import Text

import tflgpu
from tflgpu.cli.models import columns, console
from tflgpu.delegation.discovery import BUILT_IN, ENTRY_POINTS, SURVEYS, survey

# package -> (what it is for, how to get it)
_PACKAGES = {
    "numpy": ("the CPU executor", "pip install tflgpu"),
    "flatbuffers": ("reading models", "pip install tflgpu"),
    "threadpoolctl": ("num_threads on the CPU", "pip install tflgpu"),
    "pyopencl": ("the OpenCL delegate", "pip install 'tflgpu[opencl]'"),
    "intel-opencl-rt": ("OpenCL on x86-64 CPUs", "pip install 'tflgpu[opencl]'"),
    "cupy-cuda12x": ("the CUDA delegate, CUDA 12", "pip install 'tflgpu[cuda12]'"),
    "cupy-cuda13x": ("the CUDA delegate, CUDA 13", "pip install 'tflgpu[cuda13]'"),
    "ai-edge-litert": ("comparing with LiteRT", "pip install 'tflgpu[interop]'"),
    "ml_dtypes": ("bfloat16 tensors", "pip install 'tflgpu[interop]'"),
    "pyarrow": ("tflgpu batch", "pip install 'tflgpu[batch]'"),
    "ray": ("tflgpu batch and serve on a cluster", "pip install 'tflgpu[ray]'"),
    "kserve": ("tflgpu serve", "pip install 'tflgpu[serve]'"),
    "pillow": ("images as inputs of tflgpu run", "pip install 'tflgpu[cli]'"),
}


def doctor() -> None:
    """Show what is installed, which delegates work, which device each takes and why, and what is missing."""
    console.print(f"tflgpu {tflgpu.__version__}, Python {sys.version.split()[0]}, {platform.platform()}")
    packages = columns("package", "version", "for")
    for name, (purpose, remedy) in _PACKAGES.items():
        version = _version(name)
        told = (version, purpose) if version else (Text("missing", "yellow"), f"{purpose}: {remedy}")
        packages.add_row(name, *told)
    console.print(packages)
    delegates = columns("delegate", "")
    for name in sorted({*BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINTS))}):
        delegates.add_row(name, _tried(name))
    console.print(delegates)
    for name in SURVEYS:
        _show_devices(name)


def _show_devices(name: str) -> None:
    """A table of every device that the delegate could run on, where its Python packages are installed."""
    try:
        found = survey(name)
    except ImportError:
        return  # as the table of delegates says
    devices = columns(f"device of {name}", "")
    for device, taken in found:
        devices.add_row(Text(device), Text(taken, "green" if taken.startswith("taken: ") else ""))
    console.print(devices)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tried(name: str) -> Text:
    """Whether the delegate loads here, and why not."""
    try:
        delegate = tflgpu.load_delegate(name)
        told = type(delegate).__qualname__ if type(delegate).__repr__ is object.__repr__ else str(delegate)
        return Text.assemble(("works", "green"), f": {told}")
    except (OSError, ValueError, ImportError) as error:
        return Text(str(error).strip(), "yellow")
