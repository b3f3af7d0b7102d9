"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR of images (n, h, w, c) to the height and width in the second input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflgpu.graph import Array, Node, Shape
from tflgpu.ops.registry import Step, kernel, require, value

BLOCK = 1 << 15
"""Output elements worked on at a time, so that the intermediate values stay in the cache."""

ONE = 1 << 10
"""One pixel in the integer kernel's positions."""


def resized(node: Node) -> list[Shape]:
    """(n, oh, ow, c), with oh and ow from the second input."""
    x, size = node.input(0), node.input(1)
    require(len(x.shape) == 4, f"{x}: {node.op} needs four dimensions. ")
    require(size.type == "INT32" and size.shape == (2,), f"{size}: the size must be two INT32. ")
    oh, ow = (int(d) for d in value(size))
    require(oh > 0 and ow > 0, f"the size [{oh}, {ow}] must be positive. ")
    o = node.options
    if node.op == "RESIZE_BILINEAR":
        conflict = o.half_pixel_centers and o.align_corners
        require(not conflict, "If half_pixel_centers is True, align_corners must be False.")
    # Without pixels there is nothing to take, unless nothing is wanted either.
    require((x.shape[1] and x.shape[2]) or not (x.shape[0] and x.shape[3]), f"{x} is empty. ")
    n, _, _, c = x.shape
    return [(n, oh, ow, c)]


@dataclass(frozen=True, eq=False, slots=True)
class Taps:
    """Along one axis: the two input positions of every output position, and their weights."""

    low: Array
    high: Array
    low_weight: Array
    high_weight: Array


def float_taps(size: int, out: int, align_corners: bool, half_pixel_centers: bool) -> Taps:
    """The reference float kernel's, weights float32. A position before the first pixel makes them extrapolate."""
    scale = np.float32(size) / np.float32(out)
    if align_corners and out > 1:
        scale = np.float32(size - 1) / np.float32(out - 1)
    place = np.arange(out).astype(np.float32)
    place = (place + np.float32(0.5)) * scale - np.float32(0.5) if half_pixel_centers else place * scale
    low = np.maximum(np.floor(place).astype(np.intp), 0)
    high = np.minimum(np.ceil(place).astype(np.intp), size - 1)
    high_weight = place - low.astype(np.float32)
    # low may pass the end by rounding: the reference then reads beyond the row.
    return Taps(np.minimum(low, size - 1), np.maximum(high, 0), np.float32(1) - high_weight, high_weight)


def integer_taps(size: int, out: int, align_corners: bool, half_pixel_centers: bool) -> Taps:
    """The reference integer kernel's, weights in 1/1024 (int64)."""
    scale = (ONE * size + out // 2) // out
    if align_corners and out > 1:
        scale = (ONE * (size - 1) + (out - 1) // 2) // (out - 1)
    place = np.arange(out, dtype=np.int64) * scale
    if half_pixel_centers:
        place += scale // 2 - ONE // 2
    low = np.maximum(place // ONE, 0)
    high = np.minimum((place + ONE - 1) // ONE, size - 1)
    high_weight = place - ONE * low
    return Taps(np.minimum(low, size - 1), np.maximum(high, 0), ONE - high_weight, high_weight)


@kernel("RESIZE_BILINEAR", version=4, types="FLOAT32 INT8 UINT8 INT16", shape=resized)
def resize_bilinear(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """Each pixel from its four neighbours: floats and uint8 in float32, other integers in integers."""
    x, y = inputs[0], outputs[0]
    if y.size == 0:
        return lambda: None
    in_floats = y.dtype in (np.float32, np.uint8)
    taps = float_taps if in_floats else integer_taps
    o = node.options
    rows, columns = (taps(x.shape[i], y.shape[i], o.align_corners, o.half_pixel_centers) for i in (1, 2))
    blend = _float_blend if in_floats else _integer_blend
    h = max(1, min(y.shape[1], BLOCK // (y.shape[2] * y.shape[3])))
    stretches = []
    for top in range(0, y.shape[1], h):
        part = slice(top, top + h)
        some = Taps(rows.low[part], rows.high[part], rows.low_weight[part], rows.high_weight[part])
        stretches += [blend(x[n], y[n, part], some, columns) for n in range(y.shape[0])]

    def step() -> None:
        for stretch in stretches:
            stretch()

    return step


def _float_blend(x: Array, y: Array, rows: Taps, columns: Taps) -> Step:
    """y (h, ow, c) from x (ih, iw, c), adding the four products in the reference's order, to the bit."""
    h, w, c = y.shape
    top, bottom = (weight.reshape(h, 1, 1) for weight in (rows.low_weight, rows.high_weight))
    left, right = (weight.reshape(w, 1) for weight in (columns.low_weight, columns.high_weight))
    upper, lower = np.empty((2, h, *x.shape[1:]), np.float32)
    product = np.empty((h, w, c), np.float32)
    total = y if y.dtype == np.float32 else np.empty((h, w, c), np.float32)

    def step() -> None:
        with np.errstate(all="ignore"):
            np.multiply(x[rows.low], top, out=upper)
            np.multiply(x[rows.high], bottom, out=lower)
            upper.take(columns.low, axis=1, out=total, mode="clip")
            np.multiply(total, left, out=total)
            for source, position, weight in (
                (lower, columns.low, left),
                (upper, columns.high, right),
                (lower, columns.high, right),
            ):
                source.take(position, axis=1, out=product, mode="clip")
                np.multiply(product, weight, out=product)
                np.add(total, product, out=total)
            if total is not y:
                np.add(total, np.float32(0.5), out=total)
                np.copyto(y, total, casting="unsafe")

    return step


def _integer_blend(x: Array, y: Array, rows: Taps, columns: Taps) -> Step:
    """y (h, ow, c) from x (ih, iw, c): the sum in 1/2^20, rounded half away from zero."""
    h, w, c = y.shape
    wide = np.dtype(np.int32 if x.dtype.itemsize == 1 else np.int64)
    top, bottom = (weight.reshape(h, 1, 1).astype(wide) for weight in (rows.low_weight, rows.high_weight))
    left, right = (weight.reshape(w, 1).astype(wide) for weight in (columns.low_weight, columns.high_weight))
    half, one = wide.type(1 << 19), wide.type(20)
    product, total = np.empty((2, h, w, c), wide)

    def step() -> None:
        mixed = x[rows.low] * top + x[rows.high] * bottom
        mixed.take(columns.low, axis=1, out=total, mode="clip")
        np.multiply(total, left, out=total)
        mixed.take(columns.high, axis=1, out=product, mode="clip")
        np.multiply(product, right, out=product)
        np.add(total, product, out=total)
        # -1 where the sum is negative: halves then go away from zero.
        np.right_shift(total, wide.type(8 * wide.itemsize - 1), out=product)
        np.add(total, product, out=total)
        np.add(total, half, out=total)
        np.right_shift(total, one, out=total)
        np.copyto(y, total, casting="unsafe")

    return step


def nearest(size: int, out: int, align_corners: bool, half_pixel_centers: bool) -> Array:
    """The input position of every output position along one axis."""
    scale = np.float32(size) / np.float32(out)
    if align_corners and out > 1:
        scale = np.float32(size - 1) / np.float32(out - 1)
    place = (np.arange(out).astype(np.float32) + np.float32(0.5 if half_pixel_centers else 0)) * scale
    # No place is negative, so that half away from zero is half up; 0.5 below 0.5 is added in float64 without error.
    whole = np.floor(place.astype(np.float64) + 0.5) if align_corners else np.floor(place)
    return np.minimum(whole.astype(np.intp), size - 1)


@kernel(
    "RESIZE_NEAREST_NEIGHBOR",
    version=4,
    types="FLOAT32 FLOAT16 BFLOAT16 INT8 UINT8 INT16 UINT16 INT32 UINT32 BOOL",
    shape=resized,
)
def resize_nearest_neighbor(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """Each pixel from the nearest one."""
    x, y = inputs[0], outputs[0]
    if y.size == 0:
        return lambda: None
    o = node.options
    rows, columns = (nearest(x.shape[i], y.shape[i], o.align_corners, o.half_pixel_centers) for i in (1, 2))
    pixels = (rows[:, None] * x.shape[2] + columns).reshape(-1)
    flat, out = x.reshape(x.shape[0], -1, x.shape[3]), y.reshape(y.shape[0], -1, y.shape[3])
    return lambda: _take(flat, pixels, out)


def _take(x: Array, positions: Array, out: Array) -> None:
    x.take(positions, axis=1, out=out, mode="clip")
