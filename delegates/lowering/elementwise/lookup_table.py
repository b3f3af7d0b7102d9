"""Operators of 8- and 16-bit inputs as lookup tables of the result for every value, computed by the CPU's operator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tflgpu.delegates.ir import Lookup
from tflgpu.delegates.launch import Buffer, Fault, Packed, Ref
from tflgpu.delegates.lowering.registry import C_TYPES, RUNTIME, bits_type, require, size
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.registry import OpError, evaluate


def narrow(spec: TensorSpec) -> bool:
    """Whether a table can hold a result for every value of an element: 8 and 16 bits."""
    return spec.dtype.itemsize <= 2 and spec.dtype != np.bool_


def table(node: Node) -> Lookup:
    """An operator of one narrow input as the table of its result for every value."""
    x, out = node.input(0), node.outputs[0]
    require(x.quantization is None or not x.quantization.per_channel, "quantization by channel")
    require(out.quantization is None or not out.quantization.per_channel, "quantization by channel")
    values = all_values(x)
    of_values = replace(
        node, inputs=(replace(x, shape=values.shape), *node.inputs[1:]), outputs=(replace(out, shape=values.shape),)
    )

    def make() -> Array:
        with np.errstate(all="ignore"):
            return evaluate(
                of_values, [values, *(s.data if s is not None else None for s in node.inputs[1:])], RUNTIME
            )[0]

    if node.op in RAISING and x.type in ("INT8", "UINT8", "INT16"):
        return _of_accepted_values(node, values)
    # The table of 8-bit values is computed now: that an operator refuses a value is known only at run time.
    return lookup(x, Packed(make) if x.dtype.itemsize == 2 else make(), out)


RAISING = ("LOG", "RSQRT", "SQRT")
"""Operators that refuse quantized values below some limit."""


def _of_accepted_values(node: Node, values: Array) -> Lookup:
    """The table of the values that the operator takes; the others are a fault."""
    x, out = node.input(0), node.outputs[0]
    rising = np.sort(values)

    def taken(first: int) -> Array:
        some = rising[first:]
        inputs, outputs = (replace(x, shape=some.shape),), (replace(out, shape=some.shape),)
        with np.errstate(all="ignore"):
            return evaluate(replace(node, inputs=inputs, outputs=outputs), [some], RUNTIME)[0]

    reason, low, high = "", 0, len(rising)
    while low < high:
        middle = (low + high) // 2
        try:
            taken(middle)
            high = middle
        except OpError as error:
            reason, low = str(error), middle + 1
    results = taken(low)
    if not low:
        return lookup(x, results[np.argsort(np.argsort(values))], out)
    require(low < len(rising), reason)
    table = np.concatenate([np.zeros(low, results.dtype), results])[np.argsort(np.argsort(values))]
    return replace(lookup(x, table, out), least=int(rising[low]), fault=Fault(reason))


def lookup(x: TensorSpec, entries: Buffer, out: TensorSpec) -> Lookup:
    """out = entries[the quantized value of x, as an unsigned number]."""
    return Lookup(Ref(x.index), entries, Ref(out.index), size(out), (_kind(x), _kind(out)))


def _kind(spec: TensorSpec) -> str:
    return C_TYPES[spec.dtype] if spec.dtype.kind in "iu" else bits_type(spec)


def all_values(spec: TensorSpec) -> Array:
    """Every value of an 8- or 16-bit type, in the order of its bits."""
    return np.arange(1 << 8 * spec.dtype.itemsize, dtype=f"u{spec.dtype.itemsize}").view(spec.dtype)
