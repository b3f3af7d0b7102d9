"""State that a GPU delegate keeps on its device, and shares with the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from devices import cuda, opencl
from kit import case, invokes
from oracle import answers, assert_same

import tflgpu
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder


@pytest.fixture(scope="module", params=[opencl, cuda], ids=lambda make: make.__name__)
def any_delegate(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture
def delegate(any_delegate: Any) -> Iterator[Any]:
    yield any_delegate
    if hasattr(any_delegate.device, "check_guards"):
        any_delegate.device.check_guards()


def test_state_stays_on_the_device_and_can_be_reset(delegate: Any) -> None:
    data, fed = invokes(case("LSTM[float32,3x5,units=7,plain]"))
    interpreter = tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate])
    first = answers(interpreter, fed)
    (partition,) = interpreter._graphs[0].partitions
    states = [interpreter._graphs[0].tensor(i) for i in partition.inputs if interpreter._graphs[0].specs[i].is_variable]
    assert len(states) == 2 and all(state.current == {interpreter._delegates[0].device} for state in states)
    assert not np.array_equal(answers(interpreter, fed)[0], first[0])
    interpreter.reset_all_variables()
    assert_same(answers(interpreter, fed), first)
    assert np.array_equal(states[0].read(), states[0].host)


def two_layers_of_one_state() -> bytes:
    """Two RNN layers, one after the other, that share their hidden state."""
    rng = np.random.default_rng(5)
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [2, 4])
    hidden = g.tensor("hidden", "FLOAT32", [2, 4], is_variable=True)
    outputs = [g.tensor(name, "FLOAT32", [2, 4]) for name in ("first", "second")]
    for source, target in zip((x, outputs[0]), outputs, strict=True):
        values = [rng.normal(size=shape).astype(np.float32) for shape in ((4, 4), (4, 4), (4,))]
        constants = [g.constant(f"c{target}{i}", value) for i, value in enumerate(values)]
        g.node("RNN", [source, *constants, hidden], [target], fused_activation_function="TANH")
    g.outputs(*outputs)
    return m.build()


@pytest.mark.parametrize("taken", ["0", "1", "0,1"])
def test_a_state_that_the_cpu_and_a_device_use_is_always_the_latest(taken: str) -> None:
    pytest.importorskip("pyopencl")
    x = np.random.default_rng(6).normal(size=(2, 4)).astype(np.float32)
    delegate = load_delegate("opencl", {"only_nodes": taken})
    data = two_layers_of_one_state()
    want = answers(tflgpu.Interpreter(model_content=data), [[x]] * 3)
    assert_same(answers(tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate]), [[x]] * 3), want)
