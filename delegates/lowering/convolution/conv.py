"""CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV."""

from __future__ import annotations

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.ir import Copy
from tflgpu.delegates.launch import Buffer, Lowered, Packed, Ref, Temp
from tflgpu.delegates.lowering.convolution.convolution import Convolution, lowered
from tflgpu.delegates.lowering.convolution.window import window
from tflgpu.delegates.lowering.registry import bits_type, constant, lowers, require, size
from tflgpu.delegates.lowering.strided_index import index_map, standin
from tflgpu.model.graph import Node, TensorSpec


@lowers("CONV_2D")
def conv_2d(node: Node, limits: DeviceLimits) -> Lowered:
    """Weights (oc, kh, kw, c / groups)."""
    x, weights = node.input(0), node.input(1)
    _, kh, kw, channels = weights.shape
    require(channels > 0 and x.shape[3] % channels == 0, f"{channels} channels of weights for {x.shape[3]} of input")
    over = window(node, x.shape[1], x.shape[2], kh, kw)
    packed, before = turned(weights, (1, 2, 3, 0))
    return lowered(
        Convolution(
            node,
            x,
            weights,
            node.optional(2),
            node.outputs[0],
            packed,
            before,
            x.shape[3] // channels,
            over,
            node.options.fused_activation_function,
            node.options.quantized_bias_type,
        ),
        limits,
    )


@lowers("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(node: Node, limits: DeviceLimits) -> Lowered:
    """Weights (1, kh, kw, c * multiplier)."""
    x, weights = node.input(0), node.input(1)
    require(weights.type != "INT4" or x.type == "INT8", f"{x.type} input with INT4 weights")
    _, kh, kw, oc = weights.shape
    require(x.shape[3] > 0 and oc % x.shape[3] == 0, f"{oc} channels of weights for {x.shape[3]} of input")
    over = window(node, x.shape[1], x.shape[2], kh, kw)
    return lowered(
        Convolution(
            node,
            x,
            weights,
            node.optional(2),
            node.outputs[0],
            Ref(weights.index),
            [],
            x.shape[3],
            over,
            node.options.fused_activation_function,
            "INT64",
            symmetric=False,
        ),
        limits,
    )


@lowers("TRANSPOSE_CONV")
def transpose_conv(node: Node, limits: DeviceLimits) -> Lowered:
    """Inputs: the output's shape, weights (oc, kh, kw, c), x, bias. The window is taken over the output."""
    constant(node.input(0), "an output shape")
    require(node.input(1).type != "INT4", "INT4 weights")
    weights, x, out, o = node.input(1), node.input(2), node.outputs[0], node.options
    _, kh, kw, _ = weights.shape
    require(out.shape[3] == weights.shape[0] and x.shape[3] == weights.shape[3], "channels that do not fit")
    over = window(node, out.shape[1], out.shape[2], kh, kw)
    packed, before = turned(weights, (1, 2, 3, 0))
    activation = getattr(o, "fused_activation_function", "NONE")
    bias_type = getattr(o, "quantized_bias_type", "FLOAT32")
    return lowered(
        Convolution(
            node, x, weights, node.optional(3), out, packed, before, 1, over, activation, bias_type, transposed=True
        ),
        limits,
    )


def turned(weights: TensorSpec, order: tuple[int, ...]) -> tuple[Buffer, Lowered]:
    """The weights with their dimensions in another order, and the launches that this takes where not constant."""
    data = weights.data
    if data is not None:
        return Packed(lambda: data.transpose(order)), []
    base = standin(weights.shape, weights.dtype)
    temp = Temp(size(weights) * weights.dtype.itemsize)
    moved = index_map(base.transpose(order), base)
    return temp, [Copy(Ref(weights.index), temp, size(weights), bits_type(weights), moved)]
