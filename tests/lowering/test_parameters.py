"""Kernels at their limits: as many buffers as a barrier kernel may have, and as many elements as an int numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from devices import TestedDevice, open_device
from loop_models import NONE, counted, loop
from oracle import assert_same, one_op, tflgpu_run

import tflgpu
from tflgpu import Interpreter
from tflgpu.delegates.compiler import LARGE_BLOCK
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import launches_of
from tflgpu.delegates.lowering.registry import lower
from tflgpu.delegates.megakernel.barrier_kernel import MAX_BUFFERS
from tflgpu.delegation.delegate import Unsupported
from tflgpu.model.loader import load
from tflgpu.ops.registry import OPS

VECTOR = {"type": "FLOAT32", "shape": [5]}


@pytest.mark.parametrize("buffers", [63, 64, 65, MAX_BUFFERS])
def test_a_kernel_of_many_buffers(buffers: int, device: TestedDevice) -> None:
    inputs = buffers - 1
    body = f"out0[i] = {' + '.join(f'{k + 1}.0f * in{k}[i]' for k in range(inputs))};"

    def weighted(node: Any, *arrays: Any) -> Any:
        return np.tensordot(np.arange(1, inputs + 1, dtype=np.float32), np.stack(arrays), 1)

    name = f"WeightedSum{inputs}"
    tflgpu.custom_op(name, cpu=weighted, shapes=lambda node: [node.input(0).shape], cuda=body, opencl=body)
    data = one_op(name, [VECTOR] * inputs, [VECTOR], custom=b"")
    fed = [np.arange(5, dtype=np.float32) + k for k in range(inputs)]
    assert_same(device.run(data, fed), tflgpu_run(data, fed))
    del OPS[name]


def rotating(variables: int) -> tuple[bytes, list[Any]]:
    """A WHILE of so many variables besides its counter, each of which becomes its sum with the next; and its inputs."""

    def body(g: Any, v: list[Any]) -> Sequence[Any]:
        sums = [g.tensor(f"sum{k}", "FLOAT32", [3]) for k in range(variables)]
        for k, out in enumerate(sums):
            g.node("ADD", [v[1 + k], v[1 + (k + 1) % variables]], [out], **NONE)
        return [counted(g, v[0]), *sums]

    fed = [np.int32(0), *[np.full(3, k, np.float32) for k in range(variables)]]
    return loop([("INT32", [])] + [("FLOAT32", [3])] * variables, body), fed


def test_a_loop_of_as_many_buffers_as_a_kernel_may_have() -> None:
    """Three for each variable: before, in and after an iteration."""
    cuda = open_device("CUDA")
    data, fed = rotating(MAX_BUFFERS // 3 - 2)
    assert_same(cuda.run(data, fed), tflgpu_run(data, fed))


def test_a_loop_of_more_buffers_is_driven_by_the_host() -> None:
    data, fed = rotating(MAX_BUFFERS // 3)
    emulator = tflgpu.load_delegate("cuda", {"device": "emulator"})
    interpreter = Interpreter(model_content=data, experimental_delegates=[emulator])
    interpreter.allocate_tensors()
    (partition,) = interpreter._graphs[0].partitions
    assert partition.owner is not None
    assert list(partition.owner._hosted(partition.nodes)) == [0]
    assert_same(tflgpu_run(data, fed, [emulator]), tflgpu_run(data, fed))


def test_the_numbers_of_all_work_items_of_whole_blocks_are_ints() -> None:
    most = 2**31 - LARGE_BLOCK
    for elements, taken in ((most, True), (most + 1, False), (2**31 - 1, False)):
        spec = {"type": "INT8", "shape": [elements], "scale": 1.0, "zero_point": 0}
        (node,) = load(content=one_op("ABS", [spec], [spec])).graphs[0].nodes
        if taken:
            assert lower(node, DeviceLimits())
        else:
            with pytest.raises(Unsupported, match="32-bit index"):
                lower(node, DeviceLimits())


@pytest.mark.parametrize("columns", [65535 * 32, 65535 * 32 + 1])
def test_a_gemm_has_no_more_blocks_than_a_cuda_grid_s_second_dimension(columns: int) -> None:
    weights, options = np.zeros((columns, 1), np.float32), {"fused_activation_function": "NONE"}
    out = {"type": "FLOAT32", "shape": [1, columns]}
    (node,) = (
        load(content=one_op("FULLY_CONNECTED", [{**out, "shape": [1, 1]}, weights], [out], **options)).graphs[0].nodes
    )
    warps = DeviceLimits(kernel_families=frozenset({"warps"}))
    for launch in launches_of(lower(node, warps)):
        for way in (launch, *launch.variants):
            assert all(blocks <= 65535 for blocks in way.grid[1:]), way
