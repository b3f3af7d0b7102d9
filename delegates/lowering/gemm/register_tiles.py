"""GEMM with constant weights in register tiles: OpenCL's fast kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed
from tflgpu.delegates.lowering.gemm.packing import C_NAMES, column_sums, folded_bias, largest_row, padded
from tflgpu.delegates.lowering.gemm.problem import EXACT, Gemm, Kind, Types
from tflgpu.delegates.lowering.registry import i32
from tflgpu.model.graph import Array

FLOATS: Types = ("FLOAT32", "FLOAT32", "FLOAT32")
BYTES: set[Types] = {("INT8", "INT8", "INT8"), ("UINT8", "UINT8", "UINT8")}
TYPES: dict[Kind, set[Types]] = {
    "convolution": {FLOATS, *BYTES, ("INT16", "INT8", "INT16")},
    "depthwise": {FLOATS, *BYTES},
    "transposed": {FLOATS, *BYTES},
    "dense": {FLOATS, *BYTES, ("INT8", "INT4", "INT8")},
    "recurrent": {FLOATS},
}
"""The element types of GEMMs with constant weights that are packed."""

FEW_WEIGHTS = 1 << 16
"""Weights that stay in a CPU's cache while they are multiplied with one tile of pixels after another."""


def fits(g: Gemm, limits: DeviceLimits) -> bool:
    if not (limits.has("register_tiles") and g.constant_weights) or g.gather.groups > 1:
        return False
    if g.arithmetic == "hybrid":
        return True
    if g.epilogue.in_order and not limits.cpu:
        return False
    if g.x.spec.type == "INT16" and not (g.epilogue.wide and limits.double):
        return False
    return g.types in TYPES[g.kind]


def launches(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launch, with other tiles as variants."""
    if g.epilogue.wide and limits.vector < 16:
        limits = replace(limits, vector=limits.vector // 2)  # sums have twice the bytes
    if g.arithmetic == "hybrid":
        return [_launch(g, limits, _tile(g.n, g.m, limits))]
    first, *others = [_launch(g, limits, tile) for tile in _tiles_worth_trying(g.n, g.m, limits)]
    return [replace(first, variants=tuple(others))]


def _launch(g: Gemm, limits: DeviceLimits, tile: tuple[int, int, int]) -> Launch:
    lanes, vectors, height = tile
    nr = lanes * vectors
    panels = -(-g.n // nr)
    tiles = panels * -(-g.m // height)
    items = min(tiles, limits.units * 4) if limits.cpu else tiles
    defines, kind = _macros(g, limits, panels * nr)
    step, panel = (nr, g.k * nr) if limits.cpu else (panels * nr, nr)
    sizes = {"tiles": tiles, "items": items, "pixels": g.m, **g.gather.sizes(g.n), "step": step, "panel": panel}
    return Launch(
        "gemm_register_tiles.gemm_register_tiles",
        (items,),
        (1 if limits.cpu else 64,),
        inputs={
            "x": g.x.buffer,
            "zeros": np.full(g.gather.window.kw * g.gather.channels, g.x.zero_point, g.x.spec.dtype),
            "weights": Packed(lambda: _panels(g, nr, limits.cpu, kind)),
            "bias": Packed(lambda: folded_bias(g, panels * nr)),
            **_scales(g, panels * nr),
        },
        outputs={"out": g.out.buffer},
        sizes=sizes,
        scalars=g.epilogue.bounds | ({"each": i32(1)} if g.arithmetic == "hybrid" else {}),
        defines=defines | {"VW": lanes, "NV": vectors, "MR": height},
        computes=g,
        stage="none",
        single=limits.cpu,
    )


def _macros(g: Gemm, limits: DeviceLimits, columns: int) -> tuple[dict[str, Any], np.dtype[Any]]:
    """The macros, and the type of the packed weights."""
    over, c, quantized = g.gather.window, g.gather.channels, g.arithmetic == "quantized"
    wide, hybrid = g.x.spec.type == "INT16", g.arithmetic == "hybrid"
    integer = g.int8 and not wide and largest_row(g) * (255 if g.x.spec.type == "UINT8" else 128) > EXACT
    float16 = limits.precision == "fp16" and not g.int8 and _fit_float16(g.y.value)
    name = C_NAMES[g.x.spec.type]
    defines: dict[str, Any] = {"X_T": name, "OUT_T": C_NAMES[g.out.spec.type], "W_T": "float", "ACC": "float"}
    defines |= {"BIAS_T": "int" if quantized else "float"}
    if integer:
        defines |= {"ACC": "int", "W_T": "short"}
    if float16:
        defines |= {"W_T": "half", "FLOAT16_WEIGHTS": 1}
    if wide:
        defines |= {"ACC": "double", "W_T": "double", "BIAS_T": "i64", "INT16": 1}
    defines |= {"HYBRID": 1} if hybrid else {"QUANTIZED": 1} if quantized else {"FLOAT": 1}
    defines |= {"FLOAT64_SCALES": 1} if g.epilogue.in_float64 else {}
    defines |= {"IN_ORDER": 1} if g.epilogue.in_order else {}
    defines |= {"CPU": 1} if limits.cpu else {}
    panels_first = limits.cpu and (hybrid or g.k * columns > FEW_WEIGHTS)
    defines |= {} if panels_first else {"CHANNELS_FIRST": 1}
    if g.gather.pointwise:
        defines["POINTWISE"] = 1
    elif limits.cpu and c <= 4 and g.k <= 100:
        defines |= {"FIXED": 1, "KH": over.kh, "KW": over.kw, "C": c, "STRIDE_W": over.sw}
    kind = np.float64 if wide else np.int16 if integer else np.float16 if float16 else np.float32
    return defines, np.dtype(kind)


def _scales(g: Gemm, columns: int) -> dict[str, Buffer]:
    """The requantization arrays, padded to so many columns; of a hybrid GEMM, the scales of columns and of rows."""
    if g.arithmetic != "hybrid":
        return {name: padded(array, columns) for name, array in g.epilogue.scales.items()}
    scales = g.row_scales
    return {
        "weight_scales": padded(scales.of_columns(g.n), columns),
        "weight_sums": Packed(lambda: column_sums(g, columns)),
        "scales": scales.rows.scales,
        "zero_points": scales.rows.zero_points,
    }


def _fit_float16(weights: Array) -> bool:
    """Whether every weight is in float16's range."""
    return bool(np.abs(weights).max(initial=0) <= np.finfo(np.float16).max)


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
    """The tile of _tile, then others that could be faster."""
    first = _tile(oc, pixels, limits)
    lanes = first[0]
    if lanes < 8 or pixels < 8:
        return [first]
    shapes = ((1, 8), (2, 7), (2, 8), (3, 7), (3, 8), (4, 6)) if lanes == 16 else ((1, 6), (2, 4), (2, 6))
    tiles = [(lanes, vectors, rows) for vectors, rows in shapes if (vectors - 1) * lanes < oc]
    return [first, *(tile for tile in tiles if tile != first)]


def _panels(g: Gemm, nr: int, by_panel: bool, dtype: np.dtype[Any]) -> Array:
    """Weights (n, k), less their zero point, as (n / nr, k, nr) by panel, else as (k, n), n padded."""
    rows = g.y.rows
    n, k = rows.shape
    panels = -(-n // nr)
    whole = np.zeros((panels * nr, k), dtype)
    whole[:n] = rows
    whole[:n] -= dtype.type(g.y.zero_point)
    return whole.reshape(panels, nr, k).transpose(0, 2, 1) if by_panel else whole.T
