"""Random operators: seeded, they give LiteRT's very numbers; unseeded, the right distribution."""

import numpy as np
import pytest
from oracle import assert_same

import tflgpu
from tflgpu.model.builder import ModelBuilder


def drawing(op, shape, seed, seed2):
    m = ModelBuilder()
    g = m.graph()
    s = g.constant("shape", np.array(shape, np.int32))
    y = g.tensor("y", "FLOAT32", shape)
    g.node(op, [s], [y], seed=seed, seed2=seed2)
    g.outputs(y)
    return m.build()


def invoked(interpreter, times, *inputs):
    interpreter.allocate_tensors()
    results = []
    for _ in range(times):
        for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return results


@pytest.mark.parametrize("op", ["RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL"])
@pytest.mark.parametrize("shape", [(3, 7), (1,), (2, 0), (5, 13, 2)])
def test_seeded_stream_is_litert_s(op, shape):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    data = drawing(op, shape, 1234567, 2**40 + 5)
    assert_same(invoked(tflgpu.Interpreter(model_content=data), 3), invoked(litert.Interpreter(model_content=data), 3))


def test_seeded_multinomial_is_litert_s():
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    m = ModelBuilder()
    g = m.graph()
    x = g.input("logits", "FLOAT32", [2, 5])
    n = g.constant("n", np.array(11, np.int32))
    y = g.tensor("y", "INT64", [2, 11])
    g.node("MULTINOMIAL", [x, n], [y], seed=17, seed2=3)
    g.outputs(y)
    logits = np.array([[0.1, 1, 2, -1, np.inf], [3, 1, 1, 1, -5]], np.float32)
    ours = invoked(tflgpu.Interpreter(model_content=m.build()), 3, logits)
    assert_same(ours, invoked(litert.Interpreter(model_content=m.build()), 3, logits))
    assert not np.array_equal(ours[0], ours[1])


def test_unseeded_numbers_differ_and_have_the_right_distribution():
    data = drawing("RANDOM_UNIFORM", (100000,), 0, 0)
    first, second = (invoked(tflgpu.Interpreter(model_content=data), 1)[0] for _ in range(2))
    assert not np.array_equal(first, second)
    assert first.min() >= 0 and first.max() < 1
    # 100,000 draws: the mean's standard deviation is 0.0009; six of them.
    assert abs(first.mean() - 0.5) < 0.0055 and abs(first.var() - 1 / 12) < 0.002


@pytest.mark.parametrize("algorithm, words", [("THREEFRY", 2), ("PHILOX", 2), ("PHILOX", 3), ("DEFAULT", 3)])
@pytest.mark.parametrize("type, shape", [("INT32", (5, 3)), ("UINT64", (7,)), ("INT64", (1,)), ("UINT32", (0,))])
def test_bit_generator_is_litert_s(algorithm, words, type, shape):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    m = ModelBuilder()
    g = m.graph()
    s = g.input("state", "UINT64", [words])
    after = g.tensor("after", "UINT64", [words])
    y = g.tensor("y", type, shape)
    g.node("STABLEHLO_RNG_BIT_GENERATOR", [s], [after, y], algorithm=algorithm)
    g.outputs(after, y)
    state = np.array([0x123456789ABCDEF0, 0x00000000FFFFFFFE, 77][:words], np.uint64)
    results = []
    for interpreter in (tflgpu.Interpreter(model_content=m.build()), litert.Interpreter(model_content=m.build())):
        invoked(interpreter, 1, state)
        # LiteRT cannot hand out an empty tensor.
        results.append([interpreter.get_tensor(i) for i in (after, y)[: 1 + (0 not in shape)]])
    assert_same(*results)
