"""CONV_3D and CONV_3D_TRANSPOSE on devices: as the GEMM of 2-D convolutions, equal to the CPU's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import TestedDevice
from oracle import assert_same, one_op, tflgpu_run

from tflgpu.delegates.launch import Launch
from tflgpu.delegates.lowering.registry import lower
from tflgpu.model.loader import load

Array = np.ndarray[Any, Any]
WINDOWS = {
    "plain": ((5, 6, 7), (2, 3, 3), (1, 1, 1), (1, 1, 1), "SAME", 3, 16),
    "strided": ((5, 6, 7), (3, 3, 3), (2, 2, 2), (1, 1, 1), "SAME", 4, 5),
    "pointwise": ((4, 5, 6), (1, 1, 1), (1, 1, 1), (1, 1, 1), "SAME", 8, 4),
    "flat": ((4, 5, 6), (1, 2, 3), (1, 2, 1), (1, 1, 1), "VALID", 1, 33),
    "every other depth": ((5, 3, 4), (1, 2, 2), (2, 1, 1), (1, 1, 1), "SAME", 2, 3),
    "dilated": ((7, 8, 9), (2, 2, 2), (1, 1, 1), (2, 2, 2), "VALID", 5, 3),
    "apart": ((6, 6, 6), (2, 2, 2), (2, 2, 2), (1, 1, 1), "VALID", 16, 16),
    "gaps": ((7, 7, 7), (2, 2, 1), (3, 3, 2), (1, 1, 1), "VALID", 2, 6),
    "taps that never meet": ((3, 4, 4), (3, 2, 2), (1, 1, 1), (9, 1, 1), "SAME", 2, 3),
}


def models(name: str, constant: bool = True) -> list[tuple[bytes, list[Array]]]:
    """The convolution of that name, and its transpose, with what they are fed."""
    sizes, taps, strides, dilations, padding, c, oc = WINDOWS[name]
    rng = np.random.default_rng(len(name))

    def floats(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    fits = zip(sizes, taps, strides, dilations, strict=True)
    small = [-(-n // s) if padding == "SAME" else (n - (k - 1) * d - 1) // s + 1 for n, k, s, d in fits]
    x, y, weights = floats(2, *sizes, c), floats(2, *small, oc), floats(*taps, c, oc)
    options: dict[str, Any] = {"padding": padding, "fused_activation_function": "RELU6"}
    for axis, stride, dilation in zip("dhw", strides, dilations, strict=True):
        options |= {f"stride_{axis}": stride, f"dilation_{axis}_factor": dilation}

    def spec(array: Array) -> dict[str, Any]:
        return {"type": "FLOAT32", "shape": list(array.shape)}

    given, fed = (weights, []) if constant else (spec(weights), [weights])
    plain = one_op("CONV_3D", [spec(x), given, floats(oc)], [spec(y)], **options)
    shape = np.array(x.shape, np.int32)
    back = one_op("CONV_3D_TRANSPOSE", [shape, given, spec(y), floats(c)], [spec(x)], **options)
    return [(plain, [x, *fed]), (back, [*fed, y])]


def kernels(data: bytes, device: TestedDevice) -> set[str]:
    (graph,) = load(path=None, content=data).graphs
    lowered = lower(graph.nodes[0], device.delegate.device.limits)
    return {launch.kernel for launch in lowered if isinstance(launch, Launch)}


@pytest.mark.parametrize("name", WINDOWS)
def test_a_convolution_of_volumes_and_its_transpose(device: TestedDevice, name: str) -> None:
    for data, values in models(name):
        assert_same(device.run(data, values), tflgpu_run(data, values), rtol=2e-6, atol=1e-5)
        assert "conv_3d.conv_3d" not in kernels(data, device)


def test_weights_that_are_computed(device: TestedDevice) -> None:
    for data, values in models("strided", constant=False):
        assert_same(device.run(data, values), tflgpu_run(data, values), rtol=2e-6, atol=1e-5)
        assert kernels(data, device) == {"conv_3d.conv_3d"}


def test_a_single_depth_at_a_time_is_read_where_it_lies(device: TestedDevice) -> None:
    (data, _), _ = models("flat")
    assert "conv_3d.depth_windows" not in kernels(data, device)
