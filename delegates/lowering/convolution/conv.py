"""CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV."""

from __future__ import annotations

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Lowered
from tflgpu.delegates.lowering.convolution.convolution import convolution
from tflgpu.delegates.lowering.convolution.window import window
from tflgpu.delegates.lowering.gemm.problem import Gather
from tflgpu.delegates.lowering.registry import constant, lowers, require
from tflgpu.model.graph import Node, TensorSpec


@lowers("CONV_2D")
def conv_2d(node: Node, limits: DeviceLimits) -> Lowered:
    """Weights (oc, kh, kw, c / groups)."""
    x, weights = node.input(0), node.input(1)
    _, kh, kw, channels = weights.shape
    require(channels > 0 and x.shape[3] % channels == 0, f"{channels} channels of weights for {x.shape[3]} of input")
    over = window(node, x.shape[1], x.shape[2], kh, kw)
    gather = Gather(_image(x), over, x.shape[3] // channels)
    return convolution(node, "convolution", (x, weights, node.optional(2)), gather, limits)


@lowers("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(node: Node, limits: DeviceLimits) -> Lowered:
    """Weights (1, kh, kw, c * multiplier)."""
    x, weights = node.input(0), node.input(1)
    require(weights.type != "INT4" or x.type == "INT8", f"{x.type} input with INT4 weights")
    _, kh, kw, oc = weights.shape
    require(x.shape[3] > 0 and oc % x.shape[3] == 0, f"{oc} channels of weights for {x.shape[3]} of input")
    gather = Gather(_image(x), window(node, x.shape[1], x.shape[2], kh, kw), x.shape[3])
    return convolution(node, "depthwise", (x, weights, node.optional(2)), gather, limits)


@lowers("TRANSPOSE_CONV")
def transpose_conv(node: Node, limits: DeviceLimits) -> Lowered:
    """Inputs: the output's shape, weights (oc, kh, kw, c), x, bias. The window is taken over the output."""
    constant(node.input(0), "an output shape")
    require(node.input(1).type != "INT4", "INT4 weights")
    weights, x, out = node.input(1), node.input(2), node.outputs[0]
    _, kh, kw, _ = weights.shape
    require(out.shape[3] == weights.shape[0] and x.shape[3] == weights.shape[3], "channels that do not fit")
    gather = Gather(_image(x), window(node, out.shape[1], out.shape[2], kh, kw))
    return convolution(node, "transposed", (x, weights, node.optional(3)), gather, limits)


def _image(x: TensorSpec) -> tuple[int, int, int, int]:
    n, h, w, c = x.shape
    return n, h, w, c
