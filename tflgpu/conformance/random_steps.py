"""How a random graph grows: the steps that may follow, each a row of a table with what it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tflgpu.model.graph import Array

Rng = np.random.Generator
LARGEST = 1e3
"""Magnitude beyond which a value is only squashed."""
MOST_ELEMENTS = 4096


@dataclass(frozen=True)
class Value:
    """A tensor. most: a bound of its magnitude. exact: whether every float of it is the same on every device."""

    type: str
    shape: tuple[int, ...]
    most: float = 4.0
    exact: bool = True
    scale: float | None = None
    zero_point: int = 0

    def quantization(self) -> dict[str, Any]:
        return {} if self.scale is None else {"scale": self.scale, "zero_point": self.zero_point}


@dataclass(frozen=True, eq=False)
class Constant:
    value: Array
    scale: Any = None
    zero_point: Any = 0

    def quantization(self) -> dict[str, Any]:
        return {} if self.scale is None else {"scale": self.scale, "zero_point": self.zero_point}


@dataclass(frozen=True, eq=False)
class Step:
    """A node: operands by value, then constants (before them where constants_first), and the values it makes."""

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: tuple[Constant, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    constants_first: bool = False


@dataclass(eq=False)
class Recipe:
    """values: the first `inputs` are fed, the others made by steps in order. outputs: those that are so by choice."""

    values: list[Value] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    inputs: int = 0
    outputs: set[int] = field(default_factory=set)
    filled: str = "within:-2:2"

    def add(self, op: str, inputs: Sequence[int], out: Value, *constants: Array | Constant, **options: Any) -> None:
        version, first = options.pop("version", 1), options.pop("constants_first", False)
        self.values.append(out)
        wrapped = tuple(c if isinstance(c, Constant) else Constant(c) for c in constants)
        step = Step(op, tuple(inputs), (len(self.values) - 1,), wrapped, options, version, first)
        self.steps.append(step)


SHAPES = ((2, 3, 4), (1, 6, 5, 4), (7,), (3, 5), (1, 4, 4, 3), (2, 1, 5))


def grown(rng: Rng, nodes: int) -> Recipe:
    """A graph of that many nodes."""
    made = Recipe()
    for _ in range(int(rng.integers(1, 4))):
        made.values.append(Value("FLOAT32", SHAPES[int(rng.integers(len(SHAPES)))], 2.0))
    if rng.random() < 0.3:
        made.values.append(Value("INT32", SHAPES[int(rng.integers(len(SHAPES)))], 2.0))
    made.inputs = len(made.values)
    while len(made.steps) < nodes:
        index = _chosen(made, rng)
        rows = [row for row in STEPS if row.fits(made.values[index])]
        rows[int(rng.integers(len(rows)))].add(made, index, rng)
    unread = set(range(made.inputs, len(made.values))) - {i for step in made.steps for i in step.inputs}
    inner = {i for i in range(made.inputs, len(made.values)) if rng.random() < 0.05}
    made.outputs = unread | inner
    return made


def _chosen(made: Recipe, rng: Rng) -> int:
    """A value to go on from: more often a late one."""
    return max(int(rng.integers(len(made.values))) for _ in range(2))


@dataclass(frozen=True)
class Row:
    """What may follow a value, and whether it may."""

    fits: Callable[[Value], bool]
    add: Callable[[Recipe, int, Rng], None]


def _is_float(v: Value) -> bool:
    return v.type == "FLOAT32"


def _is_small(v: Value) -> bool:
    return v.type == "FLOAT32" and v.most < LARGEST


def _unary(op: str, most: Callable[[float], float], exact: bool) -> Callable[[Recipe, int, Rng], None]:
    def add(made: Recipe, index: int, rng: Rng) -> None:
        x = made.values[index]
        made.add(op, [index], Value(x.type, x.shape, most(x.most), x.exact and exact, x.scale, x.zero_point))

    return add


def _binary(made: Recipe, index: int, rng: Rng) -> None:
    x = made.values[index]
    op = ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM")[int(rng.integers(5))]
    others = [
        k
        for k, v in enumerate(made.values)
        if v.type == x.type and v.most < LARGEST and _joins(x.shape, v.shape) and v.scale is None
    ]
    if rng.random() < 0.3:
        size = x.shape[-1:] if x.shape else ()
        other = (
            rng.integers(-3, 4, size).astype(np.int32)
            if x.type == "INT32"
            else rng.normal(size=size).astype(np.float32)
        )
        inputs, constants, y = [index], [np.asarray(other)], Value(x.type, size, 3.0)
    else:
        k = others[int(rng.integers(len(others)))]
        inputs, constants, y = ([index, k] if rng.random() < 0.5 else [k, index]), [], made.values[k]
    most = {"ADD": x.most + y.most, "SUB": x.most + y.most, "MUL": x.most * y.most}.get(op, max(x.most, y.most))
    exact = x.exact and y.exact and (op in ("MAXIMUM", "MINIMUM") or x.type == "INT32")
    options = (
        {"fused_activation_function": "RELU" if rng.random() < 0.2 else "NONE"} if op in ("ADD", "SUB", "MUL") else {}
    )
    made.add(op, inputs, Value(x.type, np.broadcast_shapes(x.shape, y.shape), most, exact), *constants, **options)


def _joins(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        shape = np.broadcast_shapes(a, b)
    except ValueError:
        return False
    return len(shape) <= 4 and int(np.prod(shape)) <= MOST_ELEMENTS


def _moved(made: Recipe, index: int, rng: Rng) -> None:
    x = made.values[index]
    kind = int(rng.integers(5))
    rank = len(x.shape)

    def like(shape: tuple[int, ...]) -> Value:
        return Value(x.type, tuple(int(d) for d in shape), x.most, x.exact, x.scale, x.zero_point)

    if kind == 0:
        order = rng.permutation(rank).astype(np.int32)
        made.add("TRANSPOSE", [index], like(tuple(x.shape[k] for k in order)), order)
    elif kind == 1:
        shape = (int(np.prod(x.shape)),) if rng.random() < 0.5 else (*x.shape[:-2], int(np.prod(x.shape[-2:])))
        made.add("RESHAPE", [index], like(shape), np.array(shape, np.int32), new_shape=list(shape))
    elif kind == 2:
        begin = np.array([rng.integers(0, d) for d in x.shape], np.int32)
        size = np.array([rng.integers(1, d - b + 1) for d, b in zip(x.shape, begin, strict=True)], np.int32)
        made.add("SLICE", [index], like(tuple(size)), begin, size)
    elif kind == 3 and x.type != "BOOL" and np.prod(x.shape) * 3**rank <= MOST_ELEMENTS * 9:
        pads = rng.integers(0, 2, (rank, 2)).astype(np.int32)
        made.add("PAD", [index], like(tuple(d + int(p.sum()) for d, p in zip(x.shape, pads, strict=True))), pads)
    else:
        axis = int(rng.integers(rank))
        shape = tuple(2 * d if k == axis else d for k, d in enumerate(x.shape))
        options: dict[str, Any] = {"axis": axis, "fused_activation_function": "NONE"}
        made.add("CONCATENATION", [index, index], like(shape), **options)


def _reduced(made: Recipe, index: int, rng: Rng) -> None:
    x = made.values[index]
    op = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")[int(rng.integers(4))]
    axis = int(rng.integers(len(x.shape)))
    shape = tuple(1 if k == axis else d for k, d in enumerate(x.shape))
    most = x.most * x.shape[axis] if op == "SUM" else x.most
    exact = x.exact and op.startswith("REDUCE")
    made.add(op, [index], Value(x.type, shape, most, exact), np.array([axis], np.int32), keep_dims=True)


def _softmax(made: Recipe, index: int, rng: Rng) -> None:
    x = made.values[index]
    made.add("SOFTMAX", [index], Value("FLOAT32", x.shape, 1.0, False), beta=1.0)


def _dense(made: Recipe, index: int, rng: Rng) -> None:
    x = made.values[index]
    n, k = int(rng.integers(1, 9)), x.shape[-1]
    weights = (rng.normal(size=(n, k)) / np.sqrt(k)).astype(np.float32)
    bias = rng.normal(size=n).astype(np.float32)
    rows = int(np.prod(x.shape[:-1]))
    activation = "RELU" if rng.random() < 0.3 else "NONE"
    out = Value("FLOAT32", (rows, n), x.most * 4 * k + 4, False)
    made.add("FULLY_CONNECTED", [index], out, weights, bias, fused_activation_function=activation)


def _conv(made: Recipe, index: int, rng: Rng) -> None:
    x = made.values[index]
    oc, c = int(rng.integers(1, 6)), x.shape[3]
    weights = (rng.normal(size=(oc, 3, 3, c)) / np.sqrt(9 * c)).astype(np.float32)
    stride = int(rng.integers(1, 3))
    shape = (x.shape[0], -(-x.shape[1] // stride), -(-x.shape[2] // stride), oc)
    options: dict[str, Any] = {"padding": "SAME", "stride_w": stride, "stride_h": stride}
    activation = ("NONE", "RELU", "RELU6")[int(rng.integers(3))]
    out = Value("FLOAT32", shape, x.most * 36 * c + 4, False)
    bias = rng.normal(size=oc).astype(np.float32)
    made.add("CONV_2D", [index], out, weights, bias, fused_activation_function=activation, **options)


def _pool(made: Recipe, index: int, rng: Rng) -> None:
    x = made.values[index]
    op = "MAX_POOL_2D" if rng.random() < 0.5 or x.type != "FLOAT32" else "AVERAGE_POOL_2D"
    shape = (x.shape[0], -(-x.shape[1] // 2), -(-x.shape[2] // 2), x.shape[3])
    out = Value(x.type, shape, x.most, x.exact and op[0] == "M", x.scale, x.zero_point)
    window = {"stride_w": 2, "stride_h": 2, "filter_width": 3, "filter_height": 2, "padding": "SAME"}
    made.add(op, [index], out, version=2 if x.type == "INT8" else 1, **window)


def _quantize(made: Recipe, index: int, rng: Rng) -> None:
    x = made.values[index]
    scale = float(np.float32(max(x.most, 1.0) / 100))
    made.add("QUANTIZE", [index], Value("INT8", x.shape, x.most, True, scale, int(rng.integers(-9, 10))))


def _dequantize(made: Recipe, index: int, rng: Rng) -> None:
    x = made.values[index]
    made.add("DEQUANTIZE", [index], Value("FLOAT32", x.shape, x.most + 1, False), version=2)


def _codes(made: Recipe, index: int, rng: Rng) -> None:
    x = made.values[index]
    if rng.random() < 0.5:
        made.add("RELU", [index], x, version=2)
        return
    assert x.scale is not None
    out = Value("INT8", x.shape, x.most * 2, True, float(np.float32(x.scale * 2)), 1)
    made.add("ADD", [index, index], out, version=2)


def _compared(made: Recipe, index: int, rng: Rng) -> None:
    x = made.values[index]
    edge = np.array(0.25, np.float32) if x.type == "FLOAT32" else np.array(1, np.int32)
    made.add(("GREATER", "LESS", "EQUAL")[int(rng.integers(3))], [index], Value("BOOL", x.shape), edge)
    if rng.random() < 0.6:
        made.add("SELECT_V2", [len(made.values) - 1, index, index], x)


def _not(made: Recipe, index: int, rng: Rng) -> None:
    made.add("LOGICAL_NOT", [index], made.values[index])


def _exact(v: Value) -> bool:
    return _is_float(v) and v.exact


def _image(v: Value) -> bool:
    return len(v.shape) == 4 and min(v.shape[1:3]) > 1


STEPS: tuple[Row, ...] = (
    *(Row(_is_float, _unary(op, lambda m: m, True)) for op in ("ABS", "NEG", "RELU")),
    Row(_is_float, _unary("RELU6", lambda m: min(m, 6.0), True)),
    *(Row(_is_float, _unary(op, lambda m: 1.0, False)) for op in ("TANH", "LOGISTIC")),
    *(Row(_is_small, _unary(op, lambda m: m, False)) for op in ("HARD_SWISH", "GELU", "ELU")),
    Row(lambda v: _is_small(v) and v.most < 30, _unary("SQUARE", lambda m: m * m, False)),
    *(Row(_exact, _unary(op, lambda m: m + 1, True)) for op in ("FLOOR", "ROUND", "CEIL")),
    *([Row(lambda v: v.type in ("FLOAT32", "INT32") and v.most < LARGEST, _binary)] * 4),
    *([Row(lambda v: len(v.shape) > 0 and math.prod(v.shape) <= MOST_ELEMENTS // 2, _moved)] * 3),
    Row(lambda v: _is_small(v) and len(v.shape) > 0, _reduced),
    Row(lambda v: _is_small(v) and len(v.shape) > 0, _softmax),
    Row(lambda v: _is_small(v) and len(v.shape) > 1, _dense),
    Row(lambda v: _is_small(v) and _image(v), _conv),
    Row(lambda v: v.type in ("FLOAT32", "INT8") and _image(v), _pool),
    Row(lambda v: _exact(v) and v.most < LARGEST, _quantize),
    Row(lambda v: v.type == "INT8", _dequantize),
    *([Row(lambda v: v.type == "INT8" and v.most < LARGEST, _codes)] * 2),
    Row(lambda v: (v.type == "INT32" or _exact(v)) and v.most < LARGEST, _compared),
    Row(lambda v: v.type == "BOOL", _not),
    Row(lambda v: v.type == "INT32", _unary("ABS", lambda m: m, True)),
    Row(lambda v: v.type == "INT32", _unary("NEG", lambda m: m, True)),
    Row(lambda v: v.type == "BOOL", _moved),
)
