"""Every OpenCL kernel between guard bytes and on poisoned memory: on Intel's runtime and PoCL, as for CPUs and GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from kit import case, check, kernels, of_family
from opencl_runtimes import require
from programs import one_of_each, one_of_each_kernel

from tflgpu.conformance.cases.case import Case
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegation.delegate import Limits

cl = pytest.importorskip("pyopencl")

ALL = [*of_family("tiles"), case("GRAPH[a sum that is reshaped and compared]"), *kernels(main=True)]
PLAIN = DeviceLimits(vector=8).plus("chains", "register_tiles")
CPU = replace(PLAIN, cpu=True)


def of_each(limits: DeviceLimits, choose: Any = one_of_each) -> list[Case]:
    from tflgpu.delegates.opencl.device import OpenClDevice

    return list(choose(ALL, limits, OpenClDevice.dialect))


DEVICES = {
    "intel-cpu": ("Intel", True, ALL),
    "intel-gpu": ("Intel", False, of_each(PLAIN)),
    "pocl-cpu": ("PoCL", True, of_each(CPU, one_of_each_kernel)),
    "pocl-gpu": ("PoCL", False, of_each(PLAIN, one_of_each_kernel)),
}
"""The compiler, whether the device gets the kernels for CPUs or those for GPUs, and what it runs.

The first has every operator, the second a case of each program, and the second compiler, which is slow, a case of each
kernel.
"""
PAIRS = [pytest.param(name, case, id=f"{name}-{case.name}") for name, row in DEVICES.items() for case in row[2]]


@pytest.fixture(scope="module")
def device(request: pytest.FixtureRequest) -> Any:
    from guarded_device import GuardedDevice

    runtime, cpu, _ = DEVICES[request.param]
    return GuardedDevice(require(runtime), cpu)


@pytest.fixture
def delegate(device: Any) -> Iterator[Any]:
    from tflgpu.delegates.gpu import GpuDelegate

    yield GpuDelegate("opencl", device, Limits())
    device.check_guards()


@pytest.mark.parametrize(("device", "case"), PAIRS, indirect=["device"])
def test_a_kernel_gives_the_cpus_results_and_stays_inside_its_buffers(case: Case, delegate: Any) -> None:
    check(case, delegate)


@pytest.mark.parametrize("index, side", [(-1, "before"), (3, "after")])
def test_a_byte_out_of_bounds_is_found(index: int, side: str) -> None:
    from guarded_device import GuardedDevice

    device = GuardedDevice()
    text = f"kernel void stray(global char* out) {{ out[0] = 1; out[{index}] = 1; }}"
    device.bind(device.kernel(text, "stray"), [device.allocate(3)], (1,), (1,))()
    with pytest.raises(AssertionError, match=f"wrote {side} its buffer of 3 bytes"):
        device.check_guards()


def test_an_output_that_no_kernel_writes_shows_poison() -> None:
    from guarded_device import POISON, GuardedDevice

    device, out = GuardedDevice(), np.zeros(5, np.uint8)
    device.download(device.allocate(5), out)
    assert (out == POISON).all()
