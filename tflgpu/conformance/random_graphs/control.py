"""Steps of random graphs that run further graphs or keep state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.conformance.random_graphs.draw import CLOSE, EXACT, Draw, Value, floats, grow, ranked, step
from tflgpu.model.builder import GraphBuilder

INNER = ("unary", "binary", "residual", "dense", "sliced", "transposed", "reshaped", "softmax", "layer_norm", "reduced")
"""Steps that the graphs inside take."""


def inside(d: Draw, graph: GraphBuilder, given: Sequence[Value]) -> tuple[Draw, Value]:
    """Grows a few steps in a graph from inputs like these, to a value of the first one's shape and type."""
    inner, x = Draw(d.rng, graph), given[0]
    for k, v in enumerate(given):
        inner.values.append(replace(v, index=graph.input(f"x{k}", v.type, v.shape, **v.quantization)))
    start = inner.values[0]
    for _ in range(d.number(1, 3)):
        grow(inner, INNER)
    made = [v for v in inner.values[len(given) :] if (v.shape, v.type) == (x.shape, x.type)]
    last = made[-1] if made else start
    if last.real:  # bounded, so that loops do not run away
        last = inner.add("TANH", [last], replace(last, most=1.0, exact=max(last.exact, CLOSE)))
    elif (last.scale, last.zero_point) != (x.scale, x.zero_point):
        last = inner.add("QUANTIZE", [last], replace(x, exact=last.exact), version=2)
    elif last.index == start.index:
        last = inner.add("RELU", [last], last)
    return inner, last


@step(0.5, lambda v: (floats(v) or v.type == "INT8") and ranked(v), batched=False)
def branches(d: Draw, x: Value) -> None:
    other = d.pick(lambda v: floats(v) and ranked(v))
    given, numbers, worst = [x] if other is None else [x, other], [], EXACT
    for name in ("then", "else"):
        inner, last = inside(d, d.graph.model.graph(name), given)
        inner.graph.outputs(last.index)
        worst = max(worst, last.exact)
        numbers.append(inner.graph.index)
    condition = d.pick(lambda v: v.type == "BOOL" and math.prod(v.shape) == 1)
    chosen: Any = condition if condition is not None and d.chance(0.6) else d.constant(np.bool_(d.chance(0.5)))
    out = replace(x, most=max(x.most, 1.0), exact=worst)
    d.add("IF", [chosen, *given], out, then_subgraph_index=numbers[0], else_subgraph_index=numbers[1])


@step(0.5, lambda v: (floats(v) or v.type == "INT8") and ranked(v), batched=False)
def repeated_graph(d: Draw, x: Value) -> None:
    """A loop of 0 to 4 iterations."""
    condition, body = d.graph.model.graph("condition"), d.graph.model.graph("body")
    i = condition.input("i", "INT32", [])
    condition.input("x", x.type, x.shape, **x.quantization)
    go = condition.tensor("go", "BOOL", [])
    condition.node("LESS", [i, condition.constant("limit", np.int32(d.number(0, 4)))], [go])
    condition.outputs(go)
    i, after = body.input("i", "INT32", []), body.tensor("after", "INT32", [])
    body.node("ADD", [i, body.constant("one", np.int32(1))], [after])
    _, last = inside(d, body, [replace(x, exact=CLOSE if x.real else EXACT)])
    body.outputs(after, last.index)
    outs = (Value(-1, "INT32", (), 5.0), replace(x, exact=last.exact))
    d.add("WHILE", [d.ints(0), x], *outs, cond_subgraph_index=condition.index, body_subgraph_index=body.index)


@step(0.4, lambda v: floats(v) and ranked(v), batched=False, variables=True)
def accumulated(d: Draw, x: Value) -> None:
    """A variable that keeps half of itself and takes in x."""
    g, name = d.graph, f"v{len(d.graph.tensors)}"
    handle = g.tensor(name, "RESOURCE", [])
    g.node("VAR_HANDLE", [], [handle], shared_name=name, container="")
    first = g.model.graph("first")
    same = first.tensor(name, "RESOURCE", [])
    first.node("VAR_HANDLE", [], [same], shared_name=name, container="")
    first.node("ASSIGN_VARIABLE", [same, first.constant("ones", np.ones(x.shape, np.float32))], [])
    g.node("CALL_ONCE", [], [], init_subgraph_index=first.index)
    old = d.add("READ_VARIABLE", [handle], replace(x, most=x.most * 2 + 1, exact=max(x.exact, CLOSE)))
    half = d.add("MUL", [old, d.constant(np.float32(0.5))], old)
    new = d.add("ADD", [half, x], old)
    g.node("ASSIGN_VARIABLE", [handle, new.index], [])


@step(0.4, lambda v: floats(v) and len(v.shape) == 3, batched=False)
def recurrent(d: Draw, x: Value) -> None:
    n, c, units = x.shape[0], x.shape[2], d.among((2, 4))

    def w(*shape: int) -> int:
        return d.constant(d.normal(*shape) * np.float32(0.4))

    state, cell = (
        d.graph.tensor(f"{name}{len(d.graph.tensors)}", "FLOAT32", [n, units], is_variable=True) for name in "hc"
    )
    gates = [w(units, c) for _ in range(4)] + [w(units, units) for _ in range(4)] + [None] * 3
    gates += [w(units) for _ in range(4)] + [None, None, state, cell]
    out = Value(-1, "FLOAT32", (*x.shape[:2], units), 1.0, CLOSE)
    d.add("UNIDIRECTIONAL_SEQUENCE_LSTM", [x, *gates], out, fused_activation_function="TANH", time_major=False)
