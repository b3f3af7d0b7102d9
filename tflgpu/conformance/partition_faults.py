"""Ways of being wrong: each takes the step of a partition, and returns one that is wrong."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from tflgpu.conformance.faults import CURRENT
from tflgpu.delegation.delegate import Partition
from tflgpu.memory import Tensor
from tflgpu.model.graph import Array
from tflgpu.ops.registry import Step

Tensors = Mapping[int, Tensor]
LEAKED: list[Any] = []
"""What the leaking ones never let go."""


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
        if delegate.dead:
            raise RuntimeError("the context is lost")
        try:
            run()
        except Exception:
            delegate.dead = True
            raise

    return once


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
