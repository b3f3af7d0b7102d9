"""Small models for the tests of serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tflgpu.model.builder import ModelBuilder


def with_random_rows(rows: int, columns: int) -> Any:
    """Small whole numbers, as float32, of which every sum is exact."""
    return np.random.default_rng(rows).integers(-8, 8, (rows, columns)).astype(np.float32)


def unary(op: str, type: str, shape: Sequence[int], result: Sequence[int] | None = None, **options: Any) -> bytes:
    """x to y by one node, with the signature serving_default."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", type, shape)
    y = g.tensor("y", type, shape if result is None else result)
    g.node(op, [x], [y], **options)
    g.outputs(y)
    m.signature("serving_default", g, inputs={"x": x}, outputs={"y": y})
    return m.build()


def negated_floats(shape: Sequence[int]) -> bytes:
    return unary("NEG", "FLOAT32", shape)


def classifier(batch: int = 1) -> bytes:
    """x (batch, 4) to y (batch, 3): a matrix of whole numbers, whose sums are exact."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [batch, 4])
    weights = g.constant("weights", np.arange(12, dtype=np.float32).reshape(3, 4))
    y = g.tensor("y", "FLOAT32", [batch, 3])
    g.node("FULLY_CONNECTED", [x, weights], [y])
    g.outputs(y)
    return m.build()


def rows_that_mix(batch: int = 1) -> bytes:
    """Running sums over the rows: a batch of several is not its rows."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [batch, 4])
    y = g.tensor("y", "FLOAT32", [batch, 4])
    g.node("CUMSUM", [x, g.constant("axis", np.array(0, np.int32))], [y], reverse=True)
    g.outputs(y)
    return m.build()


def carried() -> bytes:
    """y is the sum of all x so far, which a variable keeps."""
    m = ModelBuilder()
    g, once = m.graph(), m.graph("once")
    start = once.tensor("start", "RESOURCE", [1])
    once.node("VAR_HANDLE", [], [start], container="", shared_name="sum")
    once.node("ASSIGN_VARIABLE", [start, once.constant("zero", np.zeros((1, 4), np.float32))], [])
    x = g.input("x", "FLOAT32", [1, 4])
    g.node("CALL_ONCE", [], [], init_subgraph_index=once.index)
    handle = g.tensor("handle", "RESOURCE", [1])
    g.node("VAR_HANDLE", [], [handle], container="", shared_name="sum")
    before, y = (g.tensor(name, "FLOAT32", [1, 4]) for name in ("before", "y"))
    g.node("READ_VARIABLE", [handle], [before])
    g.node("ADD", [x, before], [y])
    g.node("ASSIGN_VARIABLE", [handle, y], [])
    g.outputs(y)
    return m.build()


def averaged_images(batch: int = 1) -> bytes:
    """x (batch, 4, 4, 3), images, to y (batch, 3): the means of their channels."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [batch, 4, 4, 3])
    y = g.tensor("y", "FLOAT32", [batch, 3])
    g.node("MEAN", [x, g.constant("axes", np.array([1, 2], np.int32))], [y], keep_dims=False)
    g.outputs(y)
    return m.build()


def passed_through(type: str) -> bytes:
    """x (1,) of any type, to y."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", type, [1])
    y = g.tensor("y", type, [1])
    g.node("RESHAPE", [x, g.constant("shape", np.array([-1], np.int32))], [y])
    g.outputs(y)
    return m.build()


def two_signatures() -> bytes:
    """x (1, 4) to y: negate and double."""
    m = ModelBuilder()
    for key in ("negate", "double"):
        g = m.graph(key)
        x, y = g.input("x", "FLOAT32", [1, 4]), g.tensor("y", "FLOAT32", [1, 4])
        g.node(*(("NEG", [x], [y]) if key == "negate" else ("ADD", [x, x], [y])))
        g.outputs(y)
        m.signature(key, g, inputs={"x": x}, outputs={"y": y})
    return m.build()


def looked_up() -> bytes:
    """x (1, 1), indices of [0, 10, 20], to y: those below 0 and beyond 2 are errors."""
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "INT32", [1, 1]), g.tensor("y", "INT32", [1, 1])
    g.node("GATHER", [g.constant("table", np.array([0, 10, 20], np.int32)), x], [y], axis=0)
    g.outputs(y)
    return m.build()


def slow() -> bytes:
    """x (1, 2048) to y through many GEMMs, which take some tenths of a second."""
    m = ModelBuilder()
    g = m.graph()
    last = g.input("x", "FLOAT32", [1, 2048])
    weights = g.constant("weights", np.zeros((2048, 2048), np.float32))
    for number in range(20):
        y = g.tensor(f"y{number}" if number < 19 else "y", "FLOAT32", [1, 2048])
        g.node("FULLY_CONNECTED", [last, weights], [y])
        last = y
    g.outputs(last)
    return m.build()


def wide() -> bytes:
    """x (1, 4) to y (1, 50000): a file larger than a pipe takes at once."""
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "FLOAT32", [1, 4]), g.tensor("y", "FLOAT32", [1, 50000])
    g.node("FULLY_CONNECTED", [x, g.constant("weights", np.ones((50000, 4), np.float32))], [y])
    g.outputs(y)
    return m.build()


def summed() -> bytes:
    """x (1, 4) to y, a scalar."""
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "FLOAT32", [1, 4]), g.tensor("y", "FLOAT32", [])
    g.node("SUM", [x, g.constant("axes", np.array([0, 1], np.int32))], [y], keep_dims=False)
    g.outputs(y)
    return m.build()


def counted() -> bytes:
    """x (1, 1) to y (1, x): the numbers below x, as many as it says."""
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "INT32", [1, 1]), g.tensor("y", "INT32", [1, 1])
    limit, numbers = g.tensor("limit", "INT32", []), g.tensor("numbers", "INT32", [0])
    g.node("RESHAPE", [x, g.constant("scalar", np.zeros(0, np.int32))], [limit])
    start, step = (g.constant(f"{value}", np.array(value, np.int32)) for value in (0, 1))
    g.node("RANGE", [start, limit, step], [numbers])
    g.node("RESHAPE", [numbers, g.constant("row", np.array([1, -1], np.int32))], [y])
    g.outputs(y)
    return m.build()
