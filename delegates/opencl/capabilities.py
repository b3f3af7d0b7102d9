"""What an OpenCL CPU must compute rightly once before it is given kernels with assembly in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tflgpu.delegates.device import CompileError, Device
from tflgpu.delegates.launch import Launch
from tflgpu.delegates.lowering.gemm.vnni_assembly import LANES, PROBE, probe_arrays
from tflgpu.delegates.program import source
from tflgpu.model.graph import Array

CPU = Path("/proc/cpuinfo")

VBMI = "-DVBMI"
"""The build option with which vectors.clh looks up bytes by AVX512-VBMI assembly."""


@cache
def instructions() -> str:
    """The sets of instructions that the host's processor says that it has; "" where it does not say."""
    lines = CPU.read_text().splitlines() if CPU.exists() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def has(flag: str) -> bool:
    """Whether the host's processor says that it has a set of instructions."""
    return flag in instructions().split()


def multiplies_bytes(device: Device) -> bool:
    """Whether the assembly of lowering/gemm/vnni_assembly.py compiles there and gives the right sums."""
    rows, panel, want = probe_arrays()
    return has("avx512_vnni") and _gives(device, PROBE, "probe", [rows, panel], want)


def looks_up_bytes(device: Device) -> bool:
    """Whether vectors.clh's assembly, which the device is asked to use, compiles there and finds the right entries."""
    defines: dict[str, object] = {"X_T": "char", "OUT_T": "char", "QUANTIZED": 1, "VW": LANES}
    defines |= {"COPY": 1, "OUTPUT_LUT": "table"}
    text = source(Launch("elementwise_int8.elementwise_int8", (1,), (1,), defines=defines), device.dialect)
    values = np.arange(255, -1, -1).astype(np.uint8).view(np.int8)
    table = np.random.default_rng(0).permutation(256).astype(np.uint8).view(np.int8)
    numbers = [np.int32(n) for n in (1, 1, 1, 256, 256, 256, 256, 1)]
    want = table[values.view(np.uint8)]
    return has("avx512vbmi") and _gives(device, text, "elementwise_int8", [values, table], want, numbers)


def _gives(
    device: Device, text: str, name: str, inputs: Sequence[Array], want: Array, numbers: Sequence[np.generic] = ()
) -> bool:
    got = np.zeros_like(want)
    try:
        kernel = device.kernel(text, name)
        buffers: list[Any] = [device.allocate(array.nbytes) for array in (*inputs, got)]
        for buffer, array in zip(buffers, (*inputs, got), strict=True):
            device.upload(buffer, array)
        run: Callable[[], None] = device.bind(kernel, [*buffers, *numbers], (1,), (1,))
        run()
        device.download(buffers[-1], got)
    except (CompileError, RuntimeError):
        return False
    return bool((got == want).all())
