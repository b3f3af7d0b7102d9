"""Element-wise operators: one output element from the input elements at its index. A row of a table is an operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tflgpu.arithmetic import bfloat16
from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.cache_blocks import blocked
from tflgpu.ops.elementwise import quantized_unary
from tflgpu.ops.elementwise.lookup_table import QuantizedUnary, quantized_unary_step
from tflgpu.ops.registry import OpError, Step, kernel, require
from tflgpu.ops.shape_rules import broadcast_inputs, same_as_input

InPlace = Callable[..., object]
"""f(*inputs, out): a NumPy ufunc, or a function that fills out as one."""


def in_float32(f: InPlace, storage: str) -> InPlace:
    """f computed in float32, on arrays of float16 or of bfloat16's bits."""
    if storage == "BFLOAT16":

        def through_bfloat16(*arrays: Array) -> None:
            *inputs, out = arrays
            result = np.empty(out.shape, np.float32)
            f(*map(bfloat16.to_float32, inputs), result)
            out[...] = bfloat16.from_float32(result)

        return through_bfloat16

    def through_float16(*arrays: Array) -> None:
        *inputs, out = arrays
        result = np.empty(out.shape, np.float32)
        f(*(x.astype(np.float32) for x in inputs), result)
        np.copyto(out, result, casting="same_kind")

    return through_float16


def _for_type(f: InPlace, spec: TensorSpec) -> InPlace:
    if spec.type == "BFLOAT16" or (spec.type == "FLOAT16" and not isinstance(f, np.ufunc)):
        return in_float32(f, spec.type)
    return f


def require_same_types(node: Node) -> None:
    """Raises OpError unless all inputs, and an output that is not bool, are of one type."""
    first = node.input(0)
    for i, spec in enumerate(node.inputs[1:], 2):
        require(spec is not None and spec.type == first.type, f"input1->type != input{i}->type ({first}, {spec}). ")


def _require_output(node: Node, kind: str) -> None:
    out = node.outputs[0]
    require(out.type == kind, f"{node.op}: the output is {out.type}; it must be {kind}. ")


def _require_one_type(node: Node) -> None:
    require_same_types(node)
    _require_output(node, node.input(0).type)


def unary(
    name: str,
    f: Callable[..., object],
    types: str,
    version: int = 1,
    quantized: Callable[[Node], QuantizedUnary] | None = None,
    of_node: bool = False,
    output_type: int | str | None = None,
) -> None:
    """Registers an operator of one input: f(x, out) on plain numbers, quantized(node) on quantized values.

    With of_node, f makes that function of the node's options.
    """

    def quantized_of(node: Node) -> QuantizedUnary | None:
        x = node.input(0)
        # ABS alone takes int16 numbers that are not quantized.
        number = name == "ABS" and x.type == "INT16" and x.quantization is None
        if quantized is None or number or x.type not in ("INT8", "UINT8", "INT16"):
            return None
        return quantized(node)

    def check(node: Node) -> None:
        _require_output(node, node.input(0).type)
        quantized_of(node)

    def prepare(node: Node, inputs: tuple[Array], outputs: tuple[Array]) -> Step:
        x, op = node.input(0), quantized_of(node)
        if op is not None:
            return quantized_unary_step(op, inputs[0], outputs[0])
        function: InPlace = f(node) if of_node else f  # type: ignore[assignment]
        return blocked(_for_type(function, x), inputs, outputs[0])

    register = kernel(
        name, inputs=1, output_type=output_type, version=version, types=types, shape=same_as_input, check=check
    )
    register(prepare)


@dataclass(frozen=True)
class Row:
    """An operator: its function, types and highest version, and its function of quantized values where that differs."""

    f: InPlace
    types: str
    version: int = 1
    quantized: Callable[[Node], QuantizedUnary] | None = None
    output_type: int | str | None = None


def rsqrt(x: Array, y: Array) -> None:
    np.sqrt(x, out=y)
    np.reciprocal(y, out=y)


def zero(x: Array, y: Array) -> None:
    y[...] = 0


# float16 is wider here than in TensorFlow Lite's own kernels: its default interpreter runs all of these by XNNPACK.
UNARY_ROWS: dict[str, Row] = {
    "ABS": Row(np.absolute, "FLOAT32 FLOAT16 INT32 INT8 INT16", 5, quantized_unary.absolute),
    "CEIL": Row(np.ceil, "FLOAT32 FLOAT16", output_type=0),
    "COS": Row(np.cos, "FLOAT32 FLOAT16", 2),
    "EXP": Row(np.exp, "FLOAT32 FLOAT16 INT8 INT16", 2, quantized_unary.exponential, output_type=0),
    "FLOOR": Row(np.floor, "FLOAT32 FLOAT16 BFLOAT16", output_type=0),
    "LOG": Row(np.log, "FLOAT32 FLOAT16 INT8 INT16", 2, quantized_unary.logarithm),
    "LOGICAL_NOT": Row(np.logical_not, "BOOL"),
    "NEG": Row(np.negative, "FLOAT32 FLOAT16 BFLOAT16 INT8 INT16 INT32 INT64", output_type=0),
    "ROUND": Row(np.rint, "FLOAT32 FLOAT16 BFLOAT16", output_type=0),
    "RSQRT": Row(rsqrt, "FLOAT32 FLOAT16 INT8 INT16", 3, quantized_unary.reciprocal_square_root),
    "SIGN": Row(np.sign, "FLOAT32 FLOAT64 INT32", 2),
    "SIN": Row(np.sin, "FLOAT32 FLOAT16", 2),
    "SQRT": Row(np.sqrt, "FLOAT32 FLOAT16 INT8 INT16", 2, quantized_unary.square_root),
    "SQUARE": Row(np.square, "FLOAT32 FLOAT16"),
    "ZEROS_LIKE": Row(zero, "FLOAT32 INT32 INT64", output_type=0),
}

for _name, _row in UNARY_ROWS.items():
    unary(_name, _row.f, _row.types, _row.version, _row.quantized, output_type=_row.output_type)


def binary_shape(node: Node) -> list[Shape]:
    """The shape that the two inputs broadcast to. Raises OpError unless they are two."""
    require(len(node.inputs) == 2, f"NumInputs(node) != 2 ({len(node.inputs)} != 2). ")
    return broadcast_inputs(node)


def equal_shapes(node: Node) -> list[Shape]:
    """The shape that all inputs have. Raises OpError where they differ."""
    first = node.input(0).shape
    for spec in node.inputs[1:]:
        require(spec is not None and spec.shape == first, f"{node.op}: shapes {first} and {spec} must be equal. ")
    return [first]


def maximum(a: Array, b: Array, y: Array) -> None:
    """a > b ? a : b, so that NaN in a gives b."""
    np.maximum(a, b, out=y)
    _keep_b_where_a_is_nan(a, b, y)


def minimum(a: Array, b: Array, y: Array) -> None:
    """a < b ? a : b, so that NaN in a gives b."""
    np.minimum(a, b, out=y)
    _keep_b_where_a_is_nan(a, b, y)


def _keep_b_where_a_is_nan(a: Array, b: Array, y: Array) -> None:
    if a.dtype.kind == "f":
        nan = np.isnan(a)
        if nan.any():
            np.copyto(y, b, where=nan)


def std_maximum(a: Array, b: Array, y: Array) -> None:
    """a < b ? b : a, so that NaN in b gives a."""
    maximum(b, a, y)


def std_minimum(a: Array, b: Array, y: Array) -> None:
    minimum(b, a, y)


def floor_div(a: Array, b: Array, y: Array) -> None:
    """floor(a / b), computed in double for every type. Raises OpError where b is 0, for floats too."""
    if not b.all():
        raise OpError("Division by 0")
    np.copyto(y, np.floor(np.divide(a, b, dtype=np.float64)), casting="unsafe")


def floor_mod(a: Array, b: Array, y: Array) -> None:
    """The remainder of a / b with the sign of b. Raises OpError where an integer b is 0."""
    if b.dtype.kind != "f" and not b.all():
        raise OpError("Division by 0")
    np.remainder(a, b, out=y)


def right_shift(a: Array, b: Array, y: Array) -> None:
    """a >> b for b clamped to the bits of the type."""
    np.right_shift(a, np.clip(b, 0, 8 * a.dtype.itemsize - 1), out=y)


def shift_left(a: Array, b: Array, y: Array) -> None:
    """a << b modulo 2^32 and by b modulo 32, truncated to the type: as x86 shifts."""
    np.copyto(y, a.astype(np.int64) << (b.astype(np.int64) & 31), casting="unsafe")


_BITWISE = "INT8 UINT8 INT16 UINT16 INT32 UINT32"
_INTEGERS = f"{_BITWISE} INT64 UINT64"
_COMPARED = "FLOAT32 FLOAT16 BFLOAT16 INT8 UINT8 INT16 INT32 INT64"
_STABLEHLO = f"FLOAT32 FLOAT16 FLOAT64 BOOL {_INTEGERS}"

BINARY_ROWS: dict[str, Row] = {
    "BITWISE_XOR": Row(np.bitwise_xor, _BITWISE, output_type=0),
    "FLOOR_DIV": Row(floor_div, "FLOAT32 INT8 INT16 INT32", 3, output_type=0),
    "FLOOR_MOD": Row(floor_mod, "FLOAT32 INT8 INT16 INT32 INT64", 2, output_type=0),
    "LOGICAL_AND": Row(np.logical_and, "BOOL", output_type="BOOL"),
    "LOGICAL_OR": Row(np.logical_or, "BOOL", output_type="BOOL"),
    "MAXIMUM": Row(maximum, _COMPARED, 4, output_type=0),
    "MINIMUM": Row(minimum, _COMPARED, 4, output_type=0),
    "RIGHT_SHIFT": Row(right_shift, _BITWISE, output_type=0),
}
"""Operators whose two inputs broadcast."""

EQUAL_SHAPE_ROWS: dict[str, Row] = {
    "ATAN2": Row(np.arctan2, "FLOAT32 FLOAT64 FLOAT16 BFLOAT16"),
    "STABLEHLO_ADD": Row(np.add, _STABLEHLO),
    "STABLEHLO_AND": Row(np.bitwise_and, f"BOOL {_INTEGERS}"),
    "STABLEHLO_MAXIMUM": Row(std_maximum, _STABLEHLO),
    "STABLEHLO_MINIMUM": Row(std_minimum, _STABLEHLO),
    "STABLEHLO_MULTIPLY": Row(np.multiply, _STABLEHLO),
    "STABLEHLO_SHIFT_LEFT": Row(shift_left, "INT8 INT16 INT32", output_type=0),
}
"""Operators whose two inputs must have one shape."""


def _binary(name: str, row: Row, shape: Callable[[Node], Sequence[Shape]]) -> None:
    def prepare(node: Node, inputs: tuple[Array, Array], outputs: tuple[Array]) -> Step:
        return blocked(_for_type(row.f, node.input(0)), inputs, outputs[0])

    types, output_type = row.types, row.output_type
    register = kernel(
        name, inputs=2, output_type=output_type, version=row.version, types=types, shape=shape, check=_require_one_type
    )
    register(prepare)


for _name, _row in BINARY_ROWS.items():
    _binary(_name, _row, binary_shape)
for _name, _row in EQUAL_SHAPE_ROWS.items():
    _binary(_name, _row, equal_shapes)


def _check_add_n(node: Node) -> None:
    require(len(node.inputs) >= 2, "num_inputs >= 2 was not true. ")
    require_same_types(node)


@kernel("ADD_N", inputs="1+", types="FLOAT32 INT32", shape=equal_shapes, check=_check_add_n, output_type=0)
def add_n(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array]) -> Step:
    """The sum of all inputs, which have one shape."""

    def add(*arrays: Array) -> None:
        *terms, y = arrays
        np.add(terms[0], terms[1], out=y)
        for term in terms[2:]:
            np.add(y, term, out=y)

    return blocked(add, inputs, outputs[0])
