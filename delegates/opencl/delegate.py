"""The OpenCL delegate by its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tflgpu.delegates.autotune import Tuner
from tflgpu.delegates.cache import CACHE_OPTIONS, ProgramCache, cache_folder
from tflgpu.delegates.device_memory import MEMORY_OPTIONS
from tflgpu.delegates.gpu import GpuDelegate
from tflgpu.delegates.opencl.choice import find_device
from tflgpu.delegates.opencl.device import OpenClDevice
from tflgpu.delegation.options import LIMIT_OPTIONS, Option, boolean, one_of, read_limits, read_options

OPTIONS: Mapping[str, Option] = {
    **LIMIT_OPTIONS,
    "device": Option("", str, "a number, or words of the platform's and device's names, e.g. gpu, cpu, NVIDIA, Intel"),
    "precision": Option(
        "fp32",
        one_of("fp32", "fp16"),
        "matrix multiplies and convolutions of floats: fp32; fp16, whose constants are stored as float16, summed in "
        "float32",
    ),
    **CACHE_OPTIONS,
    **MEMORY_OPTIONS,
    "autotune": Option(False, boolean, "choose among variants of kernels by timing them; cache_dir keeps the choices"),
    "profile": Option(False, boolean, "time each kernel; delegate.device.times() has the sums"),
}


def load(options: Mapping[str, Any]) -> GpuDelegate:
    """The OpenCL delegate. Raises ValueError for options that it does not know, and where no device fits."""
    read = read_options("opencl", options, OPTIONS)
    cache = ProgramCache(cache_folder(read["cache_dir"], "opencl"), read["cache_bytes"])
    device = OpenClDevice(find_device(read["device"]), cache, read["profile"], read["precision"])
    device.memory.limit = read["memory_limit"]
    if read["autotune"]:
        device.tuner = Tuner(f"{device.identity}\n{read['precision']}", cache)
    return GpuDelegate("opencl", device, read_limits(read))
