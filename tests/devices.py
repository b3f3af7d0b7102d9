"""Every device that tests run kernels on beside the CPU: OpenCL compilers, OpenCL as on a GPU, CUDA emulated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from opencl_runtimes import require, require_intel
from oracle import Array, tflgpu_run

from tflgpu.delegates.megakernel import barrier_kernel
from tflgpu.delegation.delegate import Limits
from tflgpu.delegation.discovery import load_delegate


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


def opencl(device: str = "cpu", cpu: bool | None = None) -> Any:
    """OpenCL between guard bytes, on the first CPU or a device of that name; cpu: by the kernels for CPUs or GPUs."""
    pytest.importorskip("pyopencl")
    from guarded_device import GuardedDevice

    from tflgpu.delegates.gpu import GpuDelegate

    return GpuDelegate("opencl", GuardedDevice(device, cpu), Limits(require_full=True))


def intel() -> Any:
    """OpenCL on Intel's runtime, where small launches become one by barriers alone."""
    delegate = opencl(require_intel())
    delegate.device.limits = delegate.device.limits.minus("persistent")  # which would take what becomes a sequence
    return delegate


def require_emulator() -> None:
    """Skips a test, or a whole module, where there is no C++ compiler for the emulator."""
    from tflgpu.delegates.emulator.programs import compiler

    try:
        compiler()
    except ValueError as error:
        pytest.skip(str(error), allow_module_level=True)


def cuda_device() -> str:
    """The CUDA device of tests that run on a GPU too: its number, which TFLGPU_CUDA_DEVICE gives; else the emulator."""
    device = os.environ.get("TFLGPU_CUDA_DEVICE", "emulator")
    if device == "emulator":
        require_emulator()
    return device


def cuda() -> Any:
    """CUDA on the emulator with its checks."""
    require_emulator()
    return load_delegate("cuda", {"device": "emulator", "check": True, "require_full": True})


def ptx(precision: str = "fp32") -> Any:
    """CUDA on device=ptx; skips where there is no NVRTC."""
    try:
        return load_delegate("cuda", {"device": "ptx", "precision": precision, "require_full": True})
    except ValueError as error:
        if "needs NVRTC" not in str(error):
            raise
        pytest.skip(str(error))


def cuda_in_blocks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The emulator, with every sequence shared by three blocks."""
    delegate = cuda()
    delegate.device.limits = replace(delegate.device.limits, blocks=3)
    monkeypatch.setattr(barrier_kernel, "_most_work", lambda steps: 1 << 30)
    return delegate


DEVICES = {
    "Intel": lambda: opencl(require_intel()),
    "PoCL": lambda: opencl(require("PoCL")),
    "Intel as a GPU": lambda: opencl(require_intel(), cpu=False),
    "CUDA": cuda,
}


def open_device(name: str) -> TestedDevice:
    """A device by its name in DEVICES; skips the test where it is not installed."""
    return TestedDevice(DEVICES[name]())
