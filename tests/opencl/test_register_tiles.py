"""The fast kernels of the OpenCL delegate: what is joined to them, and how one of several is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle import assert_same, one_op, tflgpu_run

from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder

pytest.importorskip("pyopencl")

ONE_BY_ONE = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "fused_activation_function": "RELU6"}
PLAIN = {"fused_activation_function": "NONE"}


def residual(kind: str, channels: int, taps: int = 1) -> bytes:
    """A convolution to `channels`, its sum with the input of as many, and PRELU where these are floats."""
    rng = np.random.default_rng(channels)
    m = ModelBuilder()
    g = m.graph()
    scaled: dict[str, Any] = {} if kind == "FLOAT32" else {"scale": 0.05, "zero_point": 3}
    shape = [2, 5, 3, channels]
    x, y, total = (
        g.input("x", kind, shape, **scaled),
        g.tensor("y", kind, shape, **scaled),
        g.tensor("sum", kind, shape, **scaled),
    )
    weights = rng.normal(size=(channels, taps, taps, channels)).astype(np.float32)
    if kind == "FLOAT32":
        w, b = g.constant("w", weights), g.constant("b", rng.normal(size=channels).astype(np.float32))
    else:
        zero = {"scale": np.full(channels, 0.01, np.float32), "zero_point": np.zeros(channels, np.int64), "axis": 0}
        w = g.constant("w", (weights * 40).clip(-127, 127).astype(np.int8), type="INT8", **zero)
        b = g.constant("b", rng.integers(-500, 500, channels, np.int32), type="INT32")
    g.node("CONV_2D", [x, w, b], [y], version=3, **ONE_BY_ONE)
    g.node("ADD", [y, x] if taps == 1 else [x, y], [total], version=2, **PLAIN)
    if kind == "FLOAT32":
        out = g.tensor("out", kind, shape)
        alpha = g.constant("alpha", rng.normal(size=(1, 1, channels)).astype(np.float32))
        g.node("PRELU", [total, alpha], [out])
        total = out
    g.outputs(total)
    return m.build()


def values(kind: str, channels: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    if kind == "FLOAT32":
        return rng.normal(size=(2, 5, 3, channels)).astype(np.float32)
    return rng.integers(-128, 128, (2, 5, 3, channels), np.int8)


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
@pytest.mark.parametrize("channels, taps", [(24, 1), (19, 3)])
def test_what_follows_a_convolution_is_done_in_its_kernel(kind: str, channels: int, taps: int, runtime: str) -> None:
    delegate: Any = load_delegate("opencl", {"device": runtime, "profile": "1", "require_full": "1"})
    model, x = residual(kind, channels, taps), values(kind, channels)
    assert_same(tflgpu_run(model, [x], [delegate]), tflgpu_run(model, [x]), rtol=1e-5, atol=1e-5)
    assert len(delegate.device.times()) == 1


def test_tuned_variants_give_the_same_results_and_are_remembered(runtime: str, tmp_path: Path) -> None:
    options = {"device": runtime, "autotune": "1", "cache_dir": str(tmp_path), "require_full": "1"}
    model, x = residual("FLOAT32", 40), values("FLOAT32", 40)
    want = tflgpu_run(model, [x])
    assert_same(tflgpu_run(model, [x], [load_delegate("opencl", options)]), want, rtol=1e-5, atol=1e-5)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    again: Any = load_delegate("opencl", options)
    assert again.device.tuner._chosen
    assert_same(tflgpu_run(model, [x], [again]), want, rtol=1e-5, atol=1e-5)
    assert not again.device.tuner.measured
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize("depth", [3, 16, 21, 67])
def test_softmax_by_vectors_is_that_by_elements(depth: int, runtime: str) -> None:
    shape = {"type": "FLOAT32", "shape": (5, depth)}
    x = np.random.default_rng(depth).normal(scale=3, size=(5, depth)).astype(np.float32)
    x[1, :2], x[2] = -np.inf, 80
    model = one_op("SOFTMAX", [shape], [shape], beta=0.7)
    delegate = load_delegate("opencl", {"device": runtime, "require_full": "1"})
    assert_same(tflgpu_run(model, [x], [delegate]), tflgpu_run(model, [x]), rtol=1e-5, atol=1e-7)
