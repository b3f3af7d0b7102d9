"""Batched GEMM of two computed float operands on CPUs: a work-item computes all rows of a few vectors of columns."""

from __future__ import annotations

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Temp
from tflgpu.delegates.lowering.gemm import generic
from tflgpu.delegates.lowering.gemm.problem import Gemm


def fits(g: Gemm, limits: DeviceLimits) -> bool:
    return limits.cpu and limits.has("register_tiles") and g.size > 0 and g.k > 0


def launches(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launch."""
    vectors, rows = (2, 8) if limits.vector == 16 else (1, 4)
    across = -(-g.n // (limits.vector * vectors))
    blocks = g.batches * across
    scratch = Temp(4 * blocks * g.k * limits.vector * vectors)
    defines = generic.batch_offsets(g) | {"VW": limits.vector, "NV": vectors, "MR": rows, "OUT_T": "float", "FLOAT": 1}
    return [
        Launch(
            "gemm_packed_b.gemm_packed_b",
            (blocks,),
            (1,),
            inputs={"x": g.x.buffer, "y": g.y.buffer},
            outputs={"scratch": scratch, "out": g.out.buffer},
            sizes={"blocks": blocks, "across": across, **generic.matrix_sizes(g)},
            defines=defines,
            stage="none",
            single=True,
        )
    ]
