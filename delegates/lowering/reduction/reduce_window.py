"""Reductions of windows that slide over any dimensions."""

from __future__ import annotations

import math

from numpy.lib.stride_tricks import as_strided

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import FIRST, both, either, unequal, where
from tflgpu.delegates.ir import Copy
from tflgpu.delegates.launch import MAX_ELEMENTS, Buffer, Launch, Lowered, Ref, Temp
from tflgpu.delegates.lowering.reduction.combine import A, V, combine_macro, text_of, wrapping
from tflgpu.delegates.lowering.reduction.reduction_bodies import function_of
from tflgpu.delegates.lowering.registry import bits_type, c_type, lowers, require, size
from tflgpu.delegates.lowering.strided_index import index_map, standin
from tflgpu.model.graph import Node, Shape, TensorSpec
from tflgpu.ops.reduction.reduce_window import Window, edges_of, spread_slices, window_of_inputs, window_of_options

FUNCTIONS = {
    "ADD": A + V,
    "MUL": A * V,
    "MAXIMUM": where(A >= V, A, V),
    "MINIMUM": where(A <= V, A, V),
    "ALL": both(unequal(A, 0), unequal(V, 0)),
    "ANY": either(unequal(A, 0), unequal(V, 0)),
}


@lowers("REDUCE_WINDOW")
def reduce_window(node: Node, limits: DeviceLimits) -> Lowered:
    """x reduced window by window, starting with the value of input 1."""
    x, init = node.input(0), node.input(1)
    name = node.options.reduce_function
    require(name in FUNCTIONS, f"the function {name}")
    return [reduced(name, Ref(x.index), x.shape, init, node.outputs[0], window_of_inputs(node), limits)]


@lowers("STABLEHLO_REDUCE_WINDOW")
def stablehlo_reduce_window(node: Node, limits: DeviceLimits) -> Lowered:
    """x, dilated and padded with the value of input 1, reduced window by window with what the body computes."""
    x, init, out = node.input(0), node.input(1), node.outputs[0]
    name, edges, window = function_of(node), edges_of(node), window_of_options(node)
    require(name in FUNCTIONS, f"the function {name}")
    shape = edges.shape(x.shape)
    if shape == x.shape and not any(any(pair) for pair in edges.padding):
        return [reduced(name, Ref(x.index), shape, init, out, window, limits)]
    require(math.prod(shape) <= MAX_ELEMENTS, "more elements with padding than a 32-bit index reaches")
    spread = Temp(max(math.prod(shape), 1) * x.dtype.itemsize)
    bits = bits_type(x)
    base, x_base = standin(shape, x.dtype), standin(x.shape, x.dtype)
    source, inner = spread_slices(x.shape, edges)
    view, target = x_base[source], base[inner]
    over = [Copy(Ref(x.index), spread, view.size, bits, index_map(view, x_base), index_map(target, base))]
    around = Copy(Ref(init.index), spread, math.prod(shape), bits, FIRST)
    return [around, *(over if view.size else []), reduced(name, spread, shape, init, out, window, limits)]


def reduced(
    name: str, x: Buffer, shape: Shape, init: TensorSpec, out: TensorSpec, window: Window, limits: DeviceLimits
) -> Launch:
    """Every window of x, in row-major order."""
    # Bools are bytes, whose sum may wrap.
    kind = "i8" if out.type == "BOOL" else c_type(out, limits)
    defines: dict[str, object] = {"T": kind, **combine_macro(wrapping(FUNCTIONS[name], kind))}
    defines["RESULT(a)"] = text_of(unequal(A, 0) if out.type == "BOOL" else A)
    if size(out):
        base = standin(shape, out.dtype)
        steps = [n * s for n, s in zip(base.strides, window.strides, strict=True)]
        inside = [n * d for n, d in zip(base.strides, window.dilations, strict=True)]
        seen = as_strided(base, (*out.shape, *window.size), (*steps, *inside))
        first = (0,) * len(window.size)
        defines["X_AT"] = index_map(seen[(slice(None),) * len(window.size) + first], base)
        defines["K_AT"] = index_map(seen[first], base, "k")
    inputs, outputs = {"x": x, "init": Ref(init.index)}, {"out": Ref(out.index)}
    sizes = {"n": size(out), "count": math.prod(window.size)}
    return Launch("windows.reduce_window", (size(out),), (64,), inputs, outputs, sizes, defines=defines)
