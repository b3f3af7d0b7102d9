"""Convolutions and matrix products with constant weights for devices with warps: blocks of outputs in shared memory.

By precision: on tensor cores with operands rounded to tf32 or fp16 where the user says so, else in float32 on the CUDA
cores; int8 exactly, by dp4a or on tensor cores. A layer with too few outputs to fill the device is split along k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Argument, Launch, Lowered, Packed, Ref, Temp
from tflgpu.delegates.lowering.registry import i32, size
from tflgpu.delegates.lowering.tiles import Finish, Matrix, folded_bias, padded
from tflgpu.delegates.lowering.window import Window

from tflgpu.graph import Array, TensorSpec

WORTH_SPLITTING = 4
"""Steps of a block along k that every stretch of a split layer keeps at least."""


@dataclass(frozen=True)
class Tiles:
    """What a block makes: bm x bn outputs, bk words of k at a time, tm x tn of them a thread; tm 0: on tensor cores."""

    bm: int
    bn: int
    bk: int
    tm: int = 0
    tn: int = 0

    @property
    def threads(self) -> int:
        return self.bm // self.tm * (self.bn // self.tn) if self.tm else 128


def conv_gemm(
    x: TensorSpec,
    image: tuple[int, int, int, int],
    matrix: Matrix,
    out: TensorSpec,
    over: Window,
    finish: Finish,
    limits: DeviceLimits,
) -> Lowered | None:
    """The launches, or None where no kernel has these types. image: x's shape as (n, h, w, c)."""
    if x.type not in ("FLOAT32", "INT8"):
        return None
    codes = x.type == "INT8"
    _, h, w, c = image
    n = matrix.weights.shape[0]
    m, k = size(out) // n, over.kh * over.kw * c
    mma = _tensor_cores(codes, m, n, k, limits)
    tiles = _tiles(m, n, mma)
    lanes = 4 if codes else 1
    depth = -(-k // lanes)
    blocks = -(-m // tiles.bm), -(-n // tiles.bn)
    columns = blocks[1] * tiles.bn
    slices, slice_words = _split(blocks[0] * blocks[1], depth, tiles.bk, limits)
    defines: dict[str, Any] = {"BM": tiles.bm, "BN": tiles.bn, "BK": tiles.bk, "LOAD": 4 if c % (4 * lanes) == 0 else 1}
    defines |= {"MMA": mma} if mma else {"TM": tiles.tm, "TN": tiles.tn}
    ways: dict[str, Any] = {"CODES": 1} if codes else {"PLAIN": 1}
    ways |= {"DOUBLES": 1} if len(finish.rescale) == 1 else {}
    defines |= {"WHOLE_WORDS": 1} if codes and c % 4 == 0 else {}
    plain = (over.kh, over.kw, over.sh, over.sw, over.top, over.left) == (1, 1, 1, 1, 0, 0)
    defines |= {"POINTWISE": 1} if plain and c % lanes == 0 else {}
    defines |= {"SPLIT": 1, "OUT_T": "sum"} if slices > 1 else {"OUT_T": "X_T"}
    bias = Packed(lambda: folded_bias(matrix, finish, columns))
    scales: tuple[Argument, ...] = tuple(padded(array, columns) for array in finish.rescale) or (i32(0),)
    fill = (finish.x_zero & 255) * 0x01010101 if codes else 0
    sizes: tuple[int, ...] = (m, n, k, columns, slice_words, fill - (1 << 32) if fill >= 1 << 31 else fill)
    sizes += (h, w, c, over.oh, over.ow, over.kw, over.sh, over.sw, over.dh, over.dw, over.top, over.left)
    sums: Argument = Temp(4 * slices * m * n) if slices > 1 else Ref(out.index)
    launch = Launch(
        f"gemm.{'gemm_mma' if mma else 'gemm'}",
        (Ref(x.index), _packed(matrix, mma, depth, columns), bias, *scales, sums, *map(i32, sizes), *finish.ends),
        (blocks[0] * tiles.threads, blocks[1], slices),
        (tiles.threads, 1, 1),
        defines | ways,
    )
    if slices == 1:
        return [launch]
    args = (sums, bias, *scales, Ref(out.index), i32(m * n), i32(n), i32(slices), *finish.ends)
    return [launch, Launch("gemm.gemm_finish", args, (m * n,), (128,), ways | {"FINISH": 1, "LOAD": 1, "OUT_T": "X_T"})]


def _tensor_cores(codes: bool, m: int, n: int, k: int, limits: DeviceLimits) -> int:
    """The kernel's MMA: bits of an operand, or 0 for the CUDA cores."""
    if not limits.tensor_cores:
        return 0
    if codes:
        return 8 if m >= 64 and n >= 32 and k >= 32 else 0  # below that a block of 64 x 64 is mostly padding
    return {"fp16": 16, "tf32": 32}.get(limits.precision, 0)


def _tiles(m: int, n: int, mma: int) -> Tiles:
    """As large as registers hold, no larger than the layer."""
    if mma:
        return Tiles(64, 64 if n > 32 else 32, 16 if mma == 32 else 32)
    if m <= 32 or n <= 32 or m * n <= 1 << 16:
        return Tiles(32, 32, 16, 4, 4)
    return Tiles(128, 64, 16, 8, 4) if m * n >= 1 << 21 else Tiles(64, 64, 16, 4, 4)


def _split(blocks: int, depth: int, bk: int, limits: DeviceLimits) -> tuple[int, int]:
    """Stretches of k, and the words in each, so that every multiprocessor has a block."""
    steps = -(-depth // bk)
    slices = max(1, min(limits.units // blocks, steps // WORTH_SPLITTING, 64))
    words = -(-steps // slices) * bk
    return -(-depth // words), words


def _packed(matrix: Matrix, mma: int, depth: int, columns: int) -> Packed:
    """Weights as (k, columns) of the operand's type; for dp4a (k / 4, columns, 4)."""

    def make() -> Array:
        rows = matrix.weights.reshape(len(matrix.weights), -1)
        oc, k = rows.shape
        if rows.dtype == np.float32:
            dtype = np.float16 if mma == 16 else np.float32
            out = np.zeros((k, columns), dtype)
            with np.errstate(over="ignore"):
                out[:, :oc] = rows.T
            return tf32(out) if mma == 32 else out
        words = np.zeros((depth * 4, columns), np.int8)
        words[:k, :oc] = rows.T - np.int8(matrix.zero_point)
        return words if mma else words.reshape(depth, 4, columns).transpose(0, 2, 1)

    return Packed(make)


def tf32(array: Array) -> Array:
    """float32 with the mantissa rounded to 10 bits, ties away from zero, as tensor cores take it."""
    bits = array.view(np.uint32)
    finite = (bits >> np.uint32(23) & np.uint32(255)) != 255
    return np.where(finite, (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000), bits).astype(np.uint32).view(np.float32)
