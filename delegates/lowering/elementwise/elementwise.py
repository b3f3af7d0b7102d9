"""Element-wise operators: one row an operator, in the C that every device compiles."""

from __future__ import annotations

from dataclasses import replace

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Fault, Launch, Lowered, Ref
from tflgpu.delegates.lowering.elementwise import quantized
from tflgpu.delegates.lowering.elementwise.lookup_table import narrow, table
from tflgpu.delegates.lowering.elementwise.narrow_floats import is_narrow, narrowed, widened
from tflgpu.delegates.lowering.registry import bits_type, c_float, c_type, lowers, require, size
from tflgpu.delegates.lowering.strided_index import broadcast_index
from tflgpu.model.graph import Node, TensorSpec
from tflgpu.ops.fused_activation import float_range
from tflgpu.ops.quantization.quantize import nudged_range

FLOAT_UNARY = {
    "ABS": "fabs(x)",
    "CEIL": "ceil(x)",
    "COS": "cos(x)",
    "ELU": "x < 0.0f ? expm1(x) : x",
    "EXP": "exp(x)",
    "FLOOR": "floor(x)",
    "HARD_SWISH": "x * clamp_f32(x + 3.0f, 0.0f, 6.0f) / 6.0f",
    "LOG": "log(x)",
    "LOGISTIC": "x > 16.619047164916992f ? 1.0f : x < -9.0f ? exp(x) : 1.0f / (1.0f + exp(-x))",
    "NEG": "-x",
    "RELU": "x < 0.0f ? 0.0f : x",
    "RELU6": "clamp_f32(x, 0.0f, 6.0f)",
    "RELU_0_TO_1": "clamp_f32(x, 0.0f, 1.0f)",
    "RELU_N1_TO_1": "clamp_f32(x, -1.0f, 1.0f)",
    "ROUND": "rint(x)",
    "RSQRT": "1.0f / sqrt(x)",
    "SIGN": "x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x == 0.0f ? 0.0f : x",
    "SIN": "sin(x)",
    "SQRT": "sqrt(x)",
    "SQUARE": "x * x",
    "TANH": "tanh(x)",
}

_TANH_OF = "0.79788456080286536f * (x + 0.044715f * x * x * x)"
GELU = {
    False: "0.5f * x * erfc(-x * 0.70710678118654752f)",
    # Below -9.02 the hyperbolic tangent is -1 in float32. PoCL's is one unit above, which a large x must not multiply.
    True: f"0.5f * x * ({_TANH_OF} < -9.02f ? 0.0f : 1.0f + tanh({_TANH_OF}))",
}
"""By the option `approximate`."""

INTEGER_UNARY = {
    "ABS": "x < 0 ? (T)-(UT)x : x",
    "NEG": "(T)-(UT)x",
    "RELU": "x < 0 ? 0 : x",
    "SIGN": "(x > 0) - (x < 0)",
    "SQUARE": "(T)((UT)x * (UT)x)",
}
"""T is the element type and UT the unsigned one of its size, in which overflow wraps."""

FLOAT_BINARY = {
    "ADD": "x + y",
    "ATAN2": "atan2(x, y)",
    "MUL": "x * y",
    "POW": "pow(x, y)",
    "PRELU": "x >= 0.0f ? x : x * y",
    "SQUARED_DIFFERENCE": "(x - y) * (x - y)",
    "SUB": "x - y",
}

INTEGER_BINARY = {
    "ADD": "(T)((UT)x + (UT)y)",
    "BITWISE_XOR": "x ^ y",
    "MUL": "(T)((UT)x * (UT)y)",
    "SQUARED_DIFFERENCE": "(T)(((UT)x - (UT)y) * ((UT)x - (UT)y))",
    "SUB": "(T)((UT)x - (UT)y)",
    "POW": "power_of(x, y)",
}

ANY_BINARY = {
    "MAXIMUM": "x > y ? x : y",
    "MINIMUM": "x < y ? x : y",
    "EQUAL": "x == y",
    "GREATER": "x > y",
    "GREATER_EQUAL": "x >= y",
    "LESS": "x < y",
    "LESS_EQUAL": "x <= y",
    "NOT_EQUAL": "x != y",
}
"""The same for floats and plain integers. A NaN in a maximum is what comes of the comparison."""

COMPARISONS = ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")

COMPLEX_PRODUCT = (
    "c64_of(real_of(x) * real_of(y) - imag_of(x) * imag_of(y), real_of(x) * imag_of(y) + imag_of(x) * real_of(y))"
)

LOGICAL = {"LOGICAL_AND": "(x != 0) & (y != 0)", "LOGICAL_OR": "(x != 0) | (y != 0)"}

FUSING = ("ADD", "SUB", "MUL")
"""Operators whose result is clamped to a fused activation's range; a float even for NONE, to finite values."""

UNSIGNED = {"i8": "u8", "i16": "u16", "i32": "u32", "i64": "u64"}


def elementwise(expression: str, inputs: tuple[TensorSpec, ...], out: TensorSpec, limits: DeviceLimits) -> Launch:
    """out = expression of x (, y, z), each broadcast to out's shape."""
    kernel = ("unary", "binary", "ternary")[len(inputs) - 1]
    for letter, spec in zip("xyz", inputs, strict=False):
        if is_narrow(spec):
            expression = widened(expression, letter, spec)
    expression = narrowed(expression, out) if is_narrow(out) else expression
    defines: dict[str, object] = {"EXPR": f"({expression})", "OUT_T": _stored(out, limits)}
    for letter, spec in zip("XYZ", inputs, strict=False):
        name = _stored(spec, limits)
        defines |= {f"{letter}_T": name, f"{letter}_AT": broadcast_index(spec.shape, out.shape)}
    name = _stored(inputs[0], limits)
    if "UT)" in expression:
        defines |= {"T": name, "UT": UNSIGNED.get(name, name)}
    return Launch(
        f"elementwise.{kernel}",
        (size(out),),
        inputs={f"{letter}s": Ref(spec.index) for letter, spec in zip("xyz", inputs, strict=False)},
        outputs={"out": Ref(out.index)},
        sizes={"n": size(out)},
        defines=defines,
    )


def _stored(spec: TensorSpec, limits: DeviceLimits) -> str:
    """The kernels' name of what a tensor's elements are kept as."""
    return "u16" if is_narrow(spec) else "c64" if spec.type == "COMPLEX64" else c_type(spec, limits)


@lowers(*FLOAT_UNARY, "GELU", "LEAKY_RELU", "LOGICAL_NOT")
def unary(node: Node, limits: DeviceLimits) -> Lowered:
    """One input, one output of its shape."""
    x, out = node.input(0), node.outputs[0]
    if narrow(x) and node.op != "LOGICAL_NOT":
        return [table(node, limits)]
    if node.op == "LOGICAL_NOT":
        return [elementwise("x == 0", (x,), out, limits)]
    if x.type in ("INT32", "INT64") and node.op in INTEGER_UNARY:
        return [elementwise(INTEGER_UNARY[node.op], (x,), out, limits)]
    doubles = x.type == "FLOAT64" and node.op == "SIGN"
    require(x.type == out.type and (x.type == "FLOAT32" or doubles), f"{node.op} of {x.type}")
    if node.op == "GELU":
        expression = GELU[bool(node.options.approximate)]
    elif node.op == "LEAKY_RELU":
        expression = f"x > 0.0f ? x : x * {c_float(node.options.alpha)}"
    else:
        expression = FLOAT_UNARY[node.op]
    return [elementwise(expression, (x,), out, limits)]


@lowers(*(FLOAT_BINARY | INTEGER_BINARY | ANY_BINARY))
def binary(node: Node, limits: DeviceLimits) -> Lowered:
    """Two inputs that broadcast: floats, plain integers, or codes, which have their own ways."""
    x, y, out = node.input(0), node.input(1), node.outputs[0]
    if node.op in quantized.BY_PAIRS and quantized.means_codes(node):
        return [quantized.of_pairs(node)]
    if node.op in quantized.RESCALING and quantized.means_codes(node):
        return [quantized.rescaling(node, limits)]
    require(x.type == y.type, f"{node.op} of {x.type} and {y.type}")
    if x.type == "BOOL":
        require(node.op in ("EQUAL", "NOT_EQUAL"), f"{node.op} of BOOL")
        return [elementwise(f"(x != 0) {ANY_BINARY[node.op][2:4]} (y != 0)", (x, y), out, limits)]
    if x.type == "COMPLEX64":
        require(node.op == "MUL" and node.options.fused_activation_function == "NONE", f"{node.op} of COMPLEX64")
        return [elementwise(COMPLEX_PRODUCT, (x, y), out, limits)]
    floats = x.dtype.kind == "f" or is_narrow(x)
    rows = ANY_BINARY | (FLOAT_BINARY if floats else INTEGER_BINARY)
    doubles = x.type == "FLOAT64" and node.op == "ATAN2"
    plain = x.type == "FLOAT32" or is_narrow(x) or doubles or x.dtype.kind in "iu"
    require(node.op in rows and plain, f"{node.op} of {x.type}")
    expression = rows[node.op]
    # A single exponent means repeated products, which wrap, or stay finite.
    single = size(y) == 1 and x.shape != y.shape
    if node.op == "POW" and floats and single:
        return [elementwise("repeated_product(x, y)", (x, y), out, limits)]
    if node.op == "POW" and not floats:
        # Of several exponents, what leaves int32 becomes the least number.
        launch = elementwise(f"power_of(x, y, {int(single)})", (x, y), out, limits)
        return [faulting(launch, "y < 0", Fault("POW does not support negative value for int32."))]
    if is_narrow(x) and node.op == "SQUARED_DIFFERENCE":  # the CPU rounds the difference too
        difference = widened("x", "x", x).replace("(x)", f"({narrowed('x - y', x)})")
        expression = f"{difference} * {difference}"
    if node.op in FUSING:
        expression = activated(expression, node.options.fused_activation_function, x)
    return [elementwise(expression, (x, y), out, limits)]


def activated(expression: str, activation: str, spec: TensorSpec) -> str:
    """The expression clamped to an activation's range."""
    if spec.type in ("FLOAT64", "BFLOAT16"):
        return expression
    low, high = float_range(activation, spec.dtype)
    if spec.dtype.kind == "f":
        return f"clamp_f32({expression}, {c_float(float(low))}, {c_float(float(high))})"
    if activation not in ("RELU", "RELU6", "RELU_N1_TO_1"):
        return expression
    return f"clamp_i64({expression}, {int(low)}, {int(high)})"


@lowers("FAKE_QUANT")
def fake_quant(node: Node, limits: DeviceLimits) -> Lowered:
    """x clamped to a range, and rounded to one of its values."""
    require(not node.options.narrow_range, "narrow_range")
    low, high, scale, inverse = (c_float(float(v)) for v in nudged_range(node))
    steps = f"trunc((clamp_f32(x, {low}, {high}) - {low}) * {inverse} + 0.5f)"
    return [elementwise(f"{steps} * {scale} + {low}", (node.input(0),), node.outputs[0], limits)]


@lowers(*LOGICAL)
def logical(node: Node, limits: DeviceLimits) -> Lowered:
    """Of bytes, of which any that is not 0 is true."""
    return [elementwise(LOGICAL[node.op], (node.input(0), node.input(1)), node.outputs[0], limits)]


@lowers("ADD_N")
def add_n(node: Node, limits: DeviceLimits) -> Lowered:
    """The sum of the inputs, from the first on."""
    out, first = node.outputs[0], node.input(0)
    require(first.type in ("FLOAT32", "INT32", "INT64"), f"ADD_N of {first.type}")
    rows = FLOAT_BINARY if first.dtype.kind == "f" else INTEGER_BINARY
    total, launches = first, []
    for spec in node.inputs[1:]:
        assert spec is not None
        launches.append(elementwise(rows["ADD"], (total, spec), out, limits))
        total = out
    return [*launches] or [elementwise("x", (first,), out, limits)]


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
    defines = {
        "EXPR": "(x ? y : z)",
        "X_T": "u8",
        "Y_T": bits,
        "Z_T": bits,
        "OUT_T": bits,
        "X_AT": broadcast_index(condition.shape, out.shape),
        "Y_AT": broadcast_index(x.shape, out.shape),
        "Z_AT": broadcast_index(y.shape, out.shape),
    }
    inputs = {"xs": Ref(condition.index), "ys": Ref(x.index), "zs": Ref(y.index)}
    outputs, sizes = {"out": Ref(out.index)}, {"n": size(out)}
    return [Launch("elementwise.ternary", (size(out),), (64,), inputs, outputs, sizes, defines=defines)]


@lowers("BROADCAST_ARGS")
def broadcast_args(node: Node, limits: DeviceLimits) -> Lowered:
    """The shape that two shapes broadcast to; the shorter one has ones before it."""
    x, y, out = node.input(0), node.input(1), node.outputs[0]
    require(x.type == y.type == out.type and min(size(x), size(y)) > 0, f"BROADCAST_ARGS of {x} and {y}")
    before = [size(out) - size(spec) for spec in (x, y)]
    padded = f"i < {before[0]} ? y : i < {before[1]} ? x"
    launch = elementwise(
        f"{padded} : x == 1 ? y : x", (replace(x, shape=out.shape), replace(y, shape=out.shape)), out, limits
    )
    at = {f"{letter}_AT": f"(i < {n} ? 0 : i - {n})" for letter, n in zip("XY", before, strict=True)}
    launch = replace(launch, defines={**launch.defines, **at})
    unlike = f"i >= {max(before)} && x != y && x != 1 && y != 1"
    return [faulting(launch, unlike, Fault("Given shapes are not broadcastable. "))]


@lowers("FLOOR_DIV", "FLOOR_MOD", "DIV")
def division(node: Node, limits: DeviceLimits) -> Lowered:
    """A divisor of zero is a fault, of integers, and of floats in FLOOR_DIV."""
    x, y, out = node.input(0), node.input(1), node.outputs[0]
    if node.op == "DIV" and (x.type == "FLOAT32" or is_narrow(x)):
        require(x.type == y.type, f"DIV of {x.type} and {y.type}")
        return [elementwise(activated("x / y", node.options.fused_activation_function, x), (x, y), out, limits)]
    if node.op == "DIV" and quantized.means_codes(node):
        return [quantized.of_pairs(node, safe_divisor(y, y.zero_point))]
    floats = x.type == "FLOAT32"
    integers = ("INT32", "INT16", "INT8", *(["INT64"] if node.op == "FLOOR_MOD" else []))
    require(x.type == y.type and (floats or x.type in integers), f"{node.op} of {x.type}")
    if node.op == "FLOOR_MOD":
        rest = "fmod(x, y)" if floats else "(x % y)"
        expression = f"{rest} != 0 && ((y < 0) != ({rest} < 0)) ? {rest} + y : {rest}"
        expression = expression if floats else f"y == -1 ? 0 : {expression}"
    elif node.op == "FLOOR_DIV":
        require(limits.double, "a device without double precision")
        quotient = "floor((f64)x / (f64)y)"
        expression = quotient if x.type in ("FLOAT32", "INT32") else f"(i32){quotient}"
    else:
        require(x.type == "INT32", f"DIV of {x.type}")
        expression = activated("y == -1 ? (i32)-(u32)x : x / y", node.options.fused_activation_function, x)
    launch = elementwise(expression, (x, y), out, limits)
    if floats and node.op == "FLOOR_MOD":
        return [launch]
    return [faulting(launch, "y == 0", safe_divisor(y, 0))]


def safe_divisor(y: TensorSpec, zero: int) -> Fault | None:
    """The fault that a divisor equal to zero is, or None where y is a constant without one."""
    if y.data is not None and not (y.data == zero).any():
        return None
    return Fault("Division by 0. ")


def faulting(launch: Launch, condition: str, fault: Fault | None) -> Launch:
    """The launch, with a fault where the condition on x and y holds; the output is then left as it was."""
    if fault is None:
        return launch
    return replace(launch, fault=fault, defines={**launch.defines, "FAULT": f"({condition})"})
