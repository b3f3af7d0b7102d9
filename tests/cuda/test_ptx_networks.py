"""Whole networks on device=ptx, small ones of the kinds that people run, in float32, fp16 and int8."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from devices import ptx, require_emulator
from kit import case, fed
from oracle import Array, assert_same, tflgpu_run

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from architectures import Network, bert_base
from models import tflite

DETECTOR = Path(__file__).parents[2] / "examples/detection/detector.tflite"

require_emulator()


def mobilenet() -> Network:
    """MobileNetV2's blocks, one of each kind: without expansion, with a stride, with the sum."""
    net = Network((1, 16, 16, 3))
    x = net.conv(net.input, 16, 3, 2, "RELU6")
    x = net.conv(net.depthwise(x, 3, 1, "RELU6"), 8)
    for stride in (2, 1):
        y = net.conv(x, 48, act="RELU6")
        y = net.conv(net.depthwise(y, 3, stride, "RELU6"), 16)
        x = net.add(x, y) if x.shape == y.shape else y
    x = net.dense(net.reshape(net.mean(x), 1, 16), 10)
    net.unary("SOFTMAX", x)
    return net


def encoder() -> Network:
    """A narrow layer of BERT."""
    return bert_base(tokens=8, layers=1, depth=128)


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
@pytest.mark.parametrize("network", [mobilenet, encoder])
def test_a_network_is_the_cpus(network: Callable[[], Network], kind: str) -> None:
    net, rng = network(), np.random.default_rng(0)
    x: Array = rng.standard_normal(net.input.shape, np.float32)
    assert_close(tflite(net, kind), [(20 * x).astype(np.int8) if kind == "int8" else x], kind)


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_a_detector_is_the_cpus(kind: str) -> None:
    picture = np.random.default_rng(0).uniform(0, 0.05, (1, 64, 64, 1)).astype(np.float32)
    picture[:, 8:24, 12:16] = picture[:, 36:52, 40:44] = 1  # two ones
    assert_close(DETECTOR.read_bytes(), [picture], kind)


def test_an_integer_lstm_over_a_sequence_is_the_cpus() -> None:
    model, values = fed(case("UNIDIRECTIONAL_SEQUENCE_LSTM[int8,3x4x5,units=11,sequence]"))
    assert_close(model, values, "int8")


def assert_close(model: bytes, values: list[Any], kind: str) -> None:
    """All nodes run on the device; integers are equal, float32 near to 1e-5 of the largest, at fp16 to 1e-2."""
    delegate = ptx("fp16" if kind == "float16" else "fp32")
    got, want = tflgpu_run(model, values, [delegate]), tflgpu_run(model, values)
    for one, other in zip(got, want, strict=True):
        tolerance = {"float32": 1e-5, "float16": 1e-2, "int8": 0}[kind] * float(np.abs(other).max())
        assert_same([one], [other], rtol=0, atol=tolerance)
