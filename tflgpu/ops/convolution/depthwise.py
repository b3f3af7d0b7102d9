"""DEPTHWISE_CONV_2D: float, integer and hybrid, dilated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.convolution.convolution import (
    Convolution,
    ConvolutionWeights,
    as_bytes,
    check_types,
    cropped_to_image,
    is_constant,
    through_float32,
)
from tflgpu.ops.convolution.convolve import convolve
from tflgpu.ops.convolution.depthwise_rows import DepthwiseWeights
from tflgpu.ops.convolution.im2col import Im2colWeights
from tflgpu.ops.convolution.integer_convolution import check_integers
from tflgpu.ops.convolution.window import of_convolution
from tflgpu.ops.registry import Step, kernel, require
from tflgpu.ops.shape_rules import elements

FILTERS = {
    "FLOAT32": ("FLOAT32", "INT8"),
    "FLOAT16": ("FLOAT16",),
    "UINT8": ("UINT8",),
    "INT8": ("INT8", "INT4"),
    "INT16": ("INT8", "INT4", "INT16"),
}


def _shape(node: Node) -> list[Shape]:
    x, weights = node.input(0), node.input(1)
    require(len(x.shape) == 4, f"NumDimensions(input) != 4 ({len(x.shape)} != 4)")
    require(len(weights.shape) == 4, f"NumDimensions(filter) != 4 ({len(weights.shape)} != 4)")
    b, h, w, c = x.shape
    one, kh, kw, oc = weights.shape
    require(min(h, w, c) > 0, "SizeOfDimension(input, 1) > 0 was not true.")
    require(min(kh, kw, oc) > 0, "SizeOfDimension(filter, 1) > 0 was not true.")
    require(one == 1, f"SizeOfDimension(filter, 0) != 1 ({one} != 1)")
    require(oc % c == 0, f"output_channels % input_channels != 0 ({oc % c} != 0)")
    window = of_convolution(node, (h, w), (kh, kw))
    return [(b, window.oh, window.ow, oc)]


def _check(node: Node) -> None:
    x, weights, bias = node.input(0), node.input(1), node.optional(2)
    check_types(node, x, weights, bias, FILTERS)
    if bias is not None:
        require(bias.shape == weights.shape[3:], "SizeOfDimension(filter, 3) != SizeOfDimension(bias, 0)")
        if x.type == "INT16":
            require(bias.type == "INT64", f"bias->type != kTfLiteInt64 ({bias.type} != INT64)")
    check_integers(node, (x, weights, bias), weights.shape[3], symmetric_filter=False)
    if not is_constant(weights):
        cropped_to_image(of_convolution(node, x.shape[1:3], weights.shape[1:3]), x.shape, constant=False)
    if x.type == "FLOAT32" and weights.type == "INT8" and elements(node.outputs[0].shape):
        quantization = weights.quantization
        require(quantization is not None, "filter->quantization.type != kTfLiteNoQuantization")
        assert quantization is not None
        channels = weights.shape[quantization.axis]
        require(quantization.scale.size == channels, f"scale->size {quantization.scale.size} != {channels}")


@kernel(
    "DEPTHWISE_CONV_2D", inputs="2-3", version=7, types="FLOAT32 FLOAT16 UINT8 INT8 INT16", shape=_shape, check=_check
)
def depthwise_conv_2d(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """x (b, h, w, c), each channel convolved with its own multiplier of weights (1, kh, kw, c * multiplier) plus bias.

    Upstream has float16 in XNNPACK alone.
    """
    return through_float32(_convolution, node, inputs, outputs)


def _convolution(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    x_spec, weights_spec, bias_spec = node.input(0), node.input(1), node.optional(2)
    x, weights = inputs[0], inputs[1]
    bias = inputs[2] if len(inputs) > 2 else None
    assert x is not None and weights is not None
    if outputs[0].size == 0:
        return lambda: None
    if weights_spec.type == "INT16":
        weights = as_bytes(weights)
    window = of_convolution(node, x.shape[1:3], weights.shape[1:3])
    window, rows, columns = cropped_to_image(window, x.shape, is_constant(weights_spec))
    multiplier, kernel_weights = weights.shape[3] // x.shape[3], weights[0, rows, columns]

    def make(largest: int | None, dtype: np.dtype, zero_point: int) -> ConvolutionWeights:
        if x.shape[3] == 1 and multiplier > 4 and is_constant(weights_spec):
            # With one input channel it is a convolution, for which GEMM is faster.
            filters = np.ascontiguousarray(kernel_weights.transpose(2, 0, 1))[..., None]
            return Im2colWeights(filters, 1, largest, zero_point, dtype=dtype)
        return DepthwiseWeights(kernel_weights, multiplier, largest, dtype, zero_point, is_constant(weights_spec))

    c = Convolution(node, (x_spec, weights_spec, bias_spec), x, bias, outputs[0], window)
    return convolve(c, make, filter_scale_first=False)
