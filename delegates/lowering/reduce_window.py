"""Windows that slide over any dimensions, each reduced to one value."""

from __future__ import annotations

import math

from numpy.lib.stride_tricks import as_strided
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Argument, Launch, Lowered, Ref
from tflgpu.delegates.lowering.index import index, standin
from tflgpu.delegates.lowering.registry import c_type, i32, lowers, require, size
from tflgpu.delegates.lowering.scatter import wrapping

from tflgpu.graph import Node, Shape, TensorSpec
from tflgpu.ops.reduce_window import Window, window_of_inputs

FUNCTIONS = {
    "ADD": "+",
    "MUL": "*",
    "MAXIMUM": "a >= v ? a : v",
    "MINIMUM": "a <= v ? a : v",
    "ALL": "a != 0 && v != 0",
    "ANY": "a != 0 || v != 0",
}


@lowers("REDUCE_WINDOW")
def reduce_window(node: Node, limits: DeviceLimits) -> Lowered:
    """x reduced window by window, from the value of input 1 on."""
    x, init = node.input(0), node.input(1)
    name = node.options.reduce_function
    require(name in FUNCTIONS, f"the function {name}")
    return [reduced(name, Ref(x.index), x.shape, init, node.outputs[0], window_of_inputs(node), limits)]


def reduced(
    name: str, x: Argument, shape: Shape, init: TensorSpec, out: TensorSpec, window: Window, limits: DeviceLimits
) -> Launch:
    """Every window of x, in row-major order."""
    # Bools are bytes whose sum may wrap.
    kind = "i8" if out.type == "BOOL" else c_type(out, limits)
    combine = wrapping(FUNCTIONS[name], kind) if len(FUNCTIONS[name]) == 1 else FUNCTIONS[name]
    defines: dict[str, object] = {"T": kind, "COMBINE(a, v)": f"({combine})"}
    defines["FINISH(a)"] = "((a) != 0)" if out.type == "BOOL" else "(a)"
    if size(out):
        base = standin(shape, out.dtype)
        steps = [n * s for n, s in zip(base.strides, window.strides, strict=True)]
        inside = [n * d for n, d in zip(base.strides, window.dilations, strict=True)]
        seen = as_strided(base, (*out.shape, *window.size), (*steps, *inside))
        first = (0,) * len(window.size)
        defines["X_AT"] = index(seen[(slice(None),) * len(window.size) + first], base)
        defines["K_AT"] = index(seen[first], base, "k")
    args = (x, Ref(init.index), Ref(out.index), i32(size(out)), i32(math.prod(window.size)))
    return Launch("windows.reduce_window", args, (size(out),), defines=defines)
