"""Element-wise operators of TensorFlow that TensorFlow Lite lacks, or has for fewer types."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.flex.node_def import attribute
from tflgpu.ops.registry import function, require
from tflgpu.ops.shape_rules import broadcast_inputs, same_as_input

FLOATS = "FLOAT32 FLOAT64 FLOAT16"
INTEGERS = "INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64"
COMPLEX = "COMPLEX64 COMPLEX128"

# x P(x²) / Q(x²), coefficients from the highest power: erf to 6 ULP of float32.
_P = (0.00022905065861350646, 0.0034082910107109506, 0.050955695062380861, 0.18520832239976145, 1.128379143519084)
_Q = (
    -1.1791602954361697e-7,
    0.000023547966471313185,
    0.0010179625278914885,
    0.014070470171167667,
    0.11098505178285362,
    0.49746925110067538,
    1.0,
)
_ONE_FROM = np.float32(3.832506856900711)
_erf_of_double = np.frompyfunc(math.erf, 1, 1)


def erf(x: Array) -> Array:
    """The error function: of float32 by a rational function, of float64 by the C library."""
    if x.dtype == np.float64:
        return np.asarray(_erf_of_double(x), np.float64)
    x = np.clip(x.astype(np.float32, copy=False), -_ONE_FROM, _ONE_FROM)
    square = x * x
    p, q = np.full_like(x, _P[0]), np.full_like(x, _Q[0])
    for total, coefficients in ((p, _P), (q, _Q)):
        for c in coefficients[1:]:
            total *= square
            total += np.float32(c)
    return np.clip(x * p / q, np.float32(-1), np.float32(1))


def _relu(x: Array) -> Array:
    return np.where(x < 0, x.dtype.type(0), x)


def _softplus(x: Array) -> Array:
    return np.logaddexp(x, x.dtype.type(0))


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


UNARY: Mapping[str, tuple[Callable[[Array], Array], str]] = {
    "Abs": (np.abs, f"{FLOATS} {INTEGERS}"),
    "Atan": (np.arctan, f"{FLOATS} {COMPLEX}"),
    "Ceil": (np.ceil, FLOATS),
    "Conj": (np.conj, COMPLEX),
    "Cos": (np.cos, f"{FLOATS} {COMPLEX}"),
    "Cosh": (np.cosh, f"{FLOATS} {COMPLEX}"),
    "Erf": (erf, FLOATS),
    "Exp": (np.exp, f"{FLOATS} {COMPLEX}"),
    "Expm1": (np.expm1, f"{FLOATS} {COMPLEX}"),
    "Floor": (np.floor, FLOATS),
    "Inv": (np.reciprocal, f"{FLOATS} {COMPLEX}"),
    "Invert": (np.invert, INTEGERS),
    "Log": (np.log, f"{FLOATS} {COMPLEX}"),
    "Log1p": (np.log1p, f"{FLOATS} {COMPLEX}"),
    "Neg": (np.negative, f"{FLOATS} {INTEGERS} {COMPLEX}"),
    "Reciprocal": (np.reciprocal, f"{FLOATS} {COMPLEX}"),
    "Relu": (_relu, f"{FLOATS} {INTEGERS}"),
    "Rint": (np.rint, FLOATS),
    "Rsqrt": (lambda x: 1 / np.sqrt(x), f"{FLOATS} {COMPLEX}"),
    "Sigmoid": (_sigmoid, f"{FLOATS} {COMPLEX}"),
    "Sign": (np.sign, f"{FLOATS} {INTEGERS}"),
    "Sin": (np.sin, f"{FLOATS} {COMPLEX}"),
    "Sinh": (np.sinh, f"{FLOATS} {COMPLEX}"),
    "Softplus": (_softplus, FLOATS),
    "Softsign": (lambda x: x / (1 + np.abs(x)), FLOATS),
    "Sqrt": (np.sqrt, f"{FLOATS} {COMPLEX}"),
    "Square": (np.square, f"{FLOATS} {INTEGERS} {COMPLEX}"),
    "Tan": (np.tan, f"{FLOATS} {COMPLEX}"),
    "Tanh": (np.tanh, f"{FLOATS} {COMPLEX}"),
}
"""By the name without Flex: what it computes, and of which types."""


def _divided(x: Array, y: Array) -> Array:
    """x / y; integers towards zero."""
    if x.dtype.kind in "fc":
        return x / y
    require((y != 0).all(), "Integer division by zero")
    quotient = x // y
    return quotient + ((quotient < 0) & (quotient * y != x))


def _floor_divided(x: Array, y: Array) -> Array:
    require(x.dtype.kind == "f" or (y != 0).all(), "Integer division by zero")
    return np.floor(x / y) if x.dtype.kind == "f" else x // y


def _floor_mod(x: Array, y: Array) -> Array:
    require(x.dtype.kind == "f" or (y != 0).all(), "Integer division by zero")
    return np.mod(x, y)


def _shifted(shift: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """The shift by y within 0 and the bits of the type less one, as TensorFlow clamps it."""

    def shifted(x: Array, y: Array) -> Array:
        return shift(x, np.clip(y, 0, 8 * x.dtype.itemsize - 1).astype(x.dtype))

    return shifted


BINARY: Mapping[str, tuple[Callable[[Array, Array], Array], str]] = {
    "Add": (np.add, f"{FLOATS} {INTEGERS} {COMPLEX}"),
    "AddV2": (np.add, f"{FLOATS} {INTEGERS} {COMPLEX}"),
    "Atan2": (np.arctan2, FLOATS),
    "BitwiseAnd": (np.bitwise_and, INTEGERS),
    "BitwiseOr": (np.bitwise_or, INTEGERS),
    "BitwiseXor": (np.bitwise_xor, INTEGERS),
    "Div": (_divided, f"{FLOATS} {INTEGERS} {COMPLEX}"),
    "DivNoNan": (lambda x, y: np.where(y == 0, x.dtype.type(0), x / y), f"{FLOATS} {COMPLEX}"),
    "FloorDiv": (_floor_divided, f"{FLOATS} {INTEGERS}"),
    "FloorMod": (_floor_mod, f"{FLOATS} {INTEGERS}"),
    "LeftShift": (_shifted(np.left_shift), INTEGERS),
    "Maximum": (np.maximum, f"{FLOATS} {INTEGERS}"),
    "Minimum": (np.minimum, f"{FLOATS} {INTEGERS}"),
    "Mul": (np.multiply, f"{FLOATS} {INTEGERS} {COMPLEX}"),
    "MulNoNan": (lambda x, y: np.where(y == 0, x.dtype.type(0), x * y), f"{FLOATS} {COMPLEX}"),
    "Pow": (np.power, f"{FLOATS} {COMPLEX}"),
    "RealDiv": (np.divide, f"{FLOATS} {COMPLEX}"),
    "RightShift": (_shifted(np.right_shift), INTEGERS),
    "SquaredDifference": (lambda x, y: np.square(x - y), f"{FLOATS} {INTEGERS}"),
    "Sub": (np.subtract, f"{FLOATS} {INTEGERS} {COMPLEX}"),
    "TruncateDiv": (_divided, INTEGERS),
    "Xlog1py": (lambda x, y: np.where(x == 0, x.dtype.type(0), x * np.log1p(y)), FLOATS),
    "Xlogy": (lambda x, y: np.where(x == 0, x.dtype.type(0), x * np.log(y)), FLOATS),
}
"""As UNARY, of two inputs that are broadcast to one shape."""

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _selu_grad(g: Array, y: Array) -> Array:
    scale, scaled_alpha = (g.dtype.type(c) for c in (_SELU_SCALE, _SELU_SCALE * _SELU_ALPHA))
    return g * np.where(y < 0, y + scaled_alpha, scale)


GRADIENTS: Mapping[str, Callable[[Array, Array], Array]] = {
    "EluGrad": lambda g, y: np.where(y < 0, (y + 1) * g, g),
    "Relu6Grad": lambda g, x: np.where((x > 0) & (x < 6), g, g.dtype.type(0)),
    "ReluGrad": lambda g, x: np.where(x > 0, g, g.dtype.type(0)),
    "SeluGrad": _selu_grad,
    "SoftplusGrad": lambda g, x: g / (np.exp(-x) + 1),
    "SoftsignGrad": lambda g, x: g / np.square(1 + np.abs(x)),
}
"""Of the gradient g and the activation's input x or output y."""

GRADIENTS_OF_RESULTS: Mapping[str, Callable[[Array, Array], Array]] = {
    "InvGrad": lambda y, g: -g * y * y,
    "ReciprocalGrad": lambda y, g: -g * y * y,
    "RsqrtGrad": lambda y, g: g * g.dtype.type(-0.5) * y * y * y,
    "SigmoidGrad": lambda y, g: g * (y - y * y),
    "SqrtGrad": lambda y, g: g * g.dtype.type(0.5) / y,
    "TanhGrad": lambda y, g: g * (1 - y * y),
}
"""Of the function's result y and the gradient g, in this order."""


def _same_types(node: Node) -> None:
    types = {spec.type for spec in (*node.inputs, *node.outputs) if spec is not None}
    require(len(types) == 1, f"{node.op} takes and gives tensors of one type, not {' and '.join(sorted(types))}. ")


def _computed(compute: Callable[..., Array]) -> Callable[..., Array]:
    def run(node: Node, *inputs: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(compute(*inputs)).astype(inputs[0].dtype, copy=False)

    return run


def _equal_shapes(node: Node) -> list[Shape]:
    x, y = node.input(0), node.input(1)
    require(x.shape == y.shape, f"{node.op}: {x} and {y} must be of one shape. ")
    return [x.shape]


@function("FlexLeakyReluGrad", inputs=2, types=FLOATS, shape=_equal_shapes, check=_same_types, custom=True)
def leaky_relu_grad(node: Node, g: Array, x: Array) -> Array:
    """g where x is positive, else alpha times g."""
    return np.where(x > 0, g, g * g.dtype.type(attribute(node, "alpha", 0.2)))


def _complex_shape(node: Node) -> list[Shape]:
    x, y, out = node.input(0), node.input(1), node.outputs[0]
    wanted = {"FLOAT32": "COMPLEX64", "FLOAT64": "COMPLEX128"}[x.type]
    require(y.type == x.type and out.type == wanted, f"{node.op}: {x} and {y} do not make {out}. ")
    return broadcast_inputs(node)


@function("FlexComplex", inputs=2, types="FLOAT32 FLOAT64", shape=_complex_shape, custom=True)
def complex_of(node: Node, real: Array, imaginary: Array) -> Array:
    """The complex numbers of this real part and imaginary part."""
    out = np.empty(node.outputs[0].shape, node.outputs[0].dtype)
    out.real, out.imag = real, imaginary
    return out


for _name, (_compute, _types) in UNARY.items():
    function(f"Flex{_name}", inputs=1, types=_types, shape=same_as_input, check=_same_types, custom=True)(
        _computed(_compute)
    )
for _name, (_compute_two, _types) in BINARY.items():
    function(f"Flex{_name}", inputs=2, types=_types, shape=broadcast_inputs, check=_same_types, custom=True)(
        _computed(_compute_two)
    )
for _name, _compute_two in {**GRADIENTS, **GRADIENTS_OF_RESULTS}.items():
    function(f"Flex{_name}", inputs=2, types=FLOATS, shape=_equal_shapes, check=_same_types, custom=True)(
        _computed(_compute_two)
    )
