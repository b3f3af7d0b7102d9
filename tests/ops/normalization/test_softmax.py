"""SOFTMAX, LOG_SOFTMAX, L2_NORMALIZATION and LOCAL_RESPONSE_NORMALIZATION against LiteRT."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, litert, one_op, tflgpu_run

from tflgpu.arithmetic.fixed_point import mbqm, rdbp, srdhm
from tflgpu.arithmetic.fixed_point_functions import exp_on_negative_values, get_reciprocal
from tflgpu.ops.normalization.softmax import reciprocals, rescaling

SCALES = (0.002, 0.05, 0.1, 0.5, 2.0, 30.0)
# 300: more than there are 8-bit values; 40000 rows of 3: more than one block, column by column.
SHAPES = ((1, 1), (5, 2), (37, 7), (3, 300))


def agree(data, inputs, resolver="BUILTIN_REF", **tolerance):
    assert_same(tflgpu_run(data, inputs), litert(data, inputs, resolver), **tolerance)


def integers(type, shape, seed=0):
    dtype = np.dtype(type.lower())
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)


def softmax(x, y, beta=1.0):
    return one_op("SOFTMAX", [x], [y], version=3, beta=beta)


@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 1, 5), (7,), (100, 33), (64, 3), (0, 4)])
@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_softmax_of_floats(shape, beta):
    spec = {"type": "FLOAT32", "shape": [max(d, 1) for d in shape]}
    agree(softmax(spec, spec, beta), [np.random.default_rng(0).normal(0, 3, shape).astype("f4")])


def test_softmax_and_log_softmax_of_nan_and_infinities():
    nan, inf = np.nan, np.inf
    x = np.array([[nan, 1, 2], [inf, 1, 2], [-inf, 1, 2], [-inf, -inf, -inf], [inf, inf, 0]], "f4")
    spec = {"type": "FLOAT32", "shape": x.shape}
    agree(softmax(spec, spec), [x])
    agree(one_op("LOG_SOFTMAX", [spec], [spec]), [x])


@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_of_float16(shape):
    spec = {"type": "FLOAT16", "shape": shape}
    x = np.random.default_rng(0).normal(0, 3, shape).astype("f2")
    agree(one_op("SOFTMAX", [spec], [spec], version=4, beta=0.7), [x], "BUILTIN_WITHOUT_DEFAULT_DELEGATES")


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", SHAPES)
def test_quantized_softmax_is_exact(type, scale, shape):
    x = {"type": type, "shape": shape, "scale": scale, "zero_point": 3}
    narrow = {"type": type, "shape": shape, "scale": 1 / 256, "zero_point": -128 if type == "INT8" else 0}
    wide = {"type": "INT16", "shape": shape, "scale": 1 / 32768, "zero_point": 0}
    for y in (narrow, wide):
        agree(softmax(x, y, 0.8), [integers(type, shape)])


@pytest.mark.parametrize("scale", [1e-5, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("shape", [*SHAPES, (70, 5)])
def test_softmax_of_int16_is_exact(scale, shape):
    x = {"type": "INT16", "shape": shape, "scale": scale, "zero_point": 0}
    y = {"type": "INT16", "shape": shape, "scale": 1 / 32768, "zero_point": 0}
    agree(softmax(x, y), [integers("INT16", shape)])


def plain_softmax_of_a_row(x, beta, scale):
    """The reference kernel's steps, one row at a time."""
    m, shift, least = rescaling(beta, scale)
    d = x.astype(np.int64) - int(x.max())
    kept = d >= least
    e = exp_on_negative_values(mbqm(np.where(kept, d, 0), m, shift))
    total = int(np.sum(rdbp(e, 12)[kept], dtype=np.int32))
    r, over_unit = get_reciprocal(np.array([total]), 12)
    out = rdbp(srdhm(r, e), over_unit.astype(np.int64) + 23) - 128
    return np.where(kept, np.clip(out, -128, 127), -128).astype(np.int8)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.integers(1, 60), st.floats(0.01, 2), st.integers(0, 1000))
def test_the_blocked_kernel_equals_the_plain_steps(depth, scale, seed):
    x = integers("INT8", (40, depth), seed)
    spec = {"type": "INT8", "shape": x.shape, "scale": float(np.float32(scale)), "zero_point": 0}
    out = {"type": "INT8", "shape": x.shape, "scale": 1 / 256, "zero_point": -128}
    [got] = tflgpu_run(softmax(spec, out), [x])
    want = [plain_softmax_of_a_row(row, 1.0, float(np.float32(scale))) for row in x]
    np.testing.assert_array_equal(got, want)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.lists(st.integers(1 << 19, 2**31 - 1), min_size=1, max_size=12))
def test_quick_reciprocals_equal_the_plain_ones(sums):
    column = np.array([sums], np.int32).T
    got, want = reciprocals(column), get_reciprocal(column, 12)
    np.testing.assert_array_equal(got, want)


def test_more_rows_than_a_block_holds():
    x = integers("INT8", (40000, 3))
    spec = {"type": "INT8", "shape": x.shape, "scale": 0.05, "zero_point": 0}
    out = {"type": "INT8", "shape": x.shape, "scale": 1 / 256, "zero_point": -128}
    agree(softmax(spec, out), [x])


def test_a_wrong_output_scale_is_refused():
    spec = {"type": "INT8", "shape": [2, 3], "scale": 0.05, "zero_point": 0}
    with pytest.raises(RuntimeError, match="zero point of SOFTMAX's output must be -128"):
        tflgpu_run(softmax(spec, spec), [integers("INT8", (2, 3))])
    out = {**spec, "zero_point": -128}
    with pytest.raises(RuntimeError, match="scale of SOFTMAX's output must be 1/256"):
        tflgpu_run(softmax(spec, out), [integers("INT8", (2, 3))])


def test_a_scalar_is_refused():
    spec = {"type": "FLOAT32", "shape": []}
    with pytest.raises(RuntimeError, match="NumDimensions"):
        tflgpu_run(softmax(spec, spec), [np.float32(1)])


@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 5), (64, 3)])
def test_log_softmax_of_floats(shape):
    spec = {"type": "FLOAT32", "shape": shape}
    x = np.random.default_rng(0).normal(0, 3, shape).astype("f4")
    agree(one_op("LOG_SOFTMAX", [spec], [spec]), [x], rtol=1e-5)


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", SHAPES)
def test_quantized_log_softmax_is_exact(type, scale, shape):
    x = {"type": type, "shape": shape, "scale": scale, "zero_point": 3}
    y = {"type": type, "shape": shape, "scale": 16 / 256, "zero_point": 127 if type == "INT8" else 255}
    agree(one_op("LOG_SOFTMAX", [x], [y], version=2), [integers(type, shape)])


@pytest.mark.parametrize("shape", [(3,), (5, 1), (4, 3, 7)])
def test_l2_normalization_of_floats(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("f4")
    x[0] = 0
    spec = {"type": "FLOAT32", "shape": shape}
    agree(one_op("L2_NORMALIZATION", [spec], [spec]), [x])
    x[-1] = np.nan
    agree(one_op("L2_NORMALIZATION", [spec], [spec]), [x])


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
@pytest.mark.parametrize("depth", [1, 3, 50])
def test_quantized_l2_normalization_is_exact(type, depth):
    x = integers(type, (30, depth))
    x[0] = 7
    spec = {"type": type, "shape": x.shape, "scale": 0.1, "zero_point": 7}
    y = {**spec, "scale": 1 / 128, "zero_point": 128 if type == "UINT8" else 0}
    agree(one_op("L2_NORMALIZATION", [spec], [y], version=2), [x])


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 20])
@pytest.mark.parametrize("beta", [0.5, 1.0, 0.75])
def test_local_response_normalization_follows_the_builtin_kernel(radius, beta):
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 7)).astype("f4")
    spec = {"type": "FLOAT32", "shape": x.shape}
    options = {"radius": radius, "bias": 1.3, "alpha": 0.4, "beta": beta}
    data = one_op("LOCAL_RESPONSE_NORMALIZATION", [spec], [spec], **options)
    agree(data, [x], "BUILTIN_WITHOUT_DEFAULT_DELEGATES", rtol=1e-5)


def test_local_response_normalization_keeps_an_infinity_to_its_window():
    x = np.ones((1, 1, 1, 7), np.float32)
    x[..., 6] = np.inf
    spec = {"type": "FLOAT32", "shape": x.shape}
    data = one_op("LOCAL_RESPONSE_NORMALIZATION", [spec], [spec], radius=2, bias=1.0, alpha=1.0, beta=0.5)
    agree(data, [x], "BUILTIN_WITHOUT_DEFAULT_DELEGATES")
