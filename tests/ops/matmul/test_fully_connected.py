"""FULLY_CONNECTED against LiteRT's reference resolver; where that is broken, against the one that the test names."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from fully_connected_models import DEPTH, UNITS, F, blockwise, quantized, same, values
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, litert, one_op, tflgpu_run

from tflgpu.model.builder import ModelBuilder
from tflgpu.ops.matmul.integer_matmul import IntegerMatrix


@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("bias", [True, False])
def test_float_layers_follow_the_reference(activation: str, bias: bool) -> None:
    random = np.random.default_rng(5)
    inputs: list[Any] = [{"type": "FLOAT32", "shape": [3, 7]}, random.standard_normal((5, 7)).astype(F)]
    inputs += [random.standard_normal(5).astype(F)] if bias else [None]
    outputs = [{"type": "FLOAT32", "shape": [3, 5]}]
    data = one_op("FULLY_CONNECTED", inputs, outputs, fused_activation_function=activation)
    # The order of a sum is the BLAS's own.
    same(data, random.standard_normal((3, 7)).astype(F), rtol=1e-5, atol=1e-5)


def test_an_infinity_becomes_the_largest_float_in_the_float_kernel() -> None:
    data = one_op(
        "FULLY_CONNECTED",
        [{"type": "FLOAT32", "shape": [1, 1]}, np.ones((2, 1), F), None],
        [{"type": "FLOAT32", "shape": [1, 2]}],
    )
    same(data, np.full((1, 1), np.inf, F))


def test_weights_may_be_computed() -> None:
    data = one_op(
        "FULLY_CONNECTED",
        [{"type": "FLOAT32", "shape": [2, 3]}, {"type": "FLOAT32", "shape": [4, 3]}, None],
        [{"type": "FLOAT32", "shape": [2, 4]}],
    )
    random = np.random.default_rng(2)
    x, w = random.standard_normal((2, 3)).astype(F), random.standard_normal((4, 3)).astype(F)
    same(data, x, w, rtol=1e-5, atol=1e-5)


def test_int8_weights_may_be_computed() -> None:
    spec = {"type": "INT8", "scale": F(0.1)}
    data = one_op(
        "FULLY_CONNECTED",
        [{**spec, "shape": [2, 3]}, {**spec, "shape": [4, 3]}, None],
        [{**spec, "shape": [2, 4]}],
        version=6,
    )
    random = np.random.default_rng(2)
    same(data, values(random, "INT8", (2, 3)), values(random, "INT8", (4, 3)))


@pytest.mark.parametrize("keep_num_dims", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, DEPTH), (1, 1, 1, DEPTH), (DEPTH,)])
def test_leading_dimensions_are_flattened_unless_keep_num_dims(keep_num_dims: bool, shape: tuple[int, ...]) -> None:
    same(*quantized("INT8", "INT8", "INT8", shape=shape, keep_num_dims=keep_num_dims))


def test_an_input_of_other_width_is_cut_into_rows_of_the_weights() -> None:
    same(*quantized("INT8", "INT8", "INT8", shape=(2, 2, DEPTH // 2)))


def test_the_number_of_rows_follows_a_resized_input() -> None:
    data, _ = quantized("INT8", "INT8", "INT8")
    same(data, values(np.random.default_rng(1), "INT8", (13, DEPTH)))


@pytest.mark.parametrize("weight_type", ["INT8", "INT4", "INT2"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bias", ["INT32", None])
def test_int8_layers_rescale_in_double_as_the_reference(weight_type: str, per_channel: bool, bias: str | None) -> None:
    same(*quantized("INT8", weight_type, "INT8", bias=bias, per_channel=per_channel))


def test_a_zero_point_of_weights_counts_where_they_are_quantized_as_a_whole() -> None:
    same(*quantized("INT8", "INT8", "INT8", zeros=(-7, 9, 4)))


@pytest.mark.parametrize("activation", ["RELU", "RELU6", "RELU_N1_TO_1"])
@pytest.mark.parametrize("types", [("INT8", "INT8", "INT8"), ("UINT8", "UINT8", "UINT8")])
def test_quantized_activations_clamp_quantized_values(activation: str, types: tuple[str, str, str]) -> None:
    zeros = (100, 120, 50) if types[0] == "UINT8" else (3, 0, -5)
    same(*quantized(*types, zeros=zeros, fused_activation_function=activation))


@pytest.mark.parametrize("y_type", ["UINT8", "INT16"])
def test_uint8_layers_follow_the_reference(y_type: str) -> None:
    zeros = (100, 140, 0 if y_type == "INT16" else 77)
    same(*quantized("UINT8", "UINT8", y_type, zeros=zeros, y_scale=0.01 if y_type == "INT16" else None))


@pytest.mark.parametrize("per_channel", [False, True])
def test_int8_into_int16_reads_values_as_unsigned(per_channel: bool) -> None:
    same(*quantized("INT8", "INT8", "INT16", zeros=(3, 0, 0), per_channel=per_channel, y_scale=0.01))


@pytest.mark.parametrize("weight_type", ["INT8", "INT4", "INT2"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(
    ("bias", "option"), [("INT64", "FLOAT32"), ("INT64", "INT64"), ("INT32", "INT32"), (None, "FLOAT32")]
)
def test_int16_layers_follow_the_reference(weight_type: str, per_channel: bool, bias: str | None, option: str) -> None:
    kind: dict[str, Any] = {"bias": bias, "per_channel": per_channel, "quantized_bias_type": option}
    same(*quantized("INT16", weight_type, "INT16", zeros=(0, 0, 0), **kind))


def test_an_int32_bias_without_its_option_is_read_as_the_builtin_resolver_reads_it() -> None:
    # The reference reads int64 there, beyond the bias's end. The builtin kernel rescales in fixed point: off by 1.
    data, x = quantized("INT16", "INT8", "INT16", zeros=(0, 0, 0), bias="INT32")
    got, want = tflgpu_run(data, [x])[0], litert(data, [x], "BUILTIN_WITHOUT_DEFAULT_DELEGATES")[0]
    assert np.abs(got.astype(int) - want).max() <= 1


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(
    ("bias", "option"), [("INT32", "FLOAT32"), ("INT64", "FLOAT32"), ("INT64", "INT64"), (None, "FLOAT32")]
)
def test_int16_weights_are_rescaled_in_fixed_point(per_channel: bool, bias: str | None, option: str) -> None:
    kind: dict[str, Any] = {"bias": bias, "per_channel": per_channel, "quantized_bias_type": option, "y_scale": 0.9}
    data, x = quantized("INT16", "INT16", "INT16", zeros=(0, 0, 0), **kind)
    same(data, x)


@pytest.mark.parametrize("weight_type", ["INT8", "UINT8", "INT4", "INT2"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_hybrid_layers_follow_the_reference_to_the_bit(weight_type: str, per_channel: bool, asymmetric: bool) -> None:
    random = np.random.default_rng(4)
    scale = (random.random(UNITS if per_channel else 1) * 0.02).astype(F)
    weights = {"type": weight_type, "value": values(random, weight_type, (UNITS, DEPTH)), "scale": scale}
    data = one_op(
        "FULLY_CONNECTED",
        [{"type": "FLOAT32", "shape": [4, DEPTH]}, weights, random.standard_normal(UNITS).astype(F)],
        [{"type": "FLOAT32", "shape": [4, UNITS]}],
        version=14,
        asymmetric_quantize_inputs=asymmetric,
    )
    same(data, random.standard_normal((4, DEPTH)).astype(F), rtol=0, atol=0)


@pytest.mark.parametrize("activation", ["RELU", "RELU6", "RELU_N1_TO_1", "TANH", "SIGN_BIT"])
def test_hybrid_layers_take_every_activation(activation: str) -> None:
    random = np.random.default_rng(4)
    weights = {"type": "INT8", "value": values(random, "INT8", (UNITS, DEPTH)), "scale": F(0.02)}
    data = one_op(
        "FULLY_CONNECTED",
        [{"type": "FLOAT32", "shape": [4, DEPTH]}, weights, None],
        [{"type": "FLOAT32", "shape": [4, UNITS]}],
        version=3,
        fused_activation_function=activation,
    )
    same(data, random.standard_normal((4, DEPTH)).astype(F))


@pytest.mark.parametrize("bias", [False, True])
def test_blockwise_weights_follow_the_builtin_resolver(bias: bool) -> None:
    # The reference resolver yields zeros.
    x = np.random.default_rng(9).standard_normal((3, 64)).astype(F)
    same(blockwise(bias), x, resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES")


@pytest.mark.parametrize("rows", [1, 4])
def test_shuffled_weights_follow_the_reference(rows: int) -> None:
    random = np.random.default_rng(6)
    units, depth = 8, 32
    weights = {"type": "UINT8", "value": values(random, "UINT8", (units, depth)), "scale": F(0.01), "zero_point": 128}
    bias = {"type": "INT32", "value": random.integers(-900, 900, units).astype(np.int32), "scale": F(0.02) * F(0.01)}
    data = one_op(
        "FULLY_CONNECTED",
        [{"type": "UINT8", "shape": [rows, depth], "scale": F(0.02), "zero_point": 128}, weights, bias],
        [
            {"type": "INT16", "shape": [rows, units], "scale": F(0.0005), "zero_point": 0},
            {"type": "UINT8", "shape": [rows, depth], "scale": F(0.02), "zero_point": 128},
        ],
        version=2,
        weights_format="SHUFFLED4x16INT8",
    )
    x = values(random, "UINT8", (rows, depth))
    # The second output is upstream's workspace.
    assert_same(tflgpu_run(data, [x])[:1], litert(data, [x])[:1])


@pytest.mark.parametrize("x_type", ["INT8", "UINT8", "INT16", "FLOAT32"])
def test_large_layers_are_made_tile_by_tile_with_the_same_result(x_type: str) -> None:
    random = np.random.default_rng(12)
    rows, depth, units = 131, 233, 301
    weight_type = "UINT8" if x_type == "UINT8" else "INT8"
    is_float = x_type == "FLOAT32"
    zero = {"INT8": -9, "UINT8": 133}.get(x_type, 0)
    weights = {"type": weight_type, "value": values(random, weight_type, (units, depth)), "scale": F(0.01)}
    if x_type == "UINT8":
        weights["zero_point"] = 120
    x: dict[str, Any] = {"type": x_type, "shape": [rows, depth]}
    y: dict[str, Any] = {"type": x_type, "shape": [rows, units]}
    bias: dict[str, Any] = {"type": {"FLOAT32": "FLOAT32", "INT16": "INT64"}.get(x_type, "INT32")}
    bias["value"] = random.integers(-999, 999, units).astype(bias["type"].lower())
    if not is_float:
        x |= {"scale": F(0.02), "zero_point": zero}
        y |= {"scale": F(9.0 if x_type == "INT16" else 3.0), "zero_point": zero}
        bias["scale"] = F(0.02) * F(0.01)
    data = one_op("FULLY_CONNECTED", [x, weights, bias], [y], version=9, asymmetric_quantize_inputs=True)
    value = random.standard_normal((rows, depth)).astype(F) if is_float else values(random, x_type, (rows, depth))
    same(data, value, rtol=0, atol=0)


@pytest.mark.parametrize("hybrid", [False, True])
def test_layers_of_large_integer_weights_take_little_memory_beside_them(hybrid: bool) -> None:
    size, layers, rows = 512, 12, 64
    random = np.random.default_rng(13)
    kind: dict[str, Any] = {"type": "FLOAT32"} if hybrid else {"type": "INT8", "scale": F(0.1)}
    model = ModelBuilder()
    graph = model.graph()
    last = graph.input("x", kind.pop("type"), [rows, size], **kind)
    for i in range(layers):
        w = graph.constant(f"w{i}", values(random, "INT8", (size, size)), scale=F(0.001))
        y = graph.tensor(f"y{i}", "FLOAT32" if hybrid else "INT8", [rows, size], **kind)
        graph.node("FULLY_CONNECTED", [last, w, None], [y], version=4)
        last = y
    graph.outputs(last)
    data = model.build()
    x = np.ones((rows, size), F if hybrid else np.int8)
    tflgpu_run(data, [x])
    tracemalloc.start()
    try:
        tflgpu_run(data, [x])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Float copies of the weights alone would take four bytes an element.
    assert peak < layers * size * size


def test_no_columns_give_zeros() -> None:
    data = one_op(
        "FULLY_CONNECTED",
        [{"type": "FLOAT32", "shape": [2, 0]}, np.zeros((3, 0), F), np.ones(3, F)],
        [{"type": "FLOAT32", "shape": [2, 3]}],
    )
    same(data, np.zeros((2, 0), F))


def test_no_rows_give_no_rows() -> None:
    data, _ = quantized("INT8", "INT8", "INT8")
    same(data, np.zeros((0, DEPTH), np.int8))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (quantized("INT8", "INT8", "UINT8")[0], "not supported"),
        (quantized("INT8", "INT8", "INT8", fused_activation_function="TANH")[0], "TANH"),
        (quantized("INT16", "INT8", "INT16", zeros=(1, 0, 0))[0], "zero points"),
        (quantized("INT8", "INT4", "INT8", zeros=(0, 1, 0))[0], "zero-point"),
        (quantized("INT8", "INT8", "INT8", shape=(4, DEPTH // 2), keep_num_dims=True)[0], "columns"),
    ],
)
def test_what_does_not_fit_is_refused_when_tensors_are_allocated(data: bytes, words: str) -> None:
    from tflgpu import Interpreter

    with pytest.raises(RuntimeError, match=words):
        Interpreter(model_content=data).allocate_tensors()


@settings(max_examples=30, derandomize=True, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.sampled_from([(1, 1), (3, 257), (300, 300), (2, 1500)]),
    st.sampled_from(["INT8", "UINT8", "INT16"]),
    st.sampled_from([128, 255, 1 << 15]),
)
def test_integer_gemms_by_blas_are_exact(seed: int, rows: int, shape: tuple[int, int], type: str, largest: int) -> None:
    random = np.random.default_rng(seed)
    weights = values(random, type, shape)
    x = random.integers(-largest, largest + 1, (rows, shape[1]))
    matrix = IntegerMatrix(weights, rows, largest)
    product = matrix.multiply(x.astype(matrix.dtype))
    np.testing.assert_array_equal(product, x @ weights.astype(np.int64).T)
