"""The OpenCL devices that there are, in the order in which the delegate takes one."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Sequence
from enum import IntEnum
from platform import machine

import pyopencl as cl

from tflgpu.delegates.opencl import icd
from tflgpu.delegation.forks import Opened


class Rank(IntEnum):
    """What kind of device it is; the lowest is taken first."""

    GPU = 0
    INTEL_GPU = 1  # often the processor's own, beside another
    INTEL_CPU = 2
    CPU = 3
    ACCELERATOR = 4
    SIMULATOR = 5


REASONS = {
    Rank.GPU: "a GPU",
    Rank.INTEL_GPU: "there is no GPU but Intel's",
    Rank.INTEL_CPU: "there is no GPU, and Intel's runtime is the fastest for CPUs",
    Rank.CPU: "there is neither a GPU nor Intel's runtime for CPUs",
    Rank.ACCELERATOR: "there is neither a GPU nor a CPU",
}
SIMULATOR = re.compile("oclgrind|simulat|emulat", re.IGNORECASE)
"""What is found in the names of devices that are made to find mistakes, not for speed."""

INSTALL = {
    "Linux x86-64": "Intel's runtime: pip install 'tflgpu[opencl]'",
    "Linux": "PoCL: apt-get install pocl-opencl-icd (Debian, Ubuntu), or dnf install pocl (Fedora)",
    "Windows": (
        "Intel's CPU Runtime for OpenCL Applications, from intel.com; on ARM, Microsoft's OpenCL Compatibility Pack"
    ),
    "macOS": "PoCL: conda install -c conda-forge pyopencl pocl",
}
"""What runs OpenCL on the CPU of a system, and how it is installed."""


def find_device(wanted: str) -> cl.Device:
    """The device of that number, or the first whose names have every word of wanted. Raises ValueError if none has.

    They come in the order of Rank, those of one rank in the loader's order. A simulator is taken by its number or where
    wanted names it. Platforms whose own names have a word of wanted are asked first, and the others not at all where
    these have such a device.
    """
    words = wanted.lower().split()
    with _finding:
        platforms = _platforms()
        named = [p for p in platforms if any(word in f"{p.name} {p.version}".lower() for word in words)]
        if not wanted.isdigit() and (fitting := _fitting(_devices(named), wanted)):
            return fitting[0]
        devices = _devices(platforms)
    if fitting := _fitting(devices, wanted):
        return fitting[0]
    sought = f"number {wanted}" if wanted.isdigit() else f"{wanted!r} in its names" if wanted else "any"
    none = "none (PoCL, where it is installed, shows itself only with a cache that it may write: set POCL_CACHE_DIR)"
    found = "; ".join(f"{i}: {describe(device)}" for i, device in enumerate(devices)) or none
    failed = "".join(f" Could not be opened: {library}: {reason}." for library, reason in icd.failures.items())
    raise ValueError(
        f"opencl delegate: no such device. Looked for: {sought}. Found: {found}.{failed} "
        f"Install the driver of your GPU; or, for the CPU, {INSTALL[_system()]}"
    )


def survey() -> Sequence[tuple[str, str]]:
    """Every device with whether the delegate takes it, and why; then drivers without one, with the loader's reason."""
    with _finding:
        platforms = _platforms()
        devices = _devices(platforms)
        barren = [platform.name.strip() for platform in platforms if not _devices_of(platform)]
    taken = next(iter(_fitting(devices, "")), None)
    rows = []
    for number, device in enumerate(devices):
        if device is taken:
            told = f"taken: {REASONS[rank(device)]}"
        elif rank(device) == Rank.SIMULATOR:
            told = "a simulator: taken only where the option device names it"
        else:
            told = f"taken with the option device={number}"
        rows.append((f"{number}: {describe(device)}", told))
    if taken is None:
        rows.append(("no device", f"install the driver of your GPU; or, for the CPU, {INSTALL[_system()]}"))
    rows += [(platform, "finds no device of its own here") for platform in barren]
    return [*rows, *((library, f"could not be loaded: {reason}") for library, reason in icd.failures.items())]


_finding = threading.Lock()
if hasattr(os, "register_at_fork"):  # the child's copy would stay locked if another thread held it
    os.register_at_fork(before=_finding.acquire, after_in_parent=_finding.release, after_in_child=_finding.release)

_runtimes: dict[int, Opened] = {}
"""What has been asked for its devices, by the address of its platform: its threads may run from then on."""


def _platforms() -> list[cl.Platform]:
    """All platforms, Intel's of pip last."""
    icd.open_all()
    try:
        platforms = cl.get_platforms()
    except (cl.Error, RuntimeError):  # where the loader finds no platform, which it calls an error
        platforms = []
    return [*platforms, *(cl.Platform.from_int_ptr(platform) for platform in icd.intel_platforms())]


def _devices(platforms: Sequence[cl.Platform]) -> list[cl.Device]:
    """The devices of these platforms, in the order of find_device. Raises ForkedError for one of another process."""
    return sorted((device for platform in platforms for device in _devices_of(platform)), key=rank)


def _devices_of(platform: cl.Platform) -> Sequence[cl.Device]:
    _runtimes.setdefault(platform.int_ptr, Opened(f"the OpenCL runtime {platform.name.strip()}")).require()
    try:
        devices: Sequence[cl.Device] = platform.get_devices()
    except cl.Error:  # a driver without its device
        return []
    return devices


def _fitting(devices: Sequence[cl.Device], wanted: str) -> Sequence[cl.Device]:
    if wanted.isdigit():
        return devices[int(wanted) : int(wanted) + 1]
    words = wanted.lower().split()
    offered = [device for device in devices if rank(device) < Rank.SIMULATOR or SIMULATOR.search(wanted)]
    return [device for device in offered if all(word in describe(device).lower() for word in words)]


def rank(device: cl.Device) -> Rank:
    """The kind of a device."""
    intel = "intel" in device.platform.name.lower()
    if SIMULATOR.search(f"{device.name} {device.platform.name}"):
        return Rank.SIMULATOR
    if device.type & cl.device_type.GPU:
        return Rank.INTEL_GPU if intel else Rank.GPU
    if device.type & cl.device_type.CPU:
        return Rank.INTEL_CPU if intel else Rank.CPU
    return Rank.ACCELERATOR


def describe(device: cl.Device) -> str:
    """A device in words: kind, name, platform, version."""
    kind = rank(device).name.rpartition("_")[2].lower()
    return f"{kind} {device.name.strip()} ({device.platform.name.strip()}, {device.version.strip()})"


def _system() -> str:
    """The key of INSTALL for this machine."""
    if sys.platform == "linux" and machine() == "x86_64":
        return "Linux x86-64"
    return {"win32": "Windows", "darwin": "macOS"}.get(sys.platform, "Linux")
