"""Resource variables that a delegate keeps: on the device between invokes, whoever assigned them last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from guarded_device import GuardedDevice

import tflgpu
from tflgpu.delegation.delegate import Limits
from tflgpu.model.builder import ModelBuilder

pytest.importorskip("pyopencl")

SHAPE = (3, 5)


@pytest.fixture(scope="module")
def device() -> GuardedDevice:
    return GuardedDevice()


@pytest.fixture
def copies(device: GuardedDevice, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The directions in which tensors crossed, from when the list was last emptied."""
    crossed: list[str] = []
    for name in ("upload", "download"):
        plain = getattr(GuardedDevice, name)

        def counted(own: GuardedDevice, buffer: Any, host: Any, name: str = name, plain: Any = plain) -> None:
            crossed.append(name)
            plain(own, buffer, host)

        # Of the class: each interpreter has a copy of the device, with a queue of its own.
        monkeypatch.setattr(GuardedDevice, name, counted)
    yield crossed
    device.check_guards()


def opencl(device: GuardedDevice, **limits: Any) -> Any:
    from tflgpu.delegates.gpu import GpuDelegate

    return GpuDelegate("opencl", device, Limits(**{"min_nodes": 1, **limits}))


def accumulator(initialised: bool = True, read: bool = True) -> bytes:
    """total += x at every invoke, from ones on; gives total + x."""
    m = ModelBuilder()
    g = m.graph(name="main")
    init = m.graph(name="init")
    handle = init.tensor("h", "RESOURCE", [])
    init.node("VAR_HANDLE", [], [handle], shared_name="total")
    init.node("ASSIGN_VARIABLE", [handle, init.constant("ones", np.ones(SHAPE, np.float32))], [])
    init.outputs()

    x = g.input("x", "FLOAT32", SHAPE)
    handle = g.tensor("handle", "RESOURCE", [])
    before, after, out = (g.tensor(name, "FLOAT32", SHAPE) for name in ("before", "after", "out"))
    if initialised:
        g.node("CALL_ONCE", [], [], init_subgraph_index=1)
    g.node("VAR_HANDLE", [], [handle], shared_name="total")
    if read:
        g.node("READ_VARIABLE", [handle], [before])
    else:
        g.node("EXP", [x], [before])
    g.node("ADD", [before, x], [after], version=1)
    g.node("ASSIGN_VARIABLE", [handle, after], [])
    g.node("ADD", [after, x], [out], version=1)
    g.outputs(out)
    return m.build()


def invoked(interpreter: Any, x: Any) -> Any:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def interpreter_of(model: bytes, delegates: list[Any]) -> Any:
    interpreter = tflgpu.Interpreter(model_content=model, experimental_delegates=delegates)
    interpreter.allocate_tensors()
    return interpreter


X = np.arange(15, dtype=np.float32).reshape(SHAPE)


def test_a_variable_stays_on_the_device_between_invokes(device: GuardedDevice, copies: list[str]) -> None:
    interpreter, plain = interpreter_of(accumulator(), [opencl(device)]), interpreter_of(accumulator(), [])
    assert "READ_VARIABLE stays on the CPU" not in interpreter.delegation_report()
    assert "ASSIGN_VARIABLE stays on the CPU" not in interpreter.delegation_report()
    for invoke in range(4):
        copies.clear()
        np.testing.assert_array_equal(invoked(interpreter, X + invoke), invoked(plain, X + invoke))
    assert copies == ["upload", "download"]  # the input and the output
    partition = interpreter._get_ops_details()[-1]
    assert partition["op_name"] == "DELEGATE" and max(partition["inputs"]) < len(interpreter.get_tensor_details())


@pytest.mark.parametrize("taken", ["READ_VARIABLE,ADD", "ASSIGN_VARIABLE,ADD", "READ_VARIABLE", "ADD"])
def test_cpu_and_device_share_a_variable(taken: str, device: GuardedDevice, copies: list[str]) -> None:
    delegate = opencl(device, only_ops=frozenset(taken.split(",")))
    interpreter, plain = interpreter_of(accumulator(), [delegate]), interpreter_of(accumulator(), [])
    for invoke in range(3):
        np.testing.assert_array_equal(invoked(interpreter, X * invoke), invoked(plain, X * invoke))


def test_a_variable_read_before_it_is_assigned_is_an_error_and_then_not(
    device: GuardedDevice, copies: list[str]
) -> None:
    interpreter = interpreter_of(accumulator(initialised=False), [opencl(device)])
    with pytest.raises(RuntimeError, match="read before it was assigned"):
        invoked(interpreter, X)
    written = interpreter_of(accumulator(initialised=False, read=False), [opencl(device)])
    np.testing.assert_allclose(invoked(written, X), np.exp(X) + 2 * X, rtol=1e-6)


def test_a_variable_of_two_shapes_stays_on_the_cpu(device: GuardedDevice, copies: list[str]) -> None:
    m = ModelBuilder()
    g = m.graph(name="main")
    x, y = g.input("x", "FLOAT32", SHAPE), g.constant("y", np.ones(3, np.float32))
    handle, out = g.tensor("handle", "RESOURCE", []), g.tensor("out", "FLOAT32", [3])
    g.node("VAR_HANDLE", [], [handle], shared_name="v")
    g.node("ASSIGN_VARIABLE", [handle, x], [])
    g.node("ASSIGN_VARIABLE", [handle, y], [])
    g.node("READ_VARIABLE", [handle], [out])
    g.outputs(out)
    interpreter = interpreter_of(m.build(), [opencl(device)])
    assert "has several types or shapes" in interpreter.delegation_report()
    np.testing.assert_array_equal(invoked(interpreter, X), np.ones(3, np.float32))


def test_another_graph_that_changes_a_variables_shape_is_an_error_and_no_wrong_result(
    device: GuardedDevice, copies: list[str]
) -> None:
    m = ModelBuilder()
    g, init = m.graph(name="main"), m.graph(name="init")
    handle = init.tensor("h", "RESOURCE", [])
    init.node("VAR_HANDLE", [], [handle], shared_name="v")
    init.node("ASSIGN_VARIABLE", [handle, init.constant("one", np.ones(7, np.float32))], [])
    init.outputs()
    x = g.input("x", "FLOAT32", SHAPE)
    handle, out = g.tensor("handle", "RESOURCE", []), g.tensor("out", "FLOAT32", SHAPE)
    g.node("CALL_ONCE", [], [], init_subgraph_index=1)
    g.node("VAR_HANDLE", [], [handle], shared_name="v")
    g.node("READ_VARIABLE", [handle], [out])
    g.outputs(out)
    del x
    interpreter = interpreter_of(m.build(), [opencl(device)])
    with pytest.raises(RuntimeError, match="of another type or shape by now"):
        interpreter.invoke()


def test_a_negative_handle_is_no_variable_of_a_delegate(device: GuardedDevice) -> None:
    m = ModelBuilder()
    g = m.graph()
    g.node("ASSIGN_VARIABLE", [g.constant("handle", np.int32(-3)), g.input("x", "FLOAT32", SHAPE)], [])
    interpreter = tflgpu.Interpreter(model_content=m.build(), experimental_delegates=[opencl(device)])
    interpreter.allocate_tensors()
    interpreter.invoke()
    assert "0 nodes delegated" in interpreter.delegation_report()
