"""The fast GEMMs of recurrent operators equal the plain ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Array

from tflgpu.ops.matmul.gemv import HybridGemv, gemm_with
from tflgpu.ops.matmul.hybrid import HybridMatrix, RowQuantizer

# Below 2^-120 the reciprocal of a scale overflows, after which upstream converts NaN to integers.
VALUES = st.floats(-(2.0**60), 2.0**60, width=32).map(lambda v: v if abs(v) > 2.0**-120 else 0.0)
ROWS = st.lists(st.lists(VALUES, min_size=11, max_size=11), min_size=1, max_size=3)


def both(x: Array, weights: Array, asymmetric: bool) -> tuple[Array, Array]:
    """What the fast and the plain GEMM add to the same start."""
    rows, n = len(x), len(weights)
    scale = np.linspace(0.01, 0.5, n, dtype=np.float32)
    quick, plain = (np.linspace(-1, 1, rows * n, dtype=np.float32).reshape(rows, n) for _ in range(2))
    HybridGemv(weights, scale, rows, asymmetric)(x, quick)
    HybridMatrix(weights, scale, rows, asymmetric).accumulate(RowQuantizer(rows, x.shape[1], asymmetric)(x), plain)
    return quick, plain


@settings(max_examples=30, derandomize=True, deadline=None)
@given(ROWS, st.booleans(), st.integers(0, 2**32 - 1))
def test_quick_hybrid_equals_the_plain_one(values: list[list[float]], asymmetric: bool, seed: int) -> None:
    weights = np.random.default_rng(seed).integers(-127, 128, (5, 11)).astype(np.int8)
    np.testing.assert_array_equal(*both(np.array(values, np.float32), weights, asymmetric))


@pytest.mark.parametrize("asymmetric", [True, False])
def test_fast_hybrid_gemm_on_ties_and_zero_rows(asymmetric: bool) -> None:
    below_half = np.nextafter(np.float32(0.5), np.float32(0))
    # 127 values of one each: every other element is a half, or just below one.
    x = np.zeros((3, 19), np.float32)
    x[0] = np.arange(19, dtype=np.float32) + np.where(np.arange(19) % 2, np.float32(0.5), below_half)
    x[0, 3], x[2] = 127, -x[0]
    weights = np.random.default_rng(0).integers(-127, 128, (4, 19)).astype(np.int8)
    np.testing.assert_array_equal(*both(x, weights, asymmetric))


@pytest.mark.parametrize("k", [16, 1024])
def test_quick_hybrid_is_exact_at_its_greatest_depth(k: int) -> None:
    x = np.full((2, k), -1, np.float32)
    x[1, 0] = 1
    np.testing.assert_array_equal(*both(x, np.full((3, k), -127, np.int8), True))


@pytest.mark.parametrize(
    ("n", "k", "rows"), [(256, 64, 1), (509, 128, 1), (1, 20011, 1), (3, 0, 1), (0, 3, 1), (97, 500, 2), (4096, 200, 1)]
)
def test_gemms_in_blocks_equal_the_whole_gemm(n: int, k: int, rows: int) -> None:
    rng = np.random.default_rng(n)
    matrix = rng.integers(-9, 10, (n, k)).astype(np.float32)
    product = gemm_with(matrix, rows)
    for _ in range(2):
        x = rng.integers(-9, 10, (rows, k)).astype(np.float32)
        np.testing.assert_array_equal(product(x), x @ matrix.T)


@pytest.mark.parametrize("asymmetric", [True, False])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_quick_hybrid_takes_what_is_no_number_as_the_plain_one_does(value: float, asymmetric: bool) -> None:
    x = np.linspace(-1, 1, 22, dtype=np.float32).reshape(2, 11)
    x[1, 3] = value
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(*both(x, np.arange(55, dtype=np.int8).reshape(5, 11), asymmetric))
