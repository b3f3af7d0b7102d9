"""Convolutions and matrix products of 8-bit codes by AVX512-VNNI, which no OpenCL compiler makes of plain C."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Argument, Launch, Lowered, Packed, Ref, Temp
from tflgpu.delegates.lowering.convolution.transpose_as_gemm import spread_matrix
from tflgpu.delegates.lowering.convolution.window import Window
from tflgpu.delegates.lowering.gemm import register_tiles
from tflgpu.delegates.lowering.gemm.hybrid import Rows
from tflgpu.delegates.lowering.gemm.register_tiles import (
    C_NAMES,
    Filtering,
    Finish,
    Matrix,
    conv_tiles,
    folded_bias,
    padded,
)
from tflgpu.delegates.lowering.gemm.vnni_assembly import LANES, assembly
from tflgpu.delegates.lowering.registry import i32, size
from tflgpu.model.graph import Array, TensorSpec


def conv_dot(f: Filtering, limits: DeviceLimits) -> Lowered:
    """The launch: of these kernels where the device and the types allow it, else of tiles.conv_tiles."""
    if limits.dot and f.finish.rescale and not f.finish.wide:
        return [dot_tiles(f, limits)]
    return conv_tiles(f, limits)


def dot_tiles(f: Filtering, limits: DeviceLimits, spread: Spread | None = None) -> Launch:
    """The launch. spread: how many outputs each window makes, where it is not one."""
    x, matrix, out, over, finish = f.x, f.matrix, f.out, f.over, f.finish
    n, h, w, c = f.image
    if over.pointwise(h, w) and spread is None:  # a matrix product, whose rows lie side by side
        n, h, w, over = 1, 1, n * h * w, replace(over, oh=1, ow=n * h * w)
    by_sum, low = 0, int(matrix.weights.min(initial=0)) - matrix.zero_point
    if low < -128 or int(matrix.weights.max(initial=0)) - matrix.zero_point > 127:
        by_sum = 128 - matrix.zero_point
    taken = matrix.zero_point + by_sum
    flip = 128 if x.type == "INT8" else 0
    shifted = replace(finish, x_zero=finish.x_zero + flip)
    oc = out.shape[-1]
    channels = oc if spread is None else spread.channels
    tile = Tiling.of(len(matrix.weights), n * over.oh * over.ow, over.kh * over.kw * c, limits)
    arrays: tuple[Argument, ...] = (
        Packed(lambda: panels_of_bytes(replace(matrix, zero_point=taken), tile, limits)),
        Packed(lambda: folded_bias(matrix, shifted, tile.padded)),
        *(padded(array, tile.padded if spread is None else channels) for array in finish.rescale),
    )
    sizes = (*tile.sizes, h, w, c, over.oh, over.ow, oc, over.kh, over.kw, over.sh, over.sw, over.dh, over.dw)
    args: list[Argument] = [Ref(x.index), *arrays, tile.scratch(), Ref(out.index)]
    args += [*map(i32, (*sizes, over.top, over.left, finish.x_zero, 1))]
    args += [] if spread is None else [*map(i32, (*out.shape[1:3], channels))]
    args += [i32(by_sum)] if by_sum else []
    name = C_NAMES[x.type]
    defines: dict[str, Any] = {"X_T": name, "OUT_T": name, "CODES": 1, "FLIP": flip}
    defines |= {"DOUBLES": 1} if len(finish.rescale) == 1 else {}
    defines |= {"ROW_SUMS": 1} if by_sum else {}
    defines |= {} if spread is None else spread.defines
    return tile.launch([*args, *finish.ends], defines, flip, limits)


def hybrid_dot(
    rows: Rows, matrix: Matrix, scale: Array, out: TensorSpec, low: Any, high: Any, limits: DeviceLimits
) -> Launch:
    """As tiles.hybrid_tiles, by these kernels where the device runs them fast."""
    if not limits.dot:
        return register_tiles.hybrid_tiles(rows, matrix, scale, out, low, high, limits)
    depth = matrix.weights.shape[1]
    over = Window(1, 1, 1, 1, 1, 1, 1, size(out) // len(matrix.weights), 0, 0)
    return hybrid_conv(rows, (1, 1, over.ow, depth), matrix, scale, out, over, low, high, limits, {}, 1)


def hybrid_conv(
    rows: Rows,
    image: tuple[int, int, int, int],
    matrix: Matrix,
    scale: Array,
    out: TensorSpec,
    over: Window,
    low: Any,
    high: Any,
    limits: DeviceLimits,
    kind: dict[str, Any],
    each: int,
) -> Launch:
    """Codes of images (n, h, w, c), which have a scale for every `each` places, convolved, as floats. kind: macros."""
    n, h, w, c = image
    oc = len(matrix.weights)
    tile = Tiling.of(oc, n * over.oh * over.ow, over.kh * over.kw * c, limits)
    bias = np.zeros(oc, np.float32) if matrix.bias is None else matrix.bias.reshape(-1)
    args: list[Argument] = [
        rows.codes,
        Packed(lambda: panels_of_bytes(matrix, tile, limits)),
        padded(bias, tile.padded),
        padded(np.broadcast_to(scale.astype(np.float32), (oc,)), tile.padded),
        Packed(lambda: padded(matrix.weights.reshape(oc, -1).sum(axis=1, dtype=np.int32), tile.padded)),
        rows.scales,
        rows.zero_points,
        tile.scratch(),
        Ref(out.index),
    ]
    sizes = (*tile.sizes, h, w, c, over.oh, over.ow, oc, over.kh, over.kw, over.sh, over.sw, over.dh, over.dw)
    args += [*map(i32, (*sizes, over.top, over.left, 0, 1)), np.float32(low), np.float32(high), i32(each)]
    defines = {"X_T": "char", "OUT_T": "float", "HYBRID": 1, "FLIP": 128, **kind}
    return tile.launch(args, defines, 128, limits)


@dataclass(frozen=True)
class Spread:
    """h x w outputs of each window, one's channels after another's, each padded to `channels`.

    The first `top` rows and `left` columns of the outputs are none.
    """

    h: int
    w: int
    channels: int
    top: int
    left: int

    @property
    def defines(self) -> dict[str, Any]:
        return {"SPREAD_H": self.h, "SPREAD_W": self.w, "SPREAD_TOP": self.top, "SPREAD_LEFT": self.left}


@dataclass(frozen=True)
class Tiling:
    """How a product of `rows` rows of `depth` and `columns` columns is shared out, as dot.cl says."""

    lanes: int
    vectors: int
    height: int
    steps: int
    rows: int
    padded: int
    blocks: int
    share: int
    across: int

    @classmethod
    def of(cls, columns: int, rows: int, depth: int, limits: DeviceLimits, batches: int = 1) -> Tiling:
        lanes = LANES if limits.assembly else limits.vector
        height, vectors = tile(columns, rows, lanes)
        nr = lanes * vectors
        panels, down = -(-columns // nr), -(-rows // height) * batches
        groups = min(panels, -(-limits.units * 4 // down))
        across = -(-panels // groups)
        blocks = down * -(-panels // across)
        share = -(-blocks // min(blocks, limits.units * 4))
        return cls(lanes, vectors, height, -(-depth // 4), rows, panels * nr, blocks, share, across)

    @property
    def nr(self) -> int:
        return self.lanes * self.vectors

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.blocks, self.share, self.across, self.steps, self.rows

    @property
    def items(self) -> int:
        return -(-self.blocks // self.share)

    def scratch(self) -> Temp:
        return Temp(self.items * self.height * self.steps * 4)

    def launch(self, args: list[Argument], defines: dict[str, Any], flip: int, limits: DeviceLimits) -> Launch:
        defines |= {"VW": self.lanes, "NV": self.vectors, "MR": self.height}
        defines |= {"CALCULATE": assembly(self.height, self.vectors, flip)} if limits.assembly else {}
        return Launch("dot.dot_tiles", tuple(args), (self.items,), (1,), defines)


def tile(columns: int, rows: int, lanes: int = LANES) -> tuple[int, int]:
    """Rows and vectors of a tile, of which 32 registers hold 8 by 3."""
    vectors = min((3, 2, 1), key=lambda v: (-(-columns // (v * lanes)) * v, -v))
    return next(height for height in (8, 4, 2, 1) if rows >= height), vectors


def transposed(f: Filtering, taps: tuple[int, int, int, int], limits: DeviceLimits) -> Launch:
    """A transposed convolution, f.over being the window of its gradient. taps: the weights' shape (oc, kh, kw, c)."""
    out, over = f.out, f.over
    oc, kh, kw, _ = taps
    lanes = LANES if limits.assembly else limits.vector
    channels = -(-oc // lanes) * lanes
    wh, ww = -(-kh // over.sh), -(-kw // over.sw)
    qh, qw = (out.shape[1] - 1 + over.top) // over.sh + 1, (out.shape[2] - 1 + over.left) // over.sw + 1
    plain = Window(wh, ww, 1, 1, 1, 1, qh, qw, wh - 1, ww - 1)
    spread = Spread(over.sh, over.sw, channels, over.top, over.left)
    whole = spread_matrix(f.matrix, taps, (over.sh, over.sw), channels)
    return dot_tiles(replace(f, matrix=whole, over=plain), limits, spread)


@dataclass(frozen=True)
class Factors:
    """Matrices of codes that are both computed: x (..., m, k) times y (..., k, n), by tensor and zero point.

    x_batch, y_batch: C for which of each the matrix `b` of the output comes of. y_batches: how many there are of y.
    y_steps: elements from one row and column of y to the next.
    """

    x: int
    y: int
    x_zero: int
    y_zero: int
    m: int
    n: int
    k: int
    x_batch: str
    y_batch: str
    y_batches: int
    y_steps: tuple[int, int]


def computed(f: Factors, out: TensorSpec, finish: Finish, limits: DeviceLimits) -> Lowered:
    """The launches that pack y and multiply."""
    m, n, k = f.m, f.n, f.k
    batches = size(out) // (m * n)
    tile = Tiling.of(n, m, k, limits, batches)
    panels, bias = Temp(f.y_batches * tile.padded * tile.steps * 4), Temp(4 * f.y_batches * tile.padded)
    across = tile.padded // tile.nr
    blocks = f.y_batches * across
    x_zero = f.x_zero + 128
    numbers = (blocks, n, k, across, tile.steps, *f.y_steps, x_zero, k * x_zero * f.y_zero)
    defines: dict[str, Any] = {"PACK": 1, "NR": tile.nr} | ({"INTERLEAVED": 1} if limits.assembly else {})
    pack = Launch("dot.pack", (Ref(f.y), panels, bias, *map(i32, numbers)), (blocks,), (1,), defines)
    sizes = (*tile.sizes, 1, m, k, 1, m, n, 1, 1, 1, 1, 1, 1, 0, 0, 0, batches)
    scaling = (np.ascontiguousarray(array) for array in (padded(a, tile.padded) for a in finish.rescale))
    args: list[Argument] = [Ref(f.x), panels, bias, *scaling, tile.scratch(), Ref(out.index), *map(i32, sizes)]
    args += [i32(-f.y_zero)] if f.y_zero else []
    defines = {"X_T": "char", "OUT_T": C_NAMES[out.type], "CODES": 1, "FLIP": 128}
    defines |= {"X_BATCH": f"({f.x_batch})", "Y_BATCH": f"({f.y_batch})"} | ({"ROW_SUMS": 1} if f.y_zero else {})
    return [pack, tile.launch([*args, *finish.ends], defines, 128, limits)]


def panels_of_bytes(matrix: Matrix, tile: Tiling, limits: DeviceLimits) -> Array:
    """Weights (oc, k), less their zero point, as (oc / nr, k / 4, nr, 4) of int8, padded with zeros; of plain C as
    (oc / nr, k, nr)."""
    rows = matrix.weights.reshape(len(matrix.weights), -1)
    oc, k = rows.shape
    whole = np.zeros((tile.padded, tile.steps * 4), np.int8)
    whole[:oc, :k] = rows.astype(np.int16) - matrix.zero_point
    if not limits.assembly:
        return whole.reshape(-1, tile.nr, tile.steps * 4).transpose(0, 2, 1)
    return whole.reshape(-1, tile.nr, tile.steps, 4).transpose(0, 2, 1, 3)
