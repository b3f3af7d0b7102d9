"""Models whose nodes a delegate may compute together, and readers, broadcasts and orders that forbid or change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tflgpu.conformance.cases.case import T
from tflgpu.conformance.cases.graph_case import Builder, F, graph, then
from tflgpu.model.builder import GraphBuilder, ModelBuilder

IMAGE = (2, 5, 7, 6)
OC = 19
"""Channels that convolutions make: a vector and some."""
OUT = (*IMAGE[:3], OC)
X8: dict[str, Any] = {"scale": 0.05, "zero_point": 3}
W8: dict[str, Any] = {"scale": 0.02, "zero_point": 0}
Y8: dict[str, Any] = {"scale": 0.09, "zero_point": -7}
SAME: dict[str, Any] = {"padding": "SAME", "stride_w": 1, "stride_h": 1}


def conv(
    g: GraphBuilder, x: int, type: str, shape: tuple[int, ...], window: tuple[int, int] = (3, 3), **options: Any
) -> int:
    """A convolution of x to `shape`, of floats or int8 values."""
    rng = np.random.default_rng(len(g.tensors))
    c, oc = g.tensors[x]["shape"][-1], shape[-1]
    if type == F:
        weights = g.constant(f"w{x}", rng.normal(size=(oc, *window, c)).astype(np.float32))
        bias = g.constant(f"b{x}", rng.normal(size=oc).astype(np.float32))
        return then(g, "CONV_2D", [x, weights, bias], shape, **{**SAME, **options})
    weights = g.constant(f"w{x}", rng.integers(-127, 128, (oc, *window, c)).astype(np.int8), **W8)
    bias = g.constant(f"b{x}", rng.integers(-900, 900, oc).astype(np.int32), scale=0.001, zero_point=0)
    return then(g, "CONV_2D", [x, weights, bias], shape, type, version=3, **Y8, **{**SAME, **options})


def constant(g: GraphBuilder, type: str, *shape: int) -> int:
    rng, name = np.random.default_rng(len(g.tensors)), f"c{len(g.tensors)}"
    if type == F:
        return g.constant(name, rng.normal(size=shape).astype(np.float32))
    return g.constant(name, rng.integers(-128, 128, shape).astype(np.int8), **X8)


def entered(m: ModelBuilder, type: str, shape: tuple[int, ...] = IMAGE) -> tuple[GraphBuilder, int, T]:
    g = m.graph()
    quantization: dict[str, Any] = {} if type == F else X8
    return g, g.input("x", type, shape, **quantization), T(type, shape, **quantization)


def binary(g: GraphBuilder, op: str, a: int, b: int, type: str, shape: tuple[int, ...] = OUT, **options: Any) -> int:
    quantization: dict[str, Any] = {} if type == F else {"scale": 0.11, "zero_point": 5, "version": 2}
    return then(g, op, [a, b], shape, type, **quantization, **options)


OTHERS = ((), (OC,), OUT, (2, 1, 1, OC), (5, 7, OC), (1, 5, 7, 1), (2, 5, 7, 1))
"""Shapes that broadcast to the outputs of a convolution."""


def _joined(name: str, type: str, op: str, other: tuple[int, ...], first: bool) -> None:
    @graph(name, type.lower())
    def _build(m: ModelBuilder) -> list[T]:
        g, x, fed = entered(m, type)
        y = conv(g, x, type, OUT)
        c = constant(g, type, *other)
        y = binary(g, op, *((y, c) if first else (c, y)), type)
        g.outputs(binary(g, "ADD", y, constant(g, type), type))
        return [fed]


for _type in (F, "INT8"):
    for _other in OTHERS:
        _shown = f"{'x'.join(map(str, _other)) or 'one value'}, {_type.lower()}"
        _joined(f"a convolution less {_shown}", _type, "SUB", _other, True)
        _joined(f"less a convolution {_shown}", _type, "SUB", _other, False)
    _joined(f"a convolution times a row, {_type.lower()}", _type, "MUL", (OC,), True)


def _of_both(name: str) -> Callable[[Callable[[ModelBuilder, str], list[T]]], None]:
    """Registers a model of floats and the same of int8 values."""

    def register(build: Callable[[ModelBuilder, str], list[T]]) -> None:
        for type in (F, "INT8"):
            graph(f"{name}, {type.lower()}", type.lower())(_of_type(build, type))

    return register


def _of_type(build: Callable[[ModelBuilder, str], list[T]], type: str) -> Builder:
    return lambda m: build(m, type)


@_of_both("a convolution that two nodes read")
def _two_readers(m: ModelBuilder, type: str) -> list[T]:
    g, x, fed = entered(m, type)
    y = conv(g, x, type, OUT)
    a = binary(g, "ADD", y, constant(g, type, OC), type)
    g.outputs(a, binary(g, "SUB", y, constant(g, type), type))
    return [fed]


@_of_both("a convolution that is read and is an output")
def _read_and_out(m: ModelBuilder, type: str) -> list[T]:
    g, x, fed = entered(m, type)
    y = conv(g, x, type, OUT)
    g.outputs(y, binary(g, "ADD", y, constant(g, type, OC), type))
    return [fed]


@_of_both("a convolution added to itself")
def _itself(m: ModelBuilder, type: str) -> list[T]:
    g, x, fed = entered(m, type)
    y = conv(g, x, type, OUT)
    g.outputs(binary(g, "ADD", binary(g, "SUB", y, constant(g, type, OC), type), y, type), binary(g, "SUB", y, y, type))
    return [fed]


@graph("a convolution times a mask")
def _masked(m: ModelBuilder) -> list[T]:
    g, x, fed = entered(m, F)
    mask = then(g, "CAST", [g.input("mask", "INT32", OUT)], OUT)
    g.outputs(binary(g, "MUL", conv(g, x, F, OUT), mask, F))
    return [fed, T("INT32", OUT, "within:0:1")]


@_of_both("a convolution less another")
def _two_convolutions(m: ModelBuilder, type: str) -> list[T]:
    g, x, fed = entered(m, type)
    a, b = conv(g, x, type, OUT), conv(g, x, type, OUT, (1, 1))
    g.outputs(binary(g, "SUB", b, a, type), binary(g, "SUB", conv(g, x, type, OUT, (2, 3)), a, type))
    return [fed]


@_of_both("a convolution, reshaped and then less a row")
def _reshaped(m: ModelBuilder, type: str) -> list[T]:
    g, x, fed = entered(m, type)
    y = conv(g, x, type, OUT)
    flat = (2 * 5, 7 * OC)
    quantization: dict[str, Any] = {} if type == F else Y8
    y = then(
        g, "RESHAPE", [y, g.constant("s", np.array(flat, np.int32))], flat, type, new_shape=list(flat), **quantization
    )
    g.outputs(binary(g, "SUB", constant(g, type, 7 * OC), y, type, flat))
    return [fed]


@graph("lookups of lookups in every order", "int8")
def _lookups(m: ModelBuilder) -> list[T]:
    g, x, fed = entered(m, "INT8")
    y = conv(g, x, "INT8", OUT)
    gate = then(g, "LOGISTIC", [y], OUT, "INT8", scale=1 / 256, zero_point=-128, version=2)
    swish = then(g, "MUL", [gate, y], OUT, "INT8", scale=0.06, zero_point=-9, version=2)
    less = then(g, "SUB", [gate, y], OUT, "INT8", scale=0.1, zero_point=4, version=2)
    clipped = then(
        g, "ADD", [less, constant(g, "INT8")], OUT, "INT8", scale=0.1, zero_point=4, version=2,
        fused_activation_function="RELU6",
    )  # fmt: skip
    tanh = then(g, "TANH", [clipped], OUT, "INT8", scale=1 / 128, zero_point=0, version=2)
    g.outputs(swish, binary(g, "SUB", constant(g, "INT8"), tanh, "INT8"), gate)
    return [fed]


@graph("a product and a difference of two lookups", "int8")
def _two_lookups(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x, y = (g.input(name, "INT8", (3, 67), **X8) for name in "xy")
    a = then(g, "LOGISTIC", [x], (3, 67), "INT8", scale=1 / 256, zero_point=-128, version=2)
    b = then(g, "TANH", [y], (3, 67), "INT8", scale=1 / 128, zero_point=0, version=2)
    g.outputs(binary(g, "MUL", a, b, "INT8", (3, 67)), binary(g, "SUB", b, a, "INT8", (3, 67)))
    return [T("INT8", (3, 67), **X8)] * 2


@graph("element-wise operators of many shapes and readers")
def _elements(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x, row, one = g.input("x", F, (5, 37)), g.input("row", F, (37,)), g.input("one", F, ())
    small = then(g, "SUB", [one, row], (37,))
    y = then(g, "SUB", [x, small], (5, 37))
    more = then(g, "GREATER", [y, one], (5, 37), "BOOL")
    squared = then(g, "MUL", [y, y], (5, 37))
    chosen = then(g, "SELECT_V2", [more, squared, then(g, "NEG", [small], (37,))], (5, 37))
    transposed = then(g, "TRANSPOSE", [chosen, g.constant("order", np.array([1, 0], np.int32))], (37, 5))
    last = then(g, "SUB", [then(g, "ABS", [transposed], (37, 5)), then(g, "RELU", [transposed], (37, 5))], (37, 5))
    g.outputs(last, then(g, "ADD", [squared, y], (5, 37)), small)
    return [T(F, (5, 37)), T(F, (37,)), T(F)]


@graph("two pieces of one tensor, one of them changed")
def _halves(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, (4, 34))
    pieces = [g.tensor(f"p{k}", F, (4, 17)) for k in range(2)]
    g.node("SPLIT", [g.constant("axis", np.int32(1)), then(g, "EXP", [x], (4, 34))], pieces, num_splits=2)
    first = then(g, "SUB", [pieces[1], pieces[0]], (4, 17))
    second = then(g, "MUL", [then(g, "LOGISTIC", [pieces[1]], (4, 17)), pieces[1]], (4, 17))
    joined = then(g, "CONCATENATION", [second, first, pieces[0]], (4, 51), axis=1)
    g.outputs(then(g, "SOFTMAX", [joined], (4, 51), beta=0.5), first)
    return [T(F, (4, 34), "unit")]


@graph("reshapes of reshapes between kernels")
def _aliases(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, (6, 20))
    y = then(g, "EXP", [x], (6, 20))
    views = [y]
    for k, shape in enumerate(((120,), (4, 30), (3, 40))):
        views.append(
            then(
                g, "RESHAPE", [views[-1], g.constant(f"s{k}", np.array(shape, np.int32))], shape, new_shape=list(shape)
            )
        )
    total = then(g, "SUM", [views[2], g.constant("axis", np.array([1], np.int32))], (4,), keep_dims=False)
    product = then(g, "MUL", [views[3], views[3]], (3, 40))
    g.outputs(
        total,
        then(
            g,
            "SUB",
            [
                product,
                then(g, "RESHAPE", [y, g.constant("s", np.array((3, 40), np.int32))], (3, 40), new_shape=[3, 40]),
            ],
            (3, 40),
        ),
        views[1],
    )
    return [T(F, (6, 20), "unit")]
