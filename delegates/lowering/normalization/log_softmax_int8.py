"""LOG_SOFTMAX of 8-bit values, in fixed point."""

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
    bounds = np.iinfo(out.dtype)
    require(x.type == out.type, f"LOG_SOFTMAX of {x.type} to {out.type}")
    require(out.scale == 16 / 256 and out.zero_point == bounds.max, "an output that is not scaled by 16/256")
    m, shift, least = rescaling(1.0, float(x.scale))
    back = quantize_multiplier(2.0 ** (31 - shift) / m)
    depth = x.shape[-1]
    rows = size(x) // depth if depth else 0
    shares = Packed(lambda: exponentials(m, shift, least)[1].astype(np.int32))
    scaled = Packed(lambda: mbqm(-np.arange(256, dtype=np.int64), m, shift).astype(np.int32))
    scalars = {"multiplier": back[0], "exponent": back[1], "least": least, "low": bounds.min, "high": bounds.max}
    return [
        Launch(
            "log_softmax_int8.log_softmax",
            (rows,),
            inputs={"x": Ref(x.index), "shares": shares, "scaled": scaled},
            outputs={"out": Ref(out.index)},
            sizes={"rows": rows, "depth": depth},
            scalars={name: i32(value) for name, value in scalars.items()},
            defines={"T": c_type(x, limits)},
        )
    ]
