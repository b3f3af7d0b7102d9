"""TRANSPOSE_CONV, and MediaPipe's Convolution2DTransposeBias."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np

from tflgpu.arithmetic.fixed_point import FLOAT32_EXACT
from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.convolution.convolution import (
    Convolution,
    RowBlock,
    check_types,
    float_convolution,
    is_constant,
    through_float32,
)
from tflgpu.ops.convolution.convolve import convolve
from tflgpu.ops.convolution.im2col import IM2COL_ELEMENTS
from tflgpu.ops.convolution.integer_convolution import check_integers
from tflgpu.ops.convolution.window import Window, positions, row_ranges, sliding
from tflgpu.ops.registry import Step, kernel, nothing, require, value
from tflgpu.ops.scratch import scratch
from tflgpu.ops.shape_rules import elements

FILTERS = {
    "FLOAT32": ("FLOAT32", "FLOAT16", "INT8"),
    "UINT8": ("UINT8",),
    "INT8": ("INT8",),
    "INT16": ("INT8",),
}
IN_ORDER = 1 << 14
"""GEMM results up to which channels are added one by one."""
CHUNK = 1 << 15
"""Accumulators that the epilogue takes at a time."""


class ScatterWeights:
    """Weights (oc, kh, kw, ic) of a transposed convolution; `convolution.ConvolutionWeights`.

    The window is that of the convolution it is the transpose of: over the output, one position for each pixel of the
    input. Each pixel is multiplied with the whole filter, and the results are added where the window's taps lie.
    """

    def __init__(
        self,
        weights: Array,
        size: tuple[int, int],
        largest: int | None = None,
        dtype: np.dtype | type = np.float32,
        zero_point: int = 0,
        constant: bool = True,
    ):
        self.oc, self.size, self.constant = weights.shape[0], size, constant
        self.multiplies, self.whole_images = weights.size // self.oc, True
        self._weights, self._zero_point = weights, zero_point
        # Borders add up fewer terms than the middle, so that the zero point is subtracted from the image itself.
        self.weight_sums, self.bound = np.zeros(self.oc, np.int64), 0
        self.accumulator = np.dtype(dtype)
        if largest is not None:
            magnitude = np.abs(weights.astype(np.int64) - zero_point) if constant else np.full(weights.shape, 255)
            self.bound = int(magnitude.sum(axis=(1, 2, 3)).max(initial=0)) * 2 * largest
            if self.bound > FLOAT32_EXACT:
                self.accumulator = np.dtype(np.float64)
        oc, kh, kw, ic = weights.shape
        self._matrix = np.empty((kh * kw * oc, ic), self.accumulator)
        self.load()

    def load(self) -> None:
        """Reads the present content of weights that are not constant."""
        moved = self._weights.transpose(1, 2, 0, 3)
        split = self._matrix.reshape(moved.shape)
        np.subtract(moved, self._matrix.dtype.type(self._zero_point), split, dtype=split.dtype)

    def row_blocks(
        self, x: Array, window: Window, pad: float, target: Callable[[slice], Array], per_image: bool, large: bool
    ) -> list[RowBlock]:
        """The transposed convolution of x (b, h, w, ic): see `convolution.ConvolutionWeights`. pad: x's zero point."""
        oh, ow = self.size
        pixels = oh * ow
        row_blocks = []
        for image in range(len(x)):
            first = image * pixels
            accumulators = target(slice(first, first + pixels))
            step = self._bind(x[image], window, pad, accumulators.reshape(oh, ow, self.oc))
            chunk = max(1, CHUNK // max(1, self.oc))
            for start in range(0, pixels, chunk):
                stop = min(start + chunk, pixels)
                row_blocks.append(
                    RowBlock((), step, slice(first + start, first + stop), image, accumulators[start:stop])
                )
                step = nothing
        return row_blocks

    def _bind(self, image: Array, window: Window, pad: float, accumulators: Array) -> Step:
        """A step that multiplies image (h, w, ic) with the filter and adds it up in accumulators (oh, ow, oc)."""
        w, ic = image.shape[1:]
        columns = len(self._matrix)
        ranges = row_ranges(window, w * max(columns, ic), IM2COL_ELEMENTS)
        rows = max((count for _, count in ranges), default=0)
        # Few channels are added one by one, as in the reference: where large terms cancel, order matters.
        by_channel = self._weights.dtype.kind == "f" and ic <= 4 and rows * w * columns <= IN_ORDER
        channels = ic if by_channel else 1
        terms = scratch("terms", (channels, rows, w, window.taps, self.oc), self.accumulator)
        convert = image.dtype != self.accumulator or pad
        pixels = scratch("pixels", (rows, w, ic), self.accumulator) if convert else None
        zero = self.accumulator.type(pad)
        right = self._matrix.T
        bound = []
        for first, count in ranges:
            source = image[first : first + count]
            left = source if pixels is None else pixels[:count]
            block = terms[:, :count]
            adds = list(self._adds(window, first, block, accumulators))
            flat = left.reshape(count * w, ic), block.reshape(channels, count * w, columns)
            bound.append((source, left, flat, adds))

        def step() -> None:
            accumulators.fill(0)
            for source, left, (rows_in, rows_out), adds in bound:
                if convert:
                    np.subtract(source, zero, left, dtype=zero.dtype)
                if by_channel:
                    np.multiply(rows_in.T[:, :, None], right[:, None, :], rows_out)
                else:
                    np.matmul(rows_in, right, rows_out[0])
                for where, what in adds:
                    np.add(where, what, where)

        return step

    def _adds(self, window: Window, first: int, block: Array, accumulators: Array) -> list[tuple[Array, Array]]:
        """(slice of accumulators, slice of block (channels, rows, w, taps, oc)) by tap, from input row `first` on."""
        count = block.shape[1]
        adds: list[tuple[Array, Array]] = []
        # In reverse, so that each output adds its pixels in the order of the image, as in the reference.
        for i, j, oy, ox, iy, ix in reversed(list(positions(window, *self.size))):
            start, stop = max(oy.start, first), min(oy.stop, first + count)
            if start < stop and ox.start < ox.stop:
                top = iy.start + (start - oy.start) * window.sh
                rows = slice(top, top + (stop - start - 1) * window.sh + 1, window.sh)
                tap = i * window.kw + j
                adds += [(accumulators[rows, ix], channel[start - first : stop - first, ox, tap]) for channel in block]
        return adds


def _sound(node: Node) -> tuple[TensorSpec, TensorSpec]:
    require(len(node.input(0).shape) == 1, f"NumDimensions(output_shape) != 1 ({len(node.input(0).shape)} != 1)")
    weights, x = node.input(1), node.input(2)
    require(len(x.shape) == 4, f"NumDimensions(input) != 4 ({len(x.shape)} != 4)")
    require(len(weights.shape) == 4, f"NumDimensions(weights) != 4 ({len(weights.shape)} != 4)")
    require(node.options.stride_h > 0 and node.options.stride_w > 0, "params->stride_height > 0 was not true.")
    require(min(x.shape[1:]) > 0, "SizeOfDimension(input, 1) > 0 was not true.")
    require(min(weights.shape[:3]) > 0, "SizeOfDimension(weights, 0) > 0 was not true.")
    require(x.shape[3] == weights.shape[3], f"SizeOfDimension(input, 3) != {weights.shape[3]} ({x.shape[3]})")
    return weights, x


def _shape(node: Node) -> list[Shape]:
    weights, x = _sound(node)
    require(node.input(0).type == "INT32", f"output_shape->type {node.input(0).type} is not INT32. ")
    wanted = value(node.input(0))
    require(wanted.size == 4, f"NumElements(output_shape) != 4 ({wanted.size} != 4)")
    shape = tuple(int(n) for n in wanted)
    require(min(shape) >= 0, f"the output shape {list(shape)} has a negative dimension. ")
    require(shape[0] == x.shape[0], f"the output's batch {shape[0]} is not the input's {x.shape[0]}. ")
    require(shape[3] == weights.shape[0], f"the output's {shape[3]} channels are not the filter's {weights.shape[0]}. ")
    window = _window(node, shape)
    for axis, expected in ((1, window.oh), (2, window.ow)):
        require(expected == x.shape[axis], f"the output shape needs {expected} inputs on axis {axis}; x is {x.shape}. ")
    return [shape]


def _window(node: Node, shape: Shape) -> Window:
    """The forward convolution's window, over an output of `shape`."""
    o = node.options
    return sliding(shape[1:3], node.input(1).shape[1:3], (o.stride_h, o.stride_w), o.padding)


def _check(node: Node) -> None:
    weights, x, bias = node.input(1), node.input(2), node.optional(3)
    check_types(node, x, weights, bias, FILTERS)
    oc = weights.shape[0]
    check_integers(node, (x, weights, bias), oc, symmetric_filter=False)
    if bias is not None:
        require(elements(bias.shape) == oc, f"NumElements(bias) != {oc} ({elements(bias.shape)})")


@kernel(
    "TRANSPOSE_CONV",
    inputs="3-4",
    version=5,
    types="FLOAT32 UINT8 INT8 INT16",
    typed_input=2,
    shape=_shape,
    check=_check,
)
def transpose_conv(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """The transpose of a convolution with weights (oc, kh, kw, ic): x (b, h, w, ic), bias (oc) -> (b, oh, ow, oc).

    Upstream has a float16 filter in XNNPACK alone.
    """
    return through_float32(_transposed, node, inputs, outputs)


def _transposed(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    weights_spec, x_spec, bias_spec = node.input(1), node.input(2), node.optional(3)
    weights, x, bias = inputs[1], inputs[2], inputs[3] if len(inputs) > 3 else None
    assert weights is not None and x is not None
    out = outputs[0]
    if out.size == 0:
        return lambda: None
    window = _window(node, out.shape)
    size = (out.shape[1], out.shape[2])

    def make(largest: int | None, dtype: np.dtype, zero_point: int) -> ScatterWeights:
        return ScatterWeights(weights, size, largest, dtype, zero_point, is_constant(weights_spec))

    c = Convolution(node, (x_spec, weights_spec, bias_spec), x, bias, out, window)
    return convolve(c, make, filter_scale_first=True)


def _bias_options(node: Node) -> SimpleNamespace:
    """padding, stride_h, stride_w of Convolution2DTransposeBias: the first of a C struct."""
    require(len(node.custom_options) >= 12, "Convolution2DTransposeBias needs 12 bytes of options. ")
    padding, stride_w, stride_h = struct.unpack_from("<3i", node.custom_options)
    require(padding in (1, 2), f"padding {padding} is neither SAME (1) nor VALID (2). ")
    require(0 < stride_w <= 1 << 15 and 0 < stride_h <= 1 << 15, f"strides {stride_h}, {stride_w} are not positive. ")
    return SimpleNamespace(padding="SAME" if padding == 1 else "VALID", stride_h=stride_h, stride_w=stride_w)


def bias_window(node: Node) -> tuple[Window, tuple[int, int]]:
    """The forward convolution's window, and (oh, ow)."""
    x, weights, o = node.input(0), node.input(1), _bias_options(node)
    require(len(x.shape) == 4 and len(weights.shape) == 4, "input and filter must have 4 dimensions. ")
    require(x.shape[3] == weights.shape[3], f"the filter has {weights.shape[3]} channels, the input {x.shape[3]}. ")
    sizes, before = [], []
    for n, k, stride in zip(x.shape[1:3], weights.shape[1:3], (o.stride_h, o.stride_w), strict=True):
        pad = max(0, k - (n - 1) % stride - 1) if o.padding == "SAME" else 0
        sizes.append(max(0, stride * (n - 1) + k - pad) if n else 0)
        before.append(pad // 2)
    (kh, kw), (h, w), (top, left) = weights.shape[1:3], x.shape[1:3], before
    window = Window(kh, kw, o.stride_h, o.stride_w, 1, 1, h, w, top, left)
    return window, (sizes[0], sizes[1])


def _bias_shape(node: Node) -> list[Shape]:
    _, (oh, ow) = bias_window(node)
    return [(node.input(0).shape[0], oh, ow, node.input(1).shape[0])]


def _check_with_bias(node: Node) -> None:
    weights, bias, out = node.input(1), node.optional(2), node.outputs[0]
    require(weights.type == "FLOAT32", f"a {weights.type} filter is not supported; supported: FLOAT32. ")
    require(out.type == "FLOAT32", f"{out} must be FLOAT32. ")
    if bias is not None:
        require(bias.type == "FLOAT32", f"{bias} must be FLOAT32. ")
        require(elements(bias.shape) == weights.shape[0], f"{bias} is not one value for each of {weights.shape[0]}. ")


@kernel("Convolution2DTransposeBias", inputs=3, types="FLOAT32", shape=_bias_shape, check=_check_with_bias, custom=True)
def convolution_2d_transpose_bias(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """The transpose of a convolution with weights (oc, kh, kw, ic): x (b, h, w, ic), bias (oc) -> (b, oh, ow, oc)."""
    x, weights, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    assert x is not None and weights is not None
    window, size = bias_window(node)
    if outputs[0].size == 0:
        return lambda: None
    prepared = ScatterWeights(weights, size, constant=is_constant(node.input(1)))
    c = Convolution(node, (node.input(0), node.input(1), node.optional(2)), x, bias, outputs[0], window)
    return float_convolution(c, prepared, "NONE")
