"""Models that have a bit of everything a file can hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import DimensionMetadata, Sparsity

CSR = Sparsity(
    (0, 1),
    (),
    (
        DimensionMetadata("DENSE", 2),
        DimensionMetadata("SPARSE_CSR", 0, np.array([0, 1, 3], np.uint8), np.array([1, 0, 2], np.uint16)),
    ),
)
"""[[0, a, 0], [b, 0, c]]"""


ATTRIBUTES = bytes(flexbuffers.Dumps({"kind": "magnitude"}))


def small() -> bytes:
    """One node with two inputs, one of them a constant."""
    model = ModelBuilder("small")
    graph = model.graph()
    x = graph.input("x", "FLOAT32", [2, 3], shape_signature=[-1, 3])
    y = graph.tensor("y", "FLOAT32", [2, 3])
    graph.node("ADD", [x, graph.constant("c", np.arange(3, dtype=np.float32))], [y], fused_activation_function="RELU6")
    graph.outputs(y)
    return model.build()


def rich(*, external: bool = False) -> bytes:
    """Four graphs; quantized, 4-bit, sparse, blockwise, string and variable tensors; both unions of options."""
    model = ModelBuilder("rich")
    main, cond, body, inside = (model.graph(name) for name in ("main", "cond", "body", "inside"))

    x = main.input("x", "INT8", [1, 4], scale=0.5, zero_point=3)
    weights = main.constant("weights", [[1, -2, 3, -4], [7, -8, 0, 5]], type="INT4", scale=[0.5, 0.25])
    bias = main.constant("bias", np.array([1, -1], np.int32), scale=[0.25, 0.125])
    y = main.tensor("y", "INT8", [1, 2], scale=0.75, zero_point=-1)
    main.node("FULLY_CONNECTED", [x, weights, bias], [y], version=12, fused_activation_function="RELU")
    real = main.tensor("real", "FLOAT32", [1, 2])
    main.node("DEQUANTIZE", [y], [real], version=2)
    state = main.tensor("state", "FLOAT32", [1, 2], is_variable=True)
    summed = main.tensor("summed", "FLOAT32", [1, 2])
    main.node("ADD", [real, state], [summed])
    looped = main.tensor("looped", "FLOAT32", [1, 2])
    main.node("WHILE", [summed], [looped], cond_subgraph_index=cond.index, body_subgraph_index=body.index)
    composed = main.tensor("composed", "FLOAT32", [1, 2])
    main.node(
        "STABLEHLO_COMPOSITE",
        [looped],
        [composed],
        name="tests.abs",
        decomposition_subgraph_index=inside.index,
        composite_attributes=ATTRIBUTES,
    )
    strings = main.constant("strings", np.array([b"one", "zw\u00f6lf", b""], object))
    column = main.tensor("column", "STRING", [3, 1])
    main.node("RESHAPE", [strings, main.constant("shape", np.array([3, 1], np.int32))], [column], new_shape=[3, 1])
    sparse = main.constant("sparse", np.array([1, 2, 3], np.float32), sparsity=CSR, shape=[2, 3])
    dense = main.tensor("dense", "FLOAT32", [2, 3])
    main.node("DENSIFY", [sparse], [dense])
    scales = main.constant("scales", np.array([[0.5, 0.25], [1, 2]], np.float16))
    details = ("BlockwiseQuantization", {"scales": scales, "zero_points": -1, "block_size": 32})
    main.constant("blocks", np.ones((2, 64), np.int8), type="INT4", quantization={"details": details})
    main.outputs(composed, column, dense)

    a = cond.input("a", "FLOAT32", [1, 2])
    total, small = cond.tensor("total", "FLOAT32", []), cond.tensor("small", "BOOL", [])
    cond.node("SUM", [a, cond.constant("axes", np.array([0, 1], np.int32))], [total])
    cond.node("LESS", [total, cond.constant("limit", np.float32(40))], [small])
    cond.outputs(small)

    b = body.input("b", "FLOAT32", [1, 2])
    more = body.tensor("more", "FLOAT32", [1, 2])
    body.node("ADD", [b, body.constant("step", np.float32(3.5))], [more])
    body.outputs(more)

    c = inside.input("c", "FLOAT32", [1, 2])
    magnitude = inside.tensor("magnitude", "FLOAT32", [1, 2])
    inside.node("ABS", [c], [magnitude])
    inside.outputs(magnitude)

    model.signature("serving_default", main, {"x": x}, {"y": composed, "s": column, "d": dense})
    model.signature("step", body, {"b": b}, {"more": more})
    model.metadata("note", b"what this is")
    return model.build(external=external)


def chain(*ops: str, shape: tuple[int, ...] = (2, 3), bias: Any = None) -> bytes:
    """x -> op(x, x) -> op(.., x) -> …; the last tensor is the output. bias: a constant instead of the second x."""
    m = ModelBuilder()
    g = m.graph()
    x = value = g.input("x", "FLOAT32", shape)
    other = x if bias is None else g.constant("bias", bias)
    for number, op in enumerate(ops):
        made = g.tensor(f"t{number}", "FLOAT32", shape)
        g.node(op, [value, other] if op in ("ADD", "MUL") else [value], [made])
        value = made
    g.outputs(value)
    return m.build()


MIXED = chain("ADD", "ADD", "NEG", "ADD", "MUL")


def around_a_tile(last: str) -> bytes:
    """An ADD in front of a TILE whose multiples are an input, and `last` after it: op(y, y)."""
    m = ModelBuilder()
    g = m.graph()
    x, n = g.input("x", "FLOAT32", [2]), g.input("n", "INT32", [1])
    before, tiled, after = (g.tensor(name, "FLOAT32", [2]) for name in ("a", "t", "b"))
    g.node("ADD", [x, x], [before])
    g.node("TILE", [before, n], [tiled])
    g.node(last, [tiled, tiled], [after])
    g.outputs(after)
    return m.build()
