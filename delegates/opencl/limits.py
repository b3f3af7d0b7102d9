"""What an OpenCL device says of itself, as lowering and the compiler need it."""

from __future__ import annotations

from collections.abc import Sequence

import pyopencl as cl

from tflgpu.delegates.device import DeviceLimits

SUBGROUPS = "-DSUBGROUPS"
"""The option with which prelude.clh reduces within sub-groups before it does in local memory."""


def shares_memory(device: cl.Device) -> bool:
    """Whether kernels and host see each other's writes to any memory of the host as soon as no kernel runs."""
    return _version(device) >= 2 and bool(device.svm_capabilities & cl.device_svm_capabilities.FINE_GRAIN_SYSTEM)


def rounds_divisions(device: cl.Device) -> bool:
    """Whether the device can round float32 quotients and square roots correctly."""
    return bool(device.single_fp_config & cl.device_fp_config.CORRECTLY_ROUNDED_DIVIDE_SQRT)


def language(device: cl.Device) -> Sequence[str]:
    """What kernels are compiled as: OpenCL C 1.2, and on GPUs that reduce within sub-groups whatever has these."""
    if device.type & cl.device_type.CPU:
        return ["-cl-std=CL1.2"]
    if "cl_intel_subgroups" in device.extensions:
        return ["-cl-std=CL1.2", SUBGROUPS]
    if "cl_khr_subgroups" in device.extensions and _version(device) >= 2:
        return [f"-cl-std=CL{_version(device)}.0", SUBGROUPS]
    return ["-cl-std=CL1.2"]


def _version(device: cl.Device) -> int:
    return int(device.version.removeprefix("OpenCL ")[0])


def limits_of(device: cl.Device) -> DeviceLimits:
    """What lowering may choose by on this device."""
    cpu = bool(device.type & cl.device_type.CPU)
    families = {"register_tiles", "chains"}
    if cpu and "Intel" in device.platform.name:  # whose launches take longer than agreements between cores
        families.add("persistent")
    return DeviceLimits(
        max_block=min(device.max_work_group_size, 256),
        alignment=max(device.mem_base_addr_align // 8, 64),
        double="cl_khr_fp64" in device.extensions,
        exact_division=rounds_divisions(device),
        cpu=cpu,
        vector=16 if cpu else 8,
        units=device.max_compute_units,
        kernel_families=frozenset(families),
    )
