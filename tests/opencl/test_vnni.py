"""The OpenCL kernels that multiply 8-bit values, on the runtimes that are installed: equal to the CPU's to the bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, one_op, tflgpu_run

from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder

pytest.importorskip("pyopencl")

F = np.float32
few = settings(max_examples=12, derandomize=True, deadline=None, database=None)


def same(data: bytes, inputs: list[np.ndarray], runtime: str, **tolerance: float) -> None:
    delegate = load_delegate("opencl", {"device": runtime, "require_full": "1"})
    assert_same(tflgpu_run(data, inputs, [delegate]), tflgpu_run(data, inputs), **tolerance)


def integers(random: np.random.Generator, kind: str, shape: Any, low: int | None = None) -> np.ndarray:
    ends = np.iinfo(kind.lower())
    return random.integers(ends.min if low is None else low, ends.max + 1, shape).astype(kind.lower())


def convolution(op: str, kind: str, sizes: tuple[int, ...], padding: str, zero: int, seed: int = 3) -> Any:
    """A model of CONV_2D or TRANSPOSE_CONV, and its input. zero: the zero point of unsigned weights."""
    random = np.random.default_rng(seed)
    h, w, kh, kw, sh, sw, c, oc = sizes
    signed = kind == "INT8"
    scale = (random.random(oc if signed else 1) * 0.02 + 0.004).astype(F)
    weights = {
        "type": kind,
        "value": integers(random, kind, (oc, kh, kw, c), -127 if signed else None),
        "scale": scale,
        "zero_point": [0 if signed else zero] * scale.size,
        "axis": 0,
    }
    x = {"type": kind, "shape": (2, h, w, c), "scale": F(0.05), "zero_point": 5 if signed else 130}
    bias = {"type": "INT32", "value": random.integers(-3000, 3000, oc).astype("i4"), "scale": F(0.05) * scale}
    options = {"padding": padding, "stride_h": sh, "stride_w": sw, "fused_activation_function": "RELU"}
    if op == "CONV_2D":
        oh, ow = (-(-(n - (k - 1) * (padding == "VALID")) // s) for n, k, s in ((h, kh, sh), (w, kw, sw)))
        inputs: list[Any] = [x, weights, bias]
    else:
        oh, ow = ((n * s if padding == "SAME" else (n - 1) * s + k) for n, k, s in ((h, kh, sh), (w, kw, sw)))
        inputs = [np.array((2, oh, ow, oc), np.int32), weights, x, bias]
    out = {"type": kind, "shape": (2, oh, ow, oc), "scale": F(0.3), "zero_point": -3 if signed else 120}
    return one_op(op, inputs, [out], version=4 if op != "CONV_2D" else 3, **options), [
        integers(random, kind, x["shape"])
    ]


SIZES = st.tuples(
    *[st.integers(4, 19)] * 2, *[st.integers(1, 4)] * 2, *[st.integers(1, 3)] * 2, *[st.integers(1, 21)] * 2
)


@pytest.mark.parametrize("op", ["CONV_2D", "TRANSPOSE_CONV"])
@few
@given(
    kind=st.sampled_from(["INT8", "UINT8"]),
    sizes=SIZES,
    padding=st.sampled_from(["SAME", "VALID"]),
    zero=st.sampled_from([0, 117, 128, 255]),
)
def test_quantized_convolutions_are_equal_to_the_cpus(op, runtime, kind, sizes, padding, zero):
    same(*convolution(op, kind, sizes, padding, zero), runtime)


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
@pytest.mark.parametrize("op", ["CONV_2D", "TRANSPOSE_CONV"])
def test_rows_inside_the_image_are_multiplied_where_they_are(op: str, kind: str, runtime: str) -> None:
    same(*convolution(op, kind, (11, 37, 3, 3, 2, 2, 8, 70), "SAME", 90), runtime)
    same(*convolution(op, kind, (6, 37, 3, 2, 1, 1, 16, 20), "VALID", 90), runtime)


@pytest.mark.parametrize("asymmetric", [False, True])
@few
@given(rows=st.integers(1, 19), depth=st.integers(1, 70), units=st.integers(1, 50))
def test_hybrid_fully_connected_layers_equal_the_cpus(asymmetric, runtime, rows, depth, units):
    random = np.random.default_rng(rows)
    weights = {
        "type": "INT8",
        "value": integers(random, "INT8", (units, depth), -127),
        "scale": F(0.01),
        "zero_point": 0,
    }
    inputs = [{"type": "FLOAT32", "shape": (rows, depth)}, weights, random.normal(size=units).astype(F)]
    out = {"type": "FLOAT32", "shape": (rows, units)}
    options = {"asymmetric_quantize_inputs": asymmetric, "fused_activation_function": "RELU"}
    model = one_op("FULLY_CONNECTED", inputs, [out], version=9, **options)
    x = random.normal(size=(rows, depth)).astype(F) + F(0.3)
    x[rows // 2] = 0
    same(model, [x], runtime, rtol=1e-5, atol=1e-5)


@few
@given(
    sizes=SIZES,
    padding=st.sampled_from(["SAME", "VALID"]),
    by_channel=st.booleans(),
    activation=st.sampled_from(["NONE", "RELU6"]),
)
def test_hybrid_convolutions_equal_the_cpus(runtime, sizes, padding, by_channel, activation):
    random = np.random.default_rng(5)
    h, w, kh, kw, sh, sw, c, oc = sizes
    scale = (random.random(oc if by_channel else 1) * 0.02 + 0.004).astype(F)
    value = integers(random, "INT8", (oc, kh, kw, c), -127)
    weights = {"type": "INT8", "value": value, "scale": scale, "zero_point": [0] * scale.size, "axis": 0}
    inputs = [{"type": "FLOAT32", "shape": (2, h, w, c)}, weights, random.normal(size=oc).astype(F)]
    oh, ow = (-(-(n - (k - 1) * (padding == "VALID")) // s) for n, k, s in ((h, kh, sh), (w, kw, sw)))
    options = {"padding": padding, "stride_h": sh, "stride_w": sw, "fused_activation_function": activation}
    model = one_op("CONV_2D", inputs, [{"type": "FLOAT32", "shape": (2, oh, ow, oc)}], version=5, **options)
    same(model, [random.normal(size=(2, h, w, c)).astype(F) + F(0.2)], runtime, rtol=1e-4, atol=1e-4)


SHAPES = [
    ((2, 3, 9, 20), (2, 3, 20, 33)),
    ((3, 17, 5), (5, 7)),
    ((1, 3, 8, 64), (2, 1, 64, 50)),
    ((13, 130), (130, 16)),
]


@pytest.mark.parametrize("x_shape, y_shape", SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("zeros", [(0, 0), (-7, 12)])
def test_computed_quantized_matrices_are_multiplied_exactly(x_shape, y_shape, transposed, zeros, runtime):
    random = np.random.default_rng(1)
    given = (*y_shape[:-2], y_shape[-1], y_shape[-2]) if transposed else y_shape
    x = {"type": "INT8", "shape": x_shape, "scale": F(0.02), "zero_point": zeros[0]}
    y = {"type": "INT8", "shape": given, "scale": F(0.05), "zero_point": zeros[1]}
    leading = np.broadcast_shapes(x_shape[:-2], y_shape[:-2])
    out = {"type": "INT8", "shape": (*leading, x_shape[-2], y_shape[-1]), "scale": F(0.4), "zero_point": 3}
    model = one_op("BATCH_MATMUL", [x, y], [out], version=4, adj_y=transposed, asymmetric_quantize_inputs=False)
    same(model, [integers(random, "INT8", x_shape), integers(random, "INT8", given)], runtime)


@pytest.mark.parametrize("x_shape, y_shape", SHAPES)
@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False)])
def test_matrices_of_computed_floats_are_multiplied(x_shape, y_shape, transposed, runtime):
    random = np.random.default_rng(1)
    shapes = [
        (*s[:-2], s[-1], s[-2]) if swapped else s for s, swapped in zip((x_shape, y_shape), transposed, strict=True)
    ]
    leading = np.broadcast_shapes(x_shape[:-2], y_shape[:-2])
    out = {"type": "FLOAT32", "shape": (*leading, x_shape[-2], y_shape[-1])}
    inputs = [{"type": "FLOAT32", "shape": shape} for shape in shapes]
    model = one_op("BATCH_MATMUL", inputs, [out], version=1, adj_x=transposed[0], adj_y=transposed[1])
    same(model, [random.normal(size=shape).astype(F) for shape in shapes], runtime, rtol=1e-5, atol=1e-4)


@few
@given(sizes=SIZES, padding=st.sampled_from(["SAME", "VALID"]))
def test_convolutions_of_int16_values_are_equal_to_the_cpus(runtime, sizes, padding):
    random = np.random.default_rng(9)
    h, w, kh, kw, sh, sw, c, oc = sizes
    scale = (random.random(oc) * 0.002 + 0.0004).astype(F)
    value = integers(random, "INT8", (oc, kh, kw, c), -127)
    weights = {"type": "INT8", "value": value, "scale": scale, "zero_point": [0] * oc, "axis": 0}
    x = {"type": "INT16", "shape": (2, h, w, c), "scale": F(0.001), "zero_point": 0}
    bias = {"type": "INT64", "value": random.integers(-(1 << 33), 1 << 33, oc), "scale": F(0.001) * scale}
    oh, ow = (-(-(n - (k - 1) * (padding == "VALID")) // s) for n, k, s in ((h, kh, sh), (w, kw, sw)))
    out = {"type": "INT16", "shape": (2, oh, ow, oc), "scale": F(0.01), "zero_point": 0}
    options = {"padding": padding, "stride_h": sh, "stride_w": sw, "fused_activation_function": "NONE"}
    model = one_op("CONV_2D", [x, weights, bias], [out], version=5, quantized_bias_type="INT64", **options)
    same(model, [integers(random, "INT16", (2, h, w, c))], runtime)


def depthwise(kind: str, sizes: tuple[int, ...], padding: str, followed: bool) -> Any:
    """A model of DEPTHWISE_CONV_2D, with LOGISTIC after it where that is asked for, and its input."""
    random = np.random.default_rng(4)
    h, w, kh, kw, sh, sw, c = sizes
    zero = 0 if kind == "INT8" else 128
    value = (random.integers(-127, 128, (1, kh, kw, c)) + zero).astype(kind.lower())
    scale = (random.random(c if kind == "INT8" else 1) * 0.02 + 0.004).astype(F)
    oh, ow = (-(-(n - (k - 1) * (padding == "VALID")) // s) for n, k, s in ((h, kh, sh), (w, kw, sw)))
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", kind, [2, h, w, c], scale=0.05, zero_point=zero - 5)
    weights = g.constant("w", value, type=kind, scale=scale, zero_point=[zero] * scale.size, axis=3)
    bias = g.constant(
        "b", random.integers(-900, 900, c).astype("i4"), scale=F(0.05) * scale, zero_point=[0] * scale.size
    )
    y = g.tensor("y", kind, [2, oh, ow, c], scale=0.2, zero_point=zero + 7)
    options = {"padding": padding, "stride_h": sh, "stride_w": sw, "fused_activation_function": "NONE"}
    g.node("DEPTHWISE_CONV_2D", [x, weights, bias], [y], version=3, depth_multiplier=1, **options)
    out = y
    if followed:
        out = g.tensor("out", kind, [2, oh, ow, c], scale=1 / 256, zero_point=zero - 128)
        g.node("LOGISTIC", [y], [out], version=2)
    g.outputs(out)
    return m.build(), [integers(random, kind, (2, h, w, c))]


@few
@given(
    kind=st.sampled_from(["INT8", "UINT8"]),
    sizes=st.tuples(
        *[st.integers(5, 20)] * 2, *[st.integers(1, 5)] * 2, *[st.integers(1, 2)] * 2, st.sampled_from([8, 16, 21, 40])
    ),
    padding=st.sampled_from(["SAME", "VALID"]),
    followed=st.booleans(),
)
def test_quantized_depthwise_convolutions_are_equal_to_the_cpus(runtime, kind, sizes, padding, followed):
    same(*depthwise(kind, sizes, padding, followed), runtime)


@pytest.mark.parametrize("sizes", [(98, 1, 9, 1, 2, 2, 120), (13, 1, 13, 1, 1, 1, 64), (7, 1, 10, 1, 1, 1, 17)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_depthwise_convolutions_of_columns_go_by_quads_of_rows(kind, sizes, padding, runtime):
    if padding == "VALID" and sizes[2] > sizes[0]:
        sizes = (sizes[2], *sizes[1:])
    data, inputs = depthwise(kind, sizes, padding, True)
    delegate: Any = load_delegate("opencl", {"device": runtime, "require_full": "1", "profile": "1"})
    delegate.device.limits = delegate.device.limits.plus("vnni")
    assert_same(tflgpu_run(data, inputs, [delegate]), tflgpu_run(data, inputs))
    assert "depthwise_vnni" in delegate.device.times()


@pytest.mark.parametrize("sizes", [(14, 14, 3, 3, 1, 1, 24), (14, 15, 5, 5, 1, 1, 40), (9, 30, 5, 5, 2, 2, 17)])
def test_depthwise_convolutions_go_by_quads_in_plain_c_too(sizes, runtime):
    data, inputs = depthwise("INT8", sizes, "SAME", True)
    delegate: Any = load_delegate("opencl", {"device": runtime, "require_full": "1"})
    limits = delegate.device.limits
    delegate.device.limits = replace(limits.plus("vnni").minus("vnni_assembly"), vector=8)
    assert_same(tflgpu_run(data, inputs, [delegate]), tflgpu_run(data, inputs))
