"""REDUCE_WINDOW and STABLEHLO_REDUCE_WINDOW against LiteRT."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracle import assert_same, litert, one_op, tflgpu_run

from tflgpu.model.builder import ModelBuilder

NUMPY = {
    "FLOAT32": "f4",
    "FLOAT64": "f8",
    "INT8": "i1",
    "UINT8": "u1",
    "INT16": "i2",
    "INT32": "i4",
    "INT64": "i8",
    "BOOL": "?",
}
FUNCTIONS = ("ADD", "MUL", "MINIMUM", "MAXIMUM", "ALL", "ANY")
BODIES = {
    "ADD": "ADD",
    "MUL": "MUL",
    "MINIMUM": "MINIMUM",
    "MAXIMUM": "MAXIMUM",
    "ALL": "LOGICAL_AND",
    "ANY": "LOGICAL_OR",
}


def agree(data, inputs, **tolerance):
    assert_same(tflgpu_run(data, inputs), litert(data, inputs), **tolerance)


def numbers(type, shape, seed=0):
    dtype = np.dtype(NUMPY[type])
    return np.random.default_rng(seed).integers(0, 2 if dtype.kind == "b" else 90, shape).astype(dtype)


def window(type, shape, init, size, strides, dilations, function):
    ins = [{"type": type, "shape": shape}, np.array(init, NUMPY[type])]
    ins += [np.array(v, "i8") for v in (size, strides, dilations)]
    return one_op("REDUCE_WINDOW", ins, [{"type": type, "shape": [1] * len(shape)}], reduce_function=function)


# TensorFlow Lite writes the byte 2 for true + true; tflgpu writes true.
COMBINATIONS = [(t, f) for t in NUMPY for f in FUNCTIONS if (t, f) != ("BOOL", "ADD")]


@pytest.mark.parametrize("type, function", COMBINATIONS)
def test_every_type_and_function(type, function):
    x = numbers(type, (7, 9))
    agree(window(type, x.shape, 1, (3, 2), (2, 3), (1, 2), function), [x], rtol=1e-5)


def test_a_sum_of_booleans_is_true_where_anything_is():
    x = np.array([True, True, False, False])
    [got] = tflgpu_run(window("BOOL", (4,), False, (2,), (1,), (1,), "ADD"), [x])
    assert got.tolist() == [True, True, False]


def test_nan_wins_only_where_it_comes_last():
    x = np.array([np.nan, 1, 2, np.nan, np.nan, 0], "f4")
    for function in ("MAXIMUM", "MINIMUM"):
        agree(window("FLOAT32", x.shape, 0, (2,), (1,), (1,), function), [x])


def test_a_window_larger_than_the_input_gives_nothing():
    [got] = tflgpu_run(window("FLOAT32", (2, 3), 0, (3, 1), (1, 1), (1, 1), "ADD"), [np.ones((2, 3), "f4")])
    assert got.shape == (0, 3)


def stablehlo(type, shape, init, body, **options):
    model = ModelBuilder()
    main, inner = model.graph(), model.graph("body")
    x = main.input("x", type, shape)
    y = main.tensor("y", type, [1] * len(shape))
    start = main.constant("init", np.array(init, NUMPY[type]))
    main.node("STABLEHLO_REDUCE_WINDOW", [x, start], [y], body_subgraph_index=1, **options)
    main.outputs(y)
    a, b = inner.input("a", type, []), inner.input("b", type, [])
    out = inner.tensor("out", type, [])
    inner.node(body, [a, b], [out])
    inner.outputs(out)
    return model.build()


@st.composite
def windows(draw):
    rank = draw(st.integers(1, 3))

    def each(low, high):
        return draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    options = {
        "window_dimensions": each(1, 3),
        "window_strides": each(1, 2),
        "base_dilations": each(1, 3),
        "window_dilations": each(1, 2),
        "padding": [draw(st.integers(-2, 3)) for _ in range(2 * rank)],
    }
    return each(2, 5), options, draw(st.integers(0, 99))


def padded(shape, options):
    """The input's shape after dilation and padding, and that of what negative padding leaves of the dilated input."""
    low, high = options["padding"][::2], options["padding"][1::2]
    spread = [(n - 1) * d + 1 for n, d in zip(shape, options["base_dilations"], strict=True)]
    left = [n + min(a, 0) + min(b, 0) for n, a, b in zip(spread, low, high, strict=True)]
    return [n + a + b for n, a, b in zip(spread, low, high, strict=True)], left


@pytest.mark.parametrize("function", ["ADD", "MAXIMUM"])
@settings(max_examples=30, derandomize=True, deadline=None)
@given(windows())
def test_stablehlo_dilates_pads_and_crops(function, case):
    shape, options, seed = case
    whole, left = padded(shape, options)
    assume(min(left) > 0 and min(whole) > 0)
    agree(stablehlo("INT32", shape, 3, BODIES[function], **options), [numbers("INT32", shape, seed)])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_body(function):
    type = "BOOL" if function in ("ALL", "ANY") else "FLOAT32"
    ones = {"window_strides": [1, 1], "base_dilations": [1, 1], "window_dilations": [1, 1], "padding": [1, 0, 0, 1]}
    data = stablehlo(type, [4, 5], 1, BODIES[function], window_dimensions=[2, 2], **ones)
    agree(data, [numbers(type, (4, 5))])


def test_an_unknown_body_and_an_empty_input_are_refused():
    ones = {"window_strides": [1], "base_dilations": [1], "window_dilations": [1], "window_dimensions": [2]}
    with pytest.raises(RuntimeError, match="unsupported reduction body SUB"):
        tflgpu_run(stablehlo("FLOAT32", [4], 0, "SUB", padding=[0, 0], **ones), [np.zeros(4, "f4")])
    with pytest.raises(RuntimeError, match="gives an empty tensor"):
        tflgpu_run(stablehlo("FLOAT32", [4], 0, "ADD", padding=[-2, -2], **ones), [np.zeros(4, "f4")])
