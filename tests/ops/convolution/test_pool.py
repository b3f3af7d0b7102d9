"""Pools held to LiteRT's reference resolver; the custom ones, which it does not have, to their meaning."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, litert, one_op, tflgpu_run

F = np.float32
DTYPES = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "FLOAT32": np.float32}
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def values(random: np.random.Generator, type: str, shape: Any) -> np.ndarray:
    if type == "FLOAT32":
        return random.standard_normal(shape).astype(F)
    limits = np.iinfo(DTYPES[type])
    return random.integers(limits.min, int(limits.max) + 1, shape).astype(DTYPES[type])


def pool(
    op: str,
    type: str,
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    activation: str,
) -> bytes:
    quantization = {} if type == "FLOAT32" else {"scale": F(0.05), "zero_point": 0 if type == "INT16" else 10}
    size = [
        -(-n // s) if padding == "SAME" else max(0, (n + s - k) // s)
        for n, k, s in zip(shape[1:3], kernel, strides, strict=True)
    ]
    return one_op(
        op,
        [{"type": type, "shape": shape, **quantization}],
        [{"type": type, "shape": (shape[0], *size, shape[3]), **quantization}],
        version=3 if type == "INT16" else 2 if type == "INT8" else 1,
        filter_height=kernel[0],
        filter_width=kernel[1],
        stride_h=strides[0],
        stride_w=strides[1],
        padding=padding,
        fused_activation_function=activation,
    )


CASES = [(op, t) for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D") for t in DTYPES] + [("L2_POOL_2D", "FLOAT32")]


@pytest.mark.parametrize(("op", "type"), CASES)
@few
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.sampled_from(["SAME", "VALID"]),
    activation=st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]),
)
def test_pools_follow_the_reference(op, type, shape, kernel, strides, padding, activation):
    if padding == "VALID" and (kernel[0] > shape[1] or kernel[1] > shape[2]):
        return
    x = values(np.random.default_rng(1), type, shape)
    data = pool(op, type, shape, kernel, strides, padding, activation)
    assert_same(tflgpu_run(data, [x]), litert(data, [x]), atol=1e-6)


@pytest.mark.parametrize("type", DTYPES)
def test_global_average_follows_the_reference(type):
    x = values(np.random.default_rng(1), type, (2, 7, 8, 33))
    for padding in ("VALID", "SAME"):
        data = pool("AVERAGE_POOL_2D", type, x.shape, (7, 8), (7, 8), padding, "NONE")
        assert_same(tflgpu_run(data, [x]), litert(data, [x]), atol=1e-6)


@pytest.mark.parametrize(("op", "type"), CASES)
def test_windows_far_larger_than_the_image(op, type):
    x = values(np.random.default_rng(1), type, (1, 5, 4, 3))
    data = pool(op, type, x.shape, (20001, 30000), (3, 1), "SAME", "NONE")
    assert_same(tflgpu_run(data, [x]), litert(data, [x]), atol=1e-6)


def test_nan_is_never_the_largest_and_infinity_is_clamped():
    x = np.array([np.nan, -np.inf, -np.inf, 3, np.inf, np.nan], F).reshape(1, 1, 6, 1)
    data = pool("MAX_POOL_2D", "FLOAT32", x.shape, (1, 2), (1, 2), "VALID", "NONE")
    assert_same(tflgpu_run(data, [x]), litert(data, [x]))


def test_quantized_l2_pool_is_refused():
    x = {"type": "UINT8", "shape": (1, 4, 4, 1), "scale": F(0.1), "zero_point": 0}
    sizes = {"filter_height": 2, "filter_width": 2, "stride_h": 2, "stride_w": 2}
    data = one_op("L2_POOL_2D", [x], [{**x, "shape": (1, 2, 2, 1)}], **sizes)
    with pytest.raises(RuntimeError, match="UINT8"):
        tflgpu_run(data, [np.zeros((1, 4, 4, 1), np.uint8)])


def best_taps(
    x: np.ndarray, kernel: int, stride: int, before: int, size: int
) -> list[tuple[tuple[int, ...], int, int]]:
    """(output index, row in the window, column in the window) of each window's first maximum."""
    found = []
    for index in np.ndindex(1, size, size, x.shape[3]):
        _, i, j, c = index
        taps = [
            (x[0, i * stride - before + a, j * stride - before + b, c], -a, -b)
            for a in range(kernel)
            for b in range(kernel)
            if 0 <= i * stride - before + a < x.shape[1] and 0 <= j * stride - before + b < x.shape[2]
        ]
        _, a, b = max(taps)
        found.append((index, -a, -b))
    return found


def test_max_pooling_with_argmax_2d_gives_indices_in_the_window():
    x = values(np.random.default_rng(4), "FLOAT32", (1, 5, 5, 2))
    options = struct.pack("<6i", 1, 2, 2, 3, 3, 0) + bytes(16)
    out = {"type": "FLOAT32", "shape": (1, 3, 3, 2)}
    data = one_op("MaxPoolingWithArgmax2D", [{"type": "FLOAT32", "shape": x.shape}], [out, out], custom=options)
    largest, indices = tflgpu_run(data, [x])
    for index, a, b in best_taps(x, 3, 2, 1, 3):
        assert indices[index] == F(F(a * 3 + b) + F(0.1))
        assert largest[index] == x[0, index[1] * 2 - 1 + a, index[2] * 2 - 1 + b, index[3]]


def test_max_unpooling_2d_puts_back_what_max_pooling_took():
    x = values(np.random.default_rng(4), "FLOAT32", (2, 6, 4, 3))
    options = struct.pack("<6i", 1, 2, 2, 2, 2, 0) + bytes(16)
    small = {"type": "FLOAT32", "shape": (2, 3, 2, 3)}
    data = one_op("MaxPoolingWithArgmax2D", [{"type": "FLOAT32", "shape": x.shape}], [small, small], custom=options)
    largest, indices = tflgpu_run(data, [x])
    data = one_op("MaxUnpooling2D", [small, small], [{"type": "FLOAT32", "shape": x.shape}], custom=options)
    (back,) = tflgpu_run(data, [largest, indices])
    windows = x.reshape(2, 3, 2, 2, 2, 3)
    largest_alone = np.where(windows == windows.max(axis=(2, 4), keepdims=True), windows, 0)
    np.testing.assert_array_equal(back, largest_alone.reshape(x.shape))


def test_max_pool_with_argmax_gives_indices_in_the_image():
    x = values(np.random.default_rng(4), "FLOAT32", (2, 6, 4, 3))
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Key("ksize")
        builder.TypedVectorFromElements([1, 2, 2, 1])
        builder.Key("strides")
        builder.TypedVectorFromElements([1, 2, 2, 1])
        builder.String("padding", "SAME")
        builder.Bool("include_batch_in_index", False)
    small = (2, 3, 2, 3)
    outputs = [{"type": "FLOAT32", "shape": small}, {"type": "INT32", "shape": small}]
    data = one_op("MaxPoolWithArgmax", [{"type": "FLOAT32", "shape": x.shape}], outputs, custom=bytes(builder.Finish()))
    largest, indices = tflgpu_run(data, [x])
    for image in range(2):
        np.testing.assert_array_equal(x[image].reshape(-1)[indices[image]], largest[image])
    inputs = [{"type": "FLOAT32", "shape": small}, {"type": "INT32", "shape": small}]
    options = struct.pack("<6i", 1, 2, 2, 2, 2, 0)
    data = one_op("MaxUnpooling2D", inputs, [{"type": "FLOAT32", "shape": x.shape}], custom=options)
    (back,) = tflgpu_run(data, [largest, indices])
    assert np.count_nonzero(back) == largest.size
    with pytest.raises(RuntimeError, match="outside"):
        tflgpu_run(data, [largest, indices + 10**6])


def test_dense_image_warp_moves_by_whole_pixels_and_between_them():
    x = np.arange(20, dtype=F).reshape(1, 4, 5, 1)
    flow = np.zeros((1, 4, 5, 2), F)
    flow[..., 1] = 1.5
    inputs = [{"type": "FLOAT32", "shape": x.shape}, {"type": "FLOAT32", "shape": flow.shape}]
    data = one_op("DenseImageWarp", inputs, [{"type": "FLOAT32", "shape": x.shape}], custom=b"")
    (moved,) = tflgpu_run(data, [x, flow])
    np.testing.assert_allclose(moved[0, 1, :, 0], [5, 5, 5.5, 6.5, 7.5])


@pytest.mark.parametrize("type", ["FLOAT32", "INT8", "INT64", "BOOL", "FLOAT16"])
def test_dilate_follows_the_reference(type):
    dtype = {"FLOAT32": F, "INT8": np.int8, "INT64": np.int64, "BOOL": np.bool_, "FLOAT16": np.float16}[type]
    x = np.random.default_rng(1).integers(0, 2 if type == "BOOL" else 100, (3, 1, 4)).astype(dtype)
    pad = np.array(1, dtype)
    inputs = [{"type": type, "shape": x.shape}, np.array([2, 3, 1], np.int32), pad]
    data = one_op("DILATE", inputs, [{"type": type, "shape": (5, 1, 4)}])
    assert_same(tflgpu_run(data, [x]), litert(data, [x]))


CONVOLUTION_3D = st.fixed_dictionaries(
    {
        "sizes": st.tuples(*[st.integers(1, 5)] * 3, *[st.integers(1, 3)] * 3, st.integers(1, 3), st.integers(1, 3)),
        "strides": st.tuples(*[st.integers(1, 2)] * 3),
        "dilations": st.tuples(*[st.integers(1, 2)] * 3),
        "padding": st.sampled_from(["SAME", "VALID"]),
        "bias": st.booleans(),
    }
)


@few
@given(g=CONVOLUTION_3D)
def test_conv_3d_follows_the_reference(g):
    *n, kd, kh, kw, c, oc = g["sizes"]
    taps = (kd, kh, kw)
    effective = [(k - 1) * d + 1 for k, d in zip(taps, g["dilations"], strict=True)]
    if g["padding"] == "VALID" and any(e > m for e, m in zip(effective, n, strict=True)):
        return
    output_size = [
        -(-m // s) if g["padding"] == "SAME" else (m + s - e) // s
        for m, s, e in zip(n, g["strides"], effective, strict=True)
    ]
    random = np.random.default_rng(2)
    x, weights, bias = (
        values(random, "FLOAT32", (2, *n, c)),
        values(random, "FLOAT32", (*taps, c, oc)),
        values(random, "FLOAT32", oc),
    )
    options = dict(zip(("stride_d", "stride_h", "stride_w"), g["strides"], strict=True))
    options |= dict(zip(("dilation_d_factor", "dilation_h_factor", "dilation_w_factor"), g["dilations"], strict=True))
    inputs = [{"type": "FLOAT32", "shape": x.shape}, weights] + ([bias] if g["bias"] else [])
    out = {"type": "FLOAT32", "shape": (2, *output_size, oc)}
    data = one_op("CONV_3D", inputs, [out], padding=g["padding"], fused_activation_function="RELU6", **options)
    assert_same(tflgpu_run(data, [x]), litert(data, [x]), atol=1e-5)
    y = values(random, "FLOAT32", (2, *output_size, oc))
    back = [np.array(x.shape, np.int32), np.ascontiguousarray(weights), {"type": "FLOAT32", "shape": y.shape}]
    data = one_op("CONV_3D_TRANSPOSE", back, [{"type": "FLOAT32", "shape": x.shape}], padding=g["padding"], **options)
    assert_same(tflgpu_run(data, [y]), litert(data, [y]), atol=1e-5)
