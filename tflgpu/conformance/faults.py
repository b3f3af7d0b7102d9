"""Ways of being wrong: each takes the step of a node or of a partition, and returns one that is wrong."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from tflgpu.delegation.delegate import Partition
from tflgpu.memory import Tensor
from tflgpu.model.graph import Array, Node
from tflgpu.ops.registry import Step

Tensors = Mapping[int, Tensor]
LEAKED: list[Any] = []
"""What the leaking ones never let go."""


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


def writes_after(delegate: Any, partition: Partition, tensors: Tensors, run: Step) -> Step:
    def after() -> None:
        run()
        for index in partition.outputs:
            out = tensors[index].host
            ctypes.memset(out.ctypes.data + out.nbytes, 0, out.itemsize)

    return after


def writes_before(delegate: Any, partition: Partition, tensors: Tensors, run: Step) -> Step:
    def after() -> None:
        run()
        for index in partition.outputs:
            out = tensors[index].host
            ctypes.memset(out.ctypes.data - out.itemsize, 0, out.itemsize)

    return after


def runs_once(delegate: Any, partition: Partition, tensors: Tensors, run: Step) -> Step:
    first_results: list[tuple[Array, Array]] = []

    def once() -> None:
        if not first_results:
            run()
            first_results.extend((tensors[i].host, tensors[i].host.copy()) for i in partition.outputs)
        for out, value in first_results:
            out[...] = value

    return once


def forgets_resize(delegate: Any, partition: Partition, tensors: Tensors, run: Step) -> Step:
    """Computes as many elements as there were when this partition was first compiled."""
    known = delegate.__dict__.setdefault("sizes", {})
    key = tuple(f"{node} {node.outputs[0].name}" for node in partition.nodes)
    sizes = known.setdefault(key, {i: tensors[i].host.size for i in partition.outputs})

    def short() -> None:
        before = {i: tensors[i].host.copy() for i in partition.outputs}
        run()
        for index, value in before.items():
            tensors[index].host.reshape(-1)[sizes[index] :] = value.reshape(-1)[sizes[index] :]

    return short


def leaks_a_tensor(delegate: Any, partition: Partition, tensors: Tensors, run: Step) -> Step:
    def leaking() -> None:
        run()
        LEAKED.extend(tensors[i].host.copy() for i in partition.outputs)

    return leaking


def leaks_objects(delegate: Any, partition: Partition, tensors: Tensors, run: Step) -> Step:
    def leaking() -> None:
        run()
        LEAKED.append([object()])

    return leaking


def outlives(delegate: Any, partition: Partition, tensors: Tensors, run: Step) -> Step:
    LEAKED.append(tensors)
    return run


def skips_the_last(delegate: Any, partition: Partition, tensors: Tensors, run: Step) -> Step:
    last = partition.nodes[-1].outputs[0].index
    if len(partition.nodes) < 3 or last not in tensors:
        return run

    def short() -> None:
        before = tensors[last].host.copy()
        run()
        tensors[last].host[...] = before

    return short


def adds_noise(delegate: Any, partition: Partition, tensors: Tensors, run: Step) -> Step:
    rng = np.random.default_rng()

    def noisy() -> None:
        run()
        for index in partition.outputs:
            out = tensors[index].host
            if out.dtype == np.float32 and out.size:
                out *= np.float32(1) + (rng.integers(0, 2, out.shape) * np.float32(6e-8)).astype(np.float32)
                out.reshape(-1)[0] = np.nextafter(out.reshape(-1)[0], np.float32(rng.normal()), dtype=np.float32)

    return noisy


def one_for_all(delegate: Any, partition: Partition, tensors: Tensors, run: Step) -> Step:
    """Keeps what it compiled last as the only thing that it can run."""
    delegate.latest = run
    return lambda: delegate.latest()


def dies_of_an_error(delegate: Any, partition: Partition, tensors: Tensors, run: Step) -> Step:
    def once() -> None:
        if getattr(delegate, "dead", False):
            raise RuntimeError("the context is lost")
        try:
            run()
        except Exception:
            delegate.dead = True
            raise

    return once


CURRENT: dict[str, Any] = {}
"""What a delegate that was written for one thread runs now."""


def not_for_threads(delegate: Any, partition: Partition, tensors: Tensors, run: Step) -> Step:
    def late() -> None:
        CURRENT["run"] = run
        time.sleep(0.002)
        CURRENT["run"]()

    return late


def forgets_inner_outputs(delegate: Any, partition: Partition, tensors: Tensors, run: Step) -> Step:
    """Gives only what no node of the partition reads, though others are outputs too."""
    read = {s.index for node in partition.nodes for s in node.inputs if s is not None}
    inner = [tensors[i] for i in partition.outputs if i in read]

    def forgetting() -> None:
        before = [tensor.host.copy() for tensor in inner]
        run()
        for tensor, value in zip(inner, before, strict=True):
            tensor.host[...] = value

    return forgetting
