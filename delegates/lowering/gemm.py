"""Convolutions and matrix products with constant weights for devices with warps: blocks of outputs in shared memory.

By precision: on tensor cores with operands rounded to tf32 or fp16 where the user says so, else in float32 on the CUDA
cores; codes exactly, by dp4a or on tensor cores. A layer with too few outputs to fill the device is split along k.
Blocks of other sizes, other splits and cuBLAS are variants, among which tune.py measures.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Argument, Launch, Lowered, Packed, Ref, Temp
from tflgpu.delegates.lowering import library
from tflgpu.delegates.lowering.hybrid import Rows
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


SMALL, MIDDLE, LARGE = Tiles(32, 32, 16, 4, 4), Tiles(64, 64, 16, 4, 4), Tiles(128, 64, 16, 8, 4)


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer, whatever kernel computes it: (m, k) seen of x times weights (n, k) transposed.

    image: x's shape as (n, h, w, c). ways: the macros that say what x is and what becomes of the sums. bias, by_column:
    an entry for each of n. by_row: what else the finish takes. zeros: the zero point of unsigned weights, if they are.
    """

    x: Argument
    image: tuple[int, int, int, int]
    weights: Array
    bias: Packed
    out: TensorSpec
    over: Window
    ways: dict[str, Any]
    ends: tuple[Any, ...]
    by_column: tuple[Packed, ...] = ()
    by_row: tuple[Argument, ...] = ()
    zeros: tuple[np.int32, ...] = ()
    fill: int = 0
    codes: bool = False
    k: int = field(init=False)
    m: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", self.over.kh * self.over.kw * self.image[3])
        object.__setattr__(self, "m", size(self.out) // self.n)

    @property
    def n(self) -> int:
        return len(self.weights)

    def scales(self, columns: int) -> tuple[Argument, ...]:
        """Those by column padded to so many."""
        arrays = tuple(_padded(made, columns) for made in self.by_column)
        return (*arrays, *self.by_row) or (i32(0),)


def conv_gemm(
    x: TensorSpec,
    image: tuple[int, int, int, int],
    matrix: Matrix,
    out: TensorSpec,
    over: Window,
    finish: Finish,
    limits: DeviceLimits,
) -> Lowered | None:
    """The launch, or None where no kernel has these types. image: x's shape as (n, h, w, c)."""
    if x.type not in ("FLOAT32", "INT8", "UINT8"):
        return None
    codes = bool(finish.rescale)
    ways: dict[str, Any] = {"CODES": 1} if codes else {"PLAIN": 1}
    ways |= {"DOUBLES": 1} if len(finish.rescale) == 1 else {}
    weights = matrix.weights
    zeros: tuple[np.int32, ...] = ()
    if x.type == "UINT8":  # both less 128, and with them their zero points
        ways["UNSIGNED"] = 1
        weights = (weights.astype(np.int16) - 128).astype(np.int8)
        zeros = (i32(matrix.zero_point - 128),)
        matrix, finish = replace(matrix, weights=weights, zero_point=0), replace(finish, x_zero=finish.x_zero - 128)
    layer = Layer(
        Ref(x.index),
        image,
        weights,
        Packed(lambda: folded_bias(matrix, finish, len(weights))),
        out,
        over,
        ways,
        finish.ends,
        by_column=tuple(_known(array) for array in finish.rescale),
        zeros=zeros,
        fill=finish.x_zero if codes else 0,
        codes=codes,
    )
    return [with_variants(layer, limits)]


def hybrid_gemm(
    rows: Rows,
    image: tuple[int, int, int, int],
    matrix: Matrix,
    scale: Array,
    out: TensorSpec,
    over: Window,
    ends: tuple[Any, Any],
    per: int,
    limits: DeviceLimits,
    weights_first: bool = False,
) -> Lowered:
    """Floats as codes with a scale for each `per` rows of the product, by int8 weights of `scale` (1,) or (oc,).

    weights_first: whether sums are scaled by the weights' scale before they are by the row's, as one of the reference's
    two kernels does it.
    """
    weights, n = matrix.weights, len(matrix.weights)
    bias = np.zeros(n, np.float32) if matrix.bias is None else matrix.bias.reshape(-1)
    by_column = (
        Packed(lambda: np.ascontiguousarray(np.broadcast_to(scale.astype(np.float32), (n,)))),
        Packed(lambda: weights.reshape(n, -1).sum(axis=1, dtype=np.int32)),
    )
    ways = {"HYBRID": 1, "PLAIN": 1} | ({"WEIGHTS_FIRST": 1} if weights_first else {})
    layer = Layer(
        rows.codes,
        image,
        weights,
        Packed(lambda: bias),
        out,
        over,
        ways,
        (np.float32(ends[0]), np.float32(ends[1])),
        by_column,
        (rows.scales, rows.zero_points, i32(per)),
        codes=True,
    )
    return [rows.launch, with_variants(layer, limits)]


def with_variants(layer: Layer, limits: DeviceLimits) -> Launch:
    """What is likely the fastest launch, and as its variants others that may be."""
    first, *others = [
        _launch(layer, tiles, slices, _mma(layer, limits) if not tiles.tm else 0)
        for tiles, slices in _ways_worth_trying(layer, limits)
    ]
    return replace(first, variants=(*others, *(_by_library(layer, limits) if limits.library else ())))


def _launch(layer: Layer, tiles: Tiles, slices: int, mma: int) -> Launch:
    _, h, w, c = layer.image
    m, n, k, over = layer.m, layer.n, layer.k, layer.over
    lanes = 4 if layer.codes else 1
    depth = -(-k // lanes)
    blocks = -(-m // tiles.bm), -(-n // tiles.bn)
    columns = blocks[1] * tiles.bn
    slices, slice_words = _stretches(depth, tiles.bk, slices)
    defines: dict[str, Any] = {"BM": tiles.bm, "BN": tiles.bn, "BK": tiles.bk, "LOAD": 4 if c % (4 * lanes) == 0 else 1}
    defines |= {"MMA": mma} if mma else {"TM": tiles.tm, "TN": tiles.tn}
    defines |= {"WHOLE_WORDS": 1} if layer.codes and c % 4 == 0 else {}
    defines |= {"POINTWISE": 1} if layer.over.pointwise and c % lanes == 0 else {}
    defines |= {"SPLIT": 1, "OUT_T": "sum"} if slices > 1 else {"OUT_T": "Y_T"}
    fill = (layer.fill & 255) * 0x01010101
    sizes: tuple[int, ...] = (m, n, k, columns, slice_words, fill - (1 << 32) if fill >= 1 << 31 else fill)
    sizes += (h, w, c, over.oh, over.ow, over.kw, over.sh, over.sw, over.dh, over.dw, over.top, over.left)
    sums: Argument = Temp(4 * slices * m * n) if slices > 1 else Ref(layer.out.index)
    bias = _padded(layer.bias, columns)
    weights = _packed(layer, mma, depth, columns)
    launch = Launch(
        "gemm_mma.gemm_mma" if mma else "gemm.gemm",
        (layer.x, weights, bias, *layer.scales(columns), sums, *map(i32, sizes), *layer.zeros, *layer.ends),
        (blocks[0] * tiles.threads, blocks[1], slices),
        (tiles.threads, 1, 1),
        defines | layer.ways,
    )
    return launch if slices == 1 else _finish(layer, sums, slices, launch)


def _finish(layer: Layer, sums: Argument, slices: int, *before: Launch) -> Launch:
    """What makes the outputs of sums (slices, m, n), which the launches before it have made."""
    m, n = layer.m, layer.n
    scales = layer.scales(n)
    args = (sums, layer.bias, *scales, Ref(layer.out.index), *map(i32, (m * n, n, slices)), *layer.ends)
    defines = layer.ways | {"OUT_T": "Y_T"}
    return Launch("gemm_finish.gemm_finish", args, (m * n,), (128,), defines, before=before)


def _mma(layer: Layer, limits: DeviceLimits) -> int:
    """The kernel's MMA: bits of an operand, or 0 for the CUDA cores."""
    if not limits.tensor_cores:
        return 0
    if layer.codes:  # below that a block of 64 x 64 is mostly padding
        return 8 if layer.m >= 64 and layer.n >= 32 and layer.k >= 32 else 0
    return {"fp16": 16, "tf32": 32}.get(limits.precision, 0)


def _ways_worth_trying(layer: Layer, limits: DeviceLimits) -> list[tuple[Tiles, int]]:
    """Tiles and stretches of k, the likely best first: as large as registers hold, no larger than the layer."""
    m, n = layer.m, layer.n
    mma = _mma(layer, limits)
    if mma:
        bk = 16 if mma == 32 else 32
        tiles = Tiles(64, 64 if n > 32 else 32, bk)
        others = [Tiles(32, 64, bk), Tiles(64, 32, bk)] + ([MIDDLE] if layer.codes else [])
    elif m <= 32 or n <= 32 or m * n <= 1 << 16:
        tiles, others = SMALL, [MIDDLE]
    else:
        tiles, others = (LARGE, [MIDDLE, SMALL]) if m * n >= 1 << 21 else (MIDDLE, [SMALL, LARGE])
    others = [t for t in others if t != tiles and t.bm < 2 * max(m, 32) and t.bn < 2 * max(n, 32)]
    first = _split(layer, tiles, limits)
    found = [(tiles, first)]
    found += [(tiles, slices) for slices in (1, 2 * first) if slices != first and _can_split(layer, tiles, slices)]
    return found + [(t, _split(layer, t, limits)) for t in others]


def _steps(layer: Layer, tiles: Tiles) -> int:
    return -(-layer.k // ((4 if layer.codes else 1) * tiles.bk))


def _split(layer: Layer, tiles: Tiles, limits: DeviceLimits) -> int:
    """Stretches of k, so that every multiprocessor has a block."""
    blocks = -(-layer.m // tiles.bm) * -(-layer.n // tiles.bn)
    return max(1, min(limits.units // blocks, _steps(layer, tiles) // WORTH_SPLITTING, 64))


def _can_split(layer: Layer, tiles: Tiles, slices: int) -> bool:
    return slices == 1 or slices <= min(_steps(layer, tiles) // 2, 64)


def _stretches(depth: int, bk: int, slices: int) -> tuple[int, int]:
    """Stretches of k and the words in each, whole steps."""
    steps = -(-depth // bk)
    words = -(-steps // slices) * bk
    return -(-depth // words), words


def _known(array: Array) -> Packed:
    return Packed(lambda: array)


def _padded(made: Packed, columns: int) -> Packed:
    return Packed(lambda: padded(made.make(), columns))


def _packed(layer: Layer, mma: int, depth: int, columns: int) -> Packed:
    """Weights as (k, columns) of the operand's type; for dp4a (k / 4, columns, 4)."""

    def make() -> Array:
        rows = layer.weights.reshape(layer.n, -1)
        oc, k = rows.shape
        if rows.dtype == np.float32:
            dtype = np.float16 if mma == 16 else np.float32
            out = np.zeros((k, columns), dtype)
            with np.errstate(over="ignore"):
                out[:, :oc] = rows.T
            return tf32(out) if mma == 32 else out
        words = np.zeros((depth * 4, columns), np.int8)
        words[:k, :oc] = rows.T
        return words if mma else words.reshape(depth, 4, columns).transpose(0, 2, 1)

    return Packed(make)


def _by_library(layer: Layer, limits: DeviceLimits) -> tuple[Launch, ...]:
    """By cuBLAS, and then a kernel for what becomes of the sums; none where it does not have the layer's arithmetic."""
    m, n, k = layer.m, layer.n, layer.k
    aligned = not layer.codes or ("UNSIGNED" not in layer.ways and k % 4 == 0 and n % 4 == 0)
    if not layer.over.pointwise or not aligned:
        return ()
    sizes = library.Sizes(m, n, k, y_by_column=True)
    found = []
    for arithmetic in ("int8",) if layer.codes else library.FLOATS[limits.precision]:
        sums = Temp(4 * m * n)
        rows = Packed(lambda: layer.weights.reshape(n, k))
        found.append(_finish(layer, sums, 1, library.product(layer.x, rows, sums, arithmetic, sizes)))
    return tuple(found)


def tf32(array: Array) -> Array:
    """float32 with the mantissa rounded to 10 bits, ties away from zero, as tensor cores take it."""
    bits = array.view(np.uint32)
    finite = (bits >> np.uint32(23) & np.uint32(255)) != 255
    return np.where(finite, (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000), bits).astype(np.uint32).view(np.float32)
