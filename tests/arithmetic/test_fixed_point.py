"""fixed_point held to plain Python integers, an operation at a time as gemmlowp and TensorFlow Lite define them."""

import math
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflgpu.arithmetic import fixed_point as fp
from tflgpu.arithmetic.fixed_point_functions import (
    exp_on_negative_values,
    gemmlowp_logistic,
    gemmlowp_tanh,
    get_reciprocal,
    inv_sqrt_multiplier,
    log_x,
    one_over_one_plus_x,
)
from tflgpu.arithmetic.lookup_tables import lut_int16, lut_int16_lookup

derandomized = settings(max_examples=30, derandomize=True, deadline=None)
int32s = st.integers(-(2**31), 2**31 - 1)
LIMITS = np.array([-(2**31), -(2**31) + 1, -(2**30), -2, -1, 0, 1, 2, 2**30 - 1, 2**30, 2**31 - 1])


def samples(low=-(2**31), high=2**31, count=400, seed=0):
    inside = LIMITS[(low <= LIMITS) & (high > LIMITS)]
    return np.concatenate([inside, np.random.default_rng(seed).integers(low, high, count)])


def wrapped(x, width=32):
    half = 1 << (width - 1)
    return (x + half) % (2 * half) - half


def high_product(a, b, width=32):
    """With gemmlowp's nudge and its division towards zero."""
    if a == b == -(1 << (width - 1)):
        return (1 << (width - 1)) - 1
    product, unit = a * b, 1 << (width - 2)
    total = product + (unit if product >= 0 else 1 - unit)
    return int(math.copysign(abs(total) // (2 * unit), total))


def divided(x, n):
    """x / 2^n, ties away from zero."""
    return int(math.copysign((abs(x) + (1 << n >> 1)) >> n, x))


def rescaled(x, m, e):
    return divided(high_product(wrapped(x << max(e, 0)), m), max(-e, 0))


def test_high_product_of_the_limits():
    a, b = (x.ravel() for x in np.meshgrid(LIMITS, samples()))
    assert fp.srdhm(a, b).tolist() == [high_product(int(x), int(y)) for x, y in zip(a, b, strict=True)]


def test_high_product_of_16_bits():
    a, b = samples(-(2**15), 2**15), samples(-(2**15), 2**15, seed=1)
    assert fp.srdhm(a, b, 16).tolist() == [high_product(int(x), int(y), 16) for x, y in zip(a, b, strict=True)]
    assert fp.srdhm(-(2**15), -(2**15), 16) == 2**15 - 1


@pytest.mark.parametrize("n", [0, 1, 2, 7, 31])
def test_division_by_a_power_of_two_rounds_ties_away_from_zero(n):
    x = samples()
    assert fp.rdbp(x, n).tolist() == [divided(int(v), n) for v in x]


@derandomized
@given(st.lists(int32s, min_size=1, max_size=20), st.integers(2**30, 2**31 - 1), st.integers(-31, 30))
def test_rescaling_in_place_is_rescaling(values, m, e):
    want = [rescaled(x, m, e) for x in values]
    assert fp.mbqm(values, m, e).tolist() == want
    x = np.array(values, np.int64)
    fp.rescaler(m, e)(x, np.empty_like(x))
    assert x.tolist() == want


def test_rescaling_by_channel():
    x = samples(-(2**24), 2**24)[:300].reshape(-1, 3)
    m, e = np.array([2**30, 2**31 - 1, 1518500250]), np.array([2, 0, -11])
    want = [[rescaled(int(v), int(a), int(b)) for v, a, b in zip(row, m, e, strict=True)] for row in x]
    assert fp.mbqm(x, m, e).tolist() == want
    in_place = x.copy()
    fp.rescaler(m, e)(in_place, np.empty_like(x))
    assert in_place.tolist() == want


@derandomized
@given(st.integers(-(2**46), 2**46), st.integers(2**30, 2**31 - 1), st.integers(-31, 7))
def test_rescaling_of_64_bits_rounds_once(x, m, e):
    short = (m + 2**15) >> 16 if m < 0x7FFF0000 else 0x7FFF
    assert fp.mbqm64(x, m, e) == wrapped((x * short + (1 << (14 - e))) >> (15 - e))


@pytest.mark.parametrize("multiplier", [1.0, 0.5, 0.3, 1e-9, 7.25, 123456.0, 1 - 2**-40, -0.3, 2.0**-32])
def test_multiplier_is_a_31_bit_mantissa_and_an_exponent(multiplier):
    m, e = fp.quantize_multiplier(multiplier)
    assert m == 0 or 2**30 <= abs(m) < 2**31
    assert m * 2.0 ** (e - 31) == pytest.approx(multiplier, rel=2**-31)


@pytest.mark.parametrize("multiplier", [0.0, 2.0**-33, math.nan, math.inf])
def test_multiplier_that_is_nothing(multiplier):
    assert fp.quantize_multiplier(multiplier) == (0, 0)


def test_multipliers_of_channels():
    m, e = fp.quantize_multipliers([0.25, 0.3])
    assert [tuple(p) for p in zip(m.tolist(), e.tolist(), strict=True)] == [
        fp.quantize_multiplier(0.25),
        fp.quantize_multiplier(0.3),
    ]


@pytest.mark.parametrize("integer_bits", [0, 2, 5, 6])
def test_exponential_of_negative_values(integer_bits):
    a = samples(-(2**31), 1)
    real = np.exp(a / 2.0 ** (31 - integer_bits)) * 2.0**31
    got = exp_on_negative_values(a, integer_bits)
    np.testing.assert_allclose(got, np.minimum(real, 2**31 - 1), atol=2**31 * 2e-6)
    assert exp_on_negative_values(0, integer_bits) == 2**31 - 1


def test_reciprocals():
    a = samples(0, 2**31)
    np.testing.assert_allclose(one_over_one_plus_x(a), 2.0**31 / (1 + a / 2.0**31), rtol=2e-8)
    x = samples(1, 2**31)
    value, bits = get_reciprocal(x, 12)
    np.testing.assert_allclose(value * 2.0 ** (-31 - bits), 1 / (x / 2.0**19), rtol=2e-8)


def test_inverse_square_root():
    v = np.unique(np.concatenate([samples(2, 2**31), np.arange(2, 400), 4 ** np.arange(1, 15)]))
    m, e = inv_sqrt_multiplier(v)
    np.testing.assert_allclose(m * 2.0 ** (e - 31), 1 / np.sqrt(v), rtol=2e-6)
    assert [int(x) for x in inv_sqrt_multiplier(1)] == [2**31 - 1, 0]


def test_logarithm():
    v = samples(2**19, 2**31)
    np.testing.assert_allclose(log_x(v) / 2.0**26, np.log(v / 2.0**19), atol=2e-7)


@pytest.mark.parametrize("integer_bits", [0, 3, 4])
def test_sigmoid_and_tangent_in_16_bits(integer_bits):
    a = np.arange(-(2**15), 2**15)
    real = a / 2.0 ** (15 - integer_bits)
    np.testing.assert_allclose(gemmlowp_logistic(a, integer_bits) / 2**15, 1 / (1 + np.exp(-real)), atol=4e-4)
    np.testing.assert_allclose(gemmlowp_tanh(a, integer_bits) / 2**15, np.tanh(real), atol=1e-3)


def test_leading_zeros():
    x = [0, 1, 2, 3, 255, 256, 2**31 - 1, -1]
    assert fp.clz32(x).tolist() == [32, 31, 30, 30, 24, 23, 1, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_of_ties_and_their_neighbours(dtype):
    ties = np.arange(-6, 7, dtype=dtype) / 2
    x = np.concatenate([np.nextafter(ties, dtype(-9)), ties, np.nextafter(ties, dtype(9)), [dtype(2**23 + 1)]])
    want = [float(Decimal(float(v)).quantize(Decimal(1), ROUND_HALF_UP)) for v in x]
    np.testing.assert_array_equal(fp.round_half_away(x.astype(dtype)), np.array(want, dtype))


def test_what_does_not_fit_into_32_bits_is_the_lowest_number():
    x = np.array([1.9, -1.9, 2.0**31, -(2.0**31), -3e9, np.nan, np.inf], np.float32)
    with np.errstate(invalid="ignore"):
        assert fp.to_int32(x).tolist() == [1, -1, *[-(2**31)] * 5]


def test_16_bit_lookup_table_is_near_the_function():
    table = lut_int16(np.tanh, 4 / 32768, 0, 1 / 32768, 0)
    x = np.arange(-(2**15), 2**15).astype(np.int16)
    np.testing.assert_allclose(lut_int16_lookup(table, x), np.tanh(x * (4 / 32768)) * 32768, atol=4)


def test_power_of_two_scales():
    assert fp.log2_if_power_of_two(np.float32(2**-11)) == -11
    assert fp.log2_if_power_of_two(np.float32(0.3)) is None
    assert fp.log2_if_power_of_two(np.float32(0)) is None
