"""Operators of 8- and 16-bit inputs as tables of every code's result, which the CPU's own operator computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Argument, Launch, Packed, Ref
from tflgpu.delegates.lowering.code_rows import code_rows
from tflgpu.delegates.lowering.registry import BITS_TYPES, RUNTIME, bits_type, i32, require, size

from tflgpu.graph import Array, Node, TensorSpec
from tflgpu.ops.registry import evaluate


def narrow(spec: TensorSpec) -> bool:
    """Whether all the values that an element can have fit into a table."""
    return spec.dtype.itemsize <= 2 and spec.dtype != np.bool_


def table(node: Node, limits: DeviceLimits) -> Launch:
    """An operator of one narrow input as a table of every code's result, computed by the CPU's operator."""
    x, out = node.input(0), node.outputs[0]
    require(x.quantization is None or not x.quantization.per_channel, "quantization by channel")
    require(out.quantization is None or not out.quantization.per_channel, "quantization by channel")
    codes = all_codes(x)
    of_codes = replace(
        node, inputs=(replace(x, shape=codes.shape), *node.inputs[1:]), outputs=(replace(out, shape=codes.shape),)
    )

    def make() -> Array:
        with np.errstate(all="ignore"):
            return evaluate(of_codes, [codes, *(s.data if s is not None else None for s in node.inputs[1:])], RUNTIME)[
                0
            ]

    # Made here too, since an operator may refuse some codes, which only running it can tell.
    made = Packed(make) if x.dtype.itemsize == 2 and node.op not in RAISING else make()
    return lookup(x, made, out, limits)


RAISING = ("LOG", "RSQRT", "SQRT")
"""Operators of narrow inputs that refuse some values."""


def lookup(x: TensorSpec, entries: Argument, out: TensorSpec, limits: DeviceLimits) -> Launch:
    """out = entries[the code of x, as an unsigned number]."""
    if x.type in BYTES and out.type in BYTES:
        fast = code_rows({}, (x,), (entries,), out, (), limits)
        if fast is not None:
            return fast
    defines = {"X_T": BITS_TYPES[x.dtype.itemsize], "OUT_T": bits_type(out)}
    return Launch("lut.lut", (Ref(x.index), entries, Ref(out.index), i32(size(out))), (size(out),), defines=defines)


BYTES = ("INT8", "UINT8")


def all_codes(spec: TensorSpec) -> Array:
    """Every value of an 8- or 16-bit type, in the order of its bits."""
    return np.arange(1 << 8 * spec.dtype.itemsize, dtype=f"u{spec.dtype.itemsize}").view(spec.dtype)
