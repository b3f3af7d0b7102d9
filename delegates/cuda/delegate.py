"""CUDA, through CuPy: the only file that imports it. Its stand-in, cuda_emulator, runs the same kernels on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tflgpu.delegates.cache import CACHE_OPTIONS, ProgramCache, cache_folder
from tflgpu.delegates.cuda.device import CudaDevice
from tflgpu.delegates.device_memory import MEMORY_OPTIONS
from tflgpu.delegates.gpu import GpuDelegate
from tflgpu.delegation.forks import Opened
from tflgpu.delegation.options import LIMIT_OPTIONS, Option, boolean, one_of, read_limits, read_options

OPTIONS: Mapping[str, Option] = {
    **LIMIT_OPTIONS,
    "device": Option(
        "0", str, "the number of a GPU; emulator or ptx: the kernels' text or NVRTC's PTX runs on the CPU, for tests"
    ),
    "precision": Option(
        "fp32",
        one_of("fp32", "tf32", "fp16"),
        "products of floats: fp32; on tensor cores with operands rounded to tf32 or fp16, summed in float32",
    ),
    "graphs": Option(True, boolean, "record a partition with its copies as a CUDA graph and replay it"),
    "autotune": Option(False, boolean, "choose among kernels and cuBLAS by timing them; cache_dir keeps the choices"),
    **CACHE_OPTIONS,
    **MEMORY_OPTIONS,
    "profile": Option(False, boolean, "time each kernel, without graphs; delegate.device.times() has the sums"),
    "check": Option(False, boolean, "with the emulator: find races, bad addresses and uninitialised shared memory"),
}


def load(options: Mapping[str, Any]) -> GpuDelegate:
    """The CUDA delegate. Raises ValueError for options that it does not know, and where there is no such GPU."""
    read = read_options("cuda", options, OPTIONS)
    if read["check"] and read["device"] != "emulator":
        raise ValueError("cuda delegate: option check=True is for device=emulator; on a GPU use compute-sanitizer")
    if read["device"] == "emulator":
        from tflgpu.delegates.emulator.device import Emulator

        cache = ProgramCache(cache_folder(read["cache_dir"], "cuda-emulator"), read["cache_bytes"])
        device = CudaDevice(Emulator(cache, read["check"]), 0, read["precision"], cache)
    elif read["device"] == "ptx":
        from tflgpu.delegates.emulator.ptx_device import PtxEmulator

        cache = ProgramCache(cache_folder(read["cache_dir"], "cuda-ptx"), read["cache_bytes"])
        device = CudaDevice(PtxEmulator(cache), 0, read["precision"], cache)
    else:
        number = ordinal(read["device"])
        cache = ProgramCache(cache_folder(read["cache_dir"], "cuda"), read["cache_bytes"])
        device = CudaDevice(cupy(), number, read["precision"], cache)
    device.graphs = read["graphs"] and not read["profile"]
    device.profile = read["profile"]
    device.memory.limit = read["memory_limit"]
    if read["autotune"]:
        device.autotune(cache)
    return GpuDelegate("cuda", device, read_limits(read))


_runtime: dict[str, Opened] = {}
"""CUDA, once it was asked for anything at all, which binds it to the process."""


def cupy() -> Any:
    """The module. Raises ValueError that says what to install where it or the driver is missing."""
    try:
        import cupy as module  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise ValueError(
            f"cuda delegate: looked for CuPy and found none ({error}). Install it for the driver's CUDA version: "
            "pip install 'tflgpu[cuda12]' or pip install 'tflgpu[cuda13]'; device=emulator needs neither"
        ) from error
    _runtime.setdefault("CUDA", Opened("the CUDA runtime")).require()
    try:
        count = module.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise ValueError(
            f"cuda delegate: looked for an NVIDIA driver and a GPU with CuPy {module.__version__}; the CUDA runtime "
            f"says: {error}. Install or update the driver (nvidia-smi shows it); device=emulator needs none"
        ) from error
    if not count:
        raise ValueError("cuda delegate: the NVIDIA driver is there but no GPU; device=emulator needs none")
    return module


def ordinal(text: str) -> int:
    """The number of a GPU. Raises ValueError for what is none; whether there is such a GPU is seen later."""
    if not text.isdigit():
        raise ValueError(f"cuda delegate: option device={text!r}: expected the number of a GPU, e.g. 0, or emulator")
    return int(text)
