"""Operators over sliding windows: pools of volumes, ExtractImagePatches, Dilation2D, MaxPoolWithArgmax."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.convolution.window import inside
from tflgpu.ops.flex.node_def import attribute, choice, integers
from tflgpu.ops.registry import function, require
from tflgpu.ops.shape_rules import window_size

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Windows:
    """A window of `taps` along some dimensions of sizes `image`: its outputs, strides, dilations and padding before."""

    image: tuple[int, ...]
    taps: tuple[int, ...]
    strides: tuple[int, ...]
    rates: tuple[int, ...]
    outputs: tuple[int, ...]
    before: tuple[int, ...]

    def positions(self) -> Iterator[tuple[tuple[int, ...], Slices, Slices]]:
        """For every tap that some window has inside the image: its index, these windows, and what it reads for them.

        Both are slices after the batch's.
        """
        axes = []
        for axis, taps in enumerate(self.taps):
            offsets = (tap * self.rates[axis] - self.before[axis] for tap in range(taps))
            met = (inside(at, self.strides[axis], self.outputs[axis], self.image[axis]) for at in offsets)
            axes.append([(tap, *both) for tap, both in enumerate(met) if both[0].stop > both[0].start])
        for found in itertools.product(*axes):
            tap, outputs, inputs = (tuple(each) for each in zip(*found, strict=True))
            yield tap, (slice(None), *outputs), (slice(None), *inputs)


def windows(node: Node, image: Sequence[int], taps: Sequence[int], strides: str, rates: str = "") -> Windows:
    """The windows of a node, with the strides and dilations that these attributes name. Raises OpError."""
    rank = len(image)
    sizes = [_inner(node, name, rank) if name else (1,) * rank for name in (strides, rates)]
    padding = choice(node, "padding", ("VALID", "SAME"))
    for name, values in (("window", taps), ("strides", sizes[0]), ("rates", sizes[1])):
        require(all(0 < n <= 1 << 15 for n in values), f"{node.op}: {name} {list(values)} out of range. ")
    pairs = [window_size(n, k, s, d, padding) for n, k, s, d in zip(image, taps, *sizes, strict=True)]
    outputs, before = zip(*pairs, strict=True)
    return Windows(tuple(image), tuple(taps), sizes[0], sizes[1], outputs, before)


def _inner(node: Node, name: str, rank: int) -> tuple[int, ...]:
    """An attribute for the inner dimensions of batch, …, channels, whose outer ones must be 1."""
    values = integers(node, name, (1,) * (rank + 2))
    fits = len(values) == rank + 2 and values[0] == values[-1] == 1
    require(fits, f"{node.op}: {name} {list(values)} must be {rank + 2} numbers with 1 first and last. ")
    return values[1:-1]


def pool_windows(node: Node, x: Shape, rank: int) -> Windows:
    """Of a pool over x (b, …, c) with `rank` dimensions between."""
    require(len(x) == rank + 2, f"{node.op} takes {rank + 2} dimensions, not {list(x)}. ")
    require(attribute(node, "data_format", b"N").endswith((b"C", b"N")), f"{node.op}: channels must come last. ")
    return windows(node, x[1:-1], _inner(node, "ksize", rank), "strides")


def pooled(node: Node, x: Shape, rank: int) -> Shape:
    """The shape of a pool of x. Raises OpError."""
    over = pool_windows(node, x, rank)
    return (x[0], *over.outputs, x[-1])


def _pool_3d_shape(node: Node) -> list[Shape]:
    return [pooled(node, node.input(0).shape, 3)]


def pooled_maximum(x: Array, over: Windows) -> Array:
    """The largest of each window of x (b, …, c)."""
    low = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    out = np.full((len(x), *over.outputs, x.shape[-1]), low, x.dtype)
    for _, outputs, inputs in over.positions():
        target = out[outputs]
        np.maximum(target, x[inputs], out=target)
    return out


@function("FlexMaxPool3D", inputs=1, types="FLOAT32 FLOAT16", shape=_pool_3d_shape, custom=True)
def max_pool_3d(node: Node, x: Array) -> Array:
    """The largest of each window of x (b, d, h, w, c)."""
    return pooled_maximum(x, pool_windows(node, x.shape, 3))


def counted(over: Windows) -> Array:
    """How many elements each window has inside the image: (1, …, 1) of float32."""
    count = np.zeros((1, *over.outputs, 1), np.float32)
    for _, outputs, _ in over.positions():
        count[outputs] += 1
    return count


@function("FlexAvgPool3D", inputs=1, types="FLOAT32 FLOAT64 FLOAT16", shape=_pool_3d_shape, custom=True)
def avg_pool_3d(node: Node, x: Array) -> Array:
    """The mean of each window of x (b, d, h, w, c), over what it has inside."""
    over = pool_windows(node, x.shape, 3)
    out = np.zeros((len(x), *over.outputs, x.shape[-1]), np.result_type(x, np.float32))
    for _, outputs, inputs in over.positions():
        out[outputs] += x[inputs]
    out /= counted(over)
    return out.astype(x.dtype, copy=False)


def _arg_max_shape(node: Node) -> list[Shape]:
    require(node.outputs[1].type in ("INT32", "INT64"), f"{node.outputs[1]} must be INT32 or INT64. ")
    return [pooled(node, node.input(0).shape, 2)] * 2


@function("FlexMaxPoolWithArgmax", inputs=1, outputs=2, types="FLOAT32 FLOAT64", shape=_arg_max_shape, custom=True)
def max_pool_with_argmax(node: Node, x: Array) -> tuple[Array, Array]:
    """The largest of each window of x (b, h, w, c), and its index in the image; with include_batch_in_index, in x."""
    over = pool_windows(node, x.shape, 2)
    index = np.arange(x.size, dtype=np.int64).reshape(x.shape)
    if not attribute(node, "include_batch_in_index", False):
        index = np.broadcast_to(index[:1], x.shape)
    best, at = (
        np.full((len(x), *over.outputs, x.shape[-1]), -np.inf, x.dtype),
        np.zeros(node.outputs[1].shape, np.int64),
    )
    for _, outputs, inputs in over.positions():
        to, source = outputs, inputs
        larger = (x[source] > best[to]) | (at[to] < 0)
        np.copyto(at[to], index[source], where=larger)
        np.copyto(best[to], x[source], where=larger)
    return best, at.astype(node.outputs[1].dtype)


def _patch_windows(node: Node) -> Windows:
    x = node.input(0).shape
    require(len(x) == 4, f"{node.op} takes images (b, h, w, c), not {list(x)}. ")
    return windows(node, x[1:-1], _inner(node, "ksizes", 2), "strides", "rates")


def _patches_shape(node: Node) -> list[Shape]:
    over, x = _patch_windows(node), node.input(0).shape
    return [(x[0], *over.outputs, over.taps[0] * over.taps[1] * x[3])]


@function("FlexExtractImagePatches", inputs=1, shape=_patches_shape, custom=True)
def extract_image_patches(node: Node, x: Array) -> Array:
    """What each window reads of x (b, h, w, c), zeros outside: (b, oh, ow, kh * kw * c)."""
    over = _patch_windows(node)
    out = np.zeros((len(x), *over.outputs, *over.taps, x.shape[3]), x.dtype)
    for tap, outputs, inputs in over.positions():
        out[outputs + tap] = x[inputs]
    return out.reshape(node.outputs[0].shape)


def _dilation_windows(node: Node) -> Windows:
    x, kernel = node.input(0), node.input(1)
    fits = len(x.shape) == 4 and len(kernel.shape) == 3 and kernel.shape[2] == x.shape[3] and kernel.type == x.type
    require(fits, f"{node.op}: {x} does not fit {kernel}. ")
    return windows(node, x.shape[1:-1], kernel.shape[:2], "strides", "rates")


def _dilation_shape(node: Node) -> list[Shape]:
    over, x = _dilation_windows(node), node.input(0).shape
    return [(x[0], *over.outputs, x[3])]


@function("FlexDilation2D", inputs=2, types="FLOAT32 FLOAT64 INT32", shape=_dilation_shape, custom=True)
def dilation_2d(node: Node, x: Array, kernel: Array) -> Array:
    """The largest sum of x (b, h, w, c) and kernel (kh, kw, c) in each window."""
    over = _dilation_windows(node)
    low = np.finfo(x.dtype).min if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    out = np.full((len(x), *over.outputs, x.shape[3]), low, x.dtype)
    for tap, outputs, inputs in over.positions():
        target = out[outputs]
        np.maximum(target, x[inputs] + kernel[tap], out=target)
    return out
