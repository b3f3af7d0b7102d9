"""CUMSUM."""

from __future__ import annotations

import math

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Ref
from tflgpu.delegates.lowering.registry import c_type, constant, i32, lowers, require
from tflgpu.model.graph import Node
from tflgpu.ops.shape_rules import normalized_axis


@lowers("CUMSUM")
def cumsum(node: Node, limits: DeviceLimits) -> Lowered:
    """Running sums from the start (or the end) of an axis; one work-item a line."""
    x, out, o = node.input(0), node.outputs[0], node.options
    require(len(x.shape) > 0, "a scalar")
    given = constant(node.input(1), "an axis")
    require(given.size == 1, f"{given.size} axes")
    axis = normalized_axis(int(given.reshape(())), len(x.shape))
    inner = math.prod(x.shape[axis + 1 :])
    lines = math.prod(x.shape[:axis]) * inner
    name = c_type(x, limits)
    return [
        Launch(
            "sorting.cumsum",
            (lines,),
            inputs={"x": Ref(x.index)},
            outputs={"out": Ref(out.index)},
            sizes={"lines": lines, "count": x.shape[axis], "inner": inner},
            scalars={"exclusive": i32(o.exclusive), "reverse": i32(o.reverse)},
            defines={"T": name, "ACC_T": {"i32": "u32", "i64": "u64"}.get(name, name)},
        )
    ]
