"""Conversions between element types, with scales or without."""

from __future__ import annotations

import numpy as np

from tflgpu.arithmetic.fixed_point import quantize_multiplier
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import X, Y, call, cast, expr, literal, unequal, where
from tflgpu.delegates.ir import Elementwise
from tflgpu.delegates.launch import Fault, Lowered
from tflgpu.delegates.lowering.elementwise.elementwise import elementwise, faulting
from tflgpu.delegates.lowering.elementwise.lookup_table import narrow, table
from tflgpu.delegates.lowering.elementwise.narrow_floats import is_narrow
from tflgpu.delegates.lowering.registry import c_type, lowers, require
from tflgpu.model.graph import BITS, Node, TensorSpec
from tflgpu.ops import custom_options


@lowers("QUANTIZE", "DEQUANTIZE", "CAST")
def converted(node: Node, limits: DeviceLimits) -> Lowered:
    """x converted to the output's element type, with or without a scale."""
    x, out = node.input(0), node.outputs[0]
    if narrow(x) or x.type == "BOOL":
        return [table(node)]
    if node.op == "QUANTIZE":
        return [quantize(x, out, limits) if x.type == "FLOAT32" else _requantize(x, out, limits)]
    require(node.op == "CAST", f"{node.op} of {x.type}")
    return [converted_plainly(x, out, limits)]


def quantize(x: TensorSpec, out: TensorSpec, limits: DeviceLimits) -> Elementwise:
    """Quantized values of floats: x / scale rounded half away from zero, plus the zero point, clamped."""
    require(x.type == "FLOAT32" and out.type in ("INT8", "UINT8", "INT16"), f"QUANTIZE of {x.type} to {out.type}")
    require(out.quantization is not None and not out.quantization.per_channel, "quantization by channel")
    require(limits.exact_division or limits.double, "a device that does not divide floats exactly")
    # The quotient of doubles, rounded to float, is the quotient of floats correctly rounded.
    scale, kind = expr(float(out.scale)), np.iinfo(out.dtype)
    quotient = X / scale if limits.exact_division else cast("f32", cast("f64", X) / cast("f64", scale))
    rounded = call("to_i32", call("round_away", quotient))
    # In 32 bits, in which the sum wraps where x is out of range: the reference's answer on x86.
    shifted = cast("i32", cast("u32", rounded) + cast("u32", out.zero_point))
    return elementwise(call("clamp_i32", shifted, kind.min, kind.max), (x,), out, limits)


def _requantize(x: TensorSpec, out: TensorSpec, limits: DeviceLimits) -> Elementwise:
    """32-bit quantized values with another scale."""
    require(x.type == "INT32" and out.type in ("INT8", "UINT8", "INT16"), f"QUANTIZE of {x.type} to {out.type}")
    require(not any(s.quantization is not None and s.quantization.per_channel for s in (x, out)), "scales by channel")
    m, e = quantize_multiplier(float(x.scale) / float(out.scale))
    scaled = call("mbqm", cast("i32", cast("u32", X) - cast("u32", x.zero_point)), m, e)
    kind = np.iinfo(out.dtype)
    shifted = cast("i64", scaled) + out.zero_point
    return elementwise(call("clamp_i64", shifted, kind.min, kind.max), (x,), out, limits)


@lowers("NumericVerify")
def numeric_verify(node: Node, limits: DeviceLimits) -> Lowered:
    """The real values of x less their float reference; with log_if_failed, a fault beyond the tolerance."""
    x, reference, out = node.input(0), node.input(1), node.outputs[0]
    require(x.shape == reference.shape and reference.type == "FLOAT32", f"NumericVerify of {reference}")
    options = custom_options.read(node)
    tolerance = np.float32(custom_options.real(options, "tolerance"))
    scale, real = np.float32(0), X
    if not is_narrow(x):
        require(x.quantization is not None and not x.quantization.per_channel, "scales by channel, or none")
        scale, real = x.scale, (cast("f32", X) - float(x.zero_point)) * float(x.scale)
    plain = elementwise(real - Y, (x, reference), out, limits)
    if not options.get("log_if_failed") or tolerance < 0.1:
        return [plain]
    far = call("fabs", plain.expression) > float(tolerance * scale)
    return [faulting(plain, far, Fault(f"Mismatch beyond the tolerance {float(tolerance)}.\n"))]


def converted_plainly(x: TensorSpec, out: TensorSpec, limits: DeviceLimits) -> Elementwise:
    """x cast: floats saturate towards zero, a NaN becomes the largest value; integers wrap; bool is x != 0.

    A complex number is cast by its real part.
    """
    value = call("real_of", X) if x.type == "COMPLEX64" else X
    if out.type == x.type == "COMPLEX64":
        return elementwise(X, (x,), out, limits)
    if out.type == "COMPLEX64":
        return elementwise(call("c64_of", cast("f32", X), 0), (x,), out, limits)
    if out.type == "BOOL":
        return elementwise(unequal(value, 0), (x,), out, limits)
    if is_narrow(out):
        return elementwise(cast("f32", value), (x,), out, limits)
    require(out.dtype.kind in "iuf" and (out.type not in BITS or x.type == "FLOAT32"), f"CAST to {out.type}")
    target = c_type(out, limits)
    if x.dtype.kind in "fc" and out.dtype.kind != "f":
        lowest, highest = (
            SUB_BYTE_RANGES[out.type] if out.type in BITS else (np.iinfo(out.dtype).min, np.iinfo(out.dtype).max)
        )
        low, high = f"({float(lowest).hex()})", f"({float(int(highest) + 1).hex()})"
        if not limits.double:
            low, high = low.replace(")", "f)"), high.replace(")", "f)")
        largest = cast(target, literal(f"{highest}{'u' if lowest == 0 else ''}l"))
        smallest = expr(0) if lowest == 0 else cast(target, literal(f"(-{-(lowest + 1)}l - 1)"))
        inside = where(value < literal(low), smallest, cast(target, value))
        return elementwise(where(value < literal(high), inside, largest), (x,), out, limits)
    return elementwise(cast(target, value), (x,), out, limits)


SUB_BYTE_RANGES = {"INT4": (-8, 7), "INT2": (-2, 1), "UINT4": (0, 15)}
"""The least and the greatest value of the types narrower than a byte."""
