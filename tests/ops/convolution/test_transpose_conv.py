"""TRANSPOSE_CONV and MediaPipe's transposed convolution, held to LiteRT's reference resolver or to their definition."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.convolution.conv_layers import ACTIVATIONS, F, few, same, values
from oracle import assert_same, litert, one_op, tflgpu_run

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
    beyond: tuple[int, int] = (0, 0),
) -> tuple[bytes, list[np.ndarray]]:
    """A model and its input. beyond: output rows and columns after those that the strides give."""
    random = np.random.default_rng(seed)
    h, w, kh, kw, sh, sw, c, oc = sizes
    integer = x_type != "FLOAT32"
    out_h = (h * sh if padding == "SAME" else (h - 1) * sh + kh) + beyond[0]
    out_w = (w * sw if padding == "SAME" else (w - 1) * sw + kw) + beyond[1]
    per_channel = oc if x_type != "UINT8" else 1
    weight_scale = (random.random(per_channel) * 0.02 + 0.004).astype(F)
    x_scale = F(0.05)
    zeros = (0, 0) if x_type == "INT16" or not integer else tuple(int(z) for z in values(random, x_type, 2))
    weights: dict[str, Any] = {"type": filter_type, "value": values(random, filter_type, (oc, kh, kw, c))}
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
        inputs.append({"type": bias_type, "value": values(random, "FLOAT32", oc)})
    elif bias_type:
        value = random.integers(-3000, 3000, oc).astype(bias_type.lower())
        inputs.append({"type": bias_type, "value": value, "scale": x_scale * weight_scale})
    options = {"padding": padding, "stride_h": sh, "stride_w": sw, "fused_activation_function": activation}
    return one_op("TRANSPOSE_CONV", inputs, [out], version=4, **options), [values(random, x_type, x["shape"])]


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


PADDED = [
    ((2, 2, 2, 2, 2, 2, 1, 1), (1, 1)),  # Keras's 2 x 2 -> 5 x 5: windows of one pixel
    ((3, 5, 2, 3, 2, 3, 3, 5), (1, 0)),
    ((3, 5, 2, 3, 2, 3, 3, 16), (0, 2)),
    ((4, 3, 1, 1, 3, 2, 5, 4), (2, 1)),
    ((4, 3, 3, 3, 2, 2, 5, 4), (1, 1)),
    ((1, 1, 5, 2, 3, 2, 2, 3), (2, 1)),
]
"""Sizes of VALID convolutions, and rows and columns of output after those that the strides give."""


@pytest.mark.parametrize(("x", "weights", "bias"), TRANSPOSED)
@pytest.mark.parametrize(("sizes", "beyond"), PADDED)
def test_output_padding_follows_the_reference(x, weights, bias, sizes, beyond):
    same(*transposed(x, weights, bias, sizes, "VALID", 5, "NONE", beyond), atol=1e-4)


@pytest.mark.parametrize(("x", "weights", "bias"), [t for t in TRANSPOSED if t[:2] != ("FLOAT32", "INT8")])
@pytest.mark.parametrize(("sizes", "beyond"), PADDED)
def test_output_padding_on_devices(x, weights, bias, sizes, beyond, device):
    data, inputs = transposed(x, weights, bias, sizes, "VALID", 5, "NONE", beyond)
    assert_same(device.run(data, inputs), tflgpu_run(data, inputs), rtol=1e-5, atol=1e-5)


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


@pytest.mark.parametrize("channels", [1, 2])
def test_few_transposed_sums_are_rounded_as_the_reference_rounds_them(channels):
    data, (x,) = transposed("FLOAT32", "FLOAT32", None, (9, 8, 3, 3, 2, 1, channels, 2), "SAME", 3, "NONE")
    x *= 1000
    np.testing.assert_array_equal(tflgpu_run(data, [x])[0], litert(data, [x])[0])
