"""Large batches are prepared some images at a time, with the same results."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from oracle import one_op, tflgpu_run

import tflgpu
from tflgpu.ops import in_batches

CONV = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}


def images(count: int) -> Any:
    return {"type": "FLOAT32", "shape": (count, 5, 4, 2)}


def convolution(count: int, dtype: Any = np.float32) -> bytes:
    """Of floats, by filters of floats or of int8, of which each image is quantized by itself."""
    rng = np.random.default_rng(1)
    weights = rng.integers(-9, 9, (3, 3, 3, 2)).astype(dtype)
    filters = {"value": weights, "scale": 0.1, "zero_point": 0} if dtype is np.int8 else weights
    return one_op(
        "CONV_2D",
        [images(count), filters, np.ones(3, np.float32)],
        [{"type": "FLOAT32", "shape": (count, 5, 4, 3)}],
        **CONV,
    )


MODELS = {
    "floats": convolution,
    "int8 filters": lambda count: convolution(count, np.int8),
    "depthwise": lambda count: one_op(
        "DEPTHWISE_CONV_2D",
        [images(count), np.ones((1, 3, 3, 2), np.float32), np.ones(2, np.float32)],
        [{"type": "FLOAT32", "shape": (count, 5, 4, 2)}],
        depth_multiplier=1,
        **CONV,
    ),
    "resize": lambda count: one_op(
        "RESIZE_BILINEAR", [images(count), np.array([9, 7], np.int32)], [{"type": "FLOAT32", "shape": (count, 9, 7, 2)}]
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_images_after_others_give_what_all_at_once_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(7, 5, 4, 2)).astype(np.float32)
    (want,) = tflgpu_run(MODELS[name](7), [x])
    prepared: list[int] = []
    monkeypatch.setattr(in_batches, "MOST_IMAGES", 3)
    slow = in_batches.in_batches

    def counting(node: Any, inputs: Any, outputs: Any, prepare: Any, runtime: Any) -> Any:
        prepared.append(len(inputs[0]))
        return slow(node, inputs, outputs, prepare, runtime)

    monkeypatch.setattr("tflgpu.ops.registry.in_batches", counting)
    (got,) = tflgpu_run(MODELS[name](7), [x])
    assert prepared == [7, 3, 3, 1]
    np.testing.assert_array_equal(got, want)


def test_a_million_images_are_not_a_million_objects() -> None:
    """832 bytes once took 70 seconds and 3 GB to prepare."""
    start = time.process_time()
    tflgpu.Interpreter(model_content=convolution(1 << 20)).allocate_tensors()
    assert time.process_time() - start < 1
