"""Arithmetic on two quantized tensors: in fixed point, or by a lookup table of all pairs of 8-bit values."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from tflgpu.arithmetic.fixed_point import log2_if_power_of_two, quantize_multiplier
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.ir import Rescaled
from tflgpu.delegates.launch import Fault, Launch, Packed, Ref
from tflgpu.delegates.lowering.elementwise.lookup_table import all_values
from tflgpu.delegates.lowering.registry import RUNTIME, bits_type, c_type, i32, require, size
from tflgpu.delegates.lowering.strided_index import broadcast_index
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.fused_activation import quantized_range
from tflgpu.ops.registry import evaluate

BY_PAIRS = ("SQUARED_DIFFERENCE", "PRELU", "EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")
"""Operators that rescale 8-bit values in ways of their own."""

SIGNS = {"ADD": "+", "SUB": "-", "MUL": "*"}
"""Operators that rescale in fixed point."""


def is_quantized(node: Node) -> bool:
    """Whether the node takes its inputs as quantized values and not as plain integers."""
    x, y = node.input(0), node.input(1)
    if x.dtype.itemsize > 2 or x.dtype.kind not in "iu":
        return False
    if node.op in BY_PAIRS and node.op not in ("PRELU", "SQUARED_DIFFERENCE"):
        scaled = x.quantization is not None and y.quantization is not None
        return scaled and (x.type != "INT16" or node.op in ("EQUAL", "NOT_EQUAL"))
    return x.quantization is not None or x.type != "INT16" or node.op == "SUB"


def of_pairs(node: Node, fault: Fault | None = None) -> Launch:
    """The table of the result for every pair, computed by the CPU's operator. fault: where y is its zero point."""
    x, y, out = node.input(0), node.input(1), node.outputs[0]
    require(x.dtype.itemsize == y.dtype.itemsize == 1, f"{node.op} of quantized {x.type} and {y.type}")
    require(not any(s.quantization is not None and s.quantization.per_channel for s in (x, y)), "scales by channel")
    shape = (256, 256)
    pairs = replace(
        node,
        inputs=(replace(x, shape=shape, data=None), replace(y, shape=shape, data=None)),
        outputs=(replace(out, shape=shape),),
    )

    def make() -> Array:
        left = np.ascontiguousarray(np.broadcast_to(all_values(x)[:, None], shape))
        divisors = all_values(y)
        if fault is not None or node.op == "DIV":
            divisors = np.where(divisors == y.zero_point, y.zero_point + (1 if y.zero_point < 127 else -1), divisors)
        right = np.ascontiguousarray(np.broadcast_to(divisors.astype(y.dtype), shape))
        return evaluate(pairs, [left, right], RUNTIME)[0]

    defines: dict[str, object] = {
        "OUT_T": bits_type(out),
        "X_AT": broadcast_index(x.shape, out.shape),
        "Y_AT": broadcast_index(y.shape, out.shape),
    }
    if fault is not None:
        zero = int(np.array([y.zero_point]).astype(y.dtype).view("u1")[0])
        defines["FAULT"] = f"(y[Y_AT] == {zero})"
    return Launch(
        "lut.lut2",
        (size(out),),
        inputs={"x": Ref(x.index), "y": Ref(y.index), "table": Packed(make)},
        outputs={"out": Ref(out.index)},
        sizes={"n": size(out)},
        fault=fault,
        defines=defines,
    )


def rescaling(node: Node, limits: DeviceLimits) -> Rescaled | Launch:
    """ADD, SUB and MUL."""
    x, y, out = node.input(0), node.input(1), node.outputs[0]
    require(x.type == y.type == out.type, f"{node.op} of {x.type} and {y.type} to {out.type}")
    require(not any(s.quantization is not None and s.quantization.per_channel for s in (x, y)), "scales by channel")
    require(x.type != "INT16" or x.zero_point == y.zero_point == out.zero_point == 0, "16-bit values with a zero point")
    low, high = quantized_range(node.options.fused_activation_function, out)
    zeros = {"x_zero": i32(x.zero_point), "y_zero": i32(y.zero_point)}
    bounds = {"out_zero": i32(out.zero_point), "low": i32(low), "high": i32(high)}
    operator, kind, shapes = SIGNS[node.op], c_type(x, limits), (x.shape, y.shape)
    rescaled = partial(Rescaled, operator, Ref(x.index), Ref(y.index), Ref(out.index), kind, shapes, out.shape)
    if node.op == "MUL":
        return rescaled(zeros | _multiplier("", float(x.scale * y.scale / out.scale)) | bounds)
    shifts = _shifts(node, x, y, out)
    if shifts is not None:
        return _shifted_sum(x, y, out, {"x_shift": i32(shifts[0]), "y_shift": i32(shifts[1])} | bounds, operator, kind)
    bits = 15 if out.type == "INT16" else 20
    require(min(x.scale, y.scale) > 0, "a scale that is not positive")
    twice = float(np.float32(2) * max(x.scale, y.scale))
    real = twice / float(np.float32(1 << bits) * out.scale)
    require(node.op != "ADD" or real < 1, "scales that the CPU refuses")
    numbers = zeros | {"bits": i32(bits)}
    numbers |= _multiplier("x_", float(x.scale) / twice) | _multiplier("y_", float(y.scale) / twice)
    return rescaled(numbers | _multiplier("", real) | bounds)


def _shifted_sum(
    x: TensorSpec, y: TensorSpec, out: TensorSpec, numbers: dict[str, np.int32], operator: str, kind: str
) -> Launch:
    del numbers["out_zero"]
    defines = {"X_AT": broadcast_index(x.shape, out.shape), "Y_AT": broadcast_index(y.shape, out.shape)}
    return Launch(
        "quantized.shifted_sum",
        (size(out),),
        inputs={"x": Ref(x.index), "y": Ref(y.index)},
        outputs={"out": Ref(out.index)},
        sizes={"n": size(out)},
        scalars=numbers,
        defines={"T": kind, "SIGN": operator, "SHIFTED": 1, **defines},
    )


def _multiplier(prefix: str, real: float) -> dict[str, np.int32]:
    multiplier, exponent = quantize_multiplier(real)
    return {f"{prefix}multiplier": i32(multiplier), f"{prefix}exponent": i32(exponent)}


def _shifts(node: Node, x: TensorSpec, y: TensorSpec, out: TensorSpec) -> tuple[int, int] | None:
    """How far each of two int16 inputs is shifted right where all scales are powers of two, else None."""
    if out.type != "INT16" or not node.options.pot_scale_int16:
        return None
    exponents = [log2_if_power_of_two(spec.scale) for spec in (x, y, out)]
    if exponents[0] is None or exponents[1] is None or exponents[2] is None:
        return None
    first, second = exponents[2] - exponents[0], exponents[2] - exponents[1]
    require(min(first, second) == 0, "scales that the CPU refuses")
    return first, second
