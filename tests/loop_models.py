"""Models that are one WHILE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tflgpu.model.builder import ModelBuilder

NONE = {"fused_activation_function": "NONE"}
Variables = Sequence[tuple[str, Sequence[int]]]


def loop(
    variables: Variables,
    body: Callable[[Any, list[Any]], Sequence[Any]],
    limit: int = 5,
    m: ModelBuilder | None = None,
    constants: Sequence[Any] = (),
) -> bytes:
    """WHILE the first variable, a counter from an input, is below the limit; constants: values some begin with."""
    m = m or ModelBuilder()
    main, cond, inside = m.graph("main"), m.graph("cond"), m.graph("body")
    given: list[Any] = [*constants, *[None] * (len(variables) - len(constants))]
    first = [
        main.input(f"x{k}", kind, list(shape)) if value is None else main.constant(f"x{k}", value)
        for k, ((kind, shape), value) in enumerate(zip(variables, given, strict=True))
    ]
    last = [main.tensor(f"y{k}", kind, list(shape)) for k, (kind, shape) in enumerate(variables)]
    main.node("WHILE", first, last, cond_subgraph_index=cond.index, body_subgraph_index=inside.index)
    main.outputs(*last)
    counter, *_ = [cond.input(f"c{k}", kind, list(shape)) for k, (kind, shape) in enumerate(variables)]
    go = cond.tensor("go", "BOOL", [])
    cond.node("LESS", [counter, cond.constant("limit", np.int32(limit))], [go])
    cond.outputs(go)
    held = [inside.input(f"b{k}", kind, list(shape)) for k, (kind, shape) in enumerate(variables)]
    inside.outputs(*body(inside, held))
    return m.build()


def counted(g: Any, i: Any) -> Any:
    after = g.tensor("after", "INT32", [])
    g.node("ADD", [i, g.constant("one", np.int32(1))], [after], **NONE)
    return after


def large() -> bytes:
    """h = tanh(W h + bias), five times, so wide that an iteration is more work than one block of a GPU has."""

    def body(g: Any, v: list[Any]) -> Sequence[Any]:
        rng = np.random.default_rng(5)
        z, h = (g.tensor(name, "FLOAT32", [1, 300]) for name in ("z", "h"))
        weights = g.constant("w", (rng.normal(size=(300, 300)) * 0.06).astype(np.float32))
        g.node("FULLY_CONNECTED", [v[1], weights, g.constant("bias", np.full(300, 0.1, np.float32))], [z], **NONE)
        g.node("TANH", [z], [h])
        return counted(g, v[0]), h

    return loop([("INT32", []), ("FLOAT32", [1, 300])], body)


def dense(g: Any, v: list[Any]) -> Sequence[Any]:
    """h = tanh(W h + x), by floats; s = sums of softmax(h)."""
    rng = np.random.default_rng(3)
    z, h, soft, s = (g.tensor(name, "FLOAT32", [3, 7]) for name in ("z", "h", "soft", "s"))
    weights = g.constant("w", (rng.normal(size=(7, 7)) * 0.5).astype(np.float32))
    g.node("FULLY_CONNECTED", [v[1], weights, g.constant("bias", rng.normal(size=7).astype(np.float32))], [z], **NONE)
    g.node("TANH", [z], [h])
    g.node("SOFTMAX", [h], [soft], beta=1.0)
    g.node("ADD", [v[2], soft], [s], **NONE)
    return counted(g, v[0]), h, s, v[3]


FLOATS: Variables = [("INT32", []), *[("FLOAT32", [3, 7])] * 3]


def nested(limit: int = 4) -> bytes:
    """WHILE i < limit: j = 0; WHILE j < i: x += 1, j += 1; an IF negates x where j is above 2."""
    m = ModelBuilder()
    main, cond, body, inner_cond, inner, then, other = (
        m.graph(n) for n in ("main", "cond", "body", "inner_cond", "inner", "then", "other")
    )
    ports = (("INT32", []), ("FLOAT32", [5]))
    first = [main.input(f"x{k}", *port) for k, port in enumerate(ports)]
    last = [main.tensor(f"y{k}", *port) for k, port in enumerate(ports)]
    main.node("WHILE", first, last, cond_subgraph_index=cond.index, body_subgraph_index=body.index)
    main.outputs(*last)
    i, _ = (cond.input(f"c{k}", *port) for k, port in enumerate(ports))
    go = cond.tensor("go", "BOOL", [])
    cond.node("LESS", [i, cond.constant("limit", np.int32(limit))], [go])
    cond.outputs(go)

    i, x = (body.input(f"b{k}", *port) for k, port in enumerate(ports))
    j, top, grown, out = (
        body.tensor(*t) for t in (("j", *ports[0]), ("top", *ports[0]), ("grown", *ports[1]), ("out", *ports[1]))
    )
    zero = body.tensor("zero", "INT32", [])
    body.node("SUB", [i, i], [zero], **NONE)
    options = {"cond_subgraph_index": inner_cond.index, "body_subgraph_index": inner.index}
    body.node("WHILE", [zero, i, x], [j, top, grown], **options)
    late = body.tensor("late", "BOOL", [])
    body.node("GREATER", [j, body.constant("two", np.int32(2))], [late])
    body.node("IF", [late, grown], [out], then_subgraph_index=then.index, else_subgraph_index=other.index)
    body.outputs(counted(body, i), out)

    ports = (("INT32", []), ("INT32", []), ("FLOAT32", [5]))
    j, top, _ = (inner_cond.input(f"d{k}", *port) for k, port in enumerate(ports))
    more = inner_cond.tensor("more", "BOOL", [])
    inner_cond.node("LESS", [j, top], [more])
    inner_cond.outputs(more)
    j, top, x = (inner.input(f"e{k}", *port) for k, port in enumerate(ports))
    sum_ = inner.tensor("sum", "FLOAT32", [5])
    inner.node("ADD", [x, inner.constant("half", np.float32(0.5))], [sum_], **NONE)
    inner.outputs(counted(inner, j), top, sum_)
    for g, op in ((then, "NEG"), (other, "ABS")):
        taken, made = g.input("x", "FLOAT32", [5]), g.tensor("made", "FLOAT32", [5])
        g.node(op, [taken], [made])
        g.outputs(made)
    return m.build()


def filling(start: int = 0, limit: int = 6, step: int = 1, rows: int = 6) -> bytes:
    """row i of a list = x + i, for i from start below the limit, as TensorFlow's converter writes it."""
    kinds = [("INT32", []), ("FLOAT32", [rows, 2, 3]), ("FLOAT32", [2, 3])]

    def body(g: Any, v: list[Any]) -> Sequence[Any]:
        i, x, row = v
        after, real = counted(g, i), g.tensor("real", "FLOAT32", [])
        g.node("CAST", [i], [real], in_data_type="INT32", out_data_type="FLOAT32")
        total, item = g.tensor("total", "FLOAT32", [2, 3]), g.tensor("item", "FLOAT32", [1, 2, 3])
        g.node("ADD", [row, real], [total], **NONE)
        one = g.constant("1", np.array([1], np.int32))
        ends = []
        for name, start, rest in (("size", i, -1), ("begin", after, 0)):
            flat, vector = g.tensor(f"{name} flat", "INT32", [1]), g.tensor(name, "INT32", [3])
            g.node("RESHAPE", [start, one], [flat])
            others = g.constant(f"{name} rest", np.full(2, rest, np.int32))
            g.node("CONCATENATION", [flat, others], [vector], axis=0, **NONE)
            ends.append(vector)
        before, after_it = g.tensor("before", "FLOAT32", [1, 2, 3]), g.tensor("after_it", "FLOAT32", [1, 2, 3])
        g.node("SLICE", [x, g.constant("zeros", np.zeros(3, np.int32)), ends[0]], [before])
        g.node("SLICE", [x, ends[1], g.constant("all", np.full(3, -1, np.int32))], [after_it])
        g.node("RESHAPE", [total, g.constant("shape", np.array([1, 2, 3], np.int32))], [item])
        out = g.tensor("out", "FLOAT32", [rows, 2, 3])
        g.node("CONCATENATION", [before, item, after_it], [out], axis=0, **NONE)
        return after, out, row

    return loop(kinds, body, limit, constants=[np.int32(start), np.zeros((rows, 2, 3), np.float32)])
