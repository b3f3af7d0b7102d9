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
    """h = tanh(W h + bias), five times, of so many numbers that a turn is more work than one block of a GPU has."""

    def body(g: Any, v: list[Any]) -> Sequence[Any]:
        rng = np.random.default_rng(5)
        z, h = (g.tensor(name, "FLOAT32", [1, 300]) for name in ("z", "h"))
        weights = g.constant("w", (rng.normal(size=(300, 300)) * 0.06).astype(np.float32))
        g.node("FULLY_CONNECTED", [v[1], weights, g.constant("bias", np.full(300, 0.1, np.float32))], [z], **NONE)
        g.node("TANH", [z], [h])
        return counted(g, v[0]), h

    return loop([("INT32", []), ("FLOAT32", [1, 300])], body)
