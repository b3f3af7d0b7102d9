"""Models by which promises are tried: of an operator that the delegate takes, and others around it."""

from __future__ import annotations

import numpy as np

from tflgpu.conformance.contract import PAIRS
from tflgpu.model.builder import ModelBuilder


def counting(op: str) -> bytes:
    """A recurrent cell between two nodes of op."""
    model = ModelBuilder()
    g = model.graph()
    rng = np.random.default_rng(1)
    x = g.input("x", "FLOAT32", (1, 3))
    before, cell, after = (g.tensor(n, "FLOAT32", (1, d)) for n, d in (("a", 3), ("b", 4), ("c", 4)))
    weights = [g.constant(f"w{k}", rng.normal(size=s).astype(np.float32)) for k, s in enumerate(((4, 3), (4, 4), (4,)))]
    state = g.tensor("state", "FLOAT32", (1, 4), is_variable=True)
    g.node(op, [x, x] if op in PAIRS else [x], [before])
    g.node("RNN", [before, *weights, state], [cell], fused_activation_function="TANH")
    g.node(op, [cell, cell] if op in PAIRS else [cell], [after])
    g.outputs(after)
    return model.build()


def gathering(op: str) -> bytes:
    model = ModelBuilder()
    g = model.graph()
    x, index = g.input("x", "FLOAT32", (5,)), g.input("i", "INT32", (3,))
    a, b, c = (g.tensor(n, "FLOAT32", (s,)) for n, s in (("a", 5), ("b", 3), ("c", 3)))
    g.node(op, [x, x] if op in PAIRS else [x], [a])
    g.node("GATHER", [a, index], [b], axis=0)
    g.node(op, [b, b] if op in PAIRS else [b], [c])
    g.outputs(c)
    return model.build()


def accumulating(op: str, start: bool = True) -> bytes:
    """A resource variable that is read, half of it added to x and op of that assigned. start: whether it has a value"""
    model = ModelBuilder()
    g = model.graph()
    x, shape = g.input("x", "FLOAT32", (1, 3)), (1, 3)
    handle = g.tensor("h", "RESOURCE", ())
    g.node("VAR_HANDLE", [], [handle], container="", shared_name="v")
    if start:
        first = model.graph("first")
        same = first.tensor("h", "RESOURCE", ())
        first.node("VAR_HANDLE", [], [same], container="", shared_name="v")
        first.node("ASSIGN_VARIABLE", [same, first.constant("ones", np.ones(shape, np.float32))], [])
        g.node("CALL_ONCE", [], [], init_subgraph_index=first.index)
    old, half, total, new = (g.tensor(name, "FLOAT32", shape) for name in ("old", "half", "total", "new"))
    g.node("READ_VARIABLE", [handle], [old])
    g.node("MUL", [old, g.constant("half of", np.float32(0.5))], [half])
    g.node("ADD", [half, x], [total])
    g.node(op, [total, total] if op in PAIRS else [total], [new])
    g.node("ASSIGN_VARIABLE", [handle, new], [])
    g.outputs(old, new)
    return model.build()
