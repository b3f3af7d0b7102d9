"""CONV_3D and CONV_3D_TRANSPOSE."""

from __future__ import annotations

from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Argument, Launch, Lowered, Ref
from tflgpu.delegates.lowering.registry import f32, i32, lowers, size
from tflgpu.model.graph import Node
from tflgpu.ops.convolution.conv_3d import window_of
from tflgpu.ops.fused_activation import float_range


@lowers("CONV_3D", "CONV_3D_TRANSPOSE")
def conv_3d(node: Node, limits: DeviceLimits) -> Lowered:
    """x (n, d, h, w, c) -> (n, od, oh, ow, oc), or what such a convolution was made of."""
    transposed = node.op == "CONV_3D_TRANSPOSE"
    x, weights, out = node.input(2 if transposed else 0), node.input(1), node.outputs[0]
    bias = node.optional(3 if transposed else 2)
    window = window_of(node, (out if transposed else x).shape[1:4], weights.shape[:3])
    added: Argument = np.zeros(out.shape[4], np.float32) if bias is None else Ref(bias.index)
    ends = float_range(node.options.fused_activation_function, out.dtype)
    numbers = (*x.shape[1:], *out.shape[1:], *window.taps, *window.strides, *window.dilations, *window.before)
    sizes: Any = map(i32, (size(out), *numbers))
    args = (Ref(x.index), Ref(weights.index), added, Ref(out.index), *sizes, *map(f32, ends))
    return [Launch("conv_3d.conv_3d", args, (size(out),), defines={"TRANSPOSED": 1} if transposed else {})]
