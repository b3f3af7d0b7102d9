"""Outputs have the type that TensorFlow Lite gives them, whatever the model declares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers
from oracle import assert_same, litert, one_op, tflgpu_run

import tflgpu

X = np.float32([[1, 2, 3], [4, 0, -1]])
ONE = np.float32(1)


def numbers(value: Any) -> dict[str, Any]:
    array = np.asarray(value)
    return {"type": str(array.dtype).upper(), "shape": array.shape}


CASES: dict[str, tuple[list[Any], list[Any], dict[str, Any]]] = {
    "BUCKETIZE": ([numbers(X)], [X], {"boundaries": [0.0, 2.0]}),
    "RANK": ([numbers(X)], [X], {}),
    "SHAPE": ([numbers(X)], [X], {"out_type": "INT32"}),
    "WHERE": ([numbers(X)], [X], {}),
    "LESS": ([numbers(X), X * 2], [X], {}),
    "LOGICAL_AND": ([{"type": "BOOL", "shape": X.shape}, X > 1], [X > 0], {}),
    "ARG_MAX": ([numbers(X), np.int32(1)], [X], {"output_type": "INT32"}),
    "RANGE": ([numbers(np.int32(0)), np.int32(4), np.int32(1)], [np.int32(0)], {}),
    "ONE_HOT": ([numbers(np.int32([1, 0])), np.int32(3), ONE, ONE * 0], [np.int32([1, 0])], {"axis": -1}),
    "NumericVerify": (
        [{"type": "INT8", "shape": [4], "scale": 0.5, "zero_point": 3}, numbers(np.ones(4, np.float32))],
        [np.int8([3, 4, 100, -9]), np.float32([0, 0.4, 50, 1])],
        {"custom": bytes(flexbuffers.Dumps({"tolerance": 5.0, "log_if_failed": False}))},
    ),
    "RFFT2D": ([numbers(np.ones((4, 4), np.float32)), np.int32([4, 4])], [np.ones((4, 4), np.float32)], {}),
}


@pytest.mark.parametrize("declared", ["INT64", "FLOAT32", "INT16"])
@pytest.mark.parametrize("op", CASES)
def test_the_type_is_the_operators(op: str, declared: str) -> None:
    inputs, fed, options = CASES[op]
    data = one_op(op, inputs, [{"type": declared, "shape": [1]}], **options)
    assert_same(tflgpu_run(data, fed), litert(data, fed))


@pytest.mark.parametrize("declared", ["INT64", "FLOAT64"])
def test_a_device_writes_that_type_too(declared: str) -> None:
    """It wrote INT32 into an array of what was declared once."""
    inputs, fed, options = CASES["BUCKETIZE"]
    data = one_op("BUCKETIZE", inputs, [{"type": declared, "shape": [1]}], **options)
    emulator = tflgpu.load_delegate("cuda", {"device": "emulator", "require_full": "1"})
    assert_same(tflgpu_run(data, fed, [emulator]), [np.digitize(X, [0, 2]).astype(np.int32)])


def test_values_of_another_type_than_the_input_are_refused() -> None:
    outputs = [{"type": "INT16", "shape": [2, 2]}, {"type": "INT32", "shape": [2, 2]}]
    with pytest.raises(RuntimeError, match="TOPK_V2: values of type INT16 of an input of type FLOAT32"):
        tflgpu_run(one_op("TOPK_V2", [numbers(X), np.int32(2)], outputs), [X])


def test_a_leaky_relu_of_no_number_leaves_what_is_above_0() -> None:
    data = one_op("LEAKY_RELU", [numbers(X)], [numbers(X)], alpha=float("nan"))
    assert_same(tflgpu_run(data, [X]), litert(data, [X]))
