"""Some kernels on a third compiler: Mesa's Rusticl on llvmpipe, whose front half is that of Mesa's drivers for GPUs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from checkout import TESTS

pytest.importorskip("pyopencl")

CASES = (
    "ABS[float32,2x3x5]",
    "ADD[int32,67,67,relu]",  # what Rusticl 22.3 compares wrongly: docs/delegates.md
    "STABLEHLO_SCATTER[uint8,4x5,6x1,6x5,replaced]",
    "BATCH_MATMUL[int16,2x3x5,2x5x7]",
    "CONV_2D[int8,1x5x7x3,6x3x3x3,same]",
    "FULLY_CONNECTED[float32,3x17,6x17]",
    "TRANSPOSE[float32,2x3x5,perm=2x0x1]",
    "SUM[float32,3x5,axes=1]",
    "SOFTMAX[float32,3x10,beta=1]",
)
PROGRAM = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from guarded_device import GuardedDevice
from kit import case, check
from tflgpu.delegates.gpu import GpuDelegate
from tflgpu.delegation.delegate import Limits
try:
    device = GuardedDevice("llvmpipe", cpu=False)
except ValueError:
    print("no llvmpipe")
    sys.exit()
for name in sys.argv[1:]:
    check(case(name), GpuDelegate("opencl", device, Limits()))
    device.check_guards()
    print(name)
"""


def test_some_kernels_give_the_cpus_results_on_rusticl() -> None:
    """As on a GPU, in a process of its own: Rusticl has a device for CPUs only where the environment asks for it."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, *CASES]
    environment = {**os.environ, "RUSTICL_ENABLE": "llvmpipe"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    if ran.stdout.startswith("no llvmpipe"):
        pytest.skip("Mesa's Rusticl is not installed (Debian, Ubuntu: apt-get install mesa-opencl-icd)")
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert tuple(ran.stdout.splitlines()) == CASES
