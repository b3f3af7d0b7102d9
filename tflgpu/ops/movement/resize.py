"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR of images (n, h, w, c) to the height and width in the second input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.cache_blocks import in_order
from tflgpu.ops.registry import Step, kernel, require, value

BLOCK = 1 << 15
"""Output elements computed at a time, so that the intermediate values stay in the cache."""

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
    # An input without pixels is allowed only where the output is empty too.
    require((x.shape[1] and x.shape[2]) or not (x.shape[0] and x.shape[3]), f"{x} is empty. ")
    n, _, _, c = x.shape
    return [(n, oh, ow, c)]


@dataclass(frozen=True, eq=False, slots=True)
class Neighbours:
    """Along one axis: the two input positions that each output position interpolates, and their weights."""

    low: Array
    high: Array
    low_weight: Array
    high_weight: Array


def float_neighbours(size: int, out: int, align_corners: bool, half_pixel_centers: bool) -> Neighbours:
    """The reference float kernel's, weights float32. A position before the first pixel is extrapolated."""
    scale = np.float32(size) / np.float32(out)
    if align_corners and out > 1:
        scale = np.float32(size - 1) / np.float32(out - 1)
    position = np.arange(out).astype(np.float32)
    position = (position + np.float32(0.5)) * scale - np.float32(0.5) if half_pixel_centers else position * scale
    low = np.maximum(np.floor(position).astype(np.intp), 0)
    high = np.minimum(np.ceil(position).astype(np.intp), size - 1)
    high_weight = position - low.astype(np.float32)
    # Rounding may take low beyond the last pixel, where the reference reads beyond the row.
    return Neighbours(np.minimum(low, size - 1), np.maximum(high, 0), np.float32(1) - high_weight, high_weight)


def integer_neighbours(size: int, out: int, align_corners: bool, half_pixel_centers: bool) -> Neighbours:
    """The reference integer kernel's, weights in 1/1024 (int64)."""
    scale = (ONE * size + out // 2) // out
    if align_corners and out > 1:
        scale = (ONE * (size - 1) + (out - 1) // 2) // (out - 1)
    position = np.arange(out, dtype=np.int64) * scale
    if half_pixel_centers:
        position += scale // 2 - ONE // 2
    low = np.maximum(position // ONE, 0)
    high = np.minimum((position + ONE - 1) // ONE, size - 1)
    high_weight = position - ONE * low
    return Neighbours(np.minimum(low, size - 1), np.maximum(high, 0), ONE - high_weight, high_weight)


@kernel("RESIZE_BILINEAR", inputs=2, version=4, types="FLOAT32 INT8 UINT8 INT16", shape=resized, output_type=0)
def resize_bilinear(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """Each output pixel from four neighbours: floats and uint8 in float32, other integers in integers."""
    x, y = inputs[0], outputs[0]
    if y.size == 0:
        return lambda: None
    as_floats = x.dtype in (np.float32, np.uint8)
    find, mix = (float_neighbours, _mix_floats) if as_floats else (integer_neighbours, _mix_integers)
    o = node.options
    rows, columns = (find(x.shape[i], y.shape[i], o.align_corners, o.half_pixel_centers) for i in (1, 2))
    steps = [mix(image, out, rows, columns) for image, out in zip(x, y, strict=True)]
    return in_order(steps)


@dataclass(frozen=True, eq=False, slots=True)
class RowSpan:
    """Output rows computed at once: `top` to `bottom`, from the input rows in low and high.

    The weights have one more dimension, to broadcast along a row.
    """

    top: int
    bottom: int
    low: Array | slice
    high: Array | slice
    low_weight: Array
    high_weight: Array


def _row_spans(rows: Neighbours, row_elements: int, dtype: np.dtype) -> list[RowSpan]:
    """The output's rows in blocks that stay in the cache; a block of one row needs no copy of its input rows."""
    height = max(1, BLOCK // max(1, row_elements))
    found = []
    for top in range(0, len(rows.low), height):
        bottom = min(top + height, len(rows.low))
        low, high = ((t[top:bottom] if bottom > top + 1 else slice(t[top], t[top] + 1)) for t in (rows.low, rows.high))
        weights = (w[top:bottom, None].astype(dtype) for w in (rows.low_weight, rows.high_weight))
        found.append(RowSpan(top, bottom, low, high, *weights))
    return found


def _column_weights(columns: Neighbours, c: int, dtype: np.dtype) -> tuple[Array, Array]:
    """The columns' weights for every element of a row (ow * c): NumPy is slow over short last dimensions."""
    left, right = (np.repeat(w.astype(dtype), c) for w in (columns.low_weight, columns.high_weight))
    return left, right


def _mix_floats(x: Array, y: Array, rows: Neighbours, columns: Neighbours) -> Step:
    """y (oh, ow, c) from x (h, w, c) in float32: float32 quickly, uint8 bit for bit as the reference."""
    return _columns_first(x, y, rows, columns) if y.dtype == np.float32 else _as_the_reference(x, y, rows, columns)


def _columns_first(x: Array, y: Array, rows: Neighbours, columns: Neighbours) -> Step:
    """Interpolates along the rows, then between rows: a few ULP from the reference, with far fewer multiplications."""
    c, (h, w) = x.shape[2], y.shape[:2]
    left, right = _column_weights(columns, c, np.dtype(np.float32))
    wide, other = np.empty((2, len(x), w, c), np.float32)
    flat, spare, out = wide.reshape(len(x), -1), other.reshape(len(x), -1), y.reshape(h, -1)
    spans = _row_spans(rows, w * c, np.dtype(np.float32))
    terms = np.empty((spans[0].bottom, w * c), np.float32)

    def step() -> None:
        with np.errstate(all="ignore"):
            x.take(columns.low, axis=1, out=wide, mode="clip")
            np.multiply(flat, left, out=flat)
            x.take(columns.high, axis=1, out=other, mode="clip")
            np.multiply(spare, right, out=spare)
            np.add(flat, spare, out=flat)
            for s in spans:
                rows_out, lower = out[s.top : s.bottom], terms[: s.bottom - s.top]
                np.multiply(flat[s.low], s.low_weight, out=rows_out)
                np.multiply(flat[s.high], s.high_weight, out=lower)
                np.add(rows_out, lower, out=rows_out)

    return step


def _as_the_reference(x: Array, y: Array, rows: Neighbours, columns: Neighbours) -> Step:
    """Adds pixel * row weight * column weight of four pixels in the reference's order, bit for bit."""
    c, (h, w) = x.shape[2], y.shape[:2]
    left, right = _column_weights(columns, c, np.dtype(np.float32))
    out = y.reshape(h, -1)
    spans = _row_spans(rows, w * c, np.dtype(np.float32))
    total, terms = np.empty((2, spans[0].bottom, w * c), np.float32)

    def step() -> None:
        before, after = (x.take(p, axis=1, mode="clip").reshape(len(x), -1) for p in (columns.low, columns.high))
        with np.errstate(all="ignore"):
            for s in spans:
                rows_out, term = total[: s.bottom - s.top], terms[: s.bottom - s.top]
                np.multiply(before[s.low], s.low_weight, out=rows_out)
                np.multiply(rows_out, left, out=rows_out)
                for source, position, weight, side in (
                    (before, s.high, s.high_weight, left),
                    (after, s.low, s.low_weight, right),
                    (after, s.high, s.high_weight, right),
                ):
                    np.multiply(source[position], weight, out=term)
                    np.multiply(term, side, out=term)
                    np.add(rows_out, term, out=rows_out)
                if y.dtype == np.uint8:
                    np.add(rows_out, np.float32(0.5), out=rows_out)
                np.copyto(out[s.top : s.bottom], rows_out, casting="unsafe")

    return step


def _mix_integers(x: Array, y: Array, rows: Neighbours, columns: Neighbours) -> Step:
    """y (oh, ow, c) from x (h, w, c): the sum in 1/2^20, exact in any order, rounded half away from zero."""
    c, (h, w) = x.shape[2], y.shape[:2]
    dtype = np.dtype(np.int32 if x.dtype.itemsize == 1 else np.int64)
    left, right = _column_weights(columns, c, dtype)
    out = y.reshape(h, -1)
    spans = _row_spans(rows, w * c, dtype)
    total, terms = np.empty((2, spans[0].bottom, w * c), dtype)
    half, sign, point = dtype.type(1 << 19), dtype.type(8 * dtype.itemsize - 1), dtype.type(20)

    def step() -> None:
        before, after = (x.take(p, axis=1, mode="clip").reshape(len(x), -1) for p in (columns.low, columns.high))
        wide = before * left
        np.add(wide, after * right, out=wide)
        for s in spans:
            rows_out, term = total[: s.bottom - s.top], terms[: s.bottom - s.top]
            np.multiply(wide[s.low], s.low_weight, out=rows_out)
            np.multiply(wide[s.high], s.high_weight, out=term)
            np.add(rows_out, term, out=rows_out)
            # -1 where the sum is negative, so that ties go away from zero.
            np.right_shift(rows_out, sign, out=term)
            np.add(term, half, out=term)
            np.add(rows_out, term, out=rows_out)
            np.right_shift(rows_out, point, out=out[s.top : s.bottom], casting="unsafe")

    return step


def nearest(size: int, out: int, align_corners: bool, half_pixel_centers: bool) -> Array:
    """The input position of every output position along one axis."""
    scale = np.float32(size) / np.float32(out)
    if align_corners and out > 1:
        scale = np.float32(size - 1) / np.float32(out - 1)
    position = (np.arange(out).astype(np.float32) + np.float32(0.5 if half_pixel_centers else 0)) * scale
    # No position is negative, so that ties away from zero are ties up; adding 0.5 is exact in float64.
    whole = np.floor(position.astype(np.float64) + 0.5) if align_corners else np.floor(position)
    return np.minimum(whole.astype(np.intp), size - 1)


@kernel(
    "RESIZE_NEAREST_NEIGHBOR",
    inputs=2,
    version=4,
    types="FLOAT32 FLOAT16 BFLOAT16 INT8 UINT8 INT16 UINT16 INT32 UINT32 BOOL",
    shape=resized,
    output_type=0,
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
