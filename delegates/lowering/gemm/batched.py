"""Batched GEMM of two computed operands, for devices with warps: 256 threads compute a square of outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered
from tflgpu.delegates.lowering.gemm import cublas
from tflgpu.delegates.lowering.gemm.problem import Gemm
from tflgpu.delegates.lowering.registry import c_type, i32
from tflgpu.delegates.lowering.strided_index import broadcast_index
from tflgpu.model.graph import Shape

GRID_DEPTH = 65535
"""Blocks along the third dimension of a CUDA grid, at the most."""


def fits(g: Gemm, limits: DeviceLimits) -> bool:
    """Whether there is something to compute, no more than a grid holds, of types that the kernels take."""
    if not limits.has("warps") or not 0 < g.size <= GRID_DEPTH * g.m * g.n or not g.k or g.x.spec.type == "INT16":
        return False
    return g.arithmetic != "hybrid" or _own_column_sums(g)


def _own_column_sums(g: Gemm) -> bool:
    """Whether column sums are of the matrix that is multiplied; the reference differs for some broadcasts."""
    lead, y_lead, scales = g.out.spec.shape[:-2], g.y.spec.shape[:-2], g.row_scales
    assert scales.columns_of is not None
    own = np.arange(int(np.prod(y_lead))).reshape(y_lead)
    multiplied = np.broadcast_to(own, lead).reshape(-1)
    summed = np.repeat(scales.columns_of, scales.rows_per_scale).reshape(-1, g.m)
    return bool((summed == multiplied[:, None]).all())


def launches(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launch; blocks of another size, and cuBLAS for floats, are variants."""
    small, large = (_squares(g, side, limits) for side in (32, 64))
    ways = [small, large] if min(g.m, g.n) < 64 else [large, small]
    # Of fewer rows or columns a block on tensor cores is mostly padding.
    if g.int8 and limits.tensor_cores and g.m >= 64 and g.n >= 32 and g.k >= 32:
        ways.insert(0, _squares(g, 0, limits))
    if not g.int8 and limits.has("cublas"):
        ways += _by_cublas(g, limits)
    return [replace(ways[0], variants=tuple(ways[1:]))]


def _squares(g: Gemm, side: int, limits: DeviceLimits) -> Launch:
    """The launch in blocks of side x side; side 0: on tensor cores."""
    lead, x_lead, y_lead = (o.spec.shape[:-2] for o in (g.out, g.x, g.y))
    x_row, x_column = (1, g.m) if g.x.transposed else (g.k, 1)
    y_row, y_column = (1, g.k) if g.y.transposed else (g.n, 1)
    words = g.int8 and g.k % 4 == 0
    kernel, threads = ("batched_gemm", 256) if side else ("batched_gemm_mma", 128)
    scales, scalars, defines = _epilogue(g, limits)
    defines |= {"SIDE": side} if side else {}
    side = side or 64
    defines |= {
        "X_BATCH": f"({broadcast_index(x_lead, lead, 'b')} * {g.m * g.k})",
        "Y_BATCH": f"({broadcast_index(y_lead, lead, 'b')} * {g.k * g.n})",
        "X_ALONG_K": int(not g.x.transposed),
        "Y_ALONG_K": int(g.y.transposed),
        "X_WORDS": int(words and not g.x.transposed),
        "Y_WORDS": int(words and g.y.transposed),
    }
    steps = {"x_row": x_row, "x_column": x_column, "y_row": y_row, "y_column": y_column}
    blocks = -(-g.m // side), -(-g.n // side), g.batches
    return Launch(
        f"{kernel}.{kernel}",
        (blocks[0] * threads, *blocks[1:]),
        (threads, 1, 1),
        inputs={"x": g.x.buffer, "y": g.y.buffer, **scales},
        outputs={"out": g.out.buffer},
        sizes={"m": g.m, "n": g.n, "k": g.k, **steps},
        scalars=scalars,
        defines=defines,
        stage="none",
    )


def _epilogue(g: Gemm, limits: DeviceLimits) -> tuple[Mapping[str, Buffer], Mapping[str, np.generic], dict[str, Any]]:
    """The inputs, scalars and macros of the epilogue."""
    if g.arithmetic == "float":
        return {}, {}, {}
    if g.arithmetic == "hybrid":
        scales = g.row_scales
        assert scales.scale_of is not None
        inputs: dict[str, Buffer] = {
            "y_scales": scales.of_columns(g.n),
            "scales": scales.rows.scales,
            "zero_points": scales.rows.zero_points,
            "scale_of": scales.scale_of,
        }
        defines = {"HYBRID": 1} | ({"ASYMMETRIC": 1} if scales.asymmetric else {})
        return inputs, {"group_rows": i32(scales.rows_per_scale)}, defines
    multipliers, exponents = g.epilogue.rescale
    scalars = {"x_zero": i32(g.x.zero_point), "y_zero": i32(g.y.zero_point)}
    scalars |= {"multiplier": multipliers[0], "exponent": exponents[0], **g.epilogue.bounds}
    return {}, scalars, {"QUANTIZED": 1, "RESCALE": requantizer(g), "OUT_T": c_type(g.out.spec, limits)}


def requantizer(g: Gemm) -> str:
    """The function that requantizes sums, or UNSCALED where int32 sums are the output."""
    return "UNSCALED" if g.out.spec.type == "INT32" else "mbqm64" if g.epilogue.wide else "mbqm"


def _by_cublas(g: Gemm, limits: DeviceLimits) -> list[Launch]:
    """By cuBLAS, which takes operands at a fixed stride: one for every matrix, or one for all."""
    lead = g.out.spec.shape[:-2]
    x_step = _step(g.x.spec.shape[:-2], lead, g.m * g.k)
    y_step = _step(g.y.spec.shape[:-2], lead, g.k * g.n)
    if x_step is None or y_step is None:
        return []
    arithmetics = cublas.FLOATS[limits.precision]
    return [cublas.gemm(g, g.y.buffer, g.out.buffer, arithmetic, (x_step, y_step)) for arithmetic in arithmetics]


def _step(lead: Shape, whole: Shape, elements: int) -> int | None:
    """The stride in elements from one matrix of an operand to the next; None where it varies."""
    own = tuple(d for d in lead if d != 1)
    if not own:
        return 0
    return elements if own == tuple(d for d in whole if d != 1) else None
