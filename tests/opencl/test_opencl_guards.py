"""Every OpenCL kernel between guard bytes and on poisoned memory: on PoCL and Intel's runtime, as for CPUs and GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from kit import case, check, kernels, of_family
from opencl_runtimes import require_intel

from tflgpu.conformance.cases.case import Case
from tflgpu.delegation.delegate import Limits

cl = pytest.importorskip("pyopencl")

ALL = [*kernels(main=True), *of_family("tiles"), case("GRAPH[a sum that is reshaped and compared]")]
DEVICES = [("", True), ("", False), ("intel", True), ("intel", False)]
"""Words of the device's name, and whether it gets the kernels for CPUs or those for GPUs."""


@pytest.fixture(scope="module", params=DEVICES, ids=lambda p: f"{p[0] or 'default'}-{'cpu' if p[1] else 'gpu'}")
def device(request: pytest.FixtureRequest) -> Any:
    from guarded_device import GuardedDevice

    words, cpu = request.param
    return GuardedDevice(words and require_intel(), cpu)


@pytest.fixture
def delegate(device: Any) -> Iterator[Any]:
    from tflgpu.delegates.gpu import GpuDelegate

    yield GpuDelegate("opencl", device, Limits())
    device.check_guards()


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
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
