"""Loops and branches whose variables are swapped, stay, or are read after they were written; views that leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tflgpu.conformance.cases.case import T
from tflgpu.conformance.cases.graph_case import F, graph, then
from tflgpu.model.builder import GraphBuilder, ModelBuilder

SHAPE = (3, 5)
Body = Callable[[GraphBuilder, Sequence[int]], Sequence[int]]
"""The new loop variables of the old ones; the first, which counts, is not among them."""


def loop(m: ModelBuilder, shapes: Sequence[tuple[int, ...]], body: Body, most: int = 5) -> list[T]:
    """A WHILE over a counter and variables of these shapes, fed and returned in their order."""
    g, test, inner = m.graph(), m.graph("test"), m.graph("body")
    given, *_ = [
        [graph_.input("n", "INT32", ()), *(graph_.input(f"v{k}", F, shape) for k, shape in enumerate(shapes))]
        for graph_ in (g, test, inner)
    ]
    test.outputs(then(test, "LESS", [0, test.constant("most", np.int32(most))], (), "BOOL"))
    after = body(inner, range(1, len(shapes) + 1))
    inner.outputs(then(inner, "ADD", [0, inner.constant("one", np.int32(1))], (), "INT32"), *after)
    outs = [g.tensor("n1", "INT32", ()), *(g.tensor(f"r{k}", F, shape) for k, shape in enumerate(shapes))]
    g.node("WHILE", given, outs, cond_subgraph_index=test.index, body_subgraph_index=inner.index)
    g.outputs(*outs)
    return [T("INT32", (), "within:0:4"), *(T(F, shape, "unit") for shape in shapes)]


REAL, ROUNDS = (96, 96), 60
"""A variable, and how often an iteration changes it: work enough for a host to drive the loop."""


def _graph(name: str, variables: int, body: Body) -> None:
    """The loop in one launch, and the same with so much work beside that the host drives it."""
    shapes = [SHAPE] * variables
    graph(f"WHILE: {name}")(lambda m: loop(m, shapes, body))
    graph(f"WHILE: {name}, of real size")(
        lambda m: loop(m, [*shapes, REAL], lambda g, v: [*body(g, v), _work(g, v[-1])])
    )


def _work(g: GraphBuilder, v: int) -> int:
    for k in range(ROUNDS):
        v = op(g, "NEG" if k % 3 else "ABS", v)
    return v


def op(g: GraphBuilder, name: str, *inputs: int) -> int:
    shape = tuple(g.tensors[inputs[0]]["shape"])
    return then(g, name, list(inputs), shape)


_graph("two variables are swapped", 2, lambda g, v: [v[1], v[0]])
_graph("three variables move on by one", 3, lambda g, v: [v[1], v[2], v[0]])
_graph("a variable becomes another, that one a sum", 2, lambda g, v: [v[1], op(g, "SUB", v[0], v[1])])
_graph("one variable stays and one is its difference", 2, lambda g, v: [v[0], op(g, "SUB", v[0], v[1])])
_graph("a result becomes two variables", 2, lambda g, v: [x := op(g, "SUB", v[1], v[0]), x])
_graph("each of two is made of both", 2, lambda g, v: [op(g, "SUB", v[0], v[1]), op(g, "MUL", v[0], v[1])])
_graph("a variable becomes a constant", 2, lambda g, v: [_ones(g, v[0]), op(g, "SUB", v[0], v[1])])
_graph("an old value is read after the new one is made", 2, lambda g, v: _late(g, v))
_graph("a variable becomes a view of what another is made of", 2, lambda g, v: _view_of(g, v))


def _view_of(g: GraphBuilder, v: Sequence[int]) -> list[int]:
    made = op(g, "ABS", op(g, "SUB", v[0], v[1]))
    flat = then(g, "RESHAPE", [made, g.constant("flat", np.array([15], np.int32))], (15,), new_shape=[15])
    shape = g.constant("shape", np.array(SHAPE, np.int32))
    return [then(g, "RESHAPE", [flat, shape], SHAPE, new_shape=list(SHAPE)), op(g, "NEG", made)]


@graph("WHILE: large variables, and an old value is read after the new one is made")
def _large(m: ModelBuilder) -> list[T]:
    return loop(m, [(1, 96, 96, 20)] * 2, lambda g, v: _late(g, v), 2)


def _ones(g: GraphBuilder, like: int) -> int:
    return g.constant("ones", np.ones(g.tensors[like]["shape"], np.float32))


def _late(g: GraphBuilder, v: Sequence[int]) -> list[int]:
    new = op(g, "NEG", op(g, "ABS", v[0]))
    return [new, op(g, "SUB", op(g, "SUB", v[1], new), v[0])]


@graph("WHILE: an index beyond the table, from which the test would never end the loop", refused=True)
def _faulty(m: ModelBuilder) -> list[T]:
    g, test, inner = m.graph(), m.graph("test"), m.graph("body")
    given, *_ = [[graph_.input(name, "INT32", (1,)) for name in ("sum", "at")] for graph_ in (g, test, inner)]
    test.outputs(then(test, "LESS", [0, test.constant("most", np.array([9], np.int32))], (1,), "BOOL"))
    step = then(inner, "GATHER", [inner.constant("table", np.array([0, 2, 0], np.int32)), 1], (1,), "INT32", axis=0)
    inner.outputs(then(inner, "ADD", [0, step], (1,), "INT32"), 1)
    outs = [g.tensor(name, "INT32", (1,)) for name in ("sum1", "at1")]
    g.node("WHILE", given, outs, cond_subgraph_index=test.index, body_subgraph_index=inner.index)
    g.outputs(*outs)
    at = np.array([1], np.int32), np.array([3], np.int32)
    return [T("INT32", (1,), np.zeros(1, np.int32)), T("INT32", (1,), at)]


@graph("WHILE in a WHILE")
def _nested(m: ModelBuilder) -> list[T]:
    def outer(g: GraphBuilder, v: Sequence[int]) -> list[int]:
        test, body = m.graph("inner test"), m.graph("inner body")
        for graph_ in (test, body):
            graph_.input("k", "INT32", ())
            graph_.input("a", F, SHAPE)
            graph_.input("b", F, SHAPE)
        test.outputs(then(test, "LESS", [0, test.constant("three", np.int32(3))], (), "BOOL"))
        body.outputs(then(body, "ADD", [0, body.constant("one", np.int32(1))], (), "INT32"), 2, op(body, "SUB", 1, 2))
        outs = [g.tensor("k1", "INT32", ()), g.tensor("a1", F, SHAPE), g.tensor("b1", F, SHAPE)]
        start = g.constant("zero", np.int32(0))
        g.node("WHILE", [start, *v], outs, cond_subgraph_index=test.index, body_subgraph_index=body.index)
        return [outs[2], outs[1]]

    return loop(m, [SHAPE] * 2, outer)


@graph("IF with variables in another order, unused ones and one that is passed on")
def _branches(m: ModelBuilder) -> list[T]:
    g = m.graph()
    condition, a, b = g.input("c", "BOOL", ()), g.input("a", F, SHAPE), g.input("b", F, SHAPE)
    yes, no = m.graph("yes"), m.graph("no")
    for branch in (yes, no):
        branch.input("a", F, SHAPE)
        branch.input("b", F, SHAPE)
    yes.outputs(op(yes, "SUB", 0, 1), 1)
    no.outputs(op(no, "SUB", 1, 0), op(no, "NEG", 1))
    outs = [g.tensor("x", F, SHAPE), g.tensor("y", F, SHAPE)]
    g.node("IF", [condition, a, b], outs, then_subgraph_index=yes.index, else_subgraph_index=no.index)
    g.outputs(*outs, op(g, "ADD", outs[0], outs[1]))
    return [T("BOOL", (), (np.array(True), np.array(False))), T(F, SHAPE), T(F, SHAPE)]


@graph("the second of two that refuse, an index at the bound", refused=True)
def _second(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x, y, indices = g.input("x", F, (5, 3)), g.input("y", F, (5, 3)), g.input("indices", "INT32", (4,))
    g.outputs(then(g, "GATHER", [op(g, "FLOOR_DIV", x, y), indices], (4, 3), axis=0))
    at = np.array([4, 0, 1, 4], np.int32)
    return [T(F, (5, 3)), T(F, (5, 3), "positive"), T("INT32", (4,), (at, at + 1))]


@graph("IF: a division by a constant that has a zero, in one branch", refused=True)
def _divided(m: ModelBuilder) -> list[T]:
    g = m.graph()
    given = g.input("c", "BOOL", ()), g.input("x", "INT32", (5,))
    yes, no = m.graph("yes"), m.graph("no")
    for branch, divisor in ((yes, [1, 2, 3, -4, 5]), (no, [1, 2, 0, -4, 5])):
        x = branch.input("x", "INT32", (5,))
        branch.outputs(then(branch, "FLOOR_DIV", [x, branch.constant("y", np.array(divisor, np.int32))], (5,), "INT32"))
    branches = {"then_subgraph_index": yes.index, "else_subgraph_index": no.index}
    g.outputs(then(g, "IF", [*given], (5,), "INT32", **branches))
    return [T("BOOL", (), (np.array(True), np.array(False))), T("INT32", (5,), "small")]


@graph("a view of what only another node reads is an output")
def _view_out(m: ModelBuilder) -> list[T]:
    g = m.graph()
    y = op(g, "EXP", g.input("x", F, (4, 20)))
    flat = then(g, "RESHAPE", [y, g.constant("s", np.array([80], np.int32))], (80,), new_shape=[80])
    again = then(g, "RESHAPE", [flat, g.constant("t", np.array([20, 4], np.int32))], (20, 4), new_shape=[20, 4])
    g.outputs(op(g, "NEG", y), again)
    return [T(F, (4, 20), "unit")]


@graph("a loop after a kernel and before another")
def _between(m: ModelBuilder) -> list[T]:
    fed = loop(m, [SHAPE], lambda g, v: [op(g, "NEG", op(g, "ABS", v[0]))])
    g = m.graphs[0]
    (whole,) = g.nodes
    y = then(g, "EXP", [1], SHAPE)
    g.nodes = [g.nodes[1], whole]
    whole["inputs"] = [0, y]
    g.outputs(op(g, "SUB", whole["outputs"][1], y))
    return fed


@graph("kernels that run together and alone, alternately")
def _alternating(m: ModelBuilder) -> list[T]:
    g, rng, shape = m.graph(), np.random.default_rng(9), (1, 24, 24, 16)
    y = g.input("x", F, shape)
    options: dict[str, Any] = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "fused_activation_function": "RELU6"}
    for k in range(4):
        w = g.constant(f"w{k}", rng.normal(0, 0.05, (16, 3, 3, 16)).astype(np.float32))
        y = then(g, "CONV_2D", [y, w, g.constant(f"b{k}", np.full(16, 0.1, np.float32))], shape, **options)
        y = then(g, "CUMSUM", [y, g.constant(f"a{k}", np.int32(2))], shape)
        y = then(g, "SOFTMAX", [y], shape, beta=1.0)
    g.outputs(y)
    return [T(F, shape)]


@graph("two rows of small kernels, one after the other")
def _rows_of_kernels(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x, ends = g.input("x", F, (4, 6)), []
    for axis in (1, 0):
        y = x
        for k in range(4):
            y = then(g, "CUMSUM", [y, g.constant(f"a{axis}{k}", np.int32(axis))], (4, 6), reverse=k % 2 == axis)
        ends.append(y)
    g.outputs(*ends)
    return [T(F, (4, 6), "unit")]


@graph("a dynamic shape whose first dimension stays")
def _dynamic(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x, n = g.input("x", F, (1, 3)), g.input("n", "INT32", (2,))
    tiled = then(g, "TILE", [x, n], (1, 3))
    g.outputs(op(g, "SQUARE", op(g, "NEG", tiled)))
    return [T(F, (1, 3)), T("INT32", (2,), (np.array([1, 2], np.int32), np.array([1, 4], np.int32)))]


@graph("eight layers of real size")
def _layers(m: ModelBuilder) -> list[T]:
    g, rng = m.graph(), np.random.default_rng(8)
    y, shape = g.input("x", F, (1, 24, 24, 32)), (1, 24, 24, 32)
    for k in range(8):
        w = g.constant(f"w{k}", rng.normal(0, 0.05, (32, 3, 3, 32)).astype(np.float32))
        options: dict[str, Any] = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "fused_activation_function": "RELU"}
        y = then(g, "CONV_2D", [y, w, g.constant(f"b{k}", np.full(32, 0.1, np.float32))], shape, **options)
    g.outputs(y)
    return [T(F, shape)]
