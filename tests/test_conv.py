"""CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV, each held to LiteRT's reference resolver."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, litert, one_op, tflgpu_run

F = np.float32
DTYPES = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "INT4": np.int8, "FLOAT32": np.float32}
LIMITS = {"INT8": (-128, 128), "UINT8": (0, 256), "INT16": (-32768, 32768), "INT4": (-8, 8)}
ACTIVATIONS = ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]

few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
geometry = st.fixed_dictionaries(
    {
        "b": st.sampled_from([1, 2]),
        "h": st.integers(1, 9),
        "w": st.integers(1, 9),
        "kh": st.integers(1, 4),
        "kw": st.integers(1, 4),
        "stride_h": st.integers(1, 3),
        "stride_w": st.integers(1, 3),
        "dilation_h_factor": st.integers(1, 2),
        "dilation_w_factor": st.integers(1, 2),
        "padding": st.sampled_from(["SAME", "VALID"]),
        "fused_activation_function": st.sampled_from(ACTIVATIONS),
        "seed": st.integers(0, 1000),
    }
)


def codes(random: np.random.Generator, type: str, shape: Any) -> np.ndarray:
    if type == "FLOAT32":
        return random.standard_normal(shape).astype(F)
    return random.integers(*LIMITS[type], shape).astype(DTYPES[type])


def window(n: int, k: int, stride: int, dilation: int, padding: str) -> int:
    effective = (k - 1) * dilation + 1
    return -(-n // stride) if padding == "SAME" else max(0, (n + stride - effective) // stride)


def fits(g: dict[str, Any]) -> bool:
    return (g["kh"] - 1) * g["dilation_h_factor"] < g["h"] and (g["kw"] - 1) * g["dilation_w_factor"] < g["w"]


def layer(
    op: str,
    g: dict[str, Any],
    x_type: str,
    filter_type: str,
    bias_type: str | None,
    channels: tuple[int, int],
    *,
    per_channel: bool = True,
    groups: int = 1,
    output_scale: float = 0.4,
    version: int = 3,
    **more: Any,
) -> tuple[bytes, list[np.ndarray]]:
    """A model of one convolution with constant weights, and an input for it."""
    random = np.random.default_rng(g["seed"])
    c, oc = channels
    options = {k: v for k, v in g.items() if k not in ("b", "h", "w", "kh", "kw", "seed")} | more
    depthwise = op == "DEPTHWISE_CONV_2D"
    shape = (1, g["kh"], g["kw"], oc) if depthwise else (oc, g["kh"], g["kw"], c // groups)
    integer = x_type != "FLOAT32"
    x_scale = F(0.002 if x_type == "INT16" else 0.05)
    weight_scale = (random.random(oc if per_channel else 1) * 0.02 + 0.004).astype(F)
    weights: dict[str, Any] = {"type": filter_type, "value": codes(random, filter_type, shape)}
    x: dict[str, Any] = {"type": x_type, "shape": (g["b"], g["h"], g["w"], c)}
    out: dict[str, Any] = {"type": x_type}
    bias: dict[str, Any] | None = None
    if bias_type == "FLOAT32":
        bias = {"type": bias_type, "value": codes(random, "FLOAT32", oc)}
    elif bias_type:
        value = random.integers(-3000, 3000, oc).astype(bias_type.lower())
        bias = {
            "type": bias_type,
            "value": value,
            "scale": x_scale * weight_scale,
            "zero_point": [0] * weight_scale.size,
        }
    if filter_type != "FLOAT32":
        zero = int(random.integers(90, 160)) if filter_type == "UINT8" else 0
        weights |= {"scale": weight_scale, "zero_point": [zero] * weight_scale.size, "axis": 3 if depthwise else 0}
    if integer:
        wide = x_type == "INT16"
        zeros = (0, 0) if wide else tuple(int(z) for z in codes(random, x_type, 2))
        x |= {"scale": x_scale, "zero_point": zeros[0]}
        out |= {"scale": F(output_scale / (50 if wide else 1)), "zero_point": zeros[1]}
    oh = window(g["h"], g["kh"], g["stride_h"], g["dilation_h_factor"], g["padding"])
    ow = window(g["w"], g["kw"], g["stride_w"], g["dilation_w_factor"], g["padding"])
    data = one_op(op, [x, weights, bias], [out | {"shape": (g["b"], oh, ow, oc)}], version=version, **options)
    return data, [codes(random, x_type, x["shape"])]


def same(data: bytes, inputs: list[np.ndarray], **tolerance: float) -> None:
    assert_same(tflgpu_run(data, inputs), litert(data, inputs), **tolerance)


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


def geometry_of(
    h: int, w: int, kh: int, kw: int, stride: int, dilation: int, padding: str, activation: str = "NONE", b: int = 2
) -> dict[str, Any]:
    return {
        "b": b,
        "h": h,
        "w": w,
        "kh": kh,
        "kw": kw,
        "stride_h": stride,
        "stride_w": stride,
        "dilation_h_factor": dilation,
        "dilation_w_factor": dilation,
        "padding": padding,
        "fused_activation_function": activation,
        "seed": 5,
    }


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("channels", [(3, 4), (17, 5), (32, 8)])
@pytest.mark.parametrize("kernel", [1, 3])
def test_hybrid_conv_follows_the_reference(per_channel, channels, kernel):
    """5 channels and weights of -128 meet the x86 dot product that takes them for +128 against negative codes."""
    g = geometry_of(6, 7, kernel, kernel, 1, 1, "SAME", "RELU")
    same(*layer("CONV_2D", g, "FLOAT32", "INT8", "FLOAT32", channels, per_channel=per_channel, version=5), atol=1e-4)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_hybrid_depthwise_follows_the_reference(multiplier):
    g = geometry_of(6, 7, 3, 2, 2, 1, "SAME", "RELU6")
    model = layer(
        "DEPTHWISE_CONV_2D",
        g,
        "FLOAT32",
        "INT8",
        "FLOAT32",
        (4, 4 * multiplier),
        depth_multiplier=multiplier,
        version=6,
    )
    same(*model, atol=1e-4)


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
        values = [codes(random, x, shapes[0]), codes(random, x, shapes[1])]
        bias = random.standard_normal(shapes[2]).astype(F) if x == "FLOAT32" else random.integers(-999, 999, shapes[2])
        same(data, [*values, bias.astype(bias_type.lower())], atol=1e-5)


def test_conv_of_an_empty_batch_is_empty():
    data, (x,) = layer("CONV_2D", geometry_of(5, 5, 3, 3, 1, 1, "SAME", b=1), "INT8", "INT8", "INT32", (3, 4))
    assert tflgpu_run(data, [x[:0]])[0].shape == (0, 5, 5, 4)


def test_conv_after_a_resize():
    data, _ = layer("CONV_2D", geometry_of(5, 5, 3, 3, 2, 1, "SAME", b=1), "INT8", "INT8", "INT32", (3, 4))
    random = np.random.default_rng(0)
    same(data, [codes(random, "INT8", (3, 11, 8, 3))])


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


TRANSPOSED = [
    ("FLOAT32", "FLOAT32", "FLOAT32"),
    ("FLOAT32", "FLOAT32", None),
    ("FLOAT32", "INT8", "FLOAT32"),
    ("INT8", "INT8", "INT32"),
    ("INT8", "INT8", None),
    ("UINT8", "UINT8", "INT32"),
    ("INT16", "INT8", "INT64"),
]


def transposed(
    x_type: str,
    filter_type: str,
    bias_type: str | None,
    sizes: tuple[int, ...],
    padding: str,
    seed: int,
    activation: str,
) -> tuple[bytes, list[np.ndarray]]:
    random = np.random.default_rng(seed)
    h, w, kh, kw, sh, sw, c, oc = sizes
    integer = x_type != "FLOAT32"
    out_h = h * sh if padding == "SAME" else (h - 1) * sh + kh
    out_w = w * sw if padding == "SAME" else (w - 1) * sw + kw
    per_channel = oc if x_type != "UINT8" else 1
    weight_scale = (random.random(per_channel) * 0.02 + 0.004).astype(F)
    x_scale = F(0.05)
    zeros = (0, 0) if x_type == "INT16" or not integer else tuple(int(z) for z in codes(random, x_type, 2))
    weights: dict[str, Any] = {"type": filter_type, "value": codes(random, filter_type, (oc, kh, kw, c))}
    if filter_type != "FLOAT32":
        zero = 117 if filter_type == "UINT8" else 0
        weights |= {"scale": weight_scale, "zero_point": [zero] * per_channel, "axis": 0}
    x: dict[str, Any] = {"type": x_type, "shape": (2, h, w, c)}
    out: dict[str, Any] = {"type": x_type, "shape": (2, out_h, out_w, oc)}
    if integer:
        x |= {"scale": x_scale, "zero_point": zeros[0]}
        out |= {"scale": F(0.3), "zero_point": zeros[1]}
    inputs: list[Any] = [np.array(out["shape"], np.int32), weights, x]
    if bias_type == "FLOAT32":
        inputs.append({"type": bias_type, "value": codes(random, "FLOAT32", oc)})
    elif bias_type:
        value = random.integers(-3000, 3000, oc).astype(bias_type.lower())
        inputs.append({"type": bias_type, "value": value, "scale": x_scale * weight_scale})
    options = {"padding": padding, "stride_h": sh, "stride_w": sw, "fused_activation_function": activation}
    return one_op("TRANSPOSE_CONV", inputs, [out], version=4, **options), [codes(random, x_type, x["shape"])]


@pytest.mark.parametrize(("x", "weights", "bias"), TRANSPOSED)
@settings(few, max_examples=12)
@given(
    sizes=st.tuples(
        *[st.integers(1, 5)] * 2, *[st.integers(1, 4)] * 2, *[st.integers(1, 3)] * 2, *[st.integers(1, 4)] * 2
    ),
    padding=st.sampled_from(["SAME", "VALID"]),
    activation=st.sampled_from(ACTIVATIONS),
)
def test_transpose_conv_follows_the_reference(x, weights, bias, sizes, padding, activation):
    same(*transposed(x, weights, bias, sizes, padding, 7, activation), atol=1e-4)


def test_transpose_conv_of_many_blocks():
    same(*transposed("INT8", "INT8", "INT32", (40, 37, 3, 3, 2, 2, 16, 24), "SAME", 1, "RELU"))
    same(*transposed("FLOAT32", "FLOAT32", "FLOAT32", (40, 37, 2, 2, 2, 2, 16, 24), "VALID", 1, "NONE"), atol=1e-4)


@pytest.mark.parametrize("padding", [1, 2])
def test_convolution_2d_transpose_bias_scatters_onto_the_bias(padding):
    """MediaPipe's operator has no CPU kernel in LiteRT's resolvers: held to its definition."""
    random = np.random.default_rng(2)
    x, weights, bias = (random.standard_normal(s).astype(F) for s in [(1, 4, 5, 3), (2, 3, 2, 3), (2,)])
    pads = [max(0, k - (n - 1) % 2 - 1) if padding == 1 else 0 for n, k in ((4, 3), (5, 2))]
    full = np.zeros((1, 2 * 3 + 3, 2 * 4 + 2, 2), np.float64)
    for i in range(4):
        for j in range(5):
            full[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 2] += np.einsum("c,okwc->kwo", x[0, i, j], weights)
    top, left = pads[0] // 2, pads[1] // 2
    want = full[:, top : full.shape[1] - (pads[0] - top), left : full.shape[2] - (pads[1] - left)] + bias
    data = one_op(
        "Convolution2DTransposeBias",
        [{"type": "FLOAT32", "shape": x.shape}, weights, bias],
        [{"type": "FLOAT32", "shape": want.shape}],
        custom=struct.pack("<5i", padding, 2, 2, 0, 0),
    )
    assert_same(tflgpu_run(data, [x]), [want.astype(F)], atol=1e-5)


@pytest.mark.parametrize("x", ["FLOAT32", "INT8", "UINT8", "INT16"])
def test_depthwise_of_one_channel_follows_the_reference(x):
    g = geometry_of(12, 9, 5, 4, 2, 1, "SAME", "RELU")
    types = {"FLOAT32": ("FLOAT32", "FLOAT32"), "UINT8": ("UINT8", "INT32"), "INT16": ("INT8", "INT64")}
    weights, bias = types.get(x, ("INT8", "INT32"))
    same(
        *layer("DEPTHWISE_CONV_2D", g, x, weights, bias, (1, 8), per_channel=x != "UINT8", depth_multiplier=8),
        atol=1e-5,
    )


@pytest.mark.parametrize(("filter_type", "version"), [("UINT8", 2), ("INT4", 5), ("INT8", 6)])
@pytest.mark.parametrize("groups", [1, 2])
def test_hybrid_conv_of_other_filters_follows_the_reference(filter_type, version, groups):
    per_channel = filter_type != "UINT8"
    if groups > 1 and not per_channel:
        return
    g = geometry_of(6, 7, 3, 3, 1, 2, "SAME")
    more = {"per_channel": per_channel, "groups": groups, "version": version}
    same(*layer("CONV_2D", g, "FLOAT32", filter_type, "FLOAT32", (4, 6), **more), atol=1e-4)


@pytest.mark.parametrize("oc", [1, 3])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 2), (2, 2)])
def test_few_sums_of_one_channel_are_rounded_as_the_reference_rounds_them(oc, stride, dilation):
    data, (x,) = layer("CONV_2D", geometry_of(13, 12, 3, 3, stride, dilation, "SAME"), *["FLOAT32"] * 3, (1, oc))
    x *= 1000
    np.testing.assert_array_equal(tflgpu_run(data, [x])[0], litert(data, [x])[0])


@pytest.mark.parametrize("channels", [1, 2])
def test_few_transposed_sums_are_rounded_as_the_reference_rounds_them(channels):
    data, (x,) = transposed("FLOAT32", "FLOAT32", None, (9, 8, 3, 3, 2, 1, channels, 2), "SAME", 3, "NONE")
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
    same(data, [codes(random, "INT16", (1, 6, 5, 4)), codes(random, "INT16", filter_shape)])


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
