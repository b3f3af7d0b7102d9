"""Convolutions and matrix products of 8-bit codes by AVX512-VNNI, which no OpenCL compiler makes of plain C."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Argument, Launch, Lowered, Packed, Ref, Temp
from tflgpu.delegates.lowering.registry import i32, size
from tflgpu.delegates.lowering.tiles import C_NAMES, Finish, Matrix, conv_tiles, folded_bias, padded
from tflgpu.delegates.lowering.window import Window

from tflgpu.graph import Array, TensorSpec

LANES = 16
"""Sums in a vector."""

OFFSETS = (
    "(%[a])",
    "(%[a],%[r])",
    "(%[a],%[r],2)",
    "(%[a],%[r3])",
    "(%[a],%[r],4)",
    "(%[a],%[r5])",
    "(%[a],%[r3],2)",
    "(%[a],%[r7])",
)
"""Where rows 0 to 7 begin: `r`, `r3`, `r5` and `r7` hold so many times the bytes of a row."""


def conv_dot(
    x: TensorSpec,
    image: tuple[int, int, int, int],
    matrix: Matrix,
    out: TensorSpec,
    over: Window,
    finish: Finish,
    limits: DeviceLimits,
) -> Lowered:
    """The launch: of these kernels where the device and the types allow it, else of tiles.conv_tiles."""
    launch = (
        dot_tiles(x, image, matrix, out, over, finish, limits)
        if limits.dot and finish.rescale and not finish.wide
        else None
    )
    return [launch] if launch is not None else conv_tiles(x, image, matrix, out, over, finish, limits)


def dot_tiles(
    x: TensorSpec,
    image: tuple[int, int, int, int],
    matrix: Matrix,
    out: TensorSpec,
    over: Window,
    finish: Finish,
    limits: DeviceLimits,
) -> Launch | None:
    """The launch, or None where weights less their zero point are not bytes. image: x's shape as (n, h, w, c)."""
    if x.type == "UINT8" and matrix.zero_point != 128:
        return None
    _, h, w, c = image
    oc = matrix.weights.shape[0]
    pixels = size(out) // oc
    height, vectors = tile(oc, pixels)
    nr = LANES * vectors
    panels = -(-oc // nr)
    steps = -(-over.kh * over.kw * c // 4)
    rows = -(-pixels // height)
    groups = min(panels, -(-limits.units * 4 // rows))
    across = -(-panels // groups)
    blocks = rows * -(-panels // across)
    share = -(-blocks // min(blocks, limits.units * 4))
    items = -(-blocks // share)
    flip = 128 if x.type == "INT8" else 0
    shifted = replace(finish, x_zero=finish.x_zero + flip)
    sizes = (blocks, share, across, steps, pixels, h, w, c, over.oh, over.ow, oc, over.kh, over.kw, over.sh, over.sw)
    args: list[Argument] = [
        Ref(x.index),
        Packed(lambda: panels_of_bytes(matrix, nr, steps)),
        Packed(lambda: folded_bias(matrix, shifted, panels * nr)),
        *(padded(array, panels * nr) for array in finish.rescale),
        Temp(items * height * steps * 4),
        Ref(out.index),
        *map(i32, (*sizes, over.dh, over.dw, over.top, over.left, finish.x_zero)),
        *finish.ends,
    ]
    name = C_NAMES[x.type]
    defines: dict[str, Any] = {"VW": LANES, "NV": vectors, "MR": height, "X_T": name, "OUT_T": name, "FLIP": flip}
    defines |= {"CODES": 1, "CALCULATE": assembly(height, vectors)}
    defines |= {"DOUBLES": 1} if len(finish.rescale) == 1 else {}
    return Launch("dot.dot_tiles", tuple(args), (items,), (1,), defines)


def tile(oc: int, pixels: int) -> tuple[int, int]:
    """Rows and vectors of a tile, of which 32 registers hold 8 by 3."""
    vectors = min((3, 2, 1), key=lambda v: (-(-oc // (v * LANES)) * v, -v))
    return next(rows for rows in (8, 4, 2, 1) if pixels >= rows), vectors


def panels_of_bytes(matrix: Matrix, nr: int, steps: int) -> Array:
    """Weights (oc, k), less their zero point, as (oc / nr, k / 4, nr, 4) of int8, padded with zeros."""
    rows = matrix.weights.reshape(len(matrix.weights), -1)
    oc, k = rows.shape
    panels = -(-oc // nr)
    whole = np.zeros((panels * nr, steps * 4), np.int8)
    whole[:oc, :k] = rows.astype(np.int16) - matrix.zero_point
    return whole.reshape(panels, nr, steps, 4).transpose(0, 2, 1, 3)


def assembly(rows: int, vectors: int) -> str:
    """The body of `multiply`: sums of `rows` by `vectors` vectors stay in registers over all steps."""
    sums = [[f"%%zmm{i * vectors + j}" for j in range(vectors)] for i in range(rows)]
    weights = [f"%%zmm{rows * vectors + j}" for j in range(vectors)]
    values = [f"%%zmm{rows * vectors + vectors + i}" for i in range(2)]
    lines = ["lea (%[r],%[r],2),%[r3]", "lea (%[r],%[r],4),%[r5]", "lea (%[r3],%[r],4),%[r7]"]
    lines += [f"vpxord {s},{s},{s}" for row in sums for s in row]
    lines.append("1:")
    lines += [f"vmovdqu32 {64 * j}(%[b]),{weight}" for j, weight in enumerate(weights)]
    for i, row in enumerate(sums):
        lines.append(f"vpbroadcastd {OFFSETS[i]},{values[i % 2]}")
        lines += [f"vpdpbusd {weight},{values[i % 2]},{s}" for weight, s in zip(weights, row, strict=True)]
    lines += ["add $4,%[a]", f"add ${64 * vectors},%[b]", "dec %[n]", "jnz 1b"]
    for i, row in enumerate(sums):
        lines += [f"vmovdqu32 {s},{64 * (i * vectors + j)}(%[c])" for j, s in enumerate(row)]
    lines.append("vzeroupper")
    written = '[a] "+r"(rows), [b] "+r"(panel), [n] "+r"(left), [r3] "=&r"(row3), [r5] "=&r"(row5), [r7] "=&r"(row7)'
    text = "; ".join(lines)
    return f'i64 row3, row5, row7; __asm__ volatile("{text}" : {written} : [r] "r"(row), [c] "r"(sums) : "memory");'


TRIAL = f"""
#define ASM {assembly(1, 1).replace("i64", "long")}
kernel void trial(global uint* rows, global char* panel, global int* out) {{
    long left = 2, row = 8;
    global int* sums = out;
    ASM
}}
"""
"""What the device must compile, and run with the right sums, before it is given these kernels."""


def trial_arrays() -> tuple[Array, Array, Array]:
    """Rows and panel of a trial, and the sums that must come of them."""
    rows = np.array([0, 1, 127, 128, 200, 255, 255, 255], np.uint8)
    panel = np.random.default_rng(0).integers(-128, 128, (2, LANES, 4), np.int8)
    panel[:, 0] = -128
    sums = (rows.astype(np.int32).reshape(2, 1, 4) * panel).sum(axis=(0, 2), dtype=np.int32)
    return rows, panel, sums
