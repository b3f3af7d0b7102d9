"""The table of kernels for GEMM problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Lowered
from tflgpu.delegates.lowering.convolution import (
    depthwise_rows,
    depthwise_strips,
    depthwise_vnni,
    generic_convolution,
    transpose_as_gemm,
)
from tflgpu.delegates.lowering.gemm import batched, generic, int4, packed_b, register_tiles, shared_memory, vnni
from tflgpu.delegates.lowering.gemm.problem import Arithmetic, Gemm, Kind

DeviceClass = Literal["cuda", "cpu", "gpu"]
"""Devices with warps; OpenCL's CPUs; OpenCL's other devices."""


@dataclass(frozen=True)
class Family:
    """One or several kernels of one design. fits: whether they take a problem on a device with these limits."""

    name: str
    fits: Callable[[Gemm, DeviceLimits], bool]
    launches: Callable[[Gemm, DeviceLimits], Lowered]


def _always(g: Gemm, limits: DeviceLimits) -> bool:
    return True


REGISTER_TILES = Family("register tiles", register_tiles.fits, register_tiles.launches)
INT4 = Family("packed 4-bit weights", int4.fits, int4.launches)
VNNI = Family("VNNI", vnni.fits, vnni.launches)
VNNI_COMPUTED = Family("VNNI, both operands computed", vnni.fits_computed, vnni.computed)
VNNI_TRANSPOSED = Family("VNNI, transposed convolution", vnni.fits_transposed, vnni.transposed)
TRANSPOSED_TILES = Family("register tiles, transposed", transpose_as_gemm.fits, transpose_as_gemm.launches)
SHARED_MEMORY = Family("blocks in shared memory", shared_memory.fits, shared_memory.launches)
BATCHED = Family("batched blocks", batched.fits, batched.launches)
PACKED_B = Family("packed B", packed_b.fits, packed_b.launches)
ONE_CHANNEL = Family("one channel", depthwise_rows.fits_one_channel, depthwise_rows.of_one_channel)
DEPTHWISE_VNNI = Family("depthwise VNNI", depthwise_vnni.fits, depthwise_vnni.launches)
DEPTHWISE_ROWS = Family("depthwise rows", depthwise_rows.fits, depthwise_rows.launches)
DEPTHWISE_STRIPS = Family("depthwise strips", depthwise_strips.fits, depthwise_strips.launches)
CONVOLUTION = Family("generic convolution", _always, generic_convolution.launches)
MATMUL = Family("generic matrix multiply", _always, generic.launches)

GENERIC: Mapping[Kind, Family] = {
    "convolution": CONVOLUTION,
    "depthwise": CONVOLUTION,
    "transposed": CONVOLUTION,
    "dense": MATMUL,
    "batched": MATMUL,
}
"""The families that take every problem of a kind. Recurrent layers have a kernel of their own (recurrent/linear.py)."""

SELECTION: Mapping[tuple[Kind, Arithmetic, DeviceClass], tuple[Family, ...]] = {
    ("convolution", "float", "cuda"): (SHARED_MEMORY,),
    ("convolution", "float", "cpu"): (REGISTER_TILES,),
    ("convolution", "float", "gpu"): (REGISTER_TILES,),
    ("convolution", "quantized", "cuda"): (SHARED_MEMORY,),
    ("convolution", "quantized", "cpu"): (VNNI, REGISTER_TILES),
    ("convolution", "quantized", "gpu"): (REGISTER_TILES,),
    ("convolution", "hybrid", "cuda"): (SHARED_MEMORY,),
    ("convolution", "hybrid", "cpu"): (VNNI,),
    ("depthwise", "float", "cuda"): (DEPTHWISE_STRIPS,),
    ("depthwise", "float", "cpu"): (ONE_CHANNEL, DEPTHWISE_ROWS),
    ("depthwise", "quantized", "cuda"): (DEPTHWISE_STRIPS,),
    ("depthwise", "quantized", "cpu"): (DEPTHWISE_VNNI, DEPTHWISE_ROWS),
    ("transposed", "float", "cpu"): (TRANSPOSED_TILES,),
    ("transposed", "quantized", "cpu"): (VNNI_TRANSPOSED,),
    ("dense", "float", "cuda"): (SHARED_MEMORY,),
    ("dense", "float", "cpu"): (REGISTER_TILES,),
    ("dense", "float", "gpu"): (REGISTER_TILES,),
    ("dense", "quantized", "cuda"): (INT4, SHARED_MEMORY),
    ("dense", "quantized", "cpu"): (VNNI, INT4, REGISTER_TILES),
    ("dense", "quantized", "gpu"): (INT4, REGISTER_TILES),
    ("dense", "hybrid", "cuda"): (INT4, SHARED_MEMORY),
    ("dense", "hybrid", "cpu"): (VNNI, INT4, REGISTER_TILES),
    ("dense", "hybrid", "gpu"): (INT4, REGISTER_TILES),
    ("batched", "float", "cuda"): (BATCHED,),
    ("batched", "float", "cpu"): (PACKED_B,),
    ("batched", "quantized", "cuda"): (BATCHED,),
    ("batched", "quantized", "cpu"): (VNNI_COMPUTED,),
    ("batched", "hybrid", "cuda"): (BATCHED,),
    ("recurrent", "float", "cpu"): (REGISTER_TILES,),
    ("recurrent", "float", "gpu"): (REGISTER_TILES,),
    ("recurrent", "hybrid", "cpu"): (VNNI, REGISTER_TILES),
    ("recurrent", "hybrid", "gpu"): (REGISTER_TILES,),
}
"""The families in order of preference. The first whose `fits` holds is taken; where none does, the GENERIC one."""


def device_class(limits: DeviceLimits) -> DeviceClass:
    return "cuda" if limits.has("warps") else "cpu" if limits.cpu else "gpu"


def family_of(g: Gemm, limits: DeviceLimits) -> Family | None:
    """The family that computes the problem; None for a recurrent one that no family of the table takes."""
    families = SELECTION.get((g.kind, g.arithmetic, device_class(limits)), ())
    return next((family for family in families if family.fits(g, limits)), GENERIC.get(g.kind))


def lowered(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launches that prepare the operands, then those that compute the problem."""
    family = family_of(g, limits)
    assert family is not None
    return [*g.before, *family.launches(g, limits)]
