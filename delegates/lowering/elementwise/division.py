"""Quotients and remainders, of which integers refuse zeros as divisors."""

from __future__ import annotations

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import X, Y, both, call, cast, equal, unequal, where
from tflgpu.delegates.launch import Fault, Lowered
from tflgpu.delegates.lowering.elementwise import quantized
from tflgpu.delegates.lowering.elementwise.elementwise import activated, elementwise, faulting
from tflgpu.delegates.lowering.elementwise.narrow_floats import is_narrow
from tflgpu.delegates.lowering.registry import lowers, require
from tflgpu.model.graph import Node, TensorSpec

INT32_MAX = 2**31 - 1


@lowers("FLOOR_DIV", "FLOOR_MOD", "DIV")
def division(node: Node, limits: DeviceLimits) -> Lowered:
    """Quotients and remainders; a divisor of zero is a fault, of integers, and of floats in FLOOR_DIV."""
    x, y, out = node.input(0), node.input(1), node.outputs[0]
    if node.op == "DIV" and (x.type == "FLOAT32" or is_narrow(x)):
        require(x.type == y.type, f"DIV of {x.type} and {y.type}")
        return [elementwise(activated(X / Y, node.options.fused_activation_function, x), (x, y), out, limits)]
    if node.op == "DIV" and quantized.is_quantized(node):
        return [quantized.of_pairs(node, safe_divisor(y, y.zero_point))]
    floats = x.type == "FLOAT32"
    integers = ("INT32", "INT16", "INT8", *(["INT64"] if node.op == "FLOOR_MOD" else []))
    require(x.type == y.type and (floats or x.type in integers), f"{node.op} of {x.type}")
    if node.op == "FLOOR_MOD":
        rest = call("fmod", X, Y) if floats else X % Y
        expression = where(both(unequal(rest, 0), unequal(Y < 0, rest < 0)), rest + Y, rest)
        expression = expression if floats else where(equal(Y, -1), 0, expression)
    elif node.op == "FLOOR_DIV":
        require(limits.double, "a device without double precision")
        quotient = call("floor", cast("f64", X) / cast("f64", Y))
        expression = quotient if x.type in ("FLOAT32", "INT32") else cast("i32", quotient)
    else:
        require(x.type == "INT32", f"DIV of {x.type}")
        opposite = -where(X < -INT32_MAX, -INT32_MAX, X)  # of the least int32 the largest
        quotient = where(equal(Y, -1), opposite, X / Y)
        expression = activated(quotient, node.options.fused_activation_function, x)
    plain = elementwise(expression, (x, y), out, limits)
    if floats and node.op == "FLOOR_MOD":
        return [plain]
    return [faulting(plain, equal(Y, 0), safe_divisor(y, 0))]


def safe_divisor(y: TensorSpec, zero: int) -> Fault | None:
    """The fault of a divisor equal to `zero`, or None where y is a constant without one."""
    if y.data is not None and not (y.data == zero).any():
        return None
    return Fault("Division by 0. ")
