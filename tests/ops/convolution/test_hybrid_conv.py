"""CONV_2D and DEPTHWISE_CONV_2D of float32 with 8- and 4-bit filters, held to LiteRT's reference resolver."""

from __future__ import annotations

import numpy as np
import pytest
from ops.convolution.conv_layers import geometry_of, layer, same
from oracle import litert, one_op, tflgpu_run

import tflgpu


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("channels", [(3, 4), (17, 5), (32, 8)])
@pytest.mark.parametrize("kernel", [1, 3])
def test_hybrid_conv_follows_the_reference(per_channel, channels, kernel):
    """5 channels and weights of -128 meet the x86 dot product that takes them for +128 against negative values."""
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


@pytest.mark.parametrize(("filter_type", "version"), [("UINT8", 2), ("INT4", 5), ("INT8", 6)])
@pytest.mark.parametrize("groups", [1, 2])
def test_hybrid_conv_of_other_filters_follows_the_reference(filter_type, version, groups):
    per_channel = filter_type != "UINT8"
    if groups > 1 and not per_channel:
        return
    g = geometry_of(6, 7, 3, 3, 1, 2, "SAME")
    more = {"per_channel": per_channel, "groups": groups, "version": version}
    same(*layer("CONV_2D", g, "FLOAT32", filter_type, "FLOAT32", (4, 6), **more), atol=1e-4)


OPTIONS = {
    "padding": "SAME",
    "stride_h": 1,
    "stride_w": 1,
    "dilation_h_factor": 1,
    "dilation_w_factor": 1,
    "fused_activation_function": "NONE",
}


def by_axis(kind: str, scales: list[float], axis: int, groups: int = 1) -> tuple[bytes, np.ndarray]:
    """A CONV_2D of float32 by weights (4, 2, 2, 4) whose scales are of a dimension, and its input."""
    random = np.random.default_rng(0)
    values = random.integers(-7, 8, (4, 2, 2, 4)).astype(np.int8)
    weights = {"type": kind, "value": values, "scale": scales, "zero_point": [0] * len(scales), "axis": axis}
    x = random.standard_normal((1, 5, 5, 4 * groups)).astype(np.float32)
    inputs = [{"type": "FLOAT32", "shape": x.shape}, weights, np.zeros(4, np.float32)]
    out = {"type": "FLOAT32", "shape": (1, 5, 5, 4)}
    return one_op("CONV_2D", inputs, [out], version=6, **OPTIONS), x


@pytest.mark.parametrize("kind", ["INT8", "INT4"])
@pytest.mark.parametrize(
    ("scales", "axis", "groups"),
    [([0.1, 0.2, 0.3, 0.4], 3, 1), ([0.1, 0.2], 1, 1), ([0.1] * 4, 3, 2), ([0.1], 3, 2), ([0.1, 0.2, 0.3, 0.4], 3, 2)],
)
def test_scales_of_another_dimension_than_the_channels_are_refused_in_allocate(
    kind: str, scales: list[float], axis: int, groups: int
) -> None:
    """Also where there are as many as channels, and where a device would take the node."""
    data, x = by_axis(kind, scales, axis, groups)
    text = rf"affine_quantization->quantized_dimension != 0 \({axis} != 0\)"
    with pytest.raises(RuntimeError, match=text):
        litert(data, [x])
    for delegates in ([], [tflgpu.load_delegate("cuda", {"device": "emulator", "min_nodes_per_partition": 1})]):
        interpreter = tflgpu.Interpreter(model_content=data, experimental_delegates=delegates)
        with pytest.raises(RuntimeError, match=text):
            interpreter.allocate_tensors()


def test_equal_scales_are_one_whatever_dimension_they_are_of() -> None:
    data, x = by_axis("INT8", [0.1] * 4, 3)
    np.testing.assert_allclose(tflgpu_run(data, [x])[0], litert(data, [x])[0], 1e-5, 1e-5)


@pytest.mark.parametrize("op", ["DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"])
def test_scales_that_are_fewer_than_channels_are_refused_in_allocate(op: str) -> None:
    """LiteRT reads beyond them."""
    shape = (1, 2, 2, 6) if op == "DEPTHWISE_CONV_2D" else (6, 2, 2, 3)
    weights = {"type": "INT8", "value": np.ones(shape, np.int8), "scale": [0.1, 0.2], "zero_point": [0, 0], "axis": 1}
    x, out = {"type": "FLOAT32", "shape": (1, 5, 5, 3)}, {"type": "FLOAT32", "shape": (1, 5, 5, 6)}
    if op == "DEPTHWISE_CONV_2D":
        data = one_op(op, [x, weights, np.zeros(6, np.float32)], [out], version=6, depth_multiplier=2, **OPTIONS)
    else:
        size = np.array(out["shape"], np.int32)
        data = one_op(op, [size, weights, x], [out], version=3, padding="SAME", stride_h=1, stride_w=1)
    with pytest.raises(RuntimeError, match="scale->size 2 is neither 1 nor 6"):
        tflgpu.Interpreter(model_content=data).allocate_tensors()
