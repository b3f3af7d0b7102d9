"""Models of several nodes: chains, diamonds, shared and passed-through tensors, islands, control flow, state."""

from __future__ import annotations

import numpy as np

from tflgpu.conformance.cases.case import T
from tflgpu.conformance.cases.graph_case import SHAPE, F, graph, then
from tflgpu.model.builder import ModelBuilder


@graph("chain of element-wise")
def _chain(m: ModelBuilder) -> list[T]:
    g = m.graph()
    y = x = g.input("x", F, SHAPE)
    for op in ("ADD", "RELU", "MUL", "ABS", "SUB", "NEG", "MAXIMUM", "SQUARE"):
        y = then(g, op, [y, x] if op in ("ADD", "MUL", "SUB", "MAXIMUM") else [y])
    g.outputs(y)
    return [T(F, SHAPE)]


@graph("a sum that is reshaped and compared")
def _compared(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x, y = g.input("x", F, (3, 7)), g.input("y", F, (1, 7))
    total = then(g, "ADD", [x, y], (3, 7), fused_activation_function="RELU")
    flat = then(g, "RESHAPE", [total, g.constant("s", np.array([21], np.int32))], (21,), new_shape=[21])
    g.outputs(then(g, "LESS", [flat, g.constant("one", np.float32(1))], (21,), "BOOL"))
    return [T(F, (3, 7)), T(F, (1, 7))]


@graph("diamond")
def _diamond(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, SHAPE)
    top = then(g, "RELU", [x])
    left, right = then(g, "NEG", [top]), then(g, "SQUARE", [top])
    g.outputs(then(g, "ADD", [left, right]))
    return [T(F, SHAPE)]


@graph("wide fan-out and join")
def _fan(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, (3, 5))
    arms = [then(g, op, [x], (3, 5)) for op in ("ABS", "NEG", "RELU", "SQUARE", "FLOOR", "RELU6", "ROUND", "CEIL")]
    g.outputs(then(g, "CONCATENATION", arms, (3, 40), axis=1))
    return [T(F, (3, 5))]


@graph("an input twice")
def _twice(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, SHAPE)
    g.outputs(then(g, "MUL", [x, x]))
    return [T(F, SHAPE)]


@graph("an input shared by two nodes")
def _shared(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x, y = g.input("x", F, SHAPE), g.input("y", F, SHAPE)
    g.outputs(then(g, "ADD", [x, y]), then(g, "SUB", [x, y]))
    return [T(F, SHAPE), T(F, SHAPE)]


@graph("an input that is an output")
def _passed(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, SHAPE)
    g.outputs(x, then(g, "ABS", [x]))
    return [T(F, SHAPE)]


@graph("an output twice")
def _output_twice(m: ModelBuilder) -> list[T]:
    g = m.graph()
    y = then(g, "ABS", [g.input("x", F, SHAPE)])
    g.outputs(y, y)
    return [T(F, SHAPE)]


@graph("an inner tensor that is an output")
def _inner_output(m: ModelBuilder) -> list[T]:
    g = m.graph()
    a = then(g, "RELU", [g.input("x", F, SHAPE)])
    b = then(g, "NEG", [a])
    g.outputs(a, b, then(g, "ADD", [a, b]))
    return [T(F, SHAPE)]


@graph("a node that nobody reads")
def _unread(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, SHAPE)
    then(g, "SQUARE", [x])
    g.outputs(then(g, "ABS", [x]))
    return [T(F, SHAPE)]


@graph("an input that nobody reads")
def _unread_input(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, SHAPE)
    g.input("y", F, (5,))
    g.outputs(then(g, "ABS", [x]))
    return [T(F, SHAPE), T(F, (5,))]


@graph("constant folding: an arm of constants")
def _folded(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, SHAPE)
    c = g.constant("c", np.arange(4, dtype=np.float32))
    g.outputs(then(g, "ADD", [x, then(g, "NEG", [c], (4,))]))
    return [T(F, SHAPE)]


@graph("constant folding: a constant that is an output")
def _constant_output(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, SHAPE)
    c = g.constant("c", np.arange(4, dtype=np.float32))
    n = then(g, "NEG", [c], (4,))
    g.outputs(then(g, "ADD", [x, n]), n)
    return [T(F, SHAPE)]


@graph("constant folding: a shape from SHAPE")
def _shape_of(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, SHAPE)
    flat = then(g, "RESHAPE", [x, g.constant("s", np.array([6, 4], np.int32))], (6, 4), new_shape=[6, 4])
    shape = then(g, "SHAPE", [x], (3,), "INT32", out_type="INT32")
    g.outputs(then(g, "RESHAPE", [then(g, "ABS", [flat], (6, 4)), shape], SHAPE))
    return [T(F, SHAPE)]


@graph("reshapes at both ends and between")
def _reshapes(m: ModelBuilder) -> list[T]:
    g = m.graph()
    y = g.input("x", F, SHAPE)
    for k, shape in enumerate(((6, 4), (24,), (2, 12), (4, 6))):
        y = then(g, "RESHAPE", [y, g.constant(f"s{k}", np.array(shape, np.int32))], shape, new_shape=list(shape))
        if k % 2:
            y = then(g, "NEG", [y], shape)
    last = then(g, "RESHAPE", [y, g.constant("s", np.array((24,), np.int32))], (24,), new_shape=[24])
    g.outputs(y, last)
    return [T(F, SHAPE)]


@graph("quantize and dequantize island", "int8")
def _island(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, SHAPE)
    quantization = {"scale": 0.05, "zero_point": 3}
    inner = then(g, "QUANTIZE", [x], SHAPE, "INT8", **quantization)
    total = then(g, "ADD", [inner, inner], SHAPE, "INT8", scale=0.1, zero_point=-4, version=2)
    clipped = then(g, "RELU", [total], SHAPE, "INT8", scale=0.1, zero_point=-4, version=2)
    back = then(g, "DEQUANTIZE", [clipped], version=2)
    g.outputs(then(g, "MUL", [back, x]))
    return [T(F, SHAPE)]


@graph("two islands of quantized values with a requantization", "int8")
def _two_islands(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", "INT8", (1, 4, 4, 3), scale=0.05, zero_point=3)
    pooled = then(
        g, "MAX_POOL_2D", [x], (1, 2, 2, 3), "INT8", scale=0.05, zero_point=3, version=2,
        padding="VALID", stride_w=2, stride_h=2, filter_width=2, filter_height=2,
    )  # fmt: skip
    other = then(g, "QUANTIZE", [pooled], (1, 2, 2, 3), "UINT8", scale=0.02, zero_point=100, version=2)
    g.outputs(then(g, "DEQUANTIZE", [other], (1, 2, 2, 3)), pooled)
    return [T("INT8", (1, 4, 4, 3))]


@graph("convolutions with a residual")
def _residual(m: ModelBuilder) -> list[T]:
    g = m.graph()
    rng = np.random.default_rng(5)
    shape = (1, 6, 5, 4)
    x = y = g.input("x", F, shape)
    for k in range(2):
        w = g.constant(f"w{k}", rng.normal(size=(4, 3, 3, 4)).astype(np.float32))
        b = g.constant(f"b{k}", rng.normal(size=4).astype(np.float32))
        y = then(
            g, "CONV_2D", [y, w, b], shape, padding="SAME", stride_w=1, stride_h=1, fused_activation_function="RELU"
        )
    g.outputs(then(g, "ADD", [x, y], shape))
    return [T(F, shape)]


@graph("attention")
def _attention(m: ModelBuilder) -> list[T]:
    g = m.graph()
    qk, v = [g.input(n, F, (2, 5, 8)) for n in "qk"], g.input("v", F, (2, 5, 8))
    scores = then(g, "BATCH_MATMUL", qk, (2, 5, 5), adj_y=True)
    scaled = then(g, "MUL", [scores, g.constant("c", np.float32(0.35))], (2, 5, 5))
    weights = then(g, "SOFTMAX", [scaled], (2, 5, 5), beta=1.0)
    g.outputs(then(g, "BATCH_MATMUL", [weights, v], (2, 5, 8)))
    return [T(F, (2, 5, 8), "unit")] * 3


@graph("alternating with an operator of the CPU")
def _alternating(m: ModelBuilder) -> list[T]:
    g = m.graph()
    y = g.input("x", F, (7,))
    for _ in range(3):
        y = then(g, "ABS", [y], (7,))
        # UNIQUE and its kin stay on every CPU; BUCKETIZE has no kernel on any GPU either.
        steps = then(g, "BUCKETIZE", [y], (7,), "INT32", boundaries=[0.5, 1.0, 2.0])
        y = then(g, "ADD", [y, then(g, "CAST", [steps], (7,), in_data_type="INT32", out_data_type=F)], (7,))
    g.outputs(y)
    return [T(F, (7,))]


@graph("many outputs of one node")
def _many(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x = g.input("x", F, (2, 6))
    pieces = [g.tensor(f"p{k}", F, (2, 2)) for k in range(3)]
    g.node("SPLIT", [g.constant("axis", np.int32(1)), x], pieces, num_splits=3)
    g.outputs(pieces[2], then(g, "ADD", [pieces[0], pieces[1]], (2, 2)))
    return [T(F, (2, 6))]


@graph("an empty tensor between nodes")
def _empty(m: ModelBuilder) -> list[T]:
    g = m.graph()
    y = g.input("x", F, (0, 4))
    for op in ("ABS", "NEG", "SQUARE"):
        y = then(g, op, [y], (0, 4))
    rows = g.input("rows", F, (2, 4))
    g.outputs(then(g, "CONCATENATION", [y, rows], (2, 4), axis=0))
    return [T(F, (0, 4)), T(F, (2, 4))]


@graph("sixty nodes in a row")
def _sixty(m: ModelBuilder) -> list[T]:
    g = m.graph()
    y = g.input("x", F, (5, 7))
    for k in range(60):
        y = then(g, ("NEG", "ABS", "RELU6")[k % 3] if k % 5 else "NEG", [y], (5, 7))
    g.outputs(y)
    return [T(F, (5, 7))]


@graph("comparisons that choose")
def _choose(m: ModelBuilder) -> list[T]:
    g = m.graph()
    x, y = g.input("x", F, SHAPE), g.input("y", F, (4,))
    more = then(g, "GREATER", [x, y], SHAPE, "BOOL")
    g.outputs(then(g, "SELECT_V2", [more, x, y]), then(g, "LOGICAL_NOT", [more], SHAPE, "BOOL"))
    return [T(F, SHAPE), T(F, (4,))]
