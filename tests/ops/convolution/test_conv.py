"""CONV_2D and DEPTHWISE_CONV_2D of one type throughout, held to LiteRT's reference resolver."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ops.convolution.conv_layers import F, few, fits, geometry, geometry_of, layer, same, values
from oracle import litert, one_op, tflgpu_run

INTEGER = [
    ("INT8", "INT8", "INT32", True),
    ("INT8", "INT8", "INT32", False),
    ("INT8", "INT4", "INT32", True),
    ("UINT8", "UINT8", "INT32", False),
    ("INT16", "INT8", "INT64", True),
]


@pytest.mark.parametrize(("x", "weights", "bias", "per_channel"), INTEGER)
@few
@given(g=geometry, channels=st.tuples(st.integers(1, 5), st.integers(1, 6)))
def test_integer_conv_follows_the_reference(x, weights, bias, per_channel, g, channels):
    if g["padding"] == "SAME" or fits(g):
        same(*layer("CONV_2D", g, x, weights, bias, channels, per_channel=per_channel))


@pytest.mark.parametrize(("x", "weights", "bias", "per_channel"), INTEGER)
@few
@given(g=geometry, c=st.integers(1, 5), multiplier=st.integers(1, 3))
def test_integer_depthwise_follows_the_reference(x, weights, bias, per_channel, g, c, multiplier):
    if g["padding"] == "SAME" or fits(g):
        channels, options = (c, c * multiplier), {"depth_multiplier": multiplier}
        same(*layer("DEPTHWISE_CONV_2D", g, x, weights, bias, channels, per_channel=per_channel, **options))


@few
@given(g=geometry, channels=st.tuples(st.integers(1, 5), st.integers(1, 6)))
def test_float_conv_follows_the_reference(g, channels):
    if g["padding"] == "SAME" or fits(g):
        same(*layer("CONV_2D", g, "FLOAT32", "FLOAT32", "FLOAT32", channels), atol=1e-5)


@few
@given(g=geometry, c=st.integers(1, 5), multiplier=st.integers(1, 3))
def test_float_depthwise_follows_the_reference(g, c, multiplier):
    if g["padding"] == "SAME" or fits(g):
        channels, options = (c, c * multiplier), {"depth_multiplier": multiplier}
        same(*layer("DEPTHWISE_CONV_2D", g, "FLOAT32", "FLOAT32", "FLOAT32", channels, **options), atol=1e-5)


@pytest.mark.parametrize("x", ["FLOAT32", "INT8", "UINT8", "INT16"])
@pytest.mark.parametrize(("groups", "channels"), [(2, (6, 4)), (3, (6, 9)), (4, (4, 8)), (5, (5, 5))])
def test_grouped_conv_follows_the_reference(x, groups, channels):
    g = geometry_of(7, 6, 3, 2, 2, 1, "SAME")
    types = {"FLOAT32": ("FLOAT32", "FLOAT32"), "UINT8": ("UINT8", "INT32"), "INT16": ("INT8", "INT64")}
    weights, bias = types.get(x, ("INT8", "INT32"))
    same(
        *layer("CONV_2D", g, x, weights, bias, channels, per_channel=x != "UINT8", groups=groups, version=6), atol=1e-5
    )


def test_int16_conv_with_32_bit_bias_accumulates_in_32_bits():
    g = geometry_of(6, 5, 3, 3, 1, 1, "SAME")
    same(*layer("CONV_2D", g, "INT16", "INT8", "INT32", (4, 6), quantized_bias_type="INT32", version=8))


@pytest.mark.parametrize("scale", [1e-6, 0.001, 0.02, 0.7, 1e5])
def test_any_output_scale_rounds_as_the_reference_does(scale):
    g = geometry_of(9, 9, 1, 1, 1, 1, "VALID")
    same(*layer("CONV_2D", g, "INT8", "INT8", "INT32", (3, 16), output_scale=scale))


@pytest.mark.parametrize(("c", "kernel"), [(300, 3), (1100, 1), (128, 5)])
def test_sums_beyond_24_bits_are_exact(c, kernel):
    g = geometry_of(5, 5, kernel, kernel, 1, 1, "VALID")
    data, (x,) = layer("CONV_2D", g, "UINT8", "UINT8", "INT32", (c, 7), per_channel=False, output_scale=30)
    same(data, [np.full_like(x, 255)])
    same(data, [x])


@pytest.mark.parametrize("x", ["FLOAT32", "INT8"])
@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_images_of_many_blocks_are_covered(op, x):
    """Images that no block of rows covers alone, with what is left at their ends."""
    for kernel, stride, padding in [(3, 1, "SAME"), (1, 1, "SAME"), (3, 2, "VALID"), (5, 3, "SAME")]:
        g = geometry_of(67, 61, kernel, kernel, stride, 1, padding, "RELU6")
        channels = (24, 24) if op == "DEPTHWISE_CONV_2D" else (9, 24)
        bias = "FLOAT32" if x == "FLOAT32" else "INT32"
        same(
            *layer(op, g, x, x, bias, channels, depth_multiplier=1)
            if op != "CONV_2D"
            else layer(op, g, x, x, bias, channels),
            atol=1e-4,
        )


@pytest.mark.parametrize("x", ["FLOAT32", "INT8", "UINT8"])
@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_weights_and_bias_computed_at_run_time(op, x):
    random = np.random.default_rng(3)
    depthwise = op == "DEPTHWISE_CONV_2D"
    quantized = {} if x == "FLOAT32" else {"scale": F(0.05), "zero_point": 3}
    of_weights = {} if x == "FLOAT32" else {"scale": F(0.02), "zero_point": 7 if x == "UINT8" else 0}
    of_bias = {} if x == "FLOAT32" else {"scale": F(F(0.05) * F(0.02))}
    bias_type = "FLOAT32" if x == "FLOAT32" else "INT32"
    shapes = [(2, 6, 5, 4), (1, 3, 3, 8) if depthwise else (6, 3, 3, 4), (8,) if depthwise else (6,)]
    out = (
        {"type": x, "shape": (2, 6, 5, shapes[2][0]), "scale": F(0.3), "zero_point": 4}
        if quantized
        else {
            "type": x,
            "shape": (2, 6, 5, shapes[2][0]),
        }
    )
    inputs = [
        {"type": x, "shape": shapes[0], **quantized},
        {"type": x, "shape": shapes[1], **of_weights},
        {"type": bias_type, "shape": shapes[2], **of_bias},
    ]
    options = {"depth_multiplier": 2} if depthwise else {}
    data = one_op(op, inputs, [out], version=3, padding="SAME", stride_h=1, stride_w=1, **options)
    for _ in range(2):
        given = [values(random, x, shapes[0]), values(random, x, shapes[1])]
        bias = random.standard_normal(shapes[2]).astype(F) if x == "FLOAT32" else random.integers(-999, 999, shapes[2])
        same(data, [*given, bias.astype(bias_type.lower())], atol=1e-5)


def test_conv_of_an_empty_batch_is_empty():
    data, (x,) = layer("CONV_2D", geometry_of(5, 5, 3, 3, 1, 1, "SAME", b=1), "INT8", "INT8", "INT32", (3, 4))
    assert tflgpu_run(data, [x[:0]])[0].shape == (0, 5, 5, 4)


def test_conv_after_a_resize():
    data, _ = layer("CONV_2D", geometry_of(5, 5, 3, 3, 2, 1, "SAME", b=1), "INT8", "INT8", "INT32", (3, 4))
    random = np.random.default_rng(0)
    same(data, [values(random, "INT8", (3, 11, 8, 3))])


def test_conv_without_bias_is_refused():
    x, weights = {"type": "FLOAT32", "shape": (1, 4, 4, 2)}, np.ones((3, 1, 1, 2), F)
    data = one_op("CONV_2D", [x, weights, None], [{"type": "FLOAT32", "shape": (1, 4, 4, 3)}], stride_h=1, stride_w=1)
    with pytest.raises(RuntimeError, match=r"Node number 0 \(CONV_2D\) failed to prepare"):
        tflgpu_run(data, [np.zeros((1, 4, 4, 2), F)])


@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 30000), (30000, 1), (1, 5), (2, 4)])
def test_windows_far_larger_than_the_image(op, kernel, stride, dilation):
    g = geometry_of(5, 4, kernel, kernel, stride, dilation, "SAME")
    for x, bias in (("FLOAT32", "FLOAT32"), ("INT8", "INT32")):
        same(*layer(op, g, x, x, bias, (3, 3)), atol=1e-5)


def test_infinities_become_the_largest_float():
    g = geometry_of(3, 3, 1, 1, 1, 1, "VALID", b=1)
    data, (x,) = layer("CONV_2D", g, "FLOAT32", "FLOAT32", "FLOAT32", (1, 1))
    x[0, 0, 0, 0], x[0, 1, 1, 0], x[0, 2, 2, 0] = np.inf, -np.inf, np.nan
    same(data, [x])


@pytest.mark.parametrize("x", ["FLOAT32", "INT8", "UINT8", "INT16"])
def test_depthwise_of_one_channel_follows_the_reference(x):
    g = geometry_of(12, 9, 5, 4, 2, 1, "SAME", "RELU")
    types = {"FLOAT32": ("FLOAT32", "FLOAT32"), "UINT8": ("UINT8", "INT32"), "INT16": ("INT8", "INT64")}
    weights, bias = types.get(x, ("INT8", "INT32"))
    same(
        *layer("DEPTHWISE_CONV_2D", g, x, weights, bias, (1, 8), per_channel=x != "UINT8", depth_multiplier=8),
        atol=1e-5,
    )


@pytest.mark.parametrize("oc", [1, 3])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 2), (2, 2)])
def test_few_sums_of_one_channel_are_rounded_as_the_reference_rounds_them(oc, stride, dilation):
    data, (x,) = layer("CONV_2D", geometry_of(13, 12, 3, 3, stride, dilation, "SAME"), *["FLOAT32"] * 3, (1, oc))
    x *= 1000
    np.testing.assert_array_equal(tflgpu_run(data, [x])[0], litert(data, [x])[0])


@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_an_int16_filter_is_read_as_bytes(op):
    random = np.random.default_rng(3)
    filter_shape = (1, 3, 3, 4) if op == "DEPTHWISE_CONV_2D" else (4, 3, 3, 4)
    inputs = [
        {"type": "INT16", "shape": (1, 6, 5, 4), "scale": F(0.002), "zero_point": 0},
        {"type": "INT16", "shape": filter_shape, "scale": F(0.01), "zero_point": 0},
        {"type": "INT64", "value": random.integers(-3000, 3000, 4), "scale": F(0.002) * F(0.01)},
    ]
    out = {"type": "INT16", "shape": (1, 6, 5, 4), "scale": F(0.01), "zero_point": 0}
    options = {"depth_multiplier": 1} if op == "DEPTHWISE_CONV_2D" else {}
    data = one_op(op, inputs, [out], version=5, padding="SAME", stride_h=1, stride_w=1, **options)
    same(data, [values(random, "INT16", (1, 6, 5, 4)), values(random, "INT16", filter_shape)])


@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize(("taps", "stride", "fits"), [(3, 1, True), (4, 1, False), (6, 3, True), (8, 3, False)])
def test_a_filter_may_be_larger_than_the_image_by_less_than_the_stride(op, taps, stride, fits):
    x = np.ones((1, 2, 2, 1), np.float32)
    inputs = [{"type": "FLOAT32", "shape": x.shape}, np.ones((1, taps, taps, 1), np.float32), np.ones(1, np.float32)]
    output = {"type": "FLOAT32", "shape": ()}
    data = one_op(op, inputs, [output], padding="VALID", stride_h=stride, stride_w=stride)
    if fits:
        assert tflgpu_run(data, [x])[0].shape == litert(data, [x])[0].shape == (1, 0, 0, 1)
        return
    for run in (tflgpu_run, litert):
        with pytest.raises(RuntimeError, match=rf"Node number 0 \({op}\) failed to prepare"):
            run(data, [x])
