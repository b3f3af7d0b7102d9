"""OpenCL kernels for images on CPUs, at sizes that their blocks of pixels, rows and channels do not divide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import assert_same, tflgpu_run

from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder

pytest.importorskip("pyopencl")

PLAIN = {"fused_activation_function": "NONE"}


def floats(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def kernels(
    op: str, inputs: list[Any], out: list[int], runtime: str, x: int = 0, kind: str = "FLOAT32", **options: Any
) -> set[str]:
    """Asserts that the delegate computes one operator as the CPU does, and returns the names of the kernels it ran.

    inputs: all that the operator has; input number x is the model's input, of this kind, the others are constants.
    """
    scaled: dict[str, Any] = {} if kind == "FLOAT32" else {"scale": 0.5, "zero_point": 3}
    m = ModelBuilder()
    g = m.graph()
    tensors = [
        g.input("x", kind, list(value.shape), **scaled) if k == x else g.constant(f"c{k}", value)
        for k, value in enumerate(inputs)
    ]
    y = g.tensor("y", kind, out, **scaled)
    g.node(op, tensors, [y], **options)
    g.outputs(y)
    delegate: Any = load_delegate("opencl", {"device": runtime, "profile": "1", "require_full": "1"})
    model = m.build()
    got = tflgpu_run(model, [inputs[x]], [delegate])
    assert_same(got, tflgpu_run(model, [inputs[x]]), rtol=1e-5, atol=1e-5)
    return set(delegate.device.times())


def out_of(size: int, taps: int, stride: int, padding: str) -> int:
    return -(-size // stride) if padding == "SAME" else (size - taps) // stride + 1


@pytest.mark.parametrize(
    "h, w, c, taps, stride, padding",
    [
        (7, 7, 40, 3, 1, "SAME"),
        (5, 14, 16, 3, 1, "VALID"),
        (9, 11, 24, 5, 1, "SAME"),
        (6, 27, 8, 3, 2, "SAME"),
        (3, 4, 19, 3, 1, "SAME"),
        (1, 9, 160, 1, 1, "VALID"),
    ],
)
def test_a_depthwise_convolution(h: int, w: int, c: int, taps: int, stride: int, padding: str, runtime: str) -> None:
    inputs = [floats(1, h, w, c), floats(1, min(taps, h), taps, c), floats(c)]
    size = [out_of(h, min(taps, h), stride, padding), out_of(w, taps, stride, padding)]
    options = {"padding": padding, "stride_w": stride, "stride_h": stride, "depth_multiplier": 1, **PLAIN}
    options |= {"dilation_w_factor": 1, "dilation_h_factor": 1}
    assert kernels("DEPTHWISE_CONV_2D", inputs, [1, *size, c], runtime, **options) == {"depthwise_rows"}


@pytest.mark.parametrize(
    "c, oc, dilation, padding",
    [(1, 16, 1, "SAME"), (3, 20, 1, "SAME"), (3, 8, 1, "VALID"), (5, 33, 2, "SAME"), (4, 40, 1, "VALID")],
)
def test_a_convolution_over_neighbouring_output_pixels(
    c: int, oc: int, dilation: int, padding: str, runtime: str
) -> None:
    inputs = [floats(2, 9, 21, c), floats(oc, 3, 3, c), floats(oc)]
    seen = (3 - 1) * dilation + 1
    size = [out_of(9, seen, 1, padding), out_of(21, seen, 1, padding)]
    options = {"padding": padding, "stride_w": 1, "stride_h": 1, **PLAIN}
    options |= {"dilation_w_factor": dilation, "dilation_h_factor": dilation}
    assert kernels("CONV_2D", inputs, [2, *size, oc], runtime, version=2, **options) == {"gemm_register_tiles"}


def test_a_depthwise_convolution_of_one_channel_is_a_plain_one(runtime: str) -> None:
    inputs = [floats(1, 6, 9, 1), floats(1, 3, 3, 16), floats(16)]
    options = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "depth_multiplier": 16, **PLAIN}
    assert kernels("DEPTHWISE_CONV_2D", inputs, [1, 6, 9, 16], runtime, **options) == {"gemm_register_tiles"}


@pytest.mark.parametrize(
    "taps, stride, oc, padding",
    [
        (2, 2, 1, "SAME"),
        (3, 2, 5, "SAME"),
        (3, 2, 5, "VALID"),
        (4, 2, 16, "VALID"),
        (2, 3, 5, "SAME"),
        (3, 1, 1, "SAME"),
    ],
)
def test_a_transposed_convolution_is_a_plain_one(taps: int, stride: int, oc: int, padding: str, runtime: str) -> None:
    h, w = (n * stride + (max(taps - stride, 0) if padding == "VALID" else 0) for n in (4, 5))
    inputs = [np.array([2, h, w, oc], np.int32), floats(oc, taps, taps, 6), floats(2, 4, 5, 6), floats(oc)]
    options = {"padding": padding, "stride_w": stride, "stride_h": stride, **PLAIN}
    ran = kernels("TRANSPOSE_CONV", inputs, [2, h, w, oc], runtime, x=2, version=3, **options)
    assert "gemm_register_tiles" in ran and "conv_float" not in ran


@pytest.mark.parametrize("op", ["MAX_POOL_2D", "AVERAGE_POOL_2D", "L2_POOL_2D"])
@pytest.mark.parametrize("c, padding", [(28, "SAME"), (16, "VALID"), (5, "SAME")])
def test_pooling_by_rows(op: str, c: int, padding: str, runtime: str) -> None:
    size = [out_of(11, 3, 2, padding), out_of(8, 2, 2, padding)]
    options = {"padding": padding, "stride_w": 2, "stride_h": 2, "filter_height": 3, "filter_width": 2, **PLAIN}
    assert kernels(op, [floats(2, 11, 8, c)], [2, *size, c], runtime, **options) == {"pool_rows"}


@pytest.mark.parametrize("c", [19, 8])
@pytest.mark.parametrize("centers", [False, True])
def test_resizing_by_rows(c: int, centers: bool, runtime: str) -> None:
    inputs = [floats(2, 5, 7, c), np.array([11, 6], np.int32)]
    options = {"align_corners": False, "half_pixel_centers": centers}
    assert kernels("RESIZE_BILINEAR", inputs, [2, 11, 6, c], runtime, version=3, **options) == {"resize_rows"}


@pytest.mark.parametrize("c", [21, 8, 4])
@pytest.mark.parametrize("flags", [(True, False), (False, True), (False, False)])
def test_resizing_of_uint8_images_by_rows(c: int, flags: tuple[bool, bool], runtime: str) -> None:
    image = np.random.default_rng(c).integers(0, 256, (2, 5, 7, c), np.uint8)
    options = {"align_corners": flags[0], "half_pixel_centers": flags[1]}
    size = np.array([17, 20], np.int32)
    ran = kernels("RESIZE_BILINEAR", [image, size], [2, 17, 20, c], runtime, kind="UINT8", version=3, **options)
    assert ran == {"resize_rows"}
