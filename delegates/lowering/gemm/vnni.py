"""Convolutions and matrix products of 8-bit codes by AVX512-VNNI, which no OpenCL compiler makes of plain C."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed, Ref, Temp
from tflgpu.delegates.lowering.convolution.transpose_as_gemm import spread_matrix
from tflgpu.delegates.lowering.convolution.window import Window, steps_of
from tflgpu.delegates.lowering.gemm import register_tiles
from tflgpu.delegates.lowering.gemm.hybrid import Rows
from tflgpu.delegates.lowering.gemm.register_tiles import (
    C_NAMES,
    Filtering,
    Finish,
    Matrix,
    conv_tiles,
    folded_bias,
    image_sizes,
    padded,
)
from tflgpu.delegates.lowering.gemm.vnni_assembly import LANES, assembly
from tflgpu.delegates.lowering.registry import i32, size
from tflgpu.model.graph import Array, TensorSpec


def conv_dot(f: Filtering, limits: DeviceLimits) -> Lowered:
    """The launch: of these kernels where the device and the types allow it, else of tiles.conv_tiles."""
    if limits.has("vnni") and f.finish.rescale and not f.finish.wide:
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
    sizes = tile.sizes | image_sizes(replace(f, image=(n, h, w, c), over=over)) | {"batches": 1}
    sizes |= {} if spread is None else {"out_h": out.shape[1], "out_w": out.shape[2], "padded_oc": channels}
    name = C_NAMES[x.type]
    defines: dict[str, Any] = {"X_T": name, "OUT_T": name, "CODES": 1, "FLIP": flip}
    defines |= {"DOUBLES": 1} if len(finish.rescale) == 1 else {}
    defines |= {"ROW_SUMS": 1} if by_sum else {}
    defines |= {} if spread is None else spread.defines
    inputs: dict[str, Buffer] = {
        "x": Ref(x.index),
        "weights": Packed(lambda: panels_of_bytes(replace(matrix, zero_point=taken), tile, limits)),
        "bias": Packed(lambda: folded_bias(matrix, shifted, tile.padded)),
        **{name: padded(array, tile.padded if spread is None else channels) for name, array in finish.scales.items()},
    }
    scalars = {"zeros": i32(finish.x_zero)} | ({"by_sum": i32(by_sum)} if by_sum else {}) | finish.ends
    return tile.launch(inputs, Ref(out.index), sizes, scalars, defines, flip, limits)


def hybrid_dot(
    rows: Rows, matrix: Matrix, scale: Array, out: TensorSpec, low: Any, high: Any, limits: DeviceLimits
) -> Launch:
    """As tiles.hybrid_tiles, by these kernels where the device runs them fast."""
    if not limits.has("vnni"):
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
    n, _, _, c = image
    oc = len(matrix.weights)
    tile = Tiling.of(oc, n * over.oh * over.ow, over.kh * over.kw * c, limits)
    bias = np.zeros(oc, np.float32) if matrix.bias is None else matrix.bias.reshape(-1)
    inputs: dict[str, Buffer] = {
        "x": rows.codes,
        "weights": Packed(lambda: panels_of_bytes(matrix, tile, limits)),
        "bias": padded(bias, tile.padded),
        "weight_scales": padded(np.broadcast_to(scale.astype(np.float32), (oc,)), tile.padded),
        "weight_sums": Packed(lambda: padded(matrix.weights.reshape(oc, -1).sum(axis=1, dtype=np.int32), tile.padded)),
        "scales": rows.scales,
        "zero_points": rows.zero_points,
    }
    f = Filtering(out, image, matrix, out, over, Finish(low, high))
    sizes = tile.sizes | image_sizes(f) | {"batches": 1}
    scalars = {"zeros": i32(0), "low": np.float32(low), "high": np.float32(high), "each": i32(each)}
    defines = {"X_T": "char", "OUT_T": "float", "HYBRID": 1, "FLIP": 128, **kind}
    return tile.launch(inputs, Ref(out.index), sizes, scalars, defines, 128, limits)


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
        lanes = LANES if limits.has("vnni_assembly") else limits.vector
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
    def sizes(self) -> dict[str, int]:
        sizes = {"blocks": self.blocks, "share": self.share, "across": self.across}
        return sizes | {"steps": self.steps, "pixels": self.rows}

    @property
    def items(self) -> int:
        return -(-self.blocks // self.share)

    def launch(
        self,
        inputs: dict[str, Buffer],
        out: Buffer,
        sizes: dict[str, int],
        scalars: dict[str, Any],
        defines: dict[str, Any],
        flip: int,
        limits: DeviceLimits,
    ) -> Launch:
        defines |= {"VW": self.lanes, "NV": self.vectors, "MR": self.height}
        defines |= {"CALCULATE": assembly(self.height, self.vectors, flip)} if limits.has("vnni_assembly") else {}
        outputs = {"scratch": Temp(self.items * self.height * self.steps * 4), "out": out}
        return Launch("dot.dot_tiles", (self.items,), (1,), inputs, outputs, sizes, scalars, defines=defines)


def tile(columns: int, rows: int, lanes: int = LANES) -> tuple[int, int]:
    """Rows and vectors of a tile, of which 32 registers hold 8 by 3."""
    vectors = min((3, 2, 1), key=lambda v: (-(-columns // (v * lanes)) * v, -v))
    return next(height for height in (8, 4, 2, 1) if rows >= height), vectors


def transposed(f: Filtering, taps: tuple[int, int, int, int], limits: DeviceLimits) -> Launch:
    """A transposed convolution, f.over being the window of its gradient. taps: the weights' shape (oc, kh, kw, c)."""
    out, over = f.out, f.over
    oc, kh, kw, _ = taps
    lanes = LANES if limits.has("vnni_assembly") else limits.vector
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
    defines: dict[str, Any] = {"PACK": 1, "NR": tile.nr} | ({"INTERLEAVED": 1} if limits.has("vnni_assembly") else {})
    y_row, y_column = f.y_steps
    pack = Launch(
        "dot.pack",
        (blocks,),
        (1,),
        inputs={"y": Ref(f.y)},
        outputs={"panels": panels, "bias": bias},
        sizes={"blocks": blocks, "n": n, "k": k, "across": across, "steps": tile.steps}
        | {"y_row": y_row, "y_column": y_column},
        scalars={"x_zero": i32(x_zero), "constant_part": i32(k * x_zero * f.y_zero)},
        defines=defines,
    )
    image = {"h": 1, "w": m, "c": k, "oh": 1, "ow": m, "oc": n, "kh": 1, "kw": 1}
    sizes = tile.sizes | image | steps_of(Window(1, 1, 1, 1, 1, 1, 1, m, 0, 0)) | {"batches": batches}
    inputs: dict[str, Buffer] = {"x": Ref(f.x), "weights": panels, "bias": bias}
    inputs |= {name: np.ascontiguousarray(padded(a, tile.padded)) for name, a in finish.scales.items()}
    scalars = {"zeros": i32(0)} | ({"by_sum": i32(-f.y_zero)} if f.y_zero else {}) | finish.ends
    defines = {"X_T": "char", "OUT_T": C_NAMES[out.type], "CODES": 1, "FLIP": 128}
    defines |= {"X_BATCH": f"({f.x_batch})", "Y_BATCH": f"({f.y_batch})"} | ({"ROW_SUMS": 1} if f.y_zero else {})
    return [pack, tile.launch(inputs, Ref(out.index), sizes, scalars, defines, 128, limits)]


def panels_of_bytes(matrix: Matrix, tile: Tiling, limits: DeviceLimits) -> Array:
    """Weights (oc, k), less their zero point, as (oc / nr, k / 4, nr, 4) of int8, padded with zeros; of plain C as
    (oc / nr, k, nr)."""
    rows = matrix.weights.reshape(len(matrix.weights), -1)
    oc, k = rows.shape
    whole = np.zeros((tile.padded, tile.steps * 4), np.int8)
    whole[:oc, :k] = rows.astype(np.int16) - matrix.zero_point
    if not limits.has("vnni_assembly"):
        return whole.reshape(-1, tile.nr, tile.steps * 4).transpose(0, 2, 1)
    return whole.reshape(-1, tile.nr, tile.steps, 4).transpose(0, 2, 1, 3)
