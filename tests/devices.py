"""Every device that tests run kernels on beside the CPU: OpenCL compilers, OpenCL as on a GPU, CUDA emulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from opencl_runtimes import require_intel
from oracle import Array, tflgpu_run


@dataclass(frozen=True, eq=False)
class TestedDevice:
    """A delegate that raises where it does not take the whole model."""

    __test__ = False
    delegate: Any

    def run(self, data: bytes, inputs: Sequence[Any]) -> list[Array]:
        """The outputs of a model that the device runs whole; its kernels write nowhere but where they should."""
        outputs = tflgpu_run(data, inputs, [self.delegate])
        if hasattr(self.delegate.device, "check_guards"):
            self.delegate.device.check_guards()
        return outputs


def _opencl(device: str, cpu: bool | None = None) -> Any:
    pytest.importorskip("pyopencl")
    from guarded_device import GuardedDevice

    from tflgpu.delegates.gpu import GpuDelegate
    from tflgpu.delegation.delegate import Limits

    return GpuDelegate("opencl", GuardedDevice(device, cpu), Limits(require_full=True))


def _cuda() -> Any:
    from tflgpu.delegates.emulator.programs import compiler
    from tflgpu.delegation.discovery import load_delegate

    try:
        compiler()
    except ValueError as error:
        pytest.skip(str(error))
    return load_delegate("cuda", {"device": "emulator", "check": True, "require_full": True})


DEVICES = {
    "PoCL": lambda: _opencl("portable"),
    "Intel": lambda: _opencl(require_intel()),
    "PoCL as a GPU": lambda: _opencl("portable", cpu=False),
    "CUDA": _cuda,
}


def open_device(name: str) -> TestedDevice:
    """A device by its name in DEVICES; skips the test where it is not installed."""
    return TestedDevice(DEVICES[name]())
