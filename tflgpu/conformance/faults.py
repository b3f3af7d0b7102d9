"""Ways of being wrong: each takes the step of a node, and returns one that is wrong."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from tflgpu.model.graph import Array, Node
from tflgpu.ops.registry import Step


def padding_off_by_one(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    if getattr(node.options, "padding", "") != "SAME":
        return step

    def run() -> None:
        step()
        outputs[0][...] = np.roll(outputs[0], 1, 2)

    return run


def half_to_even(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    if node.op != "QUANTIZE" or inputs[0].dtype != np.float32:
        return step
    scale, zero_point = node.outputs[0].scale, node.outputs[0].zero_point

    def run() -> None:
        limits = np.iinfo(outputs[0].dtype)
        quantized = np.rint(inputs[0].astype(np.float64) / scale) + zero_point
        outputs[0][...] = np.clip(quantized, limits.min, limits.max).astype(outputs[0].dtype)

    return run


def nan_swallowed(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    if node.op not in ("RELU", "RELU6", "MAXIMUM"):
        return step

    def run() -> None:
        step()
        if outputs[0].dtype.kind == "f":
            outputs[0][np.isnan(outputs[0])] = 0

    return run


def wrong_broadcast(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    if len(inputs) != 2 or inputs[0].shape == inputs[1].shape or inputs[1].size < 2:
        return step

    def run() -> None:
        step()
        outputs[0][...] = outputs[0][..., ::-1].copy()

    return run


def crashes(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    return os.abort if node.op == "SOFTMAX" else step


def hangs(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    return (lambda: time.sleep(3600)) if node.op == "SOFTMAX" else step


def changes_its_input(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    if node.op != "RELU" or not inputs[0].flags.writeable:
        return step

    def run() -> None:
        step()
        inputs[0][...] = outputs[0]

    return run


def half_precision(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    def run() -> None:
        step()
        for out in outputs:
            if out.dtype == np.float32:
                with np.errstate(over="ignore"):
                    out[...] = out.astype(np.float16)

    return run


def integers_through_floats(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    def run() -> None:
        step()
        for out in outputs:
            if out.dtype == np.int64:
                with np.errstate(invalid="ignore"):
                    out[...] = out.astype(np.float64).astype(np.int64)

    return run


def ignores_activation(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    if node.op != "ADD" or inputs[0].dtype != np.float32:
        return step
    return lambda: np.add(inputs[0], inputs[1], out=outputs[0])


def last_of_ties(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    if node.op != "ARG_MAX":
        return step
    axis = int(inputs[1].reshape(-1)[0])

    def run() -> None:
        size = inputs[0].shape[axis]
        outputs[0][...] = size - 1 - np.argmax(np.flip(inputs[0], axis), axis).reshape(outputs[0].shape)

    return run


def saturates(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    if node.op != "ADD" or inputs[0].dtype != np.int32:
        return step

    def run() -> None:
        total = inputs[0].astype(np.int64) + inputs[1]
        outputs[0][...] = np.clip(total, -(2**31), 2**31 - 1).astype(np.int32)

    return run


def wrong_axis(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    if node.op != "SOFTMAX" or inputs[0].ndim < 2 or inputs[0].dtype != np.float32:
        return step

    def run() -> None:
        e = np.exp(inputs[0] - inputs[0].max(0, keepdims=True, initial=-np.inf))
        outputs[0][...] = e / e.sum(0, keepdims=True)

    return run


def refuses_by_a_mistake(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    if node.op != "GATHER" or node.options.axis:
        return step

    def run() -> None:
        outputs[0][...] = np.array([inputs[0][k] for k in inputs[1]])

    return run


def fails_of_empty(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    def run() -> None:
        if not outputs[0].size:
            raise RuntimeError("a launch of 0 threads")
        step()

    return run


def forgets_the_last(node: Node, step: Step, inputs: list[Array], outputs: list[Array]) -> Step:
    """As a kernel does that rounds its grid down."""
    if node.op != "FULLY_CONNECTED":
        return step

    def run() -> None:
        last = outputs[0][-1:].copy()
        step()
        outputs[0][-1:] = last

    return run


CURRENT: dict[str, Any] = {}
"""What a delegate that was written for one thread runs now."""
