"""GEMM with constant weights for devices with warps: blocks of outputs, with operands in shared memory.

float32 runs on the CUDA cores, or on tensor cores rounded to tf32 or float16 where the user's precision says so; int8
runs exactly, by dp4a or on tensor cores. A GEMM with too few outputs to fill the device is split along k: the last
block of a tile adds the sums of the others. Other block sizes, other splits and cuBLAS are variants for autotune.py.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Counters, Launch, Lowered, Packed, Temp
from tflgpu.delegates.lowering.gemm import cublas
from tflgpu.delegates.lowering.gemm.block_sizes import Tiles, load_words, mma_bits, ways_worth_trying
from tflgpu.delegates.lowering.gemm.packing import column_sums, folded_bias, padded
from tflgpu.delegates.lowering.gemm.problem import Gemm
from tflgpu.delegates.lowering.gemm.register_tiles import TYPES
from tflgpu.delegates.lowering.registry import i32
from tflgpu.model.graph import Array

COMMON_CHANNELS = (1, 3)
"""Channels of input images. These and the multiples of 32 are worth a specialized program."""

MOST_COLUMNS = 65535 * 32
"""In blocks of the narrowest tiles, which a CUDA grid's second dimension numbers."""


def fits(g: Gemm, limits: DeviceLimits) -> bool:
    if (
        g.n > MOST_COLUMNS
        or not (limits.has("warps") and g.constant_weights)
        or g.gather.groups > 1
        or g.epilogue.in_order
    ):
        return False
    return g.arithmetic == "hybrid" or (g.x.spec.type != "INT16" and g.types in TYPES[g.kind])


def launches(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launch that is probably fastest, with others as variants."""
    g = _signed(g)
    first, *others = [
        _launch(g, tiles, slices, mma_bits(g, limits) if not tiles.tm else 0)
        for tiles, slices in ways_worth_trying(g, limits)
    ]
    return [replace(first, variants=(*others, *(_by_cublas(g, limits) if limits.has("cublas") else ())))]


def _signed(g: Gemm) -> Gemm:
    """uint8 operands as int8: values and zero points less 128."""
    if g.x.spec.type != "UINT8":
        return g
    unsigned = g.y.value
    y = replace(
        g.y, zero_point=g.y.zero_point - 128, constant=Packed(lambda: (unsigned.astype(np.int16) - 128).astype(np.int8))
    )
    return replace(g, x=replace(g.x, zero_point=g.x.zero_point - 128), y=y)


def _epilogue_macros(g: Gemm) -> dict[str, Any]:
    """The macros of the epilogue."""
    if g.arithmetic == "hybrid":
        return {"HYBRID": 1} | ({"WEIGHT_SCALE_FIRST": 1} if g.row_scales.weight_scale_first else {})
    defines: dict[str, Any] = {"QUANTIZED": 1} if g.int8 else {"FLOAT": 1}
    defines |= {"FLOAT64_SCALES": 1} if g.epilogue.in_float64 else {}
    return defines | ({"UNSIGNED": 1} if g.x.spec.type == "UINT8" else {})


def _scales(g: Gemm, columns: int) -> dict[str, Buffer]:
    """The bias, and the scales by row and by column; what goes by column is padded to so many."""
    # The kernel accounts for the zero point of uint8 weights.
    plain = replace(g, y=replace(g.y, zero_point=0))
    found: dict[str, Buffer] = {"bias": Packed(lambda: folded_bias(plain, columns))}
    found |= {name: _padded(array, columns) for name, array in g.epilogue.scales.items()}
    if g.arithmetic == "hybrid":
        scales = g.row_scales
        found["weight_scales"] = Packed(lambda: padded(scales.of_columns(g.n), columns))
        found["weight_sums"] = Packed(lambda: column_sums(g, columns))
        found |= {"scales": scales.rows.scales, "zero_points": scales.rows.zero_points}
    return found


def _padded(array: Array, columns: int) -> Packed:
    return Packed(lambda: padded(array, columns))


def _last_scalars(g: Gemm) -> dict[str, Any]:
    """The clamp bounds; for a hybrid GEMM also the number of rows that share a scale."""
    each = {"each": i32(g.row_scales.rows_per_scale)} if g.arithmetic == "hybrid" else {}
    return g.epilogue.bounds | each


def _launch(g: Gemm, tiles: Tiles, slices: int, mma: int) -> Launch:
    (_, h, w, c), over = g.gather.image, g.gather.window
    lanes = 4 if g.int8 else 1
    depth = -(-g.k // lanes)
    blocks = -(-g.m // tiles.bm), -(-g.n // tiles.bn)
    columns = blocks[1] * tiles.bn
    slices, slice_words = _split_k(depth, tiles.bk, slices)
    defines: dict[str, Any] = {**tiles.defines, "LOAD": load_words(g)}
    defines |= {"MMA": mma} if mma else {}
    defines |= {"WHOLE_WORDS": 1} if g.int8 and c % 4 == 0 else {}
    if loads_whole_words(g):
        defines["POINTWISE"] = 1
    elif c in COMMON_CHANNELS or c % 32 == 0:
        defines |= {"CHANNELS": c, "KERNEL_WIDTH": over.kw}
    defines |= {"OUT_T": "Y_T"} | ({"SPLIT": 1} if slices > 1 else {})
    fill = (g.x.zero_point & 255) * 0x01010101 if g.arithmetic == "quantized" else 0
    stride = _bytes_along_k(depth) if mma == 8 else columns
    image = {"h": h, "w": w, "c": c, "oh": over.oh, "ow": over.ow, "kw": over.kw, "sh": over.sh, "sw": over.sw}
    image |= {"dh": over.dh, "dw": over.dw, "top": over.top, "left": over.left}
    partials: dict[str, Buffer] = {}
    if slices > 1:
        partials = {"partials": Temp(4 * slices * math.prod(blocks) * tiles.bm * tiles.bn)}
    w_zero = {"w_zero": i32(g.y.zero_point)} if g.x.spec.type == "UINT8" else {}
    return Launch(
        "gemm_mma.gemm_mma" if mma else "gemm.gemm",
        (blocks[0] * tiles.threads, blocks[1], slices),
        (tiles.threads, 1, 1),
        inputs={"x": g.x.buffer, "weights": _packed(g, mma, depth, columns), **_scales(g, columns)},
        outputs={**partials, "out": g.out.buffer},
        sizes={"m": g.m, "n": g.n, "k": g.k, "columns": stride, "slice": slice_words, **image},
        scalars={"fill": i32(fill - (1 << 32) if fill >= 1 << 31 else fill), **w_zero, **_last_scalars(g)},
        counters=Counters(math.prod(blocks)) if slices > 1 else None,
        defines=defines | _epilogue_macros(g),
        computes=g,
        stage="none",
    )


def loads_whole_words(g: Gemm) -> bool:
    """Whether threads load x as the words in which it lies, which no window takes apart."""
    return g.gather.pointwise and g.gather.channels % (4 if g.int8 else 1) == 0


def _split_k(depth: int, bk: int, slices: int) -> tuple[int, int]:
    """The number of slices of k, and the words in each: whole steps."""
    steps = -(-depth // bk)
    words = -(-steps // slices) * bk
    return -(-depth // words), words


def _bytes_along_k(depth: int) -> int:
    """Bytes of a column of so many words, rounded up to what a thread loads at once."""
    return -(-depth // 4) * 16


def _packed(g: Gemm, mma: int, depth: int, columns: int) -> Packed:
    """Weights as (k, columns) of the operand's type; int8 as (k / 4, columns, 4), for tensor cores (columns, k)."""

    def make() -> Array:
        rows = g.y.rows
        n, k = rows.shape
        if rows.dtype == np.float32:
            dtype = np.float16 if mma == 16 else np.float32
            out = np.zeros((k, columns), dtype)
            with np.errstate(over="ignore"):
                out[:, :n] = rows.T
            return tf32(out) if mma == 32 else out
        if mma:
            values = np.zeros((columns, _bytes_along_k(depth)), np.int8)
            values[:n, :k] = rows
            return values
        words = np.zeros((depth * 4, columns), np.int8)
        words[:k, :n] = rows.T
        return words.reshape(depth, 4, columns).transpose(0, 2, 1)

    return Packed(make)


def _by_cublas(g: Gemm, limits: DeviceLimits) -> tuple[Launch, ...]:
    """cuBLAS, then a kernel for the epilogue; none where cuBLAS does not have the arithmetic."""
    aligned = not g.int8 or (g.x.spec.type != "UINT8" and g.k % 4 == 0 and g.n % 4 == 0)
    if not g.gather.pointwise or not aligned:
        return ()
    found = []
    for arithmetic in ("int8",) if g.int8 else cublas.FLOATS[limits.precision]:
        sums = Temp(4 * g.m * g.n)
        rows = Packed(lambda: g.y.rows)
        found.append(_epilogue(g, sums, cublas.gemm(g, rows, sums, arithmetic)))
    return tuple(found)


def _epilogue(g: Gemm, sums: Buffer, before: Launch) -> Launch:
    """The epilogue of the sums (m, n) of the launch before it."""
    return Launch(
        "gemm_epilogue.gemm_epilogue",
        (g.m * g.n,),
        (128,),
        inputs={"sums": sums, **_scales(g, g.n)},
        outputs={"out": g.out.buffer},
        sizes={"size": g.m * g.n, "n": g.n},
        scalars=_last_scalars(g),
        defines=_epilogue_macros(g) | {"OUT_T": "Y_T"},
        before=(before,),
        computes=g,
        stage="none",
    )


def tf32(array: Array) -> Array:
    """float32 with the mantissa rounded to 10 bits, ties away from zero, as tensor cores take it."""
    bits = array.view(np.uint32)
    finite = (bits >> np.uint32(23) & np.uint32(255)) != 255
    return np.where(finite, (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000), bits).astype(np.uint32).view(np.float32)
