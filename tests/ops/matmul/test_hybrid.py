"""Float activations on quantized weights: quantized at run time as TensorFlow Lite's x86 build does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import litert, one_op, tflgpu_run

from tflgpu.ops.matmul.hybrid import HybridMatrix, RowQuantizer

F = np.float32


def half_away(x: float) -> int:
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def plain_row(row: np.ndarray, asymmetric: bool) -> tuple[list[int], np.float32, int]:
    """One row quantized element by element: values, scale, zero point."""
    if not asymmetric:
        largest = F(max(abs(row.min()), abs(row.max())))
        if largest == 0:
            return [0] * len(row), F(1), 0
        inverse = F(127) / largest
        return [max(-127, min(127, half_away(F(v * inverse)))) for v in row], largest / F(127), 0
    low, high = F(min(0, row.min())), F(max(0, row.max()))
    if low == high:
        return [0] * len(row), F(1), 0
    scale = float(F(high - low)) / 255
    from_low, from_high = -128 - float(low) / scale, 127 - float(high) / scale
    zero = from_low if 128 + abs(float(low) / scale) < 127 + abs(float(high) / scale) else from_high
    zero_point = max(-128, min(127, half_away(zero)))
    inverse = F(1) / F(scale)
    return [max(-128, min(127, half_away(F(v * inverse)) + zero_point)) for v in row], F(scale), zero_point


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([1, 3, 7, 8, 9, 17, 32]), st.booleans())
def test_rows_are_quantized_as_one_element_at_a_time(seed: int, rows: int, depth: int, asymmetric: bool) -> None:
    random = np.random.default_rng(seed)
    x = (random.standard_normal((rows, depth)) * 10.0 ** random.integers(-3, 4) + random.integers(-2, 3)).astype(F)
    x[random.random(rows) < 0.2] = 0
    quantize = RowQuantizer(rows, depth, asymmetric)
    quantize(x)
    for i in range(rows):
        values, scale, zero_point = plain_row(x[i], asymmetric)
        np.testing.assert_array_equal(quantize.values[i], values)
        assert quantize.scales[i, 0] == scale
        assert quantize.zero_points[i, 0] == zero_point


def test_a_quantizer_forgets_the_row_before() -> None:
    quantize = RowQuantizer(1, 5, asymmetric=True)
    quantize(np.arange(5, dtype=F).reshape(1, 5))
    quantize(np.zeros((1, 5), F))
    assert not quantize.values.any() and quantize.scales == 1 and not quantize.zero_points.any()


def test_the_vectors_of_a_row_round_the_float_below_one_half_up_and_the_remainder_does_not() -> None:
    below = np.nextafter(F(0.5), F(0))
    x = np.full((1, 9), below, F)
    x[0, 0] = 127
    quantize = RowQuantizer(1, 9, asymmetric=False)
    quantize(x)
    assert quantize.values[0].tolist() == [127, 1, 1, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("depth", [1, 7, 16, 17, 40])
@pytest.mark.parametrize("scales", [1, 5])
def test_hybrid_gemms_equal_the_reference_to_the_bit(asymmetric: bool, depth: int, scales: int) -> None:
    random = np.random.default_rng(depth)
    weights = random.integers(-128, 128, (5, depth), dtype=np.int8)
    scale = (random.random(scales) * 0.02 + 0.001).astype(F)
    data = one_op(
        "FULLY_CONNECTED",
        [
            {"type": "FLOAT32", "shape": [6, depth]},
            {"type": "INT8", "value": weights, "scale": scale},
            random.standard_normal(5).astype(F),
        ],
        [{"type": "FLOAT32", "shape": [6, 5]}],
        version=12,
        asymmetric_quantize_inputs=asymmetric,
    )
    x = (random.standard_normal((6, depth)) * 3).astype(F)
    x[3] = 0
    # The weights of -128 meet the x86 dot product's wrong sign.
    np.testing.assert_array_equal(tflgpu_run(data, [x])[0], litert(data, [x])[0])


def test_dot_products_too_long_for_float32_are_still_exact() -> None:
    k = 3000
    weights = np.full((2, k), 127, np.int8)
    weights[1, ::2] = -127
    quantize = RowQuantizer(1, k, asymmetric=True)
    x = np.linspace(0, 1, k, dtype=F).reshape(1, k)
    out = np.zeros((1, 2), F)
    HybridMatrix(weights, np.ones(1, F), 1, asymmetric=True).accumulate(quantize(x), out)
    values = quantize.values[0].astype(np.int64) - int(quantize.zero_points[0, 0])
    want = (weights.astype(np.int64) @ values).astype(F) * quantize.scales[0, 0]
    np.testing.assert_array_equal(out[0], want)


def test_large_weights_are_multiplied_block_by_block_with_the_same_result() -> None:
    random = np.random.default_rng(3)
    weights = random.integers(-127, 128, (700, 300), dtype=np.int8)
    x = random.standard_normal((3, 300)).astype(F)
    quantize = RowQuantizer(3, 300, asymmetric=True)(x)
    blocked, whole = np.zeros((3, 700), F), np.zeros((3, 700), F)
    scale = random.random(700).astype(F)
    HybridMatrix(weights, scale, 3, asymmetric=True).accumulate(quantize, blocked)
    HybridMatrix(weights, scale, 3, asymmetric=True, keep=True).accumulate(quantize, whole)
    np.testing.assert_array_equal(blocked, whole)


@pytest.mark.parametrize("value", [3.0, np.inf, np.nan])
@pytest.mark.parametrize(("rows", "n", "depth"), [(9, 5, 17), (70, 130, 300), (2, 3, 9000)])
def test_rows_less_their_zero_points_give_the_same_results(rows: int, n: int, depth: int, value: float) -> None:
    random = np.random.default_rng(depth)
    x = random.normal(0.3, 1, (rows, depth)).astype(F)
    x[1, 2], x[0] = value, 0
    weights = np.clip(random.normal(0, 20, (n, depth)), -127, 127).astype(np.int8)
    scale = np.linspace(0.01, 0.2, n, dtype=F)
    plain, centred = np.ones((rows, n), F), np.ones((rows, n), F)
    with np.errstate(all="ignore"):
        HybridMatrix(weights, scale, rows, True).accumulate(RowQuantizer(rows, depth, True)(x), plain)
        matrix = HybridMatrix(weights, scale, rows, True, centre=True)
        matrix.accumulate(RowQuantizer(rows, depth, True, centred=matrix.centred)(x), centred)
    assert matrix.centred == (depth < 9000)
    np.testing.assert_array_equal(centred, plain)
