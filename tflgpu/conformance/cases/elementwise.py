"""Operators of one input, and of two that broadcast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tflgpu.conformance.cases.case import Case, OneOp, T, beside, one, q, row, shaped, words
from tflgpu.conformance.cases.shapes import ANY, DEEP_PAIRS, FEW, FEW_PAIRS, PAIRS, REAL
from tflgpu.conformance.cases.values import Values
from tflgpu.ops.registry import OPS

FAMILY = "elementwise"

UNARY = {
    "ABS": ("FLOAT32 INT8 INT16 INT32", "normal", "special"),
    "CEIL": ("FLOAT32", "normal", "special"),
    "COS": ("FLOAT32", "within:-30:30", "special"),
    "ELU": ("FLOAT32 INT8", "normal", "special"),
    "EXP": ("FLOAT32 INT8 INT16", "within:-20:20", "special"),
    "FLOOR": ("FLOAT32", "normal", "special"),
    "GELU": ("FLOAT32 INT8 UINT8 INT16", "normal", "special"),
    "HARD_SWISH": ("FLOAT32 INT8 UINT8", "within:-5:5", "special"),
    "LEAKY_RELU": ("FLOAT32 INT8 UINT8 INT16", "normal", "special"),
    "LOG": ("FLOAT32", "positive", "special"),
    "LOGICAL_NOT": ("BOOL", "normal", ""),
    "LOGISTIC": ("FLOAT32 INT8 UINT8 INT16", "within:-12:20", "special"),
    "NEG": ("FLOAT32 INT32 INT64", "normal", "special"),
    "RELU": ("FLOAT32 INT8 UINT8 INT16", "normal", "special"),
    "RELU6": ("FLOAT32 INT8 UINT8 INT16", "within:-4:9", "special"),
    "RELU_0_TO_1": ("FLOAT32 INT8 UINT8", "normal", "special"),
    "RELU_N1_TO_1": ("FLOAT32 INT8 UINT8", "normal", "special"),
    "ROUND": ("FLOAT32", "normal", "special"),
    "RSQRT": ("FLOAT32", "positive", "special"),
    "SIGN": ("FLOAT32 INT32", "normal", "special"),
    "SIN": ("FLOAT32", "within:-30:30", "special"),
    "SQRT": ("FLOAT32", "positive", "special"),
    "SQUARE": ("FLOAT32", "normal", "special"),
    "TANH": ("FLOAT32 INT8 UINT8 INT16", "within:-6:6", "special"),
    "ZEROS_LIKE": ("FLOAT32 INT32 INT64", "normal", ""),
}
"""Operator: its types, how it is filled, and with what its floats and plain integers are filled at the edges."""

PARAMETERS: dict[str, tuple[dict[str, Any], ...]] = {
    "GELU": ({"approximate": False}, {"approximate": True}),
    "LEAKY_RELU": ({"alpha": 0.3}, {"alpha": 0.0}),
}

OUTPUTS: dict[str, dict[str, tuple[float, int]]] = {
    "LOGISTIC": {"INT8": (1 / 256, -128), "UINT8": (1 / 256, 0), "INT16": (1 / 32768, 0)},
    "TANH": {"INT8": (1 / 128, 0), "UINT8": (1 / 128, 128), "INT16": (1 / 32768, 0)},
}
RESCALED = {"INT8": (0.031, -7), "UINT8": (0.062, 100), "INT16": (0.0013, 0)}
"""What an output is quantized by whose scale may be any."""

STABLEHLO = tuple(f"STABLEHLO_{name}" for name in ("ADD", "AND", "MAXIMUM", "MINIMUM", "MULTIPLY", "SHIFT_LEFT"))
QUANTIZED = ("INT8", "UINT8", "INT16")

BINARY = {
    "ADD": "FLOAT32 INT8 UINT8 INT16 INT32 INT64",
    "SUB": "FLOAT32 INT8 UINT8 INT16 INT32 INT64",
    "MUL": "FLOAT32 INT8 UINT8 INT16 INT32 INT64",
    "DIV": "FLOAT32 UINT8 INT32",
    "MAXIMUM": "FLOAT32 INT8 UINT8 INT16 INT32 INT64",
    "MINIMUM": "FLOAT32 INT8 UINT8 INT16 INT32 INT64",
    "SQUARED_DIFFERENCE": "FLOAT32 INT8 INT32",
    "FLOOR_DIV": "FLOAT32 INT32",
    "FLOOR_MOD": "FLOAT32 INT32 INT64",
    "POW": "FLOAT32 INT32",
    "PRELU": "FLOAT32 INT8 UINT8",
    "ATAN2": "FLOAT32",
    "BITWISE_XOR": "INT8 INT32",
    "RIGHT_SHIFT": "INT8 INT32",
    "LOGICAL_AND": "BOOL",
    "LOGICAL_OR": "BOOL",
}
ACTIVATED = ("ADD", "SUB", "MUL", "DIV")
ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1")
SHALLOW = ("POW", "ATAN2", "PRELU", "RIGHT_SHIFT", "BITWISE_XOR", "LOGICAL_AND", "LOGICAL_OR", "FLOOR_DIV", "FLOOR_MOD")
"""Operators whose kernels broadcast no further than four dimensions, or whose few shapes are enough."""
SPECIAL_PAIRS = ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM")


def cases() -> Iterator[Case]:
    for op, (types, filled, edges) in UNARY.items():
        for type in types.split():
            yield from _unary(op, type, filled, edges)
    for op, types in BINARY.items():
        for type in types.split():
            yield from _binary(op, type)
    yield from _add_n()
    yield from _float16()
    yield from _others()


def _others() -> Iterator[Case]:
    """One shape of every type that is not in the tables, and operators that differ from one another by that alone."""
    for op, (types, filled, _) in UNARY.items():
        for type in beside(op, f"{types} FLOAT16"):
            values = "within:4:120" if op in ("LOG", "RSQRT", "SQRT") else filled if "FLOAT" in type else "normal"
            yield _one_input(op, type, (65,), values, PARAMETERS.get(op, ({},))[0])
    for op, types in BINARY.items():
        for type in beside(op, types if op == "PRELU" else f"{types} FLOAT16"):
            yield _two_inputs(op, type, ((5, 7), (7,)) if op != "ATAN2" else ((65,),) * 2, "NONE", *_filled(op, type))
    for op in STABLEHLO:
        for type in beside(op, ""):
            amount = "below:8" if op == "STABLEHLO_SHIFT_LEFT" else "normal"
            yield row(FAMILY, op, [T(type, (9,)), T(type, (9,), amount)], [T(type, (9,))])
    for op in ("COMPLEX_ABS", "IMAG", "REAL"):
        yield row(FAMILY, op, [T("COMPLEX64", (3, 5))], [T("FLOAT32")])
    # One operand that is constant, of one element.
    for op, type, value in (("FLOOR_DIV", "FLOAT32", -0.7), ("FLOOR_MOD", "INT32", 7), ("FLOOR_MOD", "INT64", -7)):
        one_value = np.array([value], type.lower())
        yield row(FAMILY, op, [T(type, (70,)), one_value], [T(type)], "by a constant", version=2)
    yield row(FAMILY, "POW", [T("INT32", (70,), "below:90"), np.array([7], np.int32)], [T("INT32")], "by a constant")


def _float16() -> Iterator[Case]:
    """What takes float16, on a few shapes."""
    for op, (_, filled, _) in UNARY.items():
        if "FLOAT16" in OPS[op].types:
            for shape in FEW:
                yield _one_input(op, "FLOAT16", shape, filled, PARAMETERS.get(op, ({},))[0])
    for op in BINARY:
        if "FLOAT16" in OPS[op].types and op != "PRELU":
            for shapes in ((x, x) for x in FEW) if op == "ATAN2" else FEW_PAIRS:
                yield _two_inputs(op, "FLOAT16", shapes, "NONE", *_filled(op, "FLOAT32"))


def _unary(op: str, type: str, filled: str, edges: str) -> Iterator[Case]:
    filled = filled if type.startswith("FLOAT") else "normal"
    for options in PARAMETERS.get(op, ({},)):
        shapes = (*ANY, REAL) if type in ("FLOAT32", "INT8") else ANY
        for shape in shapes if options in (PARAMETERS.get(op, ({},))[0],) else FEW:
            yield _one_input(op, type, shape, filled, options)
        if type in ("INT8", "UINT8"):
            all_values = np.arange(256, dtype=np.uint8).view(type.lower())
            yield _one_input(op, type, (256,), all_values, options, "every value")
        if edges and type in ("FLOAT32", "INT16", "INT32", "INT64"):
            yield _one_input(op, type, (61,), edges, options, "special")


def _one_input(
    op: str, type: str, shape: tuple[int, ...], values: Any, options: dict[str, Any], note: str = ""
) -> Case:
    # 16-bit ABS of the reference works on quantized values too, and takes the quantization of its input.
    same = op in ("ABS", "NEG", "ZEROS_LIKE", "SIGN")
    x = q(type, *shape, values=values) if type in QUANTIZED else T(type, shape, values)
    quantization = OUTPUTS.get(op, RESCALED).get(type)
    out = T(type, shape) if quantization is None else T(type, shape, scale=quantization[0], zero_point=quantization[1])
    if same:
        out = T(type, shape, scale=x.scale, zero_point=x.zero_point)
    detail = [shaped(shape), *words(options), *([note] if note else [])]
    return one(FAMILY, type, detail, OneOp(op, [x], [out], options))


def _binary(op: str, type: str) -> Iterator[Case]:
    main = type in ("FLOAT32", "INT8", "INT32")
    pairs = PAIRS if main else FEW_PAIRS
    if op not in SHALLOW and type == "FLOAT32":
        pairs = (*pairs, *DEEP_PAIRS, (REAL, (24,)))
    if op == "PRELU":
        pairs = (
            ((2, 3, 5), (5,)),
            ((2, 3, 5, 7), (3, 5, 7)),
            ((1, 7, 5, 3), (1, 1, 3)),
            ((0, 3), (3,)),
            ((5, 7), (7,)),
        )
    if op == "ATAN2":  # does not broadcast
        pairs = tuple((x, x) for x in ANY)
    for shapes in pairs:
        yield _two_inputs(op, type, shapes, "NONE", *_filled(op, type))
    for activation in ACTIVATIONS if op in ACTIVATED and type in ("FLOAT32", "INT8", "UINT8", "INT32") else ():
        for shapes in (((2, 3, 5), (5,)), ((67,), (67,)), ((3, 5), ())):
            yield _two_inputs(op, type, shapes, activation, *_filled(op, type))
    if op in SPECIAL_PAIRS and type in ("INT8", "UINT8"):
        all_values = np.arange(256, dtype=np.uint8).view(type.lower())
        every = all_values.reshape(256, 1), all_values.reshape(1, 256)
        yield _two_inputs(op, type, ((256, 1), (1, 256)), "NONE", *every, "every pair")
    if op in SPECIAL_PAIRS and type in ("FLOAT32", "INT32", "INT64", "INT16"):
        yield _two_inputs(op, type, ((61,), (61,)), "NONE", "special", "normal", "special")
        yield _two_inputs(op, type, ((23, 1), (1, 29)), "NONE", "special", "special", "special")


def _filled(op: str, type: str) -> tuple[str, str]:
    if op == "POW":
        return ("positive", "unit") if type == "FLOAT32" else ("small", "below:5")
    if op == "RIGHT_SHIFT":
        return "normal", "below:8"
    if op in ("DIV", "FLOOR_DIV", "FLOOR_MOD"):
        return "normal", "nonzero" if type != "UINT8" else "within:130:255"
    return "normal", "normal"


def _two_inputs(
    op: str,
    type: str,
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    activation: str,
    a: Values,
    b: Values,
    note: str = "",
) -> Case:
    out_shape = np.broadcast_shapes(*shapes)
    options: dict[str, Any] = {"fused_activation_function": activation} if op in ACTIVATED else {}
    if op in ("ADD", "SUB"):
        options["pot_scale_int16"] = False
    if op in ("BITWISE_XOR", "RIGHT_SHIFT") or type not in QUANTIZED:
        x, y, out = T(type, shapes[0], a), T(type, shapes[1], b), T(type, out_shape)
    elif op in ("MAXIMUM", "MINIMUM"):
        x, y, out = q(type, *shapes[0], values=a), q(type, *shapes[1], values=b), q(type, *out_shape)
    else:
        x, scale = q(type, *shapes[0], values=a), 0.0017 if type == "INT16" else 0.031
        y = q(type, *shapes[1], values=b, scale=scale, constant=op == "PRELU")
        out = q(type, *out_shape, scale=0.0029 if type == "INT16" else 0.093)
    if op == "PRELU":
        y = T(y.type, y.shape, y.values, True, y.scale, y.zero_point)
    shown = {"fused_activation_function": activation}
    detail = [shaped(*shapes), *words(shown), *([note] if note else [])]
    return one(FAMILY, type, detail, OneOp(op, [x, y], [out], options))


def _add_n() -> Iterator[Case]:
    for type in ("FLOAT32", "INT32"):
        for count in (2, 3, 7):
            for shape in ((7,), (2, 3, 5), (0, 3), (), (65,)):
                x = T(type, shape)
                yield one(FAMILY, type, [shaped(shape), f"n={count}"], OneOp("ADD_N", [x] * count, [x]))
