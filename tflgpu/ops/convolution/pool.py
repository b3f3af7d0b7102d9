"""AVERAGE_POOL_2D, MAX_POOL_2D and L2_POOL_2D."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.cache_blocks import in_order
from tflgpu.ops.convolution.convolution import through_float32
from tflgpu.ops.convolution.window import Window, inside, sliding
from tflgpu.ops.fused_activation import float_range, quantized_range
from tflgpu.ops.registry import Step, kernel, require
from tflgpu.ops.scratch import scratch

QUANTIZED = "UINT8 INT8 INT16"


def window_of(node: Node) -> Window:
    """The window of a node with the options of a 2-D pool, without the taps that never meet the image."""
    o = node.options
    x = node.input(0)
    require(len(x.shape) == 4, f"NumDimensions(input) != 4 ({len(x.shape)} != 4)")
    require(node.outputs[0].type == x.type, f"input->type != output->type ({x.type} != {node.outputs[0].type})")
    require(o.stride_h > 0 and o.stride_w > 0, "params->stride_height > 0 was not true.")
    window = sliding(x.shape[1:3], (o.filter_height, o.filter_width), (o.stride_h, o.stride_w), o.padding)
    return window.cropped(*x.shape[1:3])[0] if 0 not in x.shape[1:3] else window


def _shape(node: Node) -> list[Shape]:
    window = window_of(node)
    b, _, _, c = node.input(0).shape
    return [(b, window.oh, window.ow, c)]


def _limits(node: Node) -> tuple[np.number[Any] | int, np.number[Any] | int]:
    activation, output = node.options.fused_activation_function, node.outputs[0]
    return float_range(activation) if output.dtype.kind == "f" else quantized_range(activation, output)


@kernel("MAX_POOL_2D", inputs=1, version=3, types=f"FLOAT32 {QUANTIZED}", shape=_shape)
def max_pool_2d(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """The largest of each window of x (b, h, w, c): (b, oh, ow, c). NaN is never the largest; neither is padding."""
    x, out, window = inputs[0], outputs[0], window_of(node)
    assert x is not None
    if out.size == 0:
        return lambda: None
    # Windows are reduced down the rows, then across the columns: fewer steps, the first of them over whole rows.
    least = float_range("NONE")[0] if out.dtype.kind == "f" else np.iinfo(out.dtype).min
    lo, hi = (out.dtype.type(limit) for limit in _limits(node))
    largest = np.fmax if out.dtype.kind == "f" else np.maximum
    h, w, c = x.shape[1:]
    rows = scratch("rows", (window.oh, w, c), x.dtype)
    vertical, horizontal = _axes(window, h, w)
    down = [(rows[oy], iy) for oy, iy in vertical]
    across = [(rows[:, ix], ox) for ox, ix in horizontal]

    def step() -> None:
        for image, result in zip(x, out, strict=True):
            rows.fill(least)
            for target, iy in down:
                largest(target, image[iy], out=target)
            result.fill(least)
            for source, ox in across:
                target = result[:, ox]
                largest(target, source, out=target)
        out.clip(lo, hi, out)

    return step


def _axis_counts(taps: int, stride: int, before: int, outputs: int, size: int) -> Array:
    """How many taps each output of one axis has within `size`."""
    start = np.arange(outputs, dtype=np.int64) * stride - before
    return np.minimum(start + taps, size) - np.maximum(start, 0)


def _counts(window: Window, h: int, w: int) -> Array:
    """How many pixels of the image each window has: (oh, ow, 1). Raises OpError where one has none."""
    down = _axis_counts(window.kh, window.sh, window.top, window.oh, h)
    across = _axis_counts(window.kw, window.sw, window.left, window.ow, w)
    require(down.min() > 0 and across.min() > 0, "a window of the pool lies outside of the image. ")
    return (down[:, None] * across)[..., None]


def _summing(x: Array, window: Window, sums: Array, prepare: Callable[[Array], Array] = lambda pixels: pixels) -> Step:
    """A step that adds up the windows of x into sums (b, oh, ow, c): first down the rows, then across the columns."""
    b, h, w, c = x.shape
    if window.oh == window.ow == 1:
        whole = x[:, max(0, -window.top) : window.kh - window.top, max(0, -window.left) : window.kw - window.left]
        return lambda: prepare(whole).sum(axis=(1, 2), dtype=sums.dtype, out=sums[:, 0, 0])
    rows = scratch("rows", (b, window.oh, w, c), sums.dtype)
    down, across = _axes(window, h, w)
    first = [(rows[:, oy], x[:, iy]) for oy, iy in down]
    second = [(sums[:, :, ox], rows[:, :, ix]) for ox, ix in across]

    def step() -> None:
        rows.fill(0)
        for target, source in first:
            np.add(target, prepare(source), target)
        sums.fill(0)
        for target, source in second:
            np.add(target, source, target)

    return step


def _axes(window: Window, h: int, w: int) -> tuple[list[tuple[slice, slice]], list[tuple[slice, slice]]]:
    """(outputs, inputs) for each tap down the rows, and for each across the columns."""
    down = [inside(i - window.top, window.sh, window.oh, h) for i in range(window.kh)]
    across = [inside(j - window.left, window.sw, window.ow, w) for j in range(window.kw)]
    return down, across


@kernel("AVERAGE_POOL_2D", inputs=1, version=3, types=f"FLOAT32 FLOAT16 {QUANTIZED}", shape=_shape)
def average_pool_2d(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """The mean of each window of x (b, h, w, c), padding left out. Quantized means are rounded half away from 0.

    Upstream has float16 in XNNPACK alone.
    """
    return through_float32(_average, node, inputs, outputs)


def _average(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    x, out, window = inputs[0], outputs[0], window_of(node)
    assert x is not None
    if out.size == 0:
        return lambda: None
    lo, hi = _limits(node)
    counts = _counts(window, *x.shape[1:3])
    if out.dtype.kind == "f":
        divisors = counts.astype(out.dtype)

        def mean() -> None:
            np.divide(out, divisors, out)
            out.clip(lo, hi, out)

        return in_order([_summing(x, window, out), mean])
    sums, means = scratch("sums", out.shape, np.int32), scratch("scaled", out.shape, np.float64)
    half, divisors = (counts // 2).astype(np.float64), counts.astype(np.float64)
    signed_half = scratch("signs", out.shape, np.float64)
    low, high = np.float64(lo), np.float64(hi)

    def rounded_mean() -> None:
        means[...] = sums
        np.copysign(half, means, signed_half)
        np.add(means, signed_half, means)
        np.divide(means, divisors, means)
        means.clip(low, high, means)
        # Truncated towards zero, as C divides integers.
        out[...] = means

    return in_order([_summing(x, window, sums), rounded_mean])


@kernel("L2_POOL_2D", inputs=1, types="FLOAT32", shape=_shape)
def l2_pool_2d(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """The root of the mean square of each window of x (b, h, w, c), padding left out."""
    x, out, window = inputs[0], outputs[0], window_of(node)
    assert x is not None
    if out.size == 0:
        return lambda: None
    lo, hi = _limits(node)
    divisors = _counts(window, *x.shape[1:3]).astype(np.float32)

    def root() -> None:
        np.divide(out, divisors, out)
        np.sqrt(out, out)
        out.clip(lo, hi, out)

    return in_order([_summing(x, window, out, np.square), root])
