"""Models whose shapes or state are known only at run time: dynamic tensors, control flow, variables."""

from __future__ import annotations

import numpy as np

from tflgpu.conformance.cases.case import T
from tflgpu.conformance.cases.graph_case import SHAPE, F, graph, then
from tflgpu.model.builder import ModelBuilder


@graph("a dynamic shape in the middle")
def _dynamic(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x, n = g.input("x", F, (3,)), g.input("n", "INT32", (2,))
    tiled = then(
        g,
        "TILE",
        [then(g, "RESHAPE", [x, g.constant("s", np.array([1, 3], np.int32))], (1, 3), new_shape=[1, 3]), n],
        (1, 3),
    )
    g.outputs(then(g, "SQUARE", [then(g, "NEG", [tiled], (1, 3))], (1, 3)))
    return [T(F, (3,)), T("INT32", (2,), "within:1:4")]


def _branch(m: ModelBuilder, op: str) -> int:
    g = m.graph(op.lower())
    x = g.input("x", F, SHAPE)
    g.outputs(then(g, op, [then(g, "ABS", [x])]))
    return g.index


@graph("IF between two graphs")
def _if(m: ModelBuilder) -> list[T]:
    g = m.graph()
    condition, x = g.input("c", "BOOL", ()), g.input("x", F, SHAPE)
    yes, no = _branch(m, "NEG"), _branch(m, "SQUARE")
    y = then(g, "IF", [condition, then(g, "RELU", [x])], then_subgraph_index=yes, else_subgraph_index=no)
    g.outputs(then(g, "ADD", [y, x]))
    return [T("BOOL"), T(F, SHAPE)]


@graph("WHILE over a state")
def _while(m: ModelBuilder) -> list[T]:
    g = m.graph()
    n, x = g.input("n", "INT32", ()), g.input("x", F, SHAPE)
    test, body = m.graph("test"), m.graph("body")
    k, _ = test.input("n", "INT32", ()), test.input("x", F, SHAPE)
    test.outputs(then(test, "LESS", [k, test.constant("five", np.int32(5))], (), "BOOL"))
    k, s = body.input("n", "INT32", ()), body.input("x", F, SHAPE)
    body.outputs(then(body, "ADD", [k, body.constant("one", np.int32(1))], (), "INT32"), then(body, "NEG", [s]))
    outs = [g.tensor("n1", "INT32", ()), g.tensor("x1", F, SHAPE)]
    g.node("WHILE", [n, x], outs, cond_subgraph_index=test.index, body_subgraph_index=body.index)
    g.outputs(outs[0], then(g, "ABS", [outs[1]]))
    return [T("INT32", (), "within:0:4"), T(F, SHAPE)]


@graph("a variable read, changed and read again")
def _variable(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, (3,))
    start = m.graph("start")
    handle = start.tensor("h", "RESOURCE", ())
    start.node("VAR_HANDLE", [], [handle], container="", shared_name="v")
    start.node("ASSIGN_VARIABLE", [handle, start.constant("zero", np.zeros(3, np.float32))], [])
    g.node("CALL_ONCE", [], [], init_subgraph_index=start.index)
    handle = g.tensor("h", "RESOURCE", ())
    g.node("VAR_HANDLE", [], [handle], container="", shared_name="v")
    value = then(g, "READ_VARIABLE", [handle], (3,))
    # The state is set, not summed up, so that every run of the same inputs has the same outputs.
    g.node("ASSIGN_VARIABLE", [handle, then(g, "ABS", [x], (3,))], [])
    after = then(g, "READ_VARIABLE", [handle], (3,))
    g.outputs(then(g, "ADD", [after, then(g, "MUL", [value, g.constant("none", np.zeros(3, np.float32))], (3,))], (3,)))
    return [T(F, (3,))]
