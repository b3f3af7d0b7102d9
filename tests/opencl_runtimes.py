"""OpenCL implementations that the tests use where they are installed, and what to install where not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from checkout import TESTS

OCLGRIND_LIBRARY = "oclgrind/liboclgrind-rt-icd.so"


def oclgrind() -> Path | None:
    """The library of Oclgrind, a simulator of OpenCL that checks every access; None where it is not installed."""
    command = shutil.which("oclgrind")
    roots = [Path(command).resolve().parents[1]] if command else []
    paths = [root / lib / OCLGRIND_LIBRARY for root in (*roots, Path("/usr")) for lib in ("lib", "lib64")]
    return next((path for path in paths if path.exists()), None)


def require_oclgrind() -> Path:
    """Oclgrind's library; skips the test where there is none."""
    found = oclgrind()
    if found is None:
        pytest.skip("Oclgrind is not installed (Debian, Ubuntu: apt-get install oclgrind)")
    return found


class Runtime(NamedTuple):
    """A compiler of OpenCL for CPUs: the `device` option that chooses it, its platform's name, why tests skip it."""

    device: str
    platform: str
    missing: str


RUNTIMES = {
    "Intel": Runtime(
        "intel cpu",
        "Intel(R) OpenCL",
        "Intel's OpenCL runtime is not installed (pip install 'tflgpu[opencl]', Linux x86-64)",
    ),
    "PoCL": Runtime(
        "portable",
        "Portable Computing Language",
        "the system's PoCL is not installed (Debian, Ubuntu: apt-get install pocl-opencl-icd)",
    ),
}
PLATFORMS = {runtime.device: runtime.platform for runtime in RUNTIMES.values()}


def require(runtime: str) -> str:
    """The `device` option that chooses one of RUNTIMES; skips the test where it is not installed."""
    pytest.importorskip("pyopencl")
    from tflgpu.delegates.opencl.choice import find_device

    try:
        find_device(RUNTIMES[runtime].device)
    except ValueError:
        pytest.skip(RUNTIMES[runtime].missing)
    return RUNTIMES[runtime].device


def require_intel() -> str:
    """The `device` option that chooses Intel's CPU runtime; skips the test where it is not installed."""
    return require("Intel")


def under_oclgrind(script: Path, log: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """Runs a Python script whose only OpenCL platform is Oclgrind with all its checks; it writes to log."""
    environment = os.environ | {
        "PYTHONPATH": str(TESTS),  # for what test files share
        "OCL_ICD_VENDORS": str(require_oclgrind()),
        "OCLGRIND_LOG": str(log),
        "OCLGRIND_DATA_RACES": "1",
        "OCLGRIND_UNINITIALIZED": "1",
        # LLVM's optimizer makes `freeze` instructions, which the check for uninitialised values does not know.
        "OCLGRIND_BUILD_OPTIONS": "-cl-opt-disable",
    }
    arguments = [sys.executable, str(script), str(log)]
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
