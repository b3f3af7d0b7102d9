"""ARG_MAX, ARG_MIN, TOPK_V2, UNIQUE, WHERE, BUCKETIZE, CUMSUM and the segment reductions against LiteRT."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, litert, one_op, tflgpu_run

from tflgpu.ops.indexing.sorting import _by_columns, _by_rows

NUMPY = {
    "FLOAT32": "f4",
    "FLOAT64": "f8",
    "INT32": "i4",
    "INT64": "i8",
    "INT8": "i1",
    "UINT8": "u1",
    "INT16": "i2",
    "BOOL": "?",
    "UINT32": "u4",
}
OPTIMIZED = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
nan, inf = np.nan, np.inf


def agree(data, inputs, resolver="BUILTIN_REF", **tolerance):
    assert_same(tflgpu_run(data, inputs), litert(data, inputs, resolver), **tolerance)


def few_values(type, shape, seed=0):
    """Values with many ties, and the extremes of the type."""
    dtype = np.dtype(NUMPY[type])
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, shape).astype(dtype)
    if dtype.kind in "iu":
        extremes = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
        x = np.where(rng.random(shape) < 0.2, rng.choice(extremes, shape), x)
    return x


def spec(type, shape):
    return {"type": type, "shape": list(shape)}


@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize("type", ["FLOAT32", "INT32", "INT8", "UINT8", "BOOL"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("index", ["INT32", "INT64"])
def test_the_first_of_equals_wins(op, type, axis, index):
    x = few_values(type, (5, 7, 37))
    out = np.argmax(x, axis).shape
    data = one_op(op, [spec(type, x.shape), np.array(axis, "i4")], [spec(index, out)], version=2, output_type=index)
    agree(data, [x], "BUILTIN_REF" if type != "BOOL" else OPTIMIZED)


@pytest.mark.parametrize("find", [np.argmax, np.argmin])
@pytest.mark.parametrize("type", ["FLOAT32", "INT32", "INT8", "UINT8"])
@settings(max_examples=20, derandomize=True, deadline=None)
@given(st.integers(1, 64), st.integers(1, 60), st.integers(0, 99), st.booleans())
def test_the_search_by_columns_equals_the_search_by_rows(find, type, depth, rows, seed, with_nan):
    x = few_values(type, (rows * 100, depth), seed)
    if type == "FLOAT32":
        x = np.where(np.random.default_rng(seed).random(x.shape) < (0.3 if with_nan else 0), np.float32(nan), x)
    by_columns, by_rows = np.empty((2, len(x)), np.int64)
    _by_columns(x, by_columns, find)()
    _by_rows(x, by_rows, 1, find)()
    np.testing.assert_array_equal(by_columns, by_rows)


@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
def test_numbers_win_over_nan(op):
    x = np.array([[nan, 1, -inf], [-inf, nan, nan], [nan, -inf, nan], [nan, inf, 3], [nan, nan, nan]], "f4")
    for axis in (0, 1):
        out = spec("INT32", np.argmax(x, axis).shape)
        data = one_op(op, [spec("FLOAT32", x.shape), np.array([axis], "i8")], [out], output_type="INT32")
        agree(data, [x])


@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
def test_an_empty_axis_is_refused(op):
    data = one_op(op, [spec("FLOAT32", [2, 3]), np.array(1, "i4")], [spec("INT32", [2])], output_type="INT32")
    with pytest.raises(RuntimeError, match="over an empty axis"):
        tflgpu_run(data, [np.zeros((2, 0), "f4")])


@pytest.mark.parametrize("type", ["FLOAT32", "INT8", "UINT8", "INT16", "INT32", "INT64"])
@pytest.mark.parametrize("k", [-1, 0, 1, 4, 9])
def test_topk_of_ties_and_extremes(type, k):
    x = few_values(type, (2, 3, 9))
    outs = [spec(type, [2, 3, max(k, 0)]), spec("INT32", [2, 3, max(k, 0)])]
    agree(one_op("TOPK_V2", [spec(type, x.shape), np.array(k, "i4")], outs, version=2), [x])


def test_topk_puts_nan_last_and_takes_int16_indices():
    x = np.array([[nan, 1, -inf, inf], [nan, nan, nan, 0]], "f4")
    outs = [spec("FLOAT32", [2, 4]), spec("INT16", [2, 4])]
    agree(one_op("TOPK_V2", [spec("FLOAT32", x.shape), np.array(4, "i2")], outs, version=3), [x])


def test_topk_with_k_at_run_time_and_with_too_large_a_k():
    x = few_values("FLOAT32", (2, 5))
    outs = [spec("FLOAT32", [2, 3]), spec("INT32", [2, 3])]
    data = one_op("TOPK_V2", [spec("FLOAT32", x.shape), spec("INT32", [])], outs)
    for k in (1, 5):
        agree(data, [x, np.array(k, "i4")])
    for run in (tflgpu_run, litert):
        with pytest.raises(RuntimeError, match="TopK k is higher than the internal dimension"):
            run(data, [x, np.array(6, "i4")])


@pytest.mark.parametrize("type", ["FLOAT32", "INT8", "UINT8", "INT16", "INT32", "INT64"])
@pytest.mark.parametrize("index", ["INT32", "INT64"])
def test_unique_keeps_the_order_of_appearance(type, index):
    x = few_values(type, 23)
    agree(one_op("UNIQUE", [spec(type, [23])], [spec(type, [1]), spec(index, [23])], idx_out_type=index), [x])


def test_unique_of_nothing():
    data = one_op("UNIQUE", [spec("INT32", [1])], [spec("INT32", [1]), spec("INT32", [1])], idx_out_type="INT32")
    values, indices = tflgpu_run(data, [np.zeros(0, "i4")])
    assert values.shape == indices.shape == (0,)


@pytest.mark.parametrize("type", ["BOOL", "FLOAT32", "INT32", "INT64", "UINT32", "INT8", "UINT8"])
def test_where_gives_coordinates_in_row_major_order(type):
    x = few_values(type, (3, 5, 2))
    agree(one_op("WHERE", [spec(type, x.shape)], [spec("INT64", [1, 3])], version=2), [x])


def test_where_takes_nan_for_true_and_refuses_scalars():
    agree(one_op("WHERE", [spec("FLOAT32", [3])], [spec("INT64", [1, 1])], version=2), [np.array([nan, 0, -0.0], "f4")])
    with pytest.raises(RuntimeError, match="Where op requires condition w/ rank > 0"):
        tflgpu_run(one_op("WHERE", [spec("BOOL", [])], [spec("INT64", [1, 0])]), [np.array(True)])


@pytest.mark.parametrize("type", ["FLOAT32", "FLOAT64", "INT32", "INT64"])
@pytest.mark.parametrize("boundaries", [[-1.0, 0.5, 0.5, 2.0], [], [16777216.0]])
def test_bucketize(type, boundaries):
    x = np.array([-5, -1, 0, 0.5, 1, 2, 16777215, 16777217], NUMPY[type])
    data = one_op("BUCKETIZE", [spec(type, x.shape)], [spec("INT32", x.shape)], boundaries=boundaries)
    agree(data, [x])


def test_bucketize_of_nan_and_with_boundaries_out_of_order():
    x = np.array([nan, -inf, inf], "f4")
    agree(one_op("BUCKETIZE", [spec("FLOAT32", [3])], [spec("INT32", [3])], boundaries=[0.0, 1.0]), [x])
    with pytest.raises(RuntimeError, match="Expected sorted boundaries.*failed to prepare"):
        tflgpu_run(one_op("BUCKETIZE", [spec("FLOAT32", [3])], [spec("INT32", [3])], boundaries=[1.0, 0.0]), [x])


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("type", ["FLOAT32", "INT32", "INT64"])
def test_cumsum(type, exclusive, reverse):
    rng = np.random.default_rng(0)
    x = (rng.uniform(-3, 3, (2, 5, 3)) * (1 if type == "FLOAT32" else 2**29)).astype(NUMPY[type])
    for axis in (0, 1, -1):
        ins = [spec(type, x.shape), np.array(axis, "i4")]
        data = one_op("CUMSUM", ins, [spec(type, x.shape)], exclusive=exclusive, reverse=reverse)
        agree(data, [x], rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["SUM", "PROD", "MAX", "MIN"])
@pytest.mark.parametrize("type", ["FLOAT32", "INT32"])
def test_unsorted_segments_skip_negative_ids_and_fill_empty_segments(kind, type):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(2, 3, 4)) * 3).astype(NUMPY[type])
    if type == "FLOAT32":
        x[0, 0, 0], x[1, 2, 1] = nan, inf
    ids = np.array([[0, -1, 2], [2, 5, 0]], "i4")
    ins = [spec(type, x.shape), ids, np.array(7, "i4")]
    agree(one_op(f"UNSORTED_SEGMENT_{kind}", ins, [spec(type, [7, 4])]), [x])
    ins[1] = spec("INT32", ids.shape)
    agree(one_op(f"UNSORTED_SEGMENT_{kind}", ins, [spec(type, [7, 4])]), [x, ids])


def test_a_segment_beyond_the_last_is_refused():
    ins = [spec("FLOAT32", [3]), np.array([1, 3, 0], "i4"), np.array([2], "i4")]
    data = one_op("UNSORTED_SEGMENT_SUM", ins, [spec("FLOAT32", [2])])
    for run in (tflgpu_run, litert):
        with pytest.raises(RuntimeError, match="max_index < num_segments_ was not true"):
            run(data, [np.zeros(3, "f4")])


@pytest.mark.parametrize("type", ["FLOAT32", "INT32"])
def test_segment_sum(type):
    x = (np.random.default_rng(0).normal(size=(5, 2)) * 3).astype(NUMPY[type])
    data = one_op("SEGMENT_SUM", [spec(type, [5, 2]), spec("INT32", [5])], [spec(type, [3, 2])])
    for ids in ([0, 0, 1, 2, 2], [0, 0, 0, 0, 0]):
        agree(data, [x, np.array(ids, "i4")], OPTIMIZED)
    for ids in ([0, 0, 2, 2, 2], [1, 1, 1, 2, 2], [0, 1, 0, 1, 2]):
        with pytest.raises(RuntimeError):
            tflgpu_run(data, [x, np.array(ids, "i4")])
