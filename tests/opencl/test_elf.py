"""The library that Intel's runtime is opened by: its function, and how that waits where processors are busy or free."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
from opencl_runtimes import require_intel

from tflgpu.delegates.opencl import elf

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="made for x86-64 Linux alone"
)


def least_seconds(call: ctypes._CFuncPtr) -> float:
    def once() -> float:
        start = time.perf_counter()
        assert call() == 0
        return time.perf_counter() - start

    return min(once() for _ in range(50))


def test_a_yield_sleeps_for_a_while_after_one_that_took_long(tmp_path: Path) -> None:
    path = tmp_path / "made.so"
    path.write_bytes(elf.library(["libc.so.6"], "sched_yield", elf.BRIEF_SLEEP))
    made = ctypes.CDLL(str(path)).sched_yield
    busy_until = ctypes.c_uint64.from_address(ctypes.cast(made, ctypes.c_void_p).value - 8)  # type: ignore[operator]
    assert least_seconds(made) < 1e-4
    busy_until.value = 2**64 - 1
    assert least_seconds(made) >= 1e-4
    busy_until.value = 0
    assert least_seconds(made) < 1e-4


def test_a_library_without_a_function_brings_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "made.so"
    path.write_bytes(elf.library(["libc.so.6"]))
    assert ctypes.CDLL(str(path)).getpid() > 0


def test_the_runtimes_own_yield_is_replaced_and_that_of_the_process_is_not() -> None:
    require_intel()
    script = """
import ctypes, re
from pathlib import Path
import tflgpu
before = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value
tflgpu.load_delegate("opencl", {"device": "intel"})
maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
ours = [line for line in maps if line[-1].endswith("tflgpu-icd.so") or "tflgpu-icd.so" in " ".join(line)]
assert any("x" in line[1] for line in ours), ours
assert ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value == before
start, end = (int(n, 16) for n in next(line for line in ours if "x" in line[1])[0].split("-"))
writable = [line for line in maps if "libtbb.so" in " ".join(line)]
found = 0
for line in writable:
    first, last = (int(n, 16) for n in line[0].split("-"))
    words = (ctypes.c_uint64 * ((last - first) // 8)).from_address(first) if "r" in line[1] else ()
    found += sum(start <= word < end for word in words)
assert found == 1, found
"""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
