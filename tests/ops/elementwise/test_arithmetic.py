"""Quantized arithmetic and comparisons: every pair of 8-bit values against LiteRT's reference resolver."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import one_op, tflgpu_run
from single_op import refused_by_both, same_as_litert

from tflgpu.arithmetic import fixed_point as fp
from tflgpu.ops.elementwise import quantized_binary

derandomized = settings(max_examples=12, derandomize=True, deadline=None)
COMPARISONS = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
# Scale and zero point of the inputs and the output: alike, apart, at the ends of the range, powers of two.
SCALES = [
    ((0.05, 3), (0.05, 3), (0.1, -7)),
    ((0.0123, -128), (0.4, 127), (0.31, 0)),
    ((0.5, 0), (0.25, 0), (1.0, 0)),
    ((0.9, -1), (0.0007, 5), (3.3, 11)),
]
ACTIVATIONS = ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]


def spec(type, shape, scale, zero_point):
    return {"type": type, "shape": shape, "scale": scale, "zero_point": zero_point + (128 if type == "UINT8" else 0)}


def model(op, type, shapes, scales, **options):
    ins = [spec(type, s, *q) for s, q in zip(shapes, scales, strict=False)]
    out = {"type": "BOOL", "shape": ()} if op in COMPARISONS else spec(type, (), *scales[2])
    options.setdefault("version", 2 if op != "SUB" else 1)
    return one_op(op, ins, [out], **options)


def all_pairs(type):
    values = np.arange(256, dtype=np.uint8).view(type.lower())
    return np.repeat(values, 256).reshape(256, 256), np.tile(values, 256).reshape(256, 256)


@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
@pytest.mark.parametrize("type", ["INT8", "UINT8"])
@pytest.mark.parametrize("scales", SCALES)
def test_every_pair_of_8_bit_values(op, type, scales):
    a, b = all_pairs(type)
    same_as_litert(model(op, type, [a.shape] * 2, scales), a, b)


@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_fused_activation_of_quantized_values(op, activation):
    a, b = all_pairs("INT8")
    data = model(op, "INT8", [a.shape] * 2, SCALES[0], fused_activation_function=activation)
    same_as_litert(data, a, b)


@pytest.mark.parametrize("scales", SCALES[:3])
def test_squared_difference_of_every_pair(scales):
    a, b = all_pairs("INT8")
    same_as_litert(model("SQUARED_DIFFERENCE", "INT8", [a.shape] * 2, scales), a, b)


@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT16"])
@pytest.mark.parametrize("scales", [*SCALES, ((0.4, 0), (0.01, 0), (0.02, 0)), ((0.01, 0), (0.9, 0), (0.9, 0))])
@pytest.mark.parametrize("activation", ["NONE", "RELU6"])
def test_quotient_of_every_pair(type, scales, activation):
    if type == "INT16":
        scales = [(scale, 0) for scale, _ in scales]
    a, b = int16_pairs(2) if type == "INT16" else all_pairs(type)
    not_zero = b != scales[1][1] + (128 if type == "UINT8" else 0)
    a, b = a[not_zero], b[not_zero]
    same_as_litert(model("DIV", type, [a.shape] * 2, scales, fused_activation_function=activation), a, b)


@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT16"])
def test_quotient_by_the_zero_point_is_refused(type):
    scales = [(0.5, 0)] * 3
    zero = 128 if type == "UINT8" else 0
    a, b = np.ones(2, type.lower()), np.array([1, zero], type.lower())
    refused_by_both(model("DIV", type, [(2,), (2,)], scales), a, b, match="zero_point was not true")


@pytest.mark.parametrize("op", COMPARISONS)
@pytest.mark.parametrize("type", ["INT8", "UINT8"])
def test_comparison_of_every_pair(op, type):
    a, b = all_pairs(type)
    for scales in SCALES[:2]:
        same_as_litert(model(op, type, [a.shape] * 2, scales), a, b)


@pytest.mark.parametrize("op", COMPARISONS)
def test_only_equality_of_int16_looks_at_scales(op):
    a, b = (x.ravel().astype(np.int16) for x in np.meshgrid(np.arange(-40, 41), np.arange(-40, 41)))
    data = model(op, "INT16", [a.shape] * 2, [(0.5, 0), (0.25, 0)], version={"EQUAL": 5, "NOT_EQUAL": 4}.get(op, 2))
    same_as_litert(data, a, b)


def int16_pairs(seed, count=4000):
    rng = np.random.default_rng(seed)
    edges = np.array([-32768, -32767, -1, 0, 1, 32766, 32767])
    pairs = np.stack([x.ravel() for x in np.meshgrid(edges, edges)])
    return np.concatenate([pairs, rng.integers(-32768, 32768, (2, count))], axis=1).astype(np.int16)


@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_int16_of_any_scale(op, activation):
    a, b = int16_pairs(0)
    options = {"pot_scale_int16": False} if op != "MUL" else {}
    version = {"ADD": 3, "SUB": 5, "MUL": 4}[op]
    scales = [(0.0011, 0), (0.0003, 0), (0.0017, 0)]
    data = model(op, "INT16", [a.shape] * 2, scales, version=version, fused_activation_function=activation, **options)
    same_as_litert(data, a, b)


@pytest.mark.parametrize("op", ["ADD", "SUB"])
@pytest.mark.parametrize("exponents", [(-12, -12, -12), (-14, -12, -12), (-11, -15, -11)])
def test_int16_at_powers_of_two_is_shifted(op, exponents):
    a, b = int16_pairs(1)
    scales = [(2.0**e, 0) for e in exponents]
    same_as_litert(model(op, "INT16", [a.shape] * 2, scales, version={"ADD": 2, "SUB": 2}[op]), a, b)


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
def test_product_of_int16_in_8_bits(type):
    a, b = int16_pairs(3)
    ins = [spec("INT16", a.shape, 1 / 32768, 0)] * 2
    same_as_litert(one_op("MUL", ins, [spec(type, a.shape, 1 / 128, 0)], version=4), a, b)


@pytest.mark.parametrize("op", ["ADD", "MUL", "LESS"])
@pytest.mark.parametrize("shapes", [((3, 5, 7), (7,)), ((1, 1, 7), (3, 5, 1)), ((), (3, 5, 7)), ((2, 61, 97), (61, 1))])
def test_quantized_values_broadcast(op, shapes):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, s).astype(np.int8) for s in shapes)
    same_as_litert(model(op, "INT8", shapes, SCALES[1]), a, b)


@derandomized
@given(
    st.sampled_from(["ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "GREATER"]),
    st.lists(st.tuples(st.floats(0.001, 0.9), st.integers(-128, 127)), min_size=3, max_size=3),
)
def test_lookup_table_of_pairs_is_the_computation(op, scales):
    scales[2] = (max(q[0] for q in scales) * 2, scales[2][1])
    a, b = all_pairs("INT8")
    data = model(op, "INT8", [a.shape] * 2, scales)
    [by_table] = tflgpu_run(data, [a, b])
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(quantized_binary, "TABLE_FROM", 1 << 20)
        [computed] = tflgpu_run(data, [a, b])
    np.testing.assert_array_equal(by_table, computed)


@derandomized
@given(st.floats(1e-9, 0.9999), st.integers(0, 2**32 - 1), st.sampled_from([np.add, np.subtract, np.multiply]))
def test_8_bit_lookup_tables_are_the_rescaled_result(real, seed, join):
    m, e = fp.quantize_multiplier(real)
    rng = np.random.default_rng(seed)
    limit = 255 if join is np.multiply else 1 << 28
    first, second = rng.integers(-limit, limit, (2, 256), endpoint=True)
    a, b = rng.integers(-128, 128, (2, 500)).astype(np.int8)
    got, zero = np.empty(500, np.int8), int(rng.integers(-128, 128))
    quantized_binary.by_tables(join, first, second, (m, e), zero, -100, 90)(a, b, got, *np.empty((2, 500), np.int64))
    rescaled = fp.mbqm(join(first[a.view(np.uint8)], second[b.view(np.uint8)]), m, e).astype(np.int64)
    np.testing.assert_array_equal(got, np.clip(rescaled + zero, -100, 90))


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
def test_extremes_of_quantized_values_ignore_their_scales(type):
    a, b = all_pairs(type)
    for op in ("MAXIMUM", "MINIMUM"):
        same_as_litert(model(op, type, [a.shape] * 2, SCALES[1]), a, b)


def test_sum_to_too_fine_a_scale_is_refused():
    with pytest.raises(RuntimeError, match="too small"):
        tflgpu_run(model("ADD", "INT8", [(2,), (2,)], [(0.5, 0), (0.5, 0), (1e-9, 0)]), [np.ones(2, np.int8)] * 2)


def test_sum_without_scales_is_refused():
    ins = [{"type": "INT8", "shape": (2,)}] * 2
    with pytest.raises(RuntimeError, match="ADD"):
        tflgpu_run(one_op("ADD", ins, [{"type": "INT8", "shape": (2,)}], version=2), [np.ones(2, np.int8)] * 2)
