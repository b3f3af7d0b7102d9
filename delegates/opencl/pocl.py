"""What PoCL 3.0 needs: a CPU that its LLVM knows, and contexts that outlive programs that do not build.

On a CPU newer than its LLVM the compiler is asked for a CPU named "generic" and refuses it.

PoCL passes on LLVM's name of the host's CPU (github.com/pocl/pocl/issues/1049), and the only PoCL on PyPI is of 2022.
Its device record holds that name as a pointer, which is set here to one that the compiler knows.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

UNKNOWN = b"generic\0"
KNOWN = ctypes.create_string_buffer(b"x86-64-v3")
RECORD_BYTES = 1024
"""As much of the device record as is searched; the name lies within the first 800 bytes in PoCL 1.8 to 3.1."""


def name_the_cpu(device: int, version: str) -> None:
    """Makes the PoCL device at this address compile for AVX2 if its version string says that its CPU is unknown."""
    maps = Path("/proc/self/maps")
    if not version.strip().endswith("x86_64-unknown-linux-gnu-generic") or not maps.exists() or not _has_avx2():
        return
    readable = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in maps.read_text().splitlines()
        if line.split()[1].startswith("r") and "[v" not in line
    ]

    def holds(address: int, nbytes: int) -> bool:
        return any(first <= address and address + nbytes <= last for first, last in readable)

    if not holds(device, RECORD_BYTES):
        return
    record = (ctypes.c_uint64 * (RECORD_BYTES // 8)).from_address(device)
    for place, value in enumerate(record):
        if holds(value, len(UNKNOWN)) and ctypes.string_at(value, len(UNKNOWN)) == UNKNOWN:
            record[place] = ctypes.addressof(KNOWN)


def never_release(context: object, version: str) -> None:
    """Keeps the context of a PoCL device to the end of the process and beyond, once a program in it has not built.

    PoCL 3.0 counts what is left of such a program, and aborts the process where its context is released before that.
    """
    if "PoCL" in version:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(context))


def _has_avx2() -> bool:
    cpu = Path("/proc/cpuinfo")
    return cpu.exists() and all(word in cpu.read_text().split() for word in ("avx2", "bmi2", "fma"))
