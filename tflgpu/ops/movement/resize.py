"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR of images (n, h, w, c) to the height and width in the second input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.cache_blocks import in_order
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


@kernel("RESIZE_BILINEAR", inputs=2, version=4, types="FLOAT32 INT8 UINT8 INT16", shape=resized)
def resize_bilinear(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """Each pixel from its four neighbours: floats and uint8 in float32, other integers in integers."""
    x, y = inputs[0], outputs[0]
    if y.size == 0:
        return lambda: None
    floats, mix = (float_taps, _mix_floats) if x.dtype in (np.float32, np.uint8) else (integer_taps, _mix_integers)
    o = node.options
    rows, columns = (floats(x.shape[i], y.shape[i], o.align_corners, o.half_pixel_centers) for i in (1, 2))
    steps = [mix(image, out, rows, columns) for image, out in zip(x, y, strict=True)]
    return in_order(steps)


@dataclass(frozen=True, eq=False, slots=True)
class Stretch:
    """Output rows made at once: rows `top` to `bottom` of the output from the input rows in low and high.

    The weights have a dimension more, to spread along a row.
    """

    top: int
    bottom: int
    low: Array | slice
    high: Array | slice
    low_weight: Array
    high_weight: Array


def _stretches(rows: Taps, row_elements: int, dtype: np.dtype) -> list[Stretch]:
    """The output's rows in blocks that stay in the cache; a block of one row needs no copy of its input rows."""
    height = max(1, BLOCK // max(1, row_elements))
    found = []
    for top in range(0, len(rows.low), height):
        bottom = min(top + height, len(rows.low))
        low, high = ((t[top:bottom] if bottom > top + 1 else slice(t[top], t[top] + 1)) for t in (rows.low, rows.high))
        weights = (w[top:bottom, None].astype(dtype) for w in (rows.low_weight, rows.high_weight))
        found.append(Stretch(top, bottom, low, high, *weights))
    return found


def _spread(columns: Taps, c: int, dtype: np.dtype) -> tuple[Array, Array]:
    """The columns' weights for every element of a row (ow * c): NumPy is slow over short last dimensions."""
    left, right = (np.repeat(w.astype(dtype), c) for w in (columns.low_weight, columns.high_weight))
    return left, right


def _mix_floats(x: Array, y: Array, rows: Taps, columns: Taps) -> Step:
    """y (oh, ow, c) from x (h, w, c) in float32: float32 quickly, uint8 to the bit of the reference."""
    return _columns_first(x, y, rows, columns) if y.dtype == np.float32 else _as_the_reference(x, y, rows, columns)


def _columns_first(x: Array, y: Array, rows: Taps, columns: Taps) -> Step:
    """Mixes the columns of the input's rows, then those rows: a few ULP from the reference, and far fewer products."""
    c, (h, w) = x.shape[2], y.shape[:2]
    left, right = _spread(columns, c, np.dtype(np.float32))
    wide, other = np.empty((2, len(x), w, c), np.float32)
    flat, spare, out = wide.reshape(len(x), -1), other.reshape(len(x), -1), y.reshape(h, -1)
    stretches = _stretches(rows, w * c, np.dtype(np.float32))
    product = np.empty((stretches[0].bottom, w * c), np.float32)

    def step() -> None:
        with np.errstate(all="ignore"):
            x.take(columns.low, axis=1, out=wide, mode="clip")
            np.multiply(flat, left, out=flat)
            x.take(columns.high, axis=1, out=other, mode="clip")
            np.multiply(spare, right, out=spare)
            np.add(flat, spare, out=flat)
            for s in stretches:
                some, lower = out[s.top : s.bottom], product[: s.bottom - s.top]
                np.multiply(flat[s.low], s.low_weight, out=some)
                np.multiply(flat[s.high], s.high_weight, out=lower)
                np.add(some, lower, out=some)

    return step


def _as_the_reference(x: Array, y: Array, rows: Taps, columns: Taps) -> Step:
    """Adds the four products of pixel, row weight and column weight in the reference's order, to the bit."""
    c, (h, w) = x.shape[2], y.shape[:2]
    left, right = _spread(columns, c, np.dtype(np.float32))
    out = y.reshape(h, -1)
    stretches = _stretches(rows, w * c, np.dtype(np.float32))
    total, product = np.empty((2, stretches[0].bottom, w * c), np.float32)

    def step() -> None:
        before, after = (x.take(p, axis=1, mode="clip").reshape(len(x), -1) for p in (columns.low, columns.high))
        with np.errstate(all="ignore"):
            for s in stretches:
                some, part = total[: s.bottom - s.top], product[: s.bottom - s.top]
                np.multiply(before[s.low], s.low_weight, out=some)
                np.multiply(some, left, out=some)
                for source, position, weight, side in (
                    (before, s.high, s.high_weight, left),
                    (after, s.low, s.low_weight, right),
                    (after, s.high, s.high_weight, right),
                ):
                    np.multiply(source[position], weight, out=part)
                    np.multiply(part, side, out=part)
                    np.add(some, part, out=some)
                if y.dtype == np.uint8:
                    np.add(some, np.float32(0.5), out=some)
                np.copyto(out[s.top : s.bottom], some, casting="unsafe")

    return step


def _mix_integers(x: Array, y: Array, rows: Taps, columns: Taps) -> Step:
    """y (oh, ow, c) from x (h, w, c): the sum in 1/2^20, exact in any order, rounded half away from zero."""
    c, (h, w) = x.shape[2], y.shape[:2]
    dtype = np.dtype(np.int32 if x.dtype.itemsize == 1 else np.int64)
    left, right = _spread(columns, c, dtype)
    out = y.reshape(h, -1)
    stretches = _stretches(rows, w * c, dtype)
    total, product = np.empty((2, stretches[0].bottom, w * c), dtype)
    half, sign, point = dtype.type(1 << 19), dtype.type(8 * dtype.itemsize - 1), dtype.type(20)

    def step() -> None:
        before, after = (x.take(p, axis=1, mode="clip").reshape(len(x), -1) for p in (columns.low, columns.high))
        wide = before * left
        np.add(wide, after * right, out=wide)
        for s in stretches:
            some, part = total[: s.bottom - s.top], product[: s.bottom - s.top]
            np.multiply(wide[s.low], s.low_weight, out=some)
            np.multiply(wide[s.high], s.high_weight, out=part)
            np.add(some, part, out=some)
            # -1 where the sum is negative: halves then go away from zero.
            np.right_shift(some, sign, out=part)
            np.add(part, half, out=part)
            np.add(some, part, out=some)
            np.right_shift(some, point, out=out[s.top : s.bottom], casting="unsafe")

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
    inputs=2,
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
