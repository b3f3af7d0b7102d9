"""Steps of random graphs that go element by element, on floats and on quantized values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.conformance.random_graphs.draw import CLOSE, EXACT, LARGEST, QUANTIZED, Draw, Value, number, ranked, step
from tflgpu.model.graph import DTYPES

MOVED = ("RELU", "RELU6", "RELU_N1_TO_1", "ABS")
SMOOTH = ("TANH", "LOGISTIC", "HARD_SWISH", "GELU", "SIN", "COS", "LEAKY_RELU", "SQUARE", "SQRT", "RSQRT", "EXP", "LOG")
OF_CODES = {
    "INT8": ("RELU", "RELU6", "RELU_N1_TO_1", "ABS", "LEAKY_RELU", "TANH", "LOGISTIC", "HARD_SWISH", "GELU", "EXP"),
    "UINT8": ("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "TANH", "LOGISTIC", "HARD_SWISH"),
    "INT16": ("LEAKY_RELU", "TANH", "LOGISTIC"),
}


def squashed(d: Draw, x: Value, op: str) -> Value:
    """LOGISTIC or TANH, whose quantized values have a scale of their own."""
    scale, zero = {
        ("LOGISTIC", "INT8"): (1 / 256, -128),
        ("TANH", "INT8"): (1 / 128, 0),
        ("LOGISTIC", "UINT8"): (1 / 256, 0),
        ("TANH", "UINT8"): (1 / 128, 128),
        ("LOGISTIC", "INT16"): (1 / 32768, 0),
        ("TANH", "INT16"): (1 / 32768, 0),
    }.get((op, x.type), (None, 0))
    return d.add(op, [x], replace(x, most=1.0, exact=CLOSE if x.real else EXACT, scale=scale, zero_point=zero))


@step(6, number)
def unary(d: Draw, x: Value) -> None:
    if x.quantized:
        op = d.among(OF_CODES[x.type])
        if op in ("LOGISTIC", "TANH"):
            squashed(d, x, op)
            return
        out = d.quantize(x.type, x.shape, math.exp(min(x.most, 3)) if op == "EXP" else x.most)
        if op in ("RELU6", "RELU_N1_TO_1", "RELU", "ABS") and d.chance(0.5):
            out = replace(out, scale=x.scale, zero_point=x.zero_point)
        if op == "HARD_SWISH" and out.scale and x.scale and out.scale < x.scale / 128:
            out = replace(out, scale=x.scale)
        d.add(op, [x], out, **({"alpha": d.among((0.1, 0.3, -0.2))} if op == "LEAKY_RELU" else {}))
        return
    if d.chance(0.4):
        d.add(d.among((*MOVED, "NEG", "NEG")), [x], x)
        return
    op = d.among(SMOOTH)
    if op in ("LOGISTIC", "TANH"):
        squashed(d, x, op)
        return
    if op in ("SQRT", "RSQRT", "LOG"):
        x = d.add("ABS", [x], x)
        x = d.add("ADD", [x, d.constant(np.float32(0.5))], replace(x, most=x.most + 1))
    if op == "EXP":
        x = d.add("MINIMUM", [x, d.constant(np.float32(2))], x)
    most = {"SQUARE": x.most**2, "EXP": 8.0, "SIN": 1.0, "COS": 1.0, "LOG": 8.0}.get(op, x.most + 1)
    d.add(op, [x], replace(x, most=most, exact=max(x.exact, CLOSE)), **({"alpha": 0.2} if op == "LEAKY_RELU" else {}))


@step(1, lambda v: v.real and v.exact == EXACT and v.most < 1e3)
def rounded(d: Draw, x: Value) -> None:
    d.add(d.among(("FLOOR", "SIGN")), [x], replace(x, most=x.most + 1))


@step(0.5, lambda v: (v.real or v.type in ("INT8", "UINT8")) and len(v.shape) == 4 and v.most < 1e3)
def prelu(d: Draw, x: Value) -> None:
    shape = d.among(((1, 1, x.shape[3]), x.shape[1:], (1, 1, 1)))
    real = d.normal(*shape) * np.float32(0.3)
    if x.real:
        alpha, out = d.constant(real), x
    else:
        low, high = QUANTIZED[x.type]
        zero = 0 if x.type == "INT8" else 128
        quantized = np.clip(np.round(real / 0.01) + zero, low, high).astype(DTYPES[x.type])
        alpha, out = d.constant(quantized, scale=0.01, zero_point=zero), d.quantize(x.type, x.shape, x.most)
    d.add("PRELU", [x, alpha], replace(out, exact=CLOSE if x.real else EXACT))


def joins(a: Sequence[int], b: Sequence[int]) -> bool:
    try:
        shape = np.broadcast_shapes(tuple(a), tuple(b))
    except ValueError:
        return False
    return len(shape) <= 5 and math.prod(shape) <= LARGEST


@step(7, number)
def binary(d: Draw, x: Value) -> None:
    ops = ("ADD", "ADD", "SUB", "MUL", "MUL", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "DIV")
    op = d.among(ops if x.real else ops[:7] if x.type == "INT8" else ops[:5])
    if d.chance(0.5):
        shapes = [
            (),
            (1,),
            x.shape[-1:],
            (1,) * len(x.shape),
            tuple(s if d.chance(0.5) else 1 for s in x.shape),
            x.shape,
        ]
        if d.batched and x.shape:
            shapes = [shape if len(shape) < len(x.shape) else (1, *shape[1:]) for shape in shapes]
        shape = d.among(shapes)
        real = d.normal(*shape)
        if x.real:
            real = np.where(np.abs(real) < 0.3, np.float32(0.3), real)
            y = Value(d.constant(real), "FLOAT32", shape, 3.0)
        else:
            made = d.quantize(x.type, shape, 2.0)
            low, high = QUANTIZED[x.type]
            same = op in ("MAXIMUM", "MINIMUM")
            scale, zero = (x.scale, x.zero_point) if same else (made.scale, made.zero_point)
            quantized = np.clip(np.round(real / np.float32(scale)) + zero, low, high).astype(DTYPES[x.type])
            y = replace(made, index=d.constant(quantized, scale=scale, zero_point=zero), scale=scale, zero_point=zero)
    else:
        found = d.pick(
            lambda v: (
                v.type == x.type
                and number(v)
                and joins(x.shape, v.shape)
                and v.quantized == x.quantized
                and (not d.batched or len(v.shape) == len(x.shape))
            )
        )
        if found is None:
            return
        y = found
        if op == "DIV":
            op = "MUL"
        if op in ("MAXIMUM", "MINIMUM") and x.quantized and (x.scale, x.zero_point) != (y.scale, y.zero_point):
            op = "ADD"
    arithmetic(d, op, *((x, y) if op == "DIV" or d.chance(0.5) else (y, x)))


@step(2, lambda v: number(v) and ranked(v))
def residual(d: Draw, x: Value) -> None:
    other = d.pick(lambda v: v.type == x.type and v.shape == x.shape and v.most < 1e3 and v.quantized == x.quantized)
    assert other is not None
    arithmetic(d, d.among(("ADD", "ADD", "MUL", "SUB")), *((x, other) if d.chance(0.5) else (other, x)))


def arithmetic(d: Draw, op: str, x: Value, y: Value) -> None:
    shape = np.broadcast_shapes(x.shape, y.shape)
    if math.prod(shape) > LARGEST or not (number(x) and number(y)):
        return
    most = {"MUL": x.most * y.most, "DIV": x.most * 4, "SQUARED_DIFFERENCE": (x.most + y.most) ** 2}.get(
        op, x.most + y.most
    )
    fused: dict[str, Any] = {"fused_activation_function": d.activation()} if op in ("ADD", "SUB", "MUL", "DIV") else {}
    if op in ("MAXIMUM", "MINIMUM"):
        d.add(op, [x, y], replace(x, shape=shape, most=max(x.most, y.most)))
    elif x.real:
        d.add(op, [x, y], Value(-1, "FLOAT32", shape, most, CLOSE), **fused)
    else:
        if x.type == "INT16":
            fused |= {"pot_scale_int16": False} if op in ("ADD", "SUB") else {}
        d.add(op, [x, y], d.quantize(x.type, shape, min(most, 60.0)), **fused)


@step(1, lambda v: v.type == "INT32" and v.most < 1e4)
def of_integers(d: Draw, x: Value) -> None:
    y: Any = d.pick(
        lambda v: v.type == "INT32" and joins(x.shape, v.shape) and (not d.batched or len(v.shape) == len(x.shape))
    )
    if y is None or d.chance(0.5):
        y = Value(d.ints(d.number(-3, 3) or 1), "INT32", ())
    op = d.among(("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM"))
    fused = {"fused_activation_function": d.among(("NONE", "RELU"))} if op in ("ADD", "SUB", "MUL") else {}
    d.add(
        op,
        [x, y],
        Value(-1, "INT32", np.broadcast_shapes(x.shape, y.shape), x.most * y.most + x.most + y.most),
        **fused,
    )


@step(1, lambda v: v.exact == EXACT and (v.type == "INT32" or v.real) and v.most < 1e3)
def compared(d: Draw, x: Value) -> None:
    edge = d.constant(np.float32(0.25)) if x.real else d.ints(1)
    c = d.add(d.among(("GREATER", "LESS", "EQUAL", "LESS_EQUAL", "NOT_EQUAL")), [x, edge], Value(-1, "BOOL", x.shape))
    other = d.pick(lambda v: v.type == x.type and v.shape == x.shape and v.quantized == x.quantized)
    if d.chance(0.8) and other is not None:
        d.add("SELECT_V2" if d.chance(0.7) else "SELECT", [c, x, other], replace(x, most=max(x.most, other.most)))


@step(0.7, lambda v: v.type == "BOOL")
def logical(d: Draw, x: Value) -> None:
    other = d.pick(lambda v: v.type == "BOOL" and v.shape == x.shape)
    assert other is not None
    if d.chance(0.5):
        d.add("LOGICAL_NOT", [x], x)
    else:
        d.add(d.among(("LOGICAL_AND", "LOGICAL_OR")), [x, other], x)


@step(0.6, lambda v: v.type in ("FLOAT32", "INT32", "BOOL") and v.exact == EXACT and v.most < 1e3)
def cast(d: Draw, x: Value) -> None:
    to = d.among([t for t in ("FLOAT32", "INT32", "BOOL") if t != x.type])
    options = {"in_data_type": x.type, "out_data_type": to}
    d.add("CAST", [x], Value(-1, to, x.shape, x.most), **options)


@step(3, lambda v: number(v) and (v.quantized or v.exact == EXACT))
def requantize(d: Draw, x: Value) -> None:
    if x.quantized and d.chance(0.5):
        d.add("DEQUANTIZE", [x], Value(-1, "FLOAT32", x.shape, x.most, x.exact), version=3 if x.type == "INT16" else 2)
        return
    to = d.among(
        ("INT8", "INT8", "UINT8", "INT16")
        if x.real
        else {"INT8": ("INT8", "UINT8", "INT16"), "UINT8": ("INT8", "UINT8")}.get(x.type, ("INT16", "INT8"))
    )
    out = d.quantize(to, x.shape, x.most)
    if x.type != to and "INT16" not in (to, x.type) and x.quantized and d.chance(0.3):
        out = replace(out, scale=x.scale, zero_point=x.zero_point + (128 if to == "UINT8" else -128))
    d.add("QUANTIZE", [x], out, version=2)
