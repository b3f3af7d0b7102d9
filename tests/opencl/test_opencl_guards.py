"""Every OpenCL kernel between guard bytes and on poisoned memory: on PoCL and Intel's runtime, as for CPUs and GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from kit import case, check, kernels, of_family
from opencl_runtimes import require_intel
from programs import one_of_each

from tflgpu.conformance.cases.case import Case
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegation.delegate import Limits

cl = pytest.importorskip("pyopencl")

ALL = [*of_family("tiles"), case("GRAPH[a sum that is reshaped and compared]"), *kernels(main=True)]
PLAIN = DeviceLimits(vector=8).plus("chains", "register_tiles")
CPU = replace(PLAIN, cpu=True)


def of_each(limits: DeviceLimits) -> list[Case]:
    from tflgpu.delegates.opencl.device import OpenClDevice

    return list(one_of_each(ALL, limits, OpenClDevice.dialect))


DEVICES = {
    "default-cpu": ("", True, ALL),
    "default-gpu": ("", False, of_each(PLAIN)),
    "intel-cpu": ("intel", True, of_each(CPU.plus("vnni", "vnni_assembly"))),
    "intel-gpu": ("intel", False, of_each(PLAIN)),
}
"""Words of the device's name, whether it gets the kernels for CPUs or those for GPUs, and what it runs.

One has every operator; the others have a case of each program.
"""
PAIRS = [pytest.param(name, case, id=f"{name}-{case.name}") for name, row in DEVICES.items() for case in row[2]]


@pytest.fixture(scope="module")
def device(request: pytest.FixtureRequest) -> Any:
    from guarded_device import GuardedDevice

    words, cpu, _ = DEVICES[request.param]
    return GuardedDevice(words and require_intel(), cpu)


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
