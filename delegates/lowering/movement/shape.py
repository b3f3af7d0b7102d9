"""ZEROS_LIKE, FILL, resource variables, BITCAST and DILATE."""

from __future__ import annotations

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.ir import Alias, Copy
from tflgpu.delegates.launch import Lowered, Ref
from tflgpu.delegates.lowering.movement.movement import copy, fill, fill_from
from tflgpu.delegates.lowering.registry import bits_type, constant, lowers, require, size
from tflgpu.delegates.lowering.strided_index import index_map, standin
from tflgpu.model.graph import BITS, Node


@lowers("ZEROS_LIKE")
def zeros_like(node: Node, limits: DeviceLimits) -> Lowered:
    """Zeros of x's shape."""
    return [fill(node.outputs[0], np.zeros(1, node.outputs[0].dtype))]


@lowers("FILL")
def filled(node: Node, limits: DeviceLimits) -> Lowered:
    """out filled with a scalar."""
    value, out = node.input(1), node.outputs[0]
    require(value.type == out.type, f"FILL of {out.type} with {value.type}")
    return [fill_from(value, out)]


@lowers("READ_VARIABLE", variables=True)
def read_variable(node: Node, limits: DeviceLimits) -> Lowered:
    """A copy, since the variable may be assigned before the copy is read."""
    variable, out = node.input(0), node.outputs[0]
    require(variable.is_variable, "a variable that is known only at run time, or has several types or shapes")
    return [copy(variable, out)]


@lowers("ASSIGN_VARIABLE", variables=True)
def assign_variable(node: Node, limits: DeviceLimits) -> Lowered:
    """Writes the value to the variable."""
    variable, value = node.input(0), node.input(1)
    require(variable.is_variable, "a variable that is known only at run time, or has several types or shapes")
    return [copy(value, variable)]


@lowers("BITCAST")
def bitcast(node: Node, limits: DeviceLimits) -> Lowered:
    """The same bytes as another type."""
    x, out = node.input(0), node.outputs[0]
    require(x.type == out.type or not BITS.keys() & {x.type, out.type}, f"BITCAST from {x.type} to {out.type}")
    require(size(x) * x.dtype.itemsize == size(out) * out.dtype.itemsize, "BITCAST to another number of bytes")
    bits_type(out)
    return [Alias(out.index, x.index)]


@lowers("DILATE")
def dilate(node: Node, limits: DeviceLimits) -> Lowered:
    """Fills out with the padding value, then copies x into it with strides."""
    x, pad, out = node.input(0), node.input(2), node.outputs[0]
    factors = constant(node.input(1), "dilations").tolist()
    require(x.type == pad.type == out.type, f"DILATE of {x.type} to {out.type}")
    if not size(out):
        return []
    base = standin(out.shape, out.dtype)
    at = index_map(base[tuple(slice(None, None, d) for d in factors)], base)
    return [fill_from(pad, out), Copy(Ref(x.index), Ref(out.index), size(x), bits_type(out), out_at=at)]
