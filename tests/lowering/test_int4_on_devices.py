"""Weights of 4 bits on devices: they stay packed, and give what LiteRT's builtin kernels give."""

from __future__ import annotations

import numpy as np
import pytest
from devices import DEVICES, TestedDevice, open_device
from oracle import Array, assert_same, litert, tflgpu_run

from tflgpu.interpreter import Interpreter
from tflgpu.model.builder import GraphBuilder, ModelBuilder

F = np.float32


@pytest.fixture(params=DEVICES, scope="module")
def device(request: pytest.FixtureRequest) -> TestedDevice:
    return open_device(request.param)


def table(graph: GraphBuilder, shape: tuple[int, int], block: int, half: bool = True) -> int:
    """A constant of 4-bit values, with a scale for each block of a row, or where block is 0 for each row."""
    random = np.random.default_rng(1)
    matrix = random.integers(-7, 8, shape).astype(np.int8)
    scale = (random.random((shape[0], shape[1] // (block or shape[1]))) * 0.1 + 0.01).astype(np.float16)
    if not block:
        zeros = np.zeros(shape[0], np.int64)
        return graph.constant("w", matrix, type="INT4", scale=scale.astype(F).ravel(), zero_point=zeros)
    by_block = graph.constant("scale", scale if half else scale.astype(F) * F(1.0001))
    details = ("BlockwiseQuantization", {"scales": by_block, "zero_points": -1, "block_size": block})
    return graph.constant("w", matrix, type="INT4", quantization={"details": details})


def layer(
    m: int, n: int, k: int, block: int = 0, half: bool = True, bias: bool = True, quantized: bool = False
) -> bytes:
    model = ModelBuilder()
    graph = model.graph()
    spec = {"scale": [0.05], "zero_point": [3]} if quantized else {}
    kind = "INT8" if quantized else "FLOAT32"
    x = graph.input("x", kind, [m, k], **spec)
    w = table(graph, (n, k), block, half)
    offsets = np.random.default_rng(2).standard_normal(n).astype(F)
    b = graph.constant("b", offsets) if bias and not quantized else None
    y = graph.tensor("y", kind, [m, n], **({"scale": [0.4], "zero_point": [-4]} if quantized else {}))
    graph.node("FULLY_CONNECTED", [x, w, b], [y], version=12, asymmetric_quantize_inputs=bias)
    graph.outputs(y)
    return model.build()


def floats(m: int, k: int) -> Array:
    return np.random.default_rng(m).standard_normal((m, k)).astype(F)


@pytest.mark.parametrize("m", [1, 3, 9])
@pytest.mark.parametrize("n, k, block", [(6, 64, 32), (100, 256, 32), (48, 128, 64)])
@pytest.mark.parametrize("half", [True, False], ids=["float16 scales", "float32 scales"])
def test_scales_by_block(device: TestedDevice, m: int, n: int, k: int, block: int, half: bool) -> None:
    data, x = layer(m, n, k, block, half, bias=m != 3), floats(m, k)
    # LiteRT reads scales as float16, which the others are not.
    want = litert(data, [x], "BUILTIN_WITHOUT_DEFAULT_DELEGATES") if half else tflgpu_run(data, [x])
    assert_same(device.run(data, [x]), want)


@pytest.mark.parametrize("m", [1, 3, 9])
@pytest.mark.parametrize("n, k", [(6, 64), (100, 256), (33, 20)])
@pytest.mark.parametrize("asymmetric", [True, False])
def test_scales_by_channel(device: TestedDevice, m: int, n: int, k: int, asymmetric: bool) -> None:
    data, x = layer(m, n, k, bias=asymmetric), floats(m, k)
    assert_same(device.run(data, [x]), litert(data, [x]))


@pytest.mark.parametrize("m", [1, 3, 9])
@pytest.mark.parametrize("n, k", [(6, 64), (100, 256), (33, 20)])
def test_quantized_values(device: TestedDevice, m: int, n: int, k: int) -> None:
    x = np.random.default_rng(3).integers(-128, 128, (m, k)).astype(np.int8)
    data = layer(m, n, k, quantized=True)
    assert_same(device.run(data, [x]), litert(data, [x]))


def tied(depth: int, block: int) -> bytes:
    """Rows of a table, and the scores of every row of it: a language model's first layer and last."""
    model = ModelBuilder()
    graph = model.graph()
    ids = graph.input("ids", "INT32", [4])
    w = table(graph, (50, depth), block)
    rows, scores = graph.tensor("rows", "FLOAT32", [4, depth]), graph.tensor("scores", "FLOAT32", [4, 50])
    graph.node("EMBEDDING_LOOKUP", [ids, w], [rows], version=5)
    graph.node("FULLY_CONNECTED", [rows, w, None], [scores], version=12)
    graph.outputs(rows, scores)
    return model.build()


@pytest.mark.parametrize("depth, block", [(64, 32), (24, 0)])
def test_rows_of_a_table_that_is_also_a_layers_weights(device: TestedDevice, depth: int, block: int) -> None:
    data, ids = tied(depth, block), np.array([49, 0, 17, 3], np.int32)
    assert_same(device.run(data, [ids]), litert(data, [ids], "BUILTIN_WITHOUT_DEFAULT_DELEGATES"))


@pytest.mark.parametrize("row", [-1, 50])
def test_a_row_outside_of_the_table_is_an_error(row: int) -> None:
    device = open_device("Intel")
    with pytest.raises(RuntimeError, match="Embedding Lookup: index out of bounds"):
        device.run(tied(64, 32), [np.array([row, 0, 0, 0], np.int32)])


def test_weights_take_half_a_byte_on_the_device(device: TestedDevice) -> None:
    n, k = 960, 1024
    data = layer(1, n, k, 32)
    before = device.delegate.memory().nbytes
    interpreter = Interpreter(model_content=data, experimental_delegates=[device.delegate])
    interpreter.allocate_tensors()
    held, activations = device.delegate.memory().nbytes - before, 4 * (n + k)
    assert n * k / 2 < held <= 1.1 * (len(data) + activations)
