"""CONV_3D and CONV_3D_TRANSPOSE."""

from __future__ import annotations

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Ref
from tflgpu.delegates.lowering.registry import f32, lowers, size
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
    added: Buffer = np.zeros(out.shape[4], np.float32) if bias is None else Ref(bias.index)
    bounds = float_range(node.options.fused_activation_function, out.dtype)
    sizes = {"size": size(out)}
    for names, values in (
        (("d", "h", "w", "c"), x.shape[1:]),
        (("od", "oh", "ow", "oc"), out.shape[1:]),
        (("kd", "kh", "kw"), window.taps),
        (("stride_d", "stride_h", "stride_w"), window.strides),
        (("dilation_d", "dilation_h", "dilation_w"), window.dilations),
        (("pad_d", "pad_h", "pad_w"), window.before),
    ):
        sizes |= dict(zip(names, values, strict=True))
    return [
        Launch(
            "conv_3d.conv_3d",
            (size(out),),
            inputs={"x": Ref(x.index), "weights": Ref(weights.index), "bias": added},
            outputs={"out": Ref(out.index)},
            sizes=sizes,
            scalars={"low": f32(bounds[0]), "high": f32(bounds[1])},
            defines={"TRANSPOSED": 1} if transposed else {},
        )
    ]
