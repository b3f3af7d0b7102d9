"""CONV_2D: float, integer and hybrid, grouped and dilated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.convolution.convolution import (
    HYBRID_FILTERS,
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
from tflgpu.ops.convolution.hybrid_convolution import HybridRule, flipped_negatives, hybrid_convolution
from tflgpu.ops.convolution.im2col import Im2colWeights
from tflgpu.ops.convolution.integer_convolution import check_integers
from tflgpu.ops.convolution.window import of_convolution
from tflgpu.ops.matmul.hybrid import weight_scale
from tflgpu.ops.registry import Step, kernel, require
from tflgpu.ops.shape_rules import elements

FILTERS = {
    "FLOAT32": ("FLOAT32", *HYBRID_FILTERS),
    "FLOAT16": ("FLOAT16",),
    "UINT8": ("UINT8",),
    "INT8": ("INT8", "INT4"),
    "INT16": ("INT8", "INT4", "INT16"),
}

IN_ORDER = 1 << 12
"""Outputs up to which the windows of one float channel are summed in the reference's order: where large terms cancel,
what remains is their rounding errors."""


def _shape(node: Node) -> list[Shape]:
    x, weights = node.input(0), node.input(1)
    require(len(x.shape) == 4, f"input->dims->size != 4 ({len(x.shape)} != 4)")
    require(len(weights.shape) == 4, f"filter->dims->size != 4 ({len(weights.shape)} != 4)")
    b, h, w, c = x.shape
    oc, kh, kw, ci = weights.shape
    require(min(h, w, c) > 0, "input->dims->data[1] > 0 was not true.")
    require(min(weights.shape) > 0, "filter->dims->data[0] > 0 was not true.")
    require(c % ci == 0, f"input_channel % filter_input_channel != 0 ({c % ci} != 0)")
    require(oc % (c // ci) == 0, f"filter->dims->data[0] % data->groups != 0 ({oc % (c // ci)} != 0)")
    window = of_convolution(node, (h, w), (kh, kw))
    return [(b, window.oh, window.ow, oc)]


def _check(node: Node) -> None:
    x, weights, bias = node.input(0), node.input(1), node.input(2)
    check_types(node, x, weights, bias, FILTERS)
    count, oc = elements(bias.shape), weights.shape[0]
    require(count == oc, f"NumElements(bias) != SizeOfDimension(filter, 0) ({count} != {oc})")
    check_integers(node, (x, weights, bias), oc)
    if not is_constant(weights):
        cropped_to_image(of_convolution(node, x.shape[1:3], weights.shape[1:3]), x.shape, constant=False)


@kernel("CONV_2D", inputs="2-3", version=8, types="FLOAT32 FLOAT16 UINT8 INT8 INT16", shape=_shape, check=_check)
def conv_2d(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """x (b, h, w, c) convolved with weights (oc, kh, kw, c / groups) plus bias (oc): (b, oh, ow, oc).

    Upstream has float16 in XNNPACK alone.
    """
    return through_float32(_convolution, node, inputs, outputs)


def _convolution(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    x_spec, weights_spec, bias_spec = node.input(0), node.input(1), node.input(2)
    x, weights, bias = inputs[:3]
    assert x is not None and weights is not None and bias is not None
    if outputs[0].size == 0:
        return lambda: None
    constant = is_constant(weights_spec)
    if weights_spec.type == "INT16":
        weights = as_bytes(weights)
    window = of_convolution(node, x.shape[1:3], weights.shape[1:3])
    window, rows, columns = cropped_to_image(window, x.shape, constant)
    weights, bias = weights[:, rows, columns], bias.reshape(-1)
    groups, out_size = x.shape[3] // weights.shape[3], outputs[0].size

    def make(largest: int | None, dtype: np.dtype, zero_point: int) -> ConvolutionWeights:
        few = x.shape[3] == 1 and largest is None and out_size <= IN_ORDER and window.taps <= 16
        if weights.shape[3] == 1 and (groups > 1 or few):
            # With one channel a group this is a depthwise convolution under another layout.
            depthwise = DepthwiseWeights(
                weights[..., 0].transpose(1, 2, 0), len(weights) // groups, largest, dtype, zero_point, constant
            )
            depthwise.in_order = few
            return depthwise
        return Im2colWeights(weights, groups, largest, zero_point, constant, dtype)

    c = Convolution(node, (x_spec, weights_spec, bias_spec), x, bias, outputs[0], window)
    if x_spec.type == "FLOAT32" and weights_spec.type in HYBRID_FILTERS:
        check_hybrid_axis(weights_spec, groups)
        if groups == 1 and _one_scale(weights_spec):
            return _symmetric(c, weights)
    return convolve(c, make, filter_scale_first=True)


def check_hybrid_axis(weights: TensorSpec, groups: int) -> None:
    """Raises OpError where a hybrid filter (oc, kh, kw, c / groups) has scales of another dimension than the first."""
    axis = 0 if weights.quantization is None else weights.quantization.axis
    by_channel = groups > 1 or not _one_scale(weights)
    require(axis == 0 or not by_channel, f"affine_quantization->quantized_dimension != 0 ({axis} != 0)")


def _one_scale(weights: TensorSpec) -> bool:
    scale = weight_scale(weights)
    return weights.type == "UINT8" or bool((scale == scale[0]).all())


def _symmetric(c: Convolution, weights: Array) -> Step:
    """Hybrid, by a filter with one scale: here the reference resolver runs the optimized kernel."""
    # The bits of an unsigned filter are read as signed ones.
    weights = weights.view(np.int8)
    constant = is_constant(c.specs[1])
    flipped = flipped_negatives(weights) if constant else None
    rule = HybridRule(weight_scale(c.specs[1])[:1], asymmetric=False)
    prepared = Im2colWeights(weights if flipped is None else flipped, 1, rule.largest, 0, constant)
    return hybrid_convolution(c, rule, prepared, negatives=flipped is not None)
