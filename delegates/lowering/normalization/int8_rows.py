"""LOG_SOFTMAX and L2_NORMALIZATION of 8-bit codes, in fixed point."""

from __future__ import annotations

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm, quantize_multiplier
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Packed, Ref
from tflgpu.delegates.lowering.registry import c_type, i32, require, size
from tflgpu.model.graph import Node
from tflgpu.ops.normalization.softmax import exponentials, rescaling


def log_softmax(node: Node, limits: DeviceLimits) -> Lowered:
    """Rows along the last axis."""
    x, out = node.input(0), node.outputs[0]
    ends = np.iinfo(out.dtype)
    require(x.type == out.type, f"LOG_SOFTMAX of {x.type} to {out.type}")
    require(out.scale == 16 / 256 and out.zero_point == ends.max, "an output that is not scaled by 16/256")
    m, shift, least = rescaling(1.0, float(x.scale))
    back = quantize_multiplier(2.0 ** (31 - shift) / m)
    depth = x.shape[-1]
    rows = size(x) // depth if depth else 0
    shares = Packed(lambda: exponentials(m, shift, least)[1].astype(np.int32))
    scaled = Packed(lambda: mbqm(-np.arange(256, dtype=np.int64), m, shift).astype(np.int32))
    scalars = {"multiplier": back[0], "exponent": back[1], "least": least, "low": ends.min, "high": ends.max}
    return [
        Launch(
            "row_codes.log_softmax",
            (rows,),
            inputs={"x": Ref(x.index), "shares": shares, "scaled": scaled},
            outputs={"out": Ref(out.index)},
            sizes={"rows": rows, "depth": depth},
            scalars={name: i32(value) for name, value in scalars.items()},
            defines={"T": c_type(x, limits), "LOGARITHM": 1},
        )
    ]


def l2_normalization(node: Node, limits: DeviceLimits) -> Lowered:
    """Rows along the last axis."""
    x, out = node.input(0), node.outputs[0]
    ends, unsigned = np.iinfo(out.dtype), out.type == "UINT8"
    middle = 128 if unsigned else 0
    require(x.type == out.type, f"L2_NORMALIZATION of {x.type} to {out.type}")
    require(out.scale == np.float32(1 / 128) and out.zero_point == middle, "an output that is not scaled by 1/128")
    depth = x.shape[-1]
    rows = size(x) // depth if depth else 0
    # 128 is the inverse of the output's scale; the reference kernels of the two types apply it at different ends.
    factor, shift = (128, 0) if unsigned else (1, 7)
    scalars = {"zero_point": x.zero_point, "factor": factor, "shift": shift, "middle": middle}
    scalars |= {"low": ends.min, "high": ends.max}
    return [
        Launch(
            "row_codes.l2_normalization",
            (rows,),
            inputs={"x": Ref(x.index)},
            outputs={"out": Ref(out.index)},
            sizes={"rows": rows, "depth": depth},
            scalars={name: i32(value) for name, value in scalars.items()},
            defines={"T": c_type(x, limits)},
        )
    ]
