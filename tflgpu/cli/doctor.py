"""`tflgpu doctor`: what is installed, which delegates work, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from importlib.metadata import entry_points
from typing import Any

import tflgpu
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


def findings() -> dict[str, Any]:
    """What is installed, which delegates load, and which devices they see, as data."""
    points = (point.name for point in entry_points(group=ENTRY_POINTS))
    return {
        "tflgpu": tflgpu.__version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": [
            {"name": name, "version": _version(name), "for": purpose, "remedy": remedy}
            for name, (purpose, remedy) in _PACKAGES.items()
        ],
        "delegates": [{"name": name, **_tried(name)} for name in sorted({*BUILT_IN, *points})],
        "devices": [row for name in SURVEYS for row in _devices(name)],
    }


def plain(facts: dict[str, Any]) -> str:
    """The findings as text, a line each: what needs none of the extras."""
    lines = [f"tflgpu {facts['tflgpu']}, Python {facts['python']}, {facts['platform']}"]
    for p in facts["packages"]:
        lines.append(f"{p['name']} {p['version'] or 'missing'}: {_purpose(p)}")
    lines += [f"delegate {d['name']}: {'works: ' if d['works'] else ''}{d['told']}" for d in facts["delegates"]]
    lines += [f"device of {d['delegate']}: {d['device']}: {d['told']}" for d in facts["devices"]]
    return "\n".join(lines)


def doctor(as_json: bool = False) -> None:
    """Show what is installed, which delegates work, which device each takes and why, and what is missing."""
    facts = findings()
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    try:
        from tflgpu.cli.models import columns, console
    except ModuleNotFoundError:  # rich is an extra
        print(plain(facts))
        return
    console.print(f"tflgpu {facts['tflgpu']}, Python {facts['python']}, {facts['platform']}")
    packages = columns("package", "version", "for")
    for p in facts["packages"]:
        packages.add_row(p["name"], p["version"] or "missing", _purpose(p), style="" if p["version"] else "yellow")
    console.print(packages)
    delegates = columns("delegate", "")
    for d in facts["delegates"]:
        told = f"works: {d['told']}" if d["works"] else d["told"]
        delegates.add_row(d["name"], told, style="" if d["works"] else "yellow")
    console.print(delegates)
    devices = columns("device", "of", "")
    for d in facts["devices"]:
        devices.add_row(d["device"], d["delegate"], d["told"], style="green" if d["told"].startswith("taken: ") else "")
    if facts["devices"]:
        console.print(devices)


def _purpose(package: dict[str, Any]) -> str:
    return str(package["for"] if package["version"] else f"{package['for']}: {package['remedy']}")


def _devices(name: str) -> list[dict[str, str]]:
    """Every device that the delegate could run on; none where its Python packages are not installed."""
    try:
        return [{"delegate": name, "device": device, "told": told} for device, told in survey(name)]
    except ImportError:
        return []  # as the list of delegates says


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tried(name: str) -> dict[str, Any]:
    """Whether the delegate loads here, and what it is, or why not."""
    try:
        delegate = tflgpu.load_delegate(name)
    except (OSError, ValueError, ImportError) as error:
        return {"works": False, "told": str(error).strip()}
    anonymous = type(delegate).__repr__ is object.__repr__
    return {"works": True, "told": type(delegate).__qualname__ if anonymous else str(delegate)}
