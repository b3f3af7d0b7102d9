"""Reductions against LiteRT: axes, empty inputs, NaN, wrapping integers and quantized values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, litert, one_op, tflgpu_run

from tflgpu.ops.reduction.reduction import Reduction, quantized_sum_step, sum_step

REDUCERS = ("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN")
NUMPY = {"FLOAT32": "f4", "INT32": "i4", "INT64": "i8", "INT8": "i1", "UINT8": "u1", "INT16": "i2", "BOOL": "?"}

few = settings(max_examples=25, derandomize=True, deadline=None)


def reduced(shape, axes, keep_dims):
    return np.sum(
        np.zeros(shape), axis=tuple({a % len(shape) for a in axes} if shape else ()), keepdims=keep_dims
    ).shape


def model(op, type, shape, axes, keep_dims=False, x=None, y=None):
    out = {"type": type, "shape": reduced(shape, axes, keep_dims), **(y or {})}
    return one_op(
        op, [{"type": type, "shape": shape, **(x or {})}, np.array(axes, "i4")], [out], version=1, keep_dims=keep_dims
    )


def agree(data, inputs, resolver="BUILTIN_REF", **tolerance):
    assert_same(tflgpu_run(data, inputs), litert(data, inputs, resolver), **tolerance)


def integers(type, shape, seed=0):
    limits = np.iinfo(NUMPY[type])
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(NUMPY[type])


@st.composite
def reductions(draw):
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=5)))
    axes = draw(st.lists(st.integers(-len(shape), len(shape) - 1), max_size=3))
    return shape, axes, draw(st.booleans()), draw(st.integers(0, 100))


@pytest.mark.parametrize("op", REDUCERS)
@few
@given(reductions())
def test_floats_over_any_axes(op, case):
    shape, axes, keep_dims, seed = case
    x = np.random.default_rng(seed).normal(size=shape).astype("f4")
    agree(model(op, "FLOAT32", shape, axes, keep_dims), [x], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("op", REDUCERS)
@pytest.mark.parametrize("type", ["INT32", "INT64"])
def test_integers_wrap_in_their_own_type(op, type):
    x = np.random.default_rng(3).integers(-(2**31), 2**31, (3, 7, 2)).astype(NUMPY[type])
    for axes in ([1], [0, 2], [0, 1, 2]):
        agree(model(op, type, x.shape, axes), [x])


@pytest.mark.parametrize("op", ["SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL"])
def test_booleans(op):
    x = np.random.default_rng(1).integers(0, 2, (4, 3, 2)).astype(bool)
    for axes in ([1], [-1, 0], [0, 1, 2]):
        agree(model(op, "BOOL", x.shape, axes), [x])


@pytest.mark.parametrize("op", REDUCERS)
@pytest.mark.parametrize("axes", [[1], [0, 1]])
def test_nothing_to_reduce_gives_the_neutral_element(op, axes):
    for type in ("FLOAT32", "INT32"):
        agree(model(op, type, (2, 3), axes), [np.zeros((2, 0), NUMPY[type])])


@pytest.mark.parametrize("op", REDUCERS)
def test_empty_outputs(op):
    agree(model(op, "FLOAT32", (2, 3), [1]), [np.zeros((0, 3), "f4")])


@pytest.mark.parametrize("op", REDUCERS)
def test_a_scalar_is_its_own_reduction(op):
    agree(model(op, "FLOAT32", (), [0], True), [np.float32(3)])


@pytest.mark.parametrize("op", REDUCERS)
def test_duplicate_axes_count_once(op):
    agree(model(op, "FLOAT32", (2, 3, 4), [1, -2, 1]), [np.ones((2, 3, 4), "f4")])


@pytest.mark.parametrize("op", REDUCERS)
def test_an_axis_that_is_not_constant_makes_the_output_dynamic(op):
    data = one_op(
        op,
        [{"type": "FLOAT32", "shape": [2, 3]}, {"type": "INT32", "shape": [1]}],
        [{"type": "FLOAT32", "shape": [2]}],
        keep_dims=False,
    )
    x = np.arange(6, dtype="f4").reshape(2, 3)
    for axis in (0, 1, -1):
        agree(data, [x, np.array([axis], "i4")])


@pytest.mark.parametrize("op", REDUCERS)
def test_an_axis_out_of_range_is_refused(op):
    ins = [{"type": "FLOAT32", "shape": [2, 3]}, np.array([2], "i4")]
    data = one_op(op, ins, [{"type": "FLOAT32", "shape": [2]}], keep_dims=False)
    for run in (tflgpu_run, litert):
        with pytest.raises(RuntimeError, match=r"Invalid axis index\..*failed to prepare"):
            run(data, [np.zeros((2, 3), "f4")])


@pytest.mark.parametrize("op", REDUCERS)
def test_nan_and_infinities(op):
    nan, inf = np.nan, np.inf
    x = np.array([[nan, 1, -inf], [-inf, nan, nan], [-inf, -inf, -inf], [2, nan, 3], [nan, nan, nan]], "f4")
    agree(model(op, "FLOAT32", x.shape, [1]), [x])
    for row in x:
        agree(model(op, "FLOAT32", row.shape, [0]), [row])


@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT16"])
@few
@given(reductions(), st.floats(0.01, 0.3), st.floats(0.01, 0.9), st.integers(0, 100))
def test_quantized_mean_is_exact(type, case, input_scale, output_scale, zero_point):
    agree(*quantized("MEAN", type, case, input_scale, output_scale, zero_point))


@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT16"])
@few
@given(reductions(), st.floats(0.01, 0.3), st.floats(0.01, 0.9), st.integers(0, 100))
def test_quantized_sum_follows_the_optimized_kernel(type, case, input_scale, output_scale, zero_point):
    data, inputs = quantized("SUM", type, case, input_scale, output_scale, zero_point)
    agree(data, inputs, "BUILTIN_WITHOUT_DEFAULT_DELEGATES")


@pytest.mark.parametrize("type", ["INT8", "INT16"])
@few
@given(reductions(), st.floats(0.01, 0.3), st.floats(0.01, 0.9), st.integers(0, 100))
def test_quantized_product_is_exact(type, case, input_scale, output_scale, zero_point):
    agree(*quantized("REDUCE_PROD", type, case, input_scale, output_scale, zero_point))


def quantized(op, type, case, input_scale, output_scale, zero_point):
    shape, axes, keep_dims, seed = case
    zero_point = 0 if type == "INT16" else zero_point
    x, y = ({"scale": s, "zero_point": z} for s, z in ((input_scale, zero_point), (output_scale, zero_point // 2)))
    return model(op, type, shape, axes, keep_dims, x, y), [integers(type, shape, seed)]


@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT16"])
@pytest.mark.parametrize("op", ["REDUCE_MAX", "REDUCE_MIN"])
def test_extremes_of_quantized_values_need_equal_quantization(op, type):
    same = {"scale": 0.5, "zero_point": 0}
    agree(model(op, type, (5, 3), [0], x=same, y=same), [integers(type, (5, 3))])
    with pytest.raises(RuntimeError, match="scale"):
        tflgpu_run(model(op, type, (5, 3), [0], x=same, y={"scale": 0.25, "zero_point": 0}), [integers(type, (5, 3))])


@pytest.mark.parametrize("shape", [(1, 49, 3), (2, 17, 5), (1, 300, 2)])
def test_mean_over_the_middle_of_many_rows(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("f4")
    agree(model("MEAN", "FLOAT32", shape, [1]), [x], atol=1e-6)
    q = {"scale": 0.1, "zero_point": 4}
    agree(model("MEAN", "INT8", shape, [1], x=q, y=q), [integers("INT8", shape)])


@few
@given(st.integers(1, 3), st.integers(1, 70), st.integers(1, 40), st.sampled_from([0, 1, 2]), st.integers(0, 99))
def test_sums_by_blas_equal_the_plain_sums(outer, middle, inner, axis, seed):
    x = integers("INT16", (outer, middle, inner), seed)
    out = np.empty(np.sum(x, axis).shape, np.int64)
    r = Reduction(x, (axis,), out, x.shape[axis], False)
    quantized_sum_step(r, out)()
    np.testing.assert_array_equal(out, np.sum(x, axis, dtype=np.int64))
    real, total = x.astype("f4") / 1000, np.empty(out.shape, "f4")
    sum_step(replace(r, x=real, out=total), total)()
    np.testing.assert_allclose(total, np.sum(real, axis, dtype=np.float64), rtol=1e-5, atol=1e-3)


def test_quantized_sums_beyond_the_integers_of_float32():
    shape = (1, 600, 2)
    q = {"scale": 1.0, "zero_point": 0}
    data = model("MEAN", "INT16", shape, [1], x=q, y=q)
    agree(data, [integers("INT16", shape)])


@pytest.mark.parametrize("op", ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"])
def test_float16_as_xnnpack_has_it(op):
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("f2")
    agree(model(op, "FLOAT16", x.shape, [1], True), [x], "BUILTIN")


@pytest.mark.parametrize("op", ["MEAN", "SUM"])
def test_integers_without_quantization_are_refused(op):
    with pytest.raises(RuntimeError, match="has no quantization parameters"):
        tflgpu_run(model(op, "INT8", (2, 3), [1]), [integers("INT8", (2, 3))])


def test_an_unsupported_type_is_named():
    with pytest.raises(RuntimeError, match="input 0 of type FLOAT64 is not supported"):
        tflgpu_run(model("SUM", "FLOAT64", (2,), [0]), [np.zeros(2)])
