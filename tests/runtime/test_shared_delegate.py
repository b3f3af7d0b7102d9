"""One delegate object serves interpreters of several threads at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from opencl_runtimes import require

import tflgpu
from tflgpu.delegates.emulator.programs import compiler
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder

SECONDS = 3
THREADS = INTERPRETERS = 4


def model() -> bytes:
    """Two partitions of a delegate, of several launches each: FULLY_CONNECTED and EXP, the CPU's node between them."""
    m = ModelBuilder()
    g = m.graph()
    weights = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    x = g.input("x", "FLOAT32", [3, 8])
    for number, op in enumerate(("EXP", "NEG", "EXP")):
        wide = g.tensor(f"wide{number}", "FLOAT32", [3, 8])
        g.node("FULLY_CONNECTED", [x, g.constant(f"w{number}", weights / 8)], [wide])
        x = g.tensor(f"y{number}", "FLOAT32", [3, 8])
        g.node(op, [wide], [x])
    g.outputs(x)
    return m.build()


def opencl(device: str) -> Any:
    return load_delegate("opencl", {"device": require(device), "skip_nodes": "3", "min_nodes_per_partition": "1"})


def emulator() -> Any:
    try:
        compiler()
    except ValueError as error:
        pytest.skip(str(error))
    return load_delegate("cuda", {"device": "emulator", "skip_nodes": "3", "min_nodes_per_partition": "1"})


@pytest.fixture
def many_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def expected(x: np.ndarray) -> np.ndarray:
    interpreter = tflgpu.Interpreter(model_content=model())
    interpreter.allocate_tensors()
    return answer(interpreter, x)


def answer(interpreter: tflgpu.Interpreter, x: np.ndarray) -> np.ndarray:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("device", ["PoCL", "Intel", "emulator"])
def test_interpreters_of_several_threads_that_share_a_delegate_are_right(device: str, many_switches: None) -> None:
    delegate = emulator() if device == "emulator" else opencl(device)
    inputs = [np.random.default_rng(seed).normal(size=(3, 8)).astype(np.float32) for seed in range(THREADS)]
    wanted = [expected(x) for x in inputs]
    end = time.monotonic() + SECONDS

    def work(thread: int) -> int:
        invokes = 0
        while time.monotonic() < end:
            interpreters = [
                tflgpu.Interpreter(model_content=model(), experimental_delegates=[delegate])
                for _ in range(INTERPRETERS)
            ]
            for interpreter in interpreters:
                interpreter.allocate_tensors()
                assert sum("DELEGATE" in op["op_name"] for op in interpreter._get_ops_details()) == 2
            for invoke in range(5 * INTERPRETERS):
                which = (thread + invoke) % THREADS
                got = answer(interpreters[invoke % INTERPRETERS], inputs[which])
                np.testing.assert_allclose(got, wanted[which], rtol=1e-5)
                invokes += 1
        return invokes

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(invokes for invokes in pool.map(work, range(THREADS)))


def test_the_times_of_a_shared_delegate_are_of_all_its_interpreters() -> None:
    delegate: Any = load_delegate("opencl", {"device": require("Intel"), "profile": True})
    for _ in range(3):
        interpreter = tflgpu.Interpreter(model_content=model(), experimental_delegates=[delegate])
        interpreter.allocate_tensors()
        interpreter.invoke()
    counts = {runs for runs, _ in delegate.device.times().values()}
    assert counts and all(runs % 3 == 0 for runs in counts)
