"""SOFTMAX and LOG_SOFTMAX along the last axis."""

from __future__ import annotations

import math

import numpy as np
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Packed, Ref
from tflgpu.delegates.lowering.registry import c_type, f32, i32, lowers, require, size

from tflgpu.fixed_point import exp_on_negative_values, mbqm, quantize_multiplier
from tflgpu.graph import Array, Node


@lowers("SOFTMAX", "LOG_SOFTMAX")
def softmax(node: Node, limits: DeviceLimits) -> Lowered:
    """Rows of depth elements, one block of work-items a row; a CPU takes one work-item a row."""
    x, out = node.input(0), node.outputs[0]
    require(len(x.shape) > 0, "a scalar")
    types = (x.type, out.type)
    depth = x.shape[-1]
    rows = size(x) // depth if depth else 0
    if types == ("FLOAT32", "FLOAT32"):
        width = 1 if limits.cpu else min(limits.max_block, 128)
        beta = node.options.beta if node.op == "SOFTMAX" else 1.0
        args = (Ref(x.index), Ref(out.index), i32(depth), f32(beta))
        defines: dict[str, object] = {"WIDTH": width}
        if node.op == "LOG_SOFTMAX":
            defines["LOGARITHM"] = 1
        return [Launch("softmax.softmax", args, (rows * width,), (width,), defines)]
    require(types in _CODES and node.op == "SOFTMAX", f"{node.op} of {x.type} to {out.type}")
    beta, scale = float(np.float32(node.options.beta)), float(x.scale)
    kind = np.iinfo(out.dtype)
    args = (
        Ref(x.index),
        Packed(lambda: _exponentials(beta * scale)),
        Ref(out.index),
        i32(rows),
        i32(depth),
        i32(kind.bits),
        i32(kind.min),
        i32(kind.max),
    )
    defines = {"X_T": c_type(x, limits), "OUT_T": c_type(out, limits)}
    return [Launch("softmax.softmax_codes", args, (rows,), (16 if limits.cpu else 64,), defines)]


_CODES = (("INT8", "INT8"), ("UINT8", "UINT8"), ("INT8", "INT16"), ("UINT8", "INT16"))


def _exponentials(scale: float) -> Array:
    """exp of minus d codes of this scale for d in 0..255, in Q0.31; 0 where the kernel on the CPU leaves it out."""
    m, shift = quantize_multiplier(min(scale * 2.0**26, 2.0**31 - 1))
    least = -math.floor(31 * 2.0**26 / 2.0**shift)
    d = -np.arange(256, dtype=np.int64)
    return np.where(d >= least, exp_on_negative_values(mbqm(d, m, shift)), 0).astype(np.int32)
