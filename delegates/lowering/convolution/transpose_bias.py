"""MediaPipe's Convolution2DTransposeBias, as a transposed convolution."""

from __future__ import annotations

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Lowered
from tflgpu.delegates.lowering.convolution.convolution import convolution
from tflgpu.delegates.lowering.gemm.problem import Gather
from tflgpu.delegates.lowering.registry import lowers, require
from tflgpu.model.graph import Node
from tflgpu.ops.convolution.transpose_conv import bias_window


@lowers("Convolution2DTransposeBias")
def transpose_bias(node: Node, limits: DeviceLimits) -> Lowered:
    """x (b, h, w, ic), weights (oc, kh, kw, ic), bias (oc) -> (b, oh, ow, oc)."""
    x, weights = node.input(0), node.input(1)
    require(weights.type == "FLOAT32", f"a filter of {weights.type}")
    over, _ = bias_window(node)
    n, h, w, c = x.shape
    return convolution(node, "transposed", (x, weights, node.optional(2)), Gather((n, h, w, c), over), limits)
