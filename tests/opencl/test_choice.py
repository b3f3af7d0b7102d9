"""Which of several OpenCL devices is taken, and what `tflgpu doctor` says of each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

cl = pytest.importorskip("pyopencl")

from tflgpu.delegates.opencl import choice, icd  # noqa: E402 (after the skip)

CPU, GPU, ACCELERATOR = cl.device_type.CPU, cl.device_type.GPU, cl.device_type.ACCELERATOR
KNOWN = {
    "PoCL": (CPU, "pthread-x", "Portable Computing Language"),
    "Intel": (CPU, "AMD EPYC", "Intel(R) OpenCL"),
    "llvmpipe": (CPU, "llvmpipe", "rusticl"),
    "Iris": (GPU, "Iris Xe", "Intel(R) OpenCL Graphics"),
    "Tesla": (GPU, "Tesla", "NVIDIA CUDA"),
    "FPGA": (ACCELERATOR, "Alveo", "Xilinx"),
    "Oclgrind": (CPU | GPU | ACCELERATOR, "Oclgrind Simulator", "Oclgrind"),
    "Emulation": (ACCELERATOR, "Intel(R) FPGA Emulation Device", "Intel(R) FPGA Emulation Platform"),
}
"""Type, name and platform of devices as their drivers give them."""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes these of KNOWN the only devices, in the loader's order."""

    def install(*names: str) -> None:
        platforms = []
        for number, (kind, name, platform) in enumerate(KNOWN[name] for name in names):
            one = SimpleNamespace(name=platform, version="OpenCL 3.0", int_ptr=-1 - number)
            device = SimpleNamespace(type=kind, name=name, platform=one, version="OpenCL 3.0")
            one.get_devices = lambda device=device: [device]
            platforms.append(one)
        monkeypatch.setattr(choice, "_platforms", lambda: platforms)
        monkeypatch.setattr(choice, "_runtimes", {})
        monkeypatch.setattr(icd, "failures", {})

    return install


@pytest.mark.parametrize(
    "names, wanted, taken",
    [
        ("Oclgrind PoCL Intel Iris Tesla", "", "Tesla"),
        ("PoCL Intel Iris", "", "Iris Xe"),
        ("PoCL llvmpipe Intel FPGA", "", "AMD EPYC"),
        ("Oclgrind FPGA PoCL", "", "pthread-x"),
        ("Emulation FPGA", "", "Alveo"),
        ("PoCL Intel Tesla", "cpu", "AMD EPYC"),
        ("PoCL Intel", "portable", "pthread-x"),
        ("Oclgrind PoCL", "oclgrind", "Oclgrind Simulator"),
        ("Emulation PoCL Intel", "1", "pthread-x"),
        ("Emulation PoCL Intel", "2", "Intel(R) FPGA Emulation Device"),
    ],
)
def test_a_gpu_is_taken_then_intels_runtime_for_cpus_then_another_cpu(
    names: str, wanted: str, taken: str, installed: Any
) -> None:
    installed(*names.split())
    assert choice.find_device(wanted).name == taken


@pytest.mark.parametrize("wanted", ["", "gpu", "cpu", "accelerator", "intel"])
def test_a_simulator_that_is_not_named_is_never_taken(wanted: str, installed: Any) -> None:
    installed("Oclgrind", "Emulation")
    with pytest.raises(ValueError, match="no such device.*0: simulator Oclgrind Simulator"):
        choice.find_device(wanted)


def test_the_survey_says_of_each_device_whether_it_is_taken_and_why(installed: Any) -> None:
    installed("Oclgrind", "PoCL", "Intel")
    icd.failures["/lib/gone.so"] = "cannot open shared object file"
    assert choice.survey() == [
        (
            "0: cpu AMD EPYC (Intel(R) OpenCL, OpenCL 3.0)",
            "taken: there is no GPU, and Intel's runtime is the fastest for CPUs",
        ),
        ("1: cpu pthread-x (Portable Computing Language, OpenCL 3.0)", "taken with the option device=1"),
        (
            "2: simulator Oclgrind Simulator (Oclgrind, OpenCL 3.0)",
            "a simulator: taken only where the option device names it",
        ),
        ("/lib/gone.so", "could not be loaded: cannot open shared object file"),
    ]
    installed()
    assert [device for device, _ in choice.survey()] == ["no device"]
