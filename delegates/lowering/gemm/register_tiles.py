"""Convolutions and matrix products with constant weights as register tiles: the fast kernels of OpenCL devices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed, Ref
from tflgpu.delegates.lowering.convolution.window import Window, steps_of
from tflgpu.delegates.lowering.gemm.hybrid import Rows
from tflgpu.delegates.lowering.registry import i32, size
from tflgpu.model.graph import Array, TensorSpec
from tflgpu.ops.matmul.requantize import Rescale

EXACT = 1 << 24
"""Sums of whole numbers up to this are exact in float32."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """Constant weights (oc, kh * kw * c) with their zero point, and the bias (oc,), constant too, or None."""

    weights: Array
    zero_point: int
    bias: Array | None


@dataclass(frozen=True, eq=False)
class Finish:
    """What becomes of the sums: clamped to [low, high], after they are made codes where `rescale` is given.

    rescale: arrays of one value a channel: multipliers and exponents, or scales in double. x_zero: x's zero point.
    in_order: whether products are rounded before they are added, one after the other.
    """

    low: Any
    high: Any
    rescale: tuple[Array, ...] = ()
    zero_point: int = 0
    x_zero: int = 0
    wide: bool = False
    in_order: bool = False

    @property
    def scales(self) -> dict[str, Array]:
        """What rescales, as kernels call it."""
        names = ("scales",) if len(self.rescale) == 1 else ("multipliers", "exponents")
        return dict(zip(names, self.rescale, strict=True)) if self.rescale else {}

    @property
    def ends(self) -> dict[str, Any]:
        """The last scalars of kernels."""
        if not self.rescale:
            return {"low": self.low, "high": self.high}
        return {"out_zero": i32(self.zero_point), "low": i32(self.low), "high": i32(self.high)}


@dataclass(frozen=True, eq=False)
class Filtering:
    """A convolution or matrix product, whatever kernel computes it: out is the windows of x times the matrix, finished.

    image: x's shape as (n, h, w, c), which for a matrix product is (1, 1, rows, depth).
    """

    x: TensorSpec
    image: tuple[int, int, int, int]
    matrix: Matrix
    out: TensorSpec
    over: Window
    finish: Finish


def fixed_point(scaling: Rescale, x_zero: int) -> Finish:
    """Codes by multipliers and exponents."""
    arrays = (np.ascontiguousarray(scaling.multiplier), np.ascontiguousarray(scaling.exponent))
    return Finish(scaling.lo, scaling.hi, arrays, scaling.zero_point, x_zero)


FEW_WEIGHTS = 1 << 16
"""So many stay in a CPU's cache while one tile of pixels after another is multiplied by all of them."""

C_NAMES = {"FLOAT32": "float", "INT8": "char", "UINT8": "uchar", "INT16": "short"}


def conv_tiles(f: Filtering, limits: DeviceLimits) -> Lowered:
    """The launch."""
    pixels = size(f.out) // len(f.matrix.weights)
    if f.finish.wide and limits.vector < 16:
        limits = replace(limits, vector=limits.vector // 2)  # sums are of twice the bytes
    tiles = _tiles_worth_trying(len(f.matrix.weights), pixels, limits)
    first, *others = [_conv_tiles(f, limits, tile) for tile in tiles]
    return [replace(first, variants=tuple(others))]


def _conv_tiles(f: Filtering, limits: DeviceLimits, tile: tuple[int, int, int]) -> Launch:
    x, matrix, out, over, finish = f.x, f.matrix, f.out, f.over, f.finish
    c = f.image[-1]
    oc = matrix.weights.shape[0]
    pixels = size(out) // oc
    lanes, vectors, height = tile
    nr = lanes * vectors
    panels = -(-oc // nr)
    tiles = panels * -(-pixels // height)
    items = min(tiles, limits.units * 4) if limits.cpu else tiles
    depth = over.kh * over.kw * c
    codes = bool(finish.rescale)
    integer = codes and x.type != "INT16" and _largest_sum(matrix, x) > EXACT
    halves = limits.precision == "fp16" and not codes and _fit_halves(matrix)
    kind = np.dtype(np.float64 if x.type == "INT16" else np.int16 if integer else np.float16 if halves else np.float32)
    step, panel = (nr, depth * nr) if limits.cpu else (panels * nr, nr)
    sizes = {"tiles": tiles, "items": items, "pixels": pixels, **image_sizes(f), "step": step, "panel": panel}
    name = C_NAMES[x.type]
    defines: dict[str, Any] = {"VW": lanes, "NV": vectors, "MR": height, "X_T": name, "OUT_T": name, "W_T": "float"}
    defines |= {"ACC": "float", "BIAS_T": "int" if codes else "float"}
    if integer:
        defines |= {"ACC": "int", "W_T": "short"}
    if halves:
        defines |= {"W_T": "half", "HALF_WEIGHTS": 1}
    wide = x.type == "INT16"
    if wide:
        defines |= {"ACC": "double", "W_T": "double", "BIAS_T": "i64", "WIDE": 1, "CODES": 1}
    else:
        defines |= {"CODES": 1} if codes else {"PLAIN": 1}
    defines |= {"DOUBLES": 1} if len(finish.rescale) == 1 else {}
    defines |= {"IN_ORDER": 1} if finish.in_order else {}
    defines |= {"ALONE": 1} if limits.cpu else {}
    defines |= {} if limits.cpu and depth * panels * nr > FEW_WEIGHTS else {"CHANNELS_FIRST": 1}
    if over.pointwise(*f.image[1:3]):
        defines["POINTWISE"] = 1
    elif limits.cpu and c <= 4 and depth <= 100:
        defines |= {"FIXED": 1, "KH": over.kh, "KW": over.kw, "C": c, "STRIDE_W": over.sw}
    return Launch(
        "tiles.conv_tiles",
        (items,),
        (1 if limits.cpu else 64,),
        inputs={
            "x": Ref(x.index),
            "zeros": np.full(over.kw * c, finish.x_zero, x.dtype),
            "weights": Packed(lambda: _panels(matrix, nr, limits.cpu, kind)),
            "bias": Packed(lambda: folded_bias(matrix, finish, panels * nr)),
            **{name: padded(array, panels * nr) for name, array in finish.scales.items()},
        },
        outputs={"out": Ref(out.index)},
        sizes=sizes,
        scalars=finish.ends,
        defines=defines,
    )


def image_sizes(f: Filtering) -> dict[str, int]:
    """The image and the window, as kernels call them."""
    (_, h, w, c), over = f.image, f.over
    sizes = {"h": h, "w": w, "c": c, "oh": over.oh, "ow": over.ow, "oc": f.out.shape[-1]}
    return sizes | {"kh": over.kh, "kw": over.kw} | steps_of(over)


def hybrid_tiles(
    rows: Rows, matrix: Matrix, scale: Array, out: TensorSpec, low: Any, high: Any, limits: DeviceLimits
) -> Launch:
    """The product of rows of codes, each with its own scale, and weights of `scale` (1,) or (oc,), as floats."""
    oc, depth = matrix.weights.shape
    m = size(out) // oc
    lanes, vectors, height = _tile(oc, m, limits)
    nr = lanes * vectors
    panels = -(-oc // nr)
    tiles = panels * -(-m // height)
    items = min(tiles, limits.units * 4) if limits.cpu else tiles
    integer = _most(matrix) * 128 > EXACT
    step, panel = (nr, depth * nr) if limits.cpu else (panels * nr, nr)
    f = Filtering(out, (1, 1, m, depth), matrix, out, Window(1, 1, 1, 1, 1, 1, 1, m, 0, 0), Finish(low, high))
    sizes = {"tiles": tiles, "items": items, "pixels": m, **image_sizes(f), "step": step, "panel": panel}
    bias = np.zeros(oc, np.float32) if matrix.bias is None else matrix.bias.reshape(-1)
    defines: dict[str, Any] = {
        "VW": lanes,
        "NV": vectors,
        "MR": height,
        "X_T": "char",
        "OUT_T": "float",
        "BIAS_T": "float",
    }
    defines |= {"ACC": "int", "W_T": "short"} if integer else {"ACC": "float", "W_T": "float"}
    defines |= {"HYBRID": 1, "POINTWISE": 1} | ({"ALONE": 1} if limits.cpu else {"CHANNELS_FIRST": 1})
    return Launch(
        "tiles.conv_tiles",
        (items,),
        (1 if limits.cpu else 64,),
        inputs={
            "x": rows.codes,
            "zeros": np.zeros(depth, np.int8),
            "weights": Packed(lambda: _panels(matrix, nr, limits.cpu, np.dtype(np.int16 if integer else np.float32))),
            "bias": padded(bias, panels * nr),
            "weight_scales": padded(np.broadcast_to(scale.astype(np.float32), (oc,)), panels * nr),
            "weight_sums": Packed(lambda: padded(matrix.weights.sum(axis=1, dtype=np.int32), panels * nr)),
            "scales": rows.scales,
            "zero_points": rows.zero_points,
        },
        outputs={"out": Ref(out.index)},
        sizes=sizes,
        scalars={"low": np.float32(low), "high": np.float32(high), "each": i32(1)},
        defines=defines,
    )


def _fit_halves(matrix: Matrix) -> bool:
    """Whether float16 has room for every weight."""
    return bool(np.abs(matrix.weights).max(initial=0) <= np.finfo(np.float16).max)


def _most(matrix: Matrix) -> int:
    """The largest sum of magnitudes of one output's weights."""
    rows = matrix.weights.reshape(len(matrix.weights), -1).astype(np.int32) - matrix.zero_point
    return int(np.abs(rows).sum(axis=1, dtype=np.int64).max(initial=0))


def _tile(oc: int, pixels: int, limits: DeviceLimits) -> tuple[int, int, int]:
    """Lanes of a vector, vectors and rows of a tile: as large as registers hold, no larger than the work."""
    lanes = next(n for n in (limits.vector, 8, 4) if n == 4 or oc > n // 2) if limits.cpu else 4
    if pixels == 1:
        vectors = 4 if oc >= 4 * lanes else 2 if oc > lanes else 1
        return lanes, vectors if limits.cpu else 1, 1
    # 32 registers hold 8 rows of 3 vectors of 16 lanes; half as many, or half as wide, 6 of 2 at the most.
    wide = limits.cpu and lanes == 16
    vectors = min((3, 2, 1) if wide else (2, 1), key=lambda v: (-(-oc // (v * lanes)) * v, abs(v - 2)))
    if wide and pixels >= 7:
        rows = min((8, 7), key=lambda r: (-(-pixels // r) * r, -r))
    else:
        rows = 6 if limits.cpu and pixels >= 6 else 4 if pixels >= 4 else 2
    return lanes, vectors if limits.cpu else 1, rows


def _tiles_worth_trying(oc: int, pixels: int, limits: DeviceLimits) -> list[tuple[int, int, int]]:
    """What _tile says, and after it others that could be faster."""
    first = _tile(oc, pixels, limits)
    lanes = first[0]
    if lanes < 8 or pixels < 8:
        return [first]
    shapes = ((1, 8), (2, 7), (2, 8), (3, 7), (3, 8), (4, 6)) if lanes == 16 else ((1, 6), (2, 4), (2, 6))
    tiles = [(lanes, vectors, rows) for vectors, rows in shapes if (vectors - 1) * lanes < oc]
    return [first, *(tile for tile in tiles if tile != first)]


def _largest_sum(matrix: Matrix, x: TensorSpec) -> int:
    return _most(matrix) * (255 if x.type == "UINT8" else 128)


def _panels(matrix: Matrix, nr: int, by_panel: bool, dtype: np.dtype[Any]) -> Array:
    """Weights (oc, k), less their zero point, as (oc / nr, k, nr) by panel, else as (k, oc), oc padded."""
    rows = matrix.weights.reshape(len(matrix.weights), -1)
    oc, k = rows.shape
    panels = -(-oc // nr)
    padded = np.zeros((panels * nr, k), dtype)
    padded[:oc] = rows
    padded[:oc] -= dtype.type(matrix.zero_point)
    return padded.reshape(panels, nr, k).transpose(0, 2, 1) if by_panel else padded.T


def folded_bias(matrix: Matrix, finish: Finish, channels: int) -> Array:
    """The bias, padded; of codes, less what x's zero point adds to the sums."""
    oc = len(matrix.weights)
    if not finish.rescale:
        return padded(np.zeros(oc, np.float32) if matrix.bias is None else matrix.bias.reshape(-1), channels)
    sums = matrix.weights.reshape(oc, -1).astype(np.int64).sum(axis=1)
    sums -= matrix.zero_point * (matrix.weights.size // oc)
    bias = (0 if matrix.bias is None else matrix.bias.reshape(-1).astype(np.int64)) - finish.x_zero * sums
    return padded(bias.astype(np.int64 if finish.wide else np.int32), channels)


def padded(array: Array, length: int) -> Array:
    out = np.zeros(length, array.dtype)
    out[: array.size] = array
    return out


def depthwise_rows(
    x: TensorSpec,
    weights: Array,
    zero_point: int,
    bias: Buffer,
    out: TensorSpec,
    over: Window,
    finish: Finish,
    limits: DeviceLimits,
) -> Launch:
    """The launch, for as many outputs as inputs and at least 4 of them."""
    n, h, w, c = x.shape
    rows = n * over.oh
    name = C_NAMES[x.type]
    lanes = next(lanes for lanes in (16, 8, 4) if lanes <= min(c, limits.vector))
    parts = _parts(rows, c, lanes, limits)
    items = min(rows * parts, limits.units * 4)
    image = {"h": h, "w": w, "c": c, "oh": over.oh, "ow": over.ow, "kh": over.kh, "kw": over.kw}
    data, codes = weights, bool(finish.rescale)
    zero = {"x_zero": np.float32(finish.x_zero)} if codes else {}
    defines: dict[str, Any] = {"VW": lanes, "X_T": name, "OUT_T": name, "ALONE": 1}
    defines |= {"CODES": 1} if codes else {"PLAIN": 1}
    if (places := _places(over, w)) > 1:
        defines |= {"PLACES": places, "KH": over.kh, "KW": over.kw, "STRIDE_W": over.sw}
    return Launch(
        "depthwise.depthwise_rows",
        (items,),
        (1,),
        inputs={
            "x": Ref(x.index),
            "weights": Packed(lambda: data.astype(np.float32) - np.float32(zero_point)),
            "bias": bias,
            **finish.scales,
        },
        outputs={"out": Ref(out.index)},
        sizes={"rows": rows, "items": items, "parts": parts, **image, **steps_of(over)},
        scalars=zero | finish.ends,
        defines=defines,
    )


def _parts(rows: int, channels: int, lanes: int, limits: DeviceLimits) -> int:
    """Into how many parts the channels go, each of whole vectors, so that all units have about as much to do."""
    vectors = -(-channels // lanes)
    for parts in range(1, limits.units * 4 + 1):
        each = -(-vectors // parts) * lanes
        if channels - (parts - 1) * each < lanes:
            break
        busy = -(-rows * parts // limits.units) * limits.units
        if rows * parts >= limits.units * 4 and rows * parts >= 0.95 * busy:
            return parts
    return max(1, parts - 1)


def _places(over: Window, w: int) -> int:
    """How many places side by side are best computed at once; 1 where none are."""
    if over.dh != 1 or over.dw != 1 or over.kh * over.kw > 25:
        return 1
    inside = min((w + over.left - over.kw) // over.sw + 1, over.ow) - -(-over.left // over.sw)
    # A place costs one unit of work, loading and storing for places together about another and a half.
    return min((p for p in (6, 5, 4, 3, 2) if p <= inside), key=lambda p: -(-inside // p) * (p + 1.5), default=1)
