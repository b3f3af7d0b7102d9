"""MediaPipe's Convolution2DTransposeBias, as a transposed convolution."""

from __future__ import annotations

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Lowered
from tflgpu.delegates.lowering.convolution.conv import turned
from tflgpu.delegates.lowering.convolution.convolution import Convolution, lowered
from tflgpu.delegates.lowering.convolution.window import Window
from tflgpu.delegates.lowering.registry import lowers, require
from tflgpu.model.graph import Node
from tflgpu.ops.convolution.transpose_conv import bias_window


@lowers("Convolution2DTransposeBias")
def transpose_bias(node: Node, limits: DeviceLimits) -> Lowered:
    """x (b, h, w, ic), weights (oc, kh, kw, ic), bias (oc) -> (b, oh, ow, oc)."""
    x, weights, out = node.input(0), node.input(1), node.outputs[0]
    require(weights.type == "FLOAT32", f"a filter of {weights.type}")
    w, _ = bias_window(node)
    over = Window(w.kh, w.kw, w.sh, w.sw, w.dh, w.dw, w.oh, w.ow, w.top, w.left)
    packed, before = turned(weights, (1, 2, 3, 0))
    made = Convolution(
        node, x, weights, node.optional(2), out, packed, before, 1, over, "NONE", "FLOAT32", transposed=True
    )
    return lowered(made, limits)
