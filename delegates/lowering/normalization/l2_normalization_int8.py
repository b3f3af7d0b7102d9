"""L2_NORMALIZATION of 8-bit values, in fixed point."""

from __future__ import annotations

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Ref
from tflgpu.delegates.lowering.registry import c_type, i32, require, size
from tflgpu.model.graph import Node


def l2_normalization(node: Node, limits: DeviceLimits) -> Lowered:
    """Rows along the last axis."""
    x, out = node.input(0), node.outputs[0]
    bounds, unsigned = np.iinfo(out.dtype), out.type == "UINT8"
    middle = 128 if unsigned else 0
    require(x.type == out.type, f"L2_NORMALIZATION of {x.type} to {out.type}")
    require(out.scale == np.float32(1 / 128) and out.zero_point == middle, "an output that is not scaled by 1/128")
    depth = x.shape[-1]
    rows = size(x) // depth if depth else 0
    # 128 is the inverse of the output's scale; the reference kernels of the two types apply it at different steps.
    factor, shift = (128, 0) if unsigned else (1, 7)
    scalars = {"zero_point": x.zero_point, "factor": factor, "shift": shift, "middle": middle}
    scalars |= {"low": bounds.min, "high": bounds.max}
    return [
        Launch(
            "l2_normalization_int8.l2_normalization",
            (rows,),
            inputs={"x": Ref(x.index)},
            outputs={"out": Ref(out.index)},
            sizes={"rows": rows, "depth": depth},
            scalars={name: i32(value) for name, value in scalars.items()},
            defines={"T": c_type(x, limits)},
        )
    ]
