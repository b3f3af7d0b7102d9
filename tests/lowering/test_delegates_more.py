"""Both GPU delegates on operators with state, and on those that have few cases each, each kernel between guards."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from delegate_cases import Case
from more_delegate_cases import MORE_CASES
from ops.indexing.test_stablehlo_indexing import scatter_model
from ops.recurrent.test_lstm import lstm_model
from ops.recurrent.test_lstm_integer import integer_lstm_model
from ops.recurrent.test_rnn import bidirectional_model
from ops.recurrent.test_svdf import float_model, integer_model
from ops.reduction.test_reduce_window import stablehlo
from oracle import assert_same, one_op, tflgpu_run
from recurrent_models import answers
from single_op import example

import tflgpu
from tflgpu.delegation.delegate import Limits
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder

Model = tuple[bytes, list[Any]]


def opencl() -> Any:
    pytest.importorskip("pyopencl")
    from guarded_device import GuardedDevice

    from tflgpu.delegates.gpu import GpuDelegate

    return GpuDelegate("opencl", GuardedDevice(), Limits(require_full=True))


def cuda() -> Any:
    from tflgpu.delegates.emulator.programs import compiler

    try:
        compiler()
    except ValueError as error:  # no C++ compiler
        pytest.skip(str(error))
    return load_delegate("cuda", {"device": "emulator", "check": True, "require_full": True})


@pytest.fixture(scope="module", params=[opencl, cuda], ids=lambda make: make.__name__)
def any_delegate(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture
def delegate(any_delegate: Any) -> Iterator[Any]:
    yield any_delegate
    if hasattr(any_delegate.device, "check_guards"):
        any_delegate.device.check_guards()


@pytest.mark.parametrize("case", MORE_CASES, ids=lambda case: case.name)
def test_a_delegated_operator_gives_the_cpus_results(case: Case, delegate: Any) -> None:
    model, values = case.model(), case.values()
    got = tflgpu_run(model, values, [delegate])
    assert_same(got, tflgpu_run(model, values), rtol=case.rtol or 2e-6, atol=2e-6)


SEQUENCE = "UNIDIRECTIONAL_SEQUENCE_LSTM"
EVERYTHING = {"cifg": True, "peephole": True, "projection": True, "cell_clip": 0.5, "proj_clip": 0.4}
RECURRENT: dict[str, Model] = {
    "LSTM float": lstm_model("FLOAT32"),
    "LSTM float, everything": lstm_model("FLOAT32", SEQUENCE, layer_norm=True, **EVERYTHING),
    "LSTM float, diagonal": lstm_model("FLOAT32", SEQUENCE, diagonal="ifco", time_major=False),
    "LSTM hybrid": lstm_model("INT8", SEQUENCE, asymmetric_quantize_inputs=True),
    "LSTM hybrid, everything": lstm_model("UINT8", SEQUENCE, time_major=False, **EVERYTHING),
    "LSTM int8": integer_lstm_model((3, 4, 5)),
    "LSTM int8, projection": integer_lstm_model((3, 4, 5), cifg=True, projection=True, proj_clip=0.4, time_major=True),
    "LSTM int8, peephole": integer_lstm_model((3, 4, 5), peephole=True, projection=True),
    "LSTM int8, layer norm": integer_lstm_model((3, 4, 5), 19, peephole=True, layer_norm=True, time_major=True),
    "RNN float": bidirectional_model("FLOAT32", False, False, True, "linked"),
    "RNN hybrid": bidirectional_model("INT8", True, True, False, "instead"),
    "SVDF float": float_model("FLOAT32", 2, True, "RELU", False),
    "SVDF hybrid": float_model("INT8", 2, False, "NONE", True),
    "SVDF int8": integer_model(2, True),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_state_is_kept_over_invokes(name: str, delegate: Any) -> None:
    data, invokes = RECURRENT[name]
    want = answers(tflgpu.Interpreter(model_content=data), invokes)
    got = answers(tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate]), invokes)
    assert_same(got, want, rtol=1e-5, atol=1e-5)


def test_state_stays_on_the_device_and_can_be_reset(delegate: Any) -> None:
    data, invokes = RECURRENT["LSTM float"]
    interpreter = tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate])
    first = answers(interpreter, invokes)
    (part,) = interpreter._graphs[0].partitions
    states = [interpreter._graphs[0].tensor(i) for i in part.inputs if interpreter._graphs[0].specs[i].is_variable]
    assert len(states) == 2 and all(state.current == {interpreter._delegates[0].device} for state in states)
    assert not np.array_equal(answers(interpreter, invokes)[0], first[0])
    interpreter.reset_all_variables()
    assert_same(answers(interpreter, invokes), first)
    assert np.array_equal(states[0].read(), states[0].host)


@pytest.mark.parametrize(("kind", "body"), [("FLOAT32", None), ("INT8", "STABLEHLO_MULTIPLY")])
@pytest.mark.parametrize("inserted", [[0], []])
def test_scatters_by_the_body_of_the_model(kind: str, body: str | None, inserted: list[int], delegate: Any) -> None:
    x, updates = example(kind, (4, 5)), example(kind, (4, 2), 1)
    at, targets = np.array([[0], [3], [0], [-1]], np.int32), [0]
    if not inserted:
        updates, targets = updates.reshape(4, 1, 2), [1]
    dims = {"update_window_dims": [1] if inserted else [1, 2], "inserted_window_dims": inserted}
    options = dims | {"scatter_dims_to_operand_dims": targets, "index_vector_dim": 1}
    model = scatter_model(x, at, updates, kind, body, **options)
    assert_same(tflgpu_run(model, [x, at, updates], [delegate]), tflgpu_run(model, [x, at, updates]))


def test_reduces_windows_by_the_body_of_the_model(delegate: Any) -> None:
    window = {"window_dimensions": [2, 3], "window_strides": [1, 2], "window_dilations": [2, 1]}
    edges = {"base_dilations": [1, 2], "padding": [1, 0, -1, 2]}
    model = stablehlo("INT16", [5, 4], 3, "STABLEHLO_ADD", **window, **edges)
    x = example("INT16", (5, 4))
    assert_same(tflgpu_run(model, [x], [delegate]), tflgpu_run(model, [x]))


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
def test_a_state_that_the_cpu_and_a_device_share_is_always_the_latest(taken: str) -> None:
    pytest.importorskip("pyopencl")
    x = np.random.default_rng(6).normal(size=(2, 4)).astype(np.float32)
    delegate = load_delegate("opencl", {"only_nodes": taken})
    data = two_layers_of_one_state()
    want = answers(tflgpu.Interpreter(model_content=data), [[x]] * 3)
    assert_same(answers(tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate]), [[x]] * 3), want)


@pytest.mark.parametrize("padding", [1, 2])
def test_mediapipes_transposed_convolution(padding: int, delegate: Any) -> None:
    rng = np.random.default_rng(2)
    x, weights, bias = (rng.normal(size=s).astype(np.float32) for s in [(1, 4, 5, 3), (2, 3, 2, 3), (2,)])
    model = one_op(
        "Convolution2DTransposeBias",
        [{"type": "FLOAT32", "shape": x.shape}, weights, bias],
        [{"type": "FLOAT32", "shape": (1, 9 if padding == 2 else 8, 10, 2)}],
        custom=struct.pack("<5i", padding, 2, 2, 0, 0),
    )
    assert_same(tflgpu_run(model, [x], [delegate]), tflgpu_run(model, [x]), rtol=2e-6, atol=2e-6)
