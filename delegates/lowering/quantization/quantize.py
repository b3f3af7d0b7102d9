"""Between element types, with scales or without."""

from __future__ import annotations

import numpy as np

from tflgpu.arithmetic.fixed_point import quantize_multiplier
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Fault, Launch, Lowered
from tflgpu.delegates.lowering.elementwise.elementwise import elementwise, faulting
from tflgpu.delegates.lowering.elementwise.lookup_table import narrow, table
from tflgpu.delegates.lowering.elementwise.narrow_floats import is_narrow
from tflgpu.delegates.lowering.registry import c_float, c_type, lowers, require
from tflgpu.model.graph import BITS, Node, TensorSpec
from tflgpu.ops import custom_options


@lowers("QUANTIZE", "DEQUANTIZE", "CAST")
def converted(node: Node, limits: DeviceLimits) -> Lowered:
    """Between element types, with or without a scale."""
    x, out = node.input(0), node.outputs[0]
    if narrow(x) or x.type == "BOOL":
        return [table(node, limits)]
    if node.op == "QUANTIZE":
        return [quantize(x, out, limits) if x.type == "FLOAT32" else _requantize(x, out, limits)]
    require(node.op == "CAST", f"{node.op} of {x.type}")
    return [cast(x, out, limits)]


def quantize(x: TensorSpec, out: TensorSpec, limits: DeviceLimits) -> Launch:
    """Codes of floats: x / scale rounded half away from zero, plus the zero point, clamped."""
    require(x.type == "FLOAT32" and out.type in ("INT8", "UINT8", "INT16"), f"QUANTIZE of {x.type} to {out.type}")
    require(out.quantization is not None and not out.quantization.per_channel, "quantization by channel")
    require(limits.exact_division or limits.double, "a device that does not divide floats exactly")
    # The quotient of doubles, rounded to float, is the quotient of floats correctly rounded.
    scale = c_float(float(out.scale))
    quotient = f"x / {scale}" if limits.exact_division else f"(f32)((f64)x / (f64){scale})"
    kind = np.iinfo(out.dtype)
    rounded = f"to_i32(round_away({quotient}))"
    # In 32 bits, which the sum leaves where x does: the reference's answer on x86.
    expression = f"clamp_i32((i32)((u32){rounded} + (u32)({out.zero_point})), {kind.min}, {kind.max})"
    return elementwise(expression, (x,), out, limits)


def _requantize(x: TensorSpec, out: TensorSpec, limits: DeviceLimits) -> Launch:
    """32-bit codes as codes of another scale."""
    require(x.type == "INT32" and out.type in ("INT8", "UINT8", "INT16"), f"QUANTIZE of {x.type} to {out.type}")
    require(not any(s.quantization is not None and s.quantization.per_channel for s in (x, out)), "scales by channel")
    m, e = quantize_multiplier(float(x.scale) / float(out.scale))
    kind = np.iinfo(out.dtype)
    scaled = f"mbqm((i32)((u32)x - (u32){x.zero_point}), {m}, {e})"
    return elementwise(f"clamp_i64((i64){scaled} + {out.zero_point}, {kind.min}, {kind.max})", (x,), out, limits)


@lowers("NumericVerify")
def numeric_verify(node: Node, limits: DeviceLimits) -> Lowered:
    """What codes stand for less its float reference; how far it is off is looked at where the options say so."""
    x, reference, out = node.input(0), node.input(1), node.outputs[0]
    require(x.shape == reference.shape and reference.type == "FLOAT32", f"NumericVerify of {reference}")
    options = custom_options.read(node)
    tolerance = np.float32(custom_options.real(options, "tolerance"))
    scale, real = np.float32(0), "x"
    if not is_narrow(x):
        require(x.quantization is not None and not x.quantization.per_channel, "scales by channel, or none")
        scale, real = x.scale, f"((f32)x - ({x.zero_point}.0f)) * {c_float(float(x.scale))}"
    launch = elementwise(f"{real} - y", (x, reference), out, limits)
    if not options.get("log_if_failed") or tolerance < 0.1:
        return [launch]
    far = f"fabs({launch.defines['EXPR']}) > {c_float(float(tolerance * scale))}"
    return [faulting(launch, far, Fault(f"Mismatch beyond the tolerance {float(tolerance)}.\n"))]


def cast(x: TensorSpec, out: TensorSpec, limits: DeviceLimits) -> Launch:
    """Plain conversion: floats saturate towards zero, a NaN becomes the largest; integers wrap; bool is not 0.

    Of a complex number its real part.
    """
    value = "real_of(x)" if x.type == "COMPLEX64" else "x"
    if out.type == x.type == "COMPLEX64":
        return elementwise("x", (x,), out, limits)
    if out.type == "COMPLEX64":
        return elementwise("c64_of((f32)x, 0)", (x,), out, limits)
    if out.type == "BOOL":
        return elementwise(f"{value} != 0", (x,), out, limits)
    if is_narrow(out):
        return elementwise(f"(f32){value}", (x,), out, limits)
    require(out.dtype.kind in "iuf" and (out.type not in BITS or x.type == "FLOAT32"), f"CAST to {out.type}")
    target = c_type(out, limits)
    if x.dtype.kind in "fc" and out.dtype.kind != "f":
        lowest, highest = CODES[out.type] if out.type in BITS else (np.iinfo(out.dtype).min, np.iinfo(out.dtype).max)
        low, high = f"({float(lowest).hex()})", f"({float(int(highest) + 1).hex()})"
        if not limits.double:
            low, high = low.replace(")", "f)"), high.replace(")", "f)")
        largest, smallest = f"({target}){highest}{'u' if lowest == 0 else ''}l", f"({target})(-{-(lowest + 1)}l - 1)"
        smallest = "0" if lowest == 0 else smallest
        inside = f"({target}){value}"
        return elementwise(
            f"{value} < {high} ? ({value} < {low} ? {smallest} : {inside}) : {largest}", (x,), out, limits
        )
    return elementwise(f"({target}){value}", (x,), out, limits)


CODES = {"INT4": (-8, 7), "INT2": (-2, 1), "UINT4": (0, 15)}
"""The least and the greatest of the types narrower than a byte."""
