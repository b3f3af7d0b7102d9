"""Element-wise operators: one row an operator, in the C that every device compiles."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import replace

from tflgpu.arithmetic import erf
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import INDEX, Expr, IndexMap, X, Y, Z, both, call, cast, equal, unequal, where
from tflgpu.delegates.ir import Elementwise, Operand
from tflgpu.delegates.launch import Fault, Lowered, Ref
from tflgpu.delegates.lowering.elementwise import quantized
from tflgpu.delegates.lowering.elementwise.lookup_table import narrow, table
from tflgpu.delegates.lowering.elementwise.narrow_floats import is_narrow, narrowed, widened
from tflgpu.delegates.lowering.registry import bits_type, c_type, lowers, require, size
from tflgpu.delegates.lowering.strided_index import broadcast_index
from tflgpu.model.graph import Node, TensorSpec
from tflgpu.ops.fused_activation import float_range
from tflgpu.ops.quantization.quantize import nudged_range

_TINY = call("fabs", X) < 2.0**-14
"""Where cos(x) is 1 and sin(x) is x in float32: PoCL 3.1 is wrong in the third digit for the smallest numbers."""

FLOAT_UNARY = {
    "ABS": call("fabs", X),
    "CEIL": call("ceil", X),
    "COS": where(_TINY, 1.0, call("cos", X)),
    "ELU": where(X < 0.0, call("expm1", X), X),
    "EXP": call("exp", X),
    "FLOOR": call("floor", X),
    "HARD_SWISH": X * call("clamp_f32", X + 3.0, 0.0, 6.0) / 6.0,
    "LOG": call("log", X),
    "LOGISTIC": where(X > 16.619047164916992, 1.0, where(X < -9.0, call("exp", X), 1.0 / (1.0 + call("exp", -X)))),
    "NEG": -X,
    "RELU": where(X < 0.0, 0.0, X),
    "RELU6": call("clamp_f32", X, 0.0, 6.0),
    "RELU_0_TO_1": call("clamp_f32", X, 0.0, 1.0),
    "RELU_N1_TO_1": call("clamp_f32", X, -1.0, 1.0),
    "ROUND": call("rint", X),
    "RSQRT": 1.0 / call("sqrt", X),
    "SIGN": where(X > 0.0, 1.0, where(X < 0.0, -1.0, where(equal(X, 0.0), 0.0, X))),
    "SIN": where(_TINY, X, call("sin", X)),
    "SQRT": call("sqrt", X),
    "SQUARE": X * X,
    "TANH": call("tanh", X),
}

_TANH_OF = 0.79788456080286536 * (X + 0.044715 * X * X * X)


def _gelu() -> Expr:
    """max(x, 0) - |x| / 2 * erfc(|x| / sqrt(2)), of arithmetic that vectors have; from 20 on erfc is 0."""
    z = call("fabs", where(X > 20.0, 20.0, X))
    t = 1.0 / (1.0 + float(erf.SLOPE) * math.sqrt(0.5) * z)
    first, *rest = map(float, erf.COEFFICIENTS)
    polynomial = first * t
    for coefficient in rest:
        polynomial = (polynomial + coefficient) * t
    return where(X < 0.0, 0.0, X) - 0.5 * z * (polynomial * call("exp", -0.5 * z * z))


GELU = {
    False: _gelu(),
    # Below -9.02 the hyperbolic tangent is -1 in float32. PoCL's is one unit above, which a large x must not multiply.
    True: 0.5 * X * where(_TANH_OF < -9.02, 0.0, 1.0 + call("tanh", _TANH_OF)),
}
"""By the option `approximate`."""

UNSIGNED = {"i8": "u8", "i16": "u16", "i32": "u32", "i64": "u64"}


def wrapped(kind: str, compute: Callable[..., Expr], *inputs: Expr) -> Expr:
    """compute(*inputs) as the element type `kind`, in unsigned integers, whose overflow wraps."""
    return cast(kind, compute(*(cast(UNSIGNED.get(kind, kind), given) for given in inputs)))


INTEGER_UNARY: Mapping[str, Callable[[str], Expr]] = {
    "ABS": lambda kind: where(X < 0, wrapped(kind, operator.neg, X), X),
    "NEG": lambda kind: wrapped(kind, operator.neg, X),
    "RELU": lambda kind: where(X < 0, 0, X),
    "SIGN": lambda kind: (X > 0) - (X < 0),
    "SQUARE": lambda kind: wrapped(kind, operator.mul, X, X),
}
"""By the element type."""

FLOAT_BINARY = {
    "ADD": X + Y,
    "ATAN2": call("atan2", X, Y),
    "MUL": X * Y,
    "POW": call("pow", X, Y),
    "PRELU": where(X >= 0.0, X, X * Y),
    "SQUARED_DIFFERENCE": (X - Y) * (X - Y),
    "SUB": X - Y,
}

INTEGER_BINARY: Mapping[str, Callable[[str], Expr]] = {
    "ADD": lambda kind: wrapped(kind, operator.add, X, Y),
    "BITWISE_XOR": lambda kind: X ^ Y,
    "MUL": lambda kind: wrapped(kind, operator.mul, X, Y),
    "SQUARED_DIFFERENCE": lambda kind: wrapped(kind, lambda x, y: (x - y) * (x - y), X, Y),
    "SUB": lambda kind: wrapped(kind, operator.sub, X, Y),
}

ANY_BINARY = {
    "MAXIMUM": where(X > Y, X, Y),
    "MINIMUM": where(X < Y, X, Y),
    "EQUAL": equal(X, Y),
    "GREATER": X > Y,
    "GREATER_EQUAL": X >= Y,
    "LESS": X < Y,
    "LESS_EQUAL": X <= Y,
    "NOT_EQUAL": unequal(X, Y),
}
"""The same for floats and plain integers. A NaN in a maximum or minimum behaves as the comparison says."""

OF_BOOLS = {"EQUAL": equal, "NOT_EQUAL": unequal}

REAL_X, IMAG_X, REAL_Y, IMAG_Y = (call(f"{name}_of", given) for given in (X, Y) for name in ("real", "imag"))
COMPLEX_PRODUCT = call("c64_of", REAL_X * REAL_Y - IMAG_X * IMAG_Y, REAL_X * IMAG_Y + IMAG_X * REAL_Y)

LOGICAL = {"LOGICAL_AND": unequal(X, 0) & unequal(Y, 0), "LOGICAL_OR": unequal(X, 0) | unequal(Y, 0)}

FUSING = ("ADD", "SUB", "MUL")
"""Operators whose result is clamped to a fused activation's range; a float even for NONE, to finite values."""


def elementwise(expression: Expr, inputs: tuple[TensorSpec, ...], out: TensorSpec, limits: DeviceLimits) -> Elementwise:
    """out = the expression of X (, Y, Z), each broadcast to out's shape."""

    def leaf(of: Expr) -> Expr:
        return widened(of, inputs[of.value]) if of.kind == "input" and is_narrow(inputs[of.value]) else of

    expression = expression.with_leaves(leaf)
    operands = (
        Operand(Ref(spec.index), _stored(spec, limits), broadcast_index(spec.shape, out.shape)) for spec in inputs
    )
    expression = narrowed(expression, out) if is_narrow(out) else expression
    return Elementwise(tuple(operands), expression, Ref(out.index), _stored(out, limits), size(out))


def _stored(spec: TensorSpec, limits: DeviceLimits) -> str:
    """The C type in which kernels store a tensor's elements."""
    return "u16" if is_narrow(spec) else "c64" if spec.type == "COMPLEX64" else c_type(spec, limits)


@lowers(*FLOAT_UNARY, "GELU", "LEAKY_RELU", "LOGICAL_NOT")
def unary(node: Node, limits: DeviceLimits) -> Lowered:
    """One input, one output of its shape."""
    x, out = node.input(0), node.outputs[0]
    if narrow(x) and node.op != "LOGICAL_NOT":
        return [table(node)]
    if node.op == "LOGICAL_NOT":
        return [elementwise(equal(X, 0), (x,), out, limits)]
    if x.type in ("INT32", "INT64") and node.op in INTEGER_UNARY:
        return [elementwise(INTEGER_UNARY[node.op](c_type(x, limits)), (x,), out, limits)]
    doubles = x.type == "FLOAT64" and node.op == "SIGN"
    require(x.type == out.type and (x.type == "FLOAT32" or doubles), f"{node.op} of {x.type}")
    if node.op == "GELU":
        expression = GELU[bool(node.options.approximate)]
    elif node.op == "LEAKY_RELU":
        expression = where(X > 0.0, X, X * float(node.options.alpha))
    else:
        expression = FLOAT_UNARY[node.op]
    return [elementwise(expression, (x,), out, limits)]


@lowers(*dict.fromkeys((*FLOAT_BINARY, *INTEGER_BINARY, *ANY_BINARY)))
def binary(node: Node, limits: DeviceLimits) -> Lowered:
    """Two inputs that broadcast: floats, plain integers, or quantized values (quantized.py)."""
    x, y, out = node.input(0), node.input(1), node.outputs[0]
    if node.op in quantized.BY_PAIRS and quantized.is_quantized(node):
        return [quantized.of_pairs(node)]
    if node.op in quantized.SIGNS and quantized.is_quantized(node):
        return [quantized.rescaling(node, limits)]
    require(x.type == y.type, f"{node.op} of {x.type} and {y.type}")
    if x.type == "BOOL":
        require(node.op in OF_BOOLS, f"{node.op} of BOOL")
        return [elementwise(OF_BOOLS[node.op](unequal(X, 0), unequal(Y, 0)), (x, y), out, limits)]
    if x.type == "COMPLEX64":
        require(node.op == "MUL" and node.options.fused_activation_function == "NONE", f"{node.op} of COMPLEX64")
        return [elementwise(COMPLEX_PRODUCT, (x, y), out, limits)]
    floats = x.dtype.kind == "f" or is_narrow(x)
    rows = (*ANY_BINARY, *FLOAT_BINARY) if floats else (*ANY_BINARY, *INTEGER_BINARY, "POW")
    doubles = x.type == "FLOAT64" and node.op == "ATAN2"
    plain = x.type == "FLOAT32" or is_narrow(x) or doubles or x.dtype.kind in "iu"
    require(node.op in rows and plain, f"{node.op} of {x.type}")
    # A single exponent means repeated multiplications, which wrap, or stay finite.
    single = size(y) == 1 and x.shape != y.shape
    if node.op == "POW" and floats and single:
        return [elementwise(call("repeated_product", X, Y), (x, y), out, limits)]
    if node.op == "POW" and not floats:
        # With several exponents, results beyond int32 become INT32_MIN.
        powers = elementwise(call("power_of", X, Y, int(single)), (x, y), out, limits)
        return [faulting(powers, Y < 0, Fault("POW does not support negative value for int32."))]
    if node.op in ANY_BINARY:
        expression = ANY_BINARY[node.op]
    else:
        expression = FLOAT_BINARY[node.op] if floats else INTEGER_BINARY[node.op](c_type(x, limits))
    if is_narrow(x) and node.op == "SQUARED_DIFFERENCE":  # the CPU rounds the difference too
        difference = widened(narrowed(X - Y, x), x)
        expression = difference * difference
    if node.op in FUSING:
        expression = activated(expression, node.options.fused_activation_function, x)
    return [elementwise(expression, (x, y), out, limits)]


def activated(expression: Expr, activation: str, spec: TensorSpec) -> Expr:
    """The expression clamped to an activation's range."""
    if spec.type in ("FLOAT64", "BFLOAT16"):
        return expression
    low, high = float_range(activation, spec.dtype)
    if spec.dtype.kind == "f":
        return call("clamp_f32", expression, float(low), float(high))
    if activation not in ("RELU", "RELU6", "RELU_N1_TO_1"):
        return expression
    return call("clamp_i64", expression, int(low), int(high))


@lowers("FAKE_QUANT")
def fake_quant(node: Node, limits: DeviceLimits) -> Lowered:
    """x clamped to a range, and rounded to one of its values."""
    require(not node.options.narrow_range, "narrow_range")
    low, high, scale, inverse = (float(v) for v in nudged_range(node))
    steps = call("trunc", (call("clamp_f32", X, low, high) - low) * inverse + 0.5)
    return [elementwise(steps * scale + low, (node.input(0),), node.outputs[0], limits)]


@lowers(*LOGICAL)
def logical(node: Node, limits: DeviceLimits) -> Lowered:
    """AND and OR of bytes, of which any that is not 0 is true."""
    return [elementwise(LOGICAL[node.op], (node.input(0), node.input(1)), node.outputs[0], limits)]


@lowers("ADD_N")
def add_n(node: Node, limits: DeviceLimits) -> Lowered:
    """The sum of the inputs, from the first on."""
    out, first = node.outputs[0], node.input(0)
    require(first.type in ("FLOAT32", "INT32", "INT64"), f"ADD_N of {first.type}")
    floats = first.dtype.kind == "f"
    added = FLOAT_BINARY["ADD"] if floats else INTEGER_BINARY["ADD"](c_type(first, limits))
    total, sums = first, list[Elementwise]()
    for spec in node.inputs[1:]:
        assert spec is not None
        sums.append(elementwise(added, (total, spec), out, limits))
        total = out
    return [*sums] or [elementwise(X, (first,), out, limits)]


@lowers("SELECT", "SELECT_V2")
def select(node: Node, limits: DeviceLimits) -> Lowered:
    """x's element where the condition holds, else y's; SELECT's condition of rank 1 chooses whole rows."""
    condition, x, y = node.input(0), node.input(1), node.input(2)
    out = node.outputs[0]
    if size(out) == 1:  # of any rank, and the inputs of others
        condition, x, y = (replace(spec, shape=out.shape) for spec in (condition, x, y))
    elif node.op == "SELECT" and len(condition.shape) == 1 and len(out.shape) > 1:
        condition = replace(condition, shape=condition.shape + (1,) * (len(out.shape) - 1))
    bits = bits_type(out)
    operands = (
        Operand(Ref(spec.index), kind, broadcast_index(spec.shape, out.shape))
        for spec, kind in ((condition, "u8"), (x, bits), (y, bits))
    )
    return [Elementwise(tuple(operands), where(X, Y, Z), Ref(out.index), bits, size(out))]


@lowers("BROADCAST_ARGS")
def broadcast_args(node: Node, limits: DeviceLimits) -> Lowered:
    """The shape that two shapes broadcast to; the shorter one has ones before it."""
    x, y, out = node.input(0), node.input(1), node.outputs[0]
    require(x.type == y.type == out.type and min(size(x), size(y)) > 0, f"BROADCAST_ARGS of {x} and {y}")
    before = [size(out) - size(spec) for spec in (x, y)]
    i = INDEX
    longer = where(i < before[0], Y, where(i < before[1], X, where(equal(X, 1), Y, X)))
    whole = elementwise(longer, (replace(x, shape=out.shape), replace(y, shape=out.shape)), out, limits)
    inputs = (replace(operand, at=IndexMap(skip=n)) for operand, n in zip(whole.inputs, before, strict=True))
    unlike = both(both(i >= max(before), unequal(X, Y)), both(unequal(X, 1), unequal(Y, 1)))
    return [faulting(replace(whole, inputs=tuple(inputs)), unlike, Fault("Given shapes are not broadcastable. "))]


def faulting(op: Elementwise, condition: Expr, fault: Fault | None) -> Elementwise:
    """The op, with a fault where the condition on X and Y holds; the output is not written then."""
    return op if fault is None else replace(op, fault=(condition, fault))
