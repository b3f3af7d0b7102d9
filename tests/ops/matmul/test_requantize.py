"""Requantization in float64 and products in float32, each held to the plain integer meaning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflgpu.arithmetic.fixed_point import quantize_multipliers
from tflgpu.ops.convolution.im2col import Im2colWeights
from tflgpu.ops.matmul.requantize import Requantizer, Rescale, exact_in_float64, fold, requantized, separable

few = settings(max_examples=30, deadline=None, derandomize=True, database=None)


def near_ties(random: np.random.Generator, factors: np.ndarray, dtype: np.dtype, rows: int) -> np.ndarray:
    """Sums whose results lie where rounding decides, around zero, and far outside of the type's range."""
    span = int(np.iinfo(dtype).max) - int(np.iinfo(dtype).min)
    ties = np.rint((random.integers(-span, span, (rows, factors.size)) + 0.5) / factors)
    sums = ties + random.integers(-2, 3, ties.shape)
    sums[: rows // 8] = random.integers(-3, 4, (rows // 8, factors.size))
    return np.clip(sums, -(2**30), 2**30).astype(np.int64)


@few
@given(
    exponents=st.lists(st.integers(-23, 3), min_size=1, max_size=7),
    mantissa=st.sampled_from([0.5, 0.75, 0.6000001, 0.99999999]),
    dtype=st.sampled_from([np.int8, np.uint8, np.int16]),
    wide=st.booleans(),
    rectified=st.booleans(),
    largest=st.sampled_from([2**20, 2**30]),
    seed=st.integers(0, 100),
)
def test_float64_gives_the_results_of_integer_arithmetic(exponents, mantissa, dtype, wide, rectified, largest, seed):
    random = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    limits = np.iinfo(dtype)
    factors = np.ldexp(
        mantissa * np.where(random.random(len(exponents)) < 0.5, 1, random.random(len(exponents)) / 2 + 0.5), exponents
    )
    zero_point = int(random.integers(limits.min, int(limits.max) + 1))
    lo = zero_point if rectified else int(limits.min)
    multiplier, exponent = quantize_multipliers(factors)
    scaling = Rescale(multiplier, exponent, zero_point, lo, int(limits.max), dtype, wide and dtype == np.int16)
    sums = np.clip(near_ties(random, factors, dtype, 96), -largest, largest)
    bias = random.integers(-largest >> 6, largest >> 6, factors.size)
    out = np.empty(sums.shape, dtype)
    Requantizer(scaling, len(sums), bias, largest).bind((sums - bias).astype(np.float64), out)()
    np.testing.assert_array_equal(out, requantized(sums, scaling))


def test_two_roundings_take_seven_sixteenths_up_but_not_down():
    scaling = Rescale(*quantize_multipliers([2.0**-4]), 0, -128, 127, np.dtype(np.int8))
    sums = np.arange(-2100, 2100)[:, None]
    out = np.empty(sums.shape, np.int8)
    Requantizer(scaling, len(sums), np.zeros(1, np.int64), 1 << 20).bind(sums.astype(np.float32), out)()
    np.testing.assert_array_equal(out, requantized(sums, scaling))
    assert [int(out[sums == n][0]) for n in (-8, -7, 0, 6, 7, 8)] == [-1, 0, 0, 0, 1, 1]


def test_what_float64_cannot_hold_is_left_to_integers():
    def scaling(factor: float, dtype: type, wide: bool = False) -> Rescale:
        return Rescale(*quantize_multipliers([factor]), 0, 0, 1, np.dtype(dtype), wide)

    assert exact_in_float64(scaling(2.0**-10, np.int8), 1 << 30)
    assert not exact_in_float64(scaling(2.0**-23, np.int8), 1 << 30)
    assert not exact_in_float64(scaling(2.0**-10, np.int16), 1 << 30)
    assert exact_in_float64(scaling(2.0**-10, np.int16, wide=True), 1 << 40)
    assert not exact_in_float64(scaling(4.0, np.int8), 1 << 30)


@few
@given(
    exponents=st.lists(st.integers(-10, 3), min_size=1, max_size=5),
    dtype=st.sampled_from([np.int8, np.uint8]),
    rectified=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_sums_and_bias_scaled_apart_give_the_same_values(exponents, dtype, rectified, seed):
    random = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    factors = np.ldexp(random.random(len(exponents)) / 2 + 0.5, exponents)
    zero_point = int(random.integers(limits.min, int(limits.max) + 1))
    lo = zero_point if rectified else int(limits.min)
    scaling = Rescale(*quantize_multipliers(factors), zero_point, lo, int(limits.max), np.dtype(dtype))
    largest = 2**21 - 1 if max(exponents) <= 0 else 2**18
    assert separable(scaling, largest)
    sums = np.clip(near_ties(random, factors, np.dtype(dtype), 512), -largest, largest)
    bias = random.integers(-largest, largest + 1, factors.size)
    out = np.empty(sums.shape, dtype)
    Requantizer(scaling, len(sums), bias, largest).bind((sums - bias).astype(np.float32), out)()
    np.testing.assert_array_equal(out, requantized(sums, scaling))


@pytest.mark.parametrize(("rows", "n"), [(1, 1), (7, 3), (224, 16), (49, 320), (1000, 1), (13, 600)])
def test_fold_divides_the_rows(rows, n):
    assert rows % fold(rows, n) == 0


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(("oc", "k", "groups"), [(5, 40, 1), (3, 3000, 1), (6, 2100, 2), (70, 1500, 1), (4, 8, 4)])
def test_quantized_gemms_are_exact(oc, k, groups, constant):
    random = np.random.default_rng(oc)
    weights = random.integers(200, 256, (oc, k)).astype(np.uint8)
    rows = np.full((groups, 9, k), 255, np.float32)
    filters = Im2colWeights(weights, groups, 255, 3, constant)
    filters.load()
    out = np.empty((9, oc), filters.accumulator)
    filters.bind(rows if groups > 1 else rows[0], out)()
    centred = weights.astype(np.int64) - 3
    want = np.concatenate(
        [rows[g].astype(np.int64) @ block.T for g, block in enumerate(np.split(centred, groups))], axis=1
    )
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(filters.weight_sums, centred.sum(axis=1))
    assert np.abs(want).max() <= filters.bound
