"""Normalization along the channels."""

from __future__ import annotations

from dataclasses import replace

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Ref
from tflgpu.delegates.lowering.normalization import l2_normalization_int8
from tflgpu.delegates.lowering.registry import f32, lowers, require, size
from tflgpu.model.graph import Node


@lowers("L2_NORMALIZATION")
def l2_normalization(node: Node, limits: DeviceLimits) -> Lowered:
    """x divided by the square root of the sum of its squares along the last axis."""
    x, out = node.input(0), node.outputs[0]
    if x.type in ("INT8", "UINT8"):
        return l2_normalization_int8.l2_normalization(node, limits)
    require(x.type == out.type == "FLOAT32", f"L2_NORMALIZATION of {x.type}")
    require(node.options.fused_activation_function == "NONE", "a fused activation")
    depth = x.shape[-1]
    rows = size(x) // depth if depth else 0
    width = 1 if limits.cpu else min(limits.max_block, 128)
    inputs, outputs, defines = {"x": Ref(x.index)}, {"out": Ref(out.index)}, {"WIDTH": width}
    whole = Launch("normalization.l2_normalization", (rows * width,), (width,), inputs, outputs, {"depth": depth})
    return [replace(whole, defines=defines, stage="rows", reductions=1)]


@lowers("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(node: Node, limits: DeviceLimits) -> Lowered:
    """x / (bias + alpha * the sum of squares of the channels at most `radius` away)^beta."""
    x, out, o = node.input(0), node.outputs[0], node.options
    require(x.type == out.type == "FLOAT32", f"LOCAL_RESPONSE_NORMALIZATION of {x.type} to {out.type}")
    depth = x.shape[-1]
    radius = min(max(int(o.radius), 0), depth)
    return [
        Launch(
            "normalization.local_response_normalization",
            (size(out),),
            inputs={"x": Ref(x.index)},
            outputs={"out": Ref(out.index)},
            sizes={"size": size(out), "depth": depth, "radius": radius},
            scalars={"bias": f32(o.bias), "alpha": f32(o.alpha), "beta": f32(o.beta)},
        )
    ]
