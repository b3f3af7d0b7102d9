"""LSTM cells with float and 8-bit weights against LiteRT's reference resolver, several invokes in a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import answers, assert_same, one_op
from recurrent_models import (
    assert_same_as_litert,
    layer_norm_tensors,
    lstm_tensors,
    sequences,
    variable,
    weights,
)

from tflgpu import Interpreter
from tflgpu.ops.recurrent import lstm_float

CONFIGURATIONS: list[dict[str, Any]] = [
    {},
    {"cifg": True},
    {"peephole": True},
    {"cifg": True, "peephole": True},
    {"projection": True},
    {"projection": True, "projection_bias": False, "proj_clip": 0.3},
    {"layer_norm": True},
    {"cifg": True, "peephole": True, "projection": True, "layer_norm": True, "cell_clip": 0.5, "proj_clip": 0.4},
    {"peephole": True, "layer_norm": True, "cell_clip": 0.2},
]


def lstm_model(kind: str, op: str = "LSTM", seed: int = 0, time_major: bool = True, **given: Any) -> tuple[bytes, Any]:
    """A model of one cell, and inputs for three invokes."""
    rng = np.random.default_rng(seed)
    layer_norm = given.pop("layer_norm", False)
    options = {k: given.pop(k) for k in ("cell_clip", "proj_clip", "asymmetric_quantize_inputs") if k in given}
    options["fused_activation_function"] = given.pop("activation", "TANH")
    n_batch, n_input, n_cell = 3, 5, given.pop("n_cell", 7)
    n_output = 4 if given.get("projection") else n_cell
    shape: tuple[int, ...] = (n_batch, n_input)
    if op != "LSTM":
        shape = (4, n_batch, n_input) if time_major else (n_batch, 4, n_input)
        options["time_major"] = time_major
    data = one_op(
        op,
        [
            {"type": "FLOAT32", "shape": shape},
            *lstm_tensors(rng, n_input, n_cell, n_output, kind, **given),
            variable((n_batch, n_output)),
            variable((n_batch, n_cell)),
            *layer_norm_tensors(rng, n_cell, given.get("cifg", False), layer_norm),
        ],
        [{"type": "FLOAT32", "shape": (*shape[:-1], n_output)}],
        **options,
    )
    return data, sequences(rng, shape)


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("kind", ["FLOAT32", "INT8", "UINT8"])
def test_lstm_keeps_its_state_over_invokes(kind: str, configuration: dict[str, Any]) -> None:
    assert_same_as_litert(*lstm_model(kind, **configuration))


@pytest.mark.parametrize("configuration", [{}, {"peephole": True}, {"layer_norm": True, "cifg": True}], ids=str)
@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
def test_a_cell_of_one(kind: str, configuration: dict[str, Any]) -> None:
    assert_same_as_litert(*lstm_model(kind, n_cell=1, **configuration))


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_lstm_with_asymmetrically_quantized_inputs(configuration: dict[str, Any]) -> None:
    assert_same_as_litert(*lstm_model("INT8", asymmetric_quantize_inputs=True, seed=1, **configuration))


@pytest.mark.parametrize("time_major", [True, False])
@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
@pytest.mark.parametrize("configuration", CONFIGURATIONS[::3] + CONFIGURATIONS[7:8], ids=str)
def test_unidirectional_sequence_lstm(kind: str, time_major: bool, configuration: dict[str, Any]) -> None:
    data, invokes = lstm_model(kind, "UNIDIRECTIONAL_SEQUENCE_LSTM", time_major=time_major, seed=2, **configuration)
    assert_same_as_litert(data, invokes)


@settings(max_examples=20, derandomize=True, deadline=None)
@given(st.integers(0, 99), st.sampled_from(["FLOAT32", "INT8"]), st.sampled_from([0.0, 0.3]), st.booleans())
def test_the_quick_cell_equals_the_plain_one(seed: int, kind: str, cell_clip: float, time_major: bool) -> None:
    op, options = "UNIDIRECTIONAL_SEQUENCE_LSTM", {"cell_clip": cell_clip, "asymmetric_quantize_inputs": seed % 2 == 0}
    data, invokes = lstm_model(kind, op, seed, time_major, **options)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(lstm_float, "is_common", lambda cell, settings: False)
        want = answers(Interpreter(model_content=data), invokes)
    assert_same(answers(Interpreter(model_content=data), invokes), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ["RELU", "RELU_N1_TO_1", "RELU6", "SIGN_BIT", "TANH"])
@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
def test_lstm_has_every_activation(kind: str, activation: str) -> None:
    assert_same_as_litert(*lstm_model(kind, activation=activation, cell_clip=3.0))


@pytest.mark.parametrize("configuration", [{}, {"peephole": True, "cifg": True}, {"layer_norm": True}], ids=str)
@pytest.mark.parametrize("time_major", [True, False])
@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
def test_without_an_activation_upstream_leaves_its_buffers_unwritten(
    kind: str, time_major: bool, configuration: dict[str, Any]
) -> None:
    data, invokes = lstm_model(
        kind, "UNIDIRECTIONAL_SEQUENCE_LSTM", activation="NONE", time_major=time_major, cell_clip=2.0, **configuration
    )
    assert_same_as_litert(data, invokes)


@pytest.mark.parametrize("diagonal", ["ifco", "fo", "c"])
@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
def test_recurrent_weights_may_be_a_diagonal_whatever_the_version(kind: str, diagonal: str) -> None:
    assert_same_as_litert(*lstm_model(kind, "UNIDIRECTIONAL_SEQUENCE_LSTM", diagonal=diagonal))


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("aux", ["no", "linked", "instead"])
@pytest.mark.parametrize("time_major", [True, False])
def test_bidirectional_sequence_lstm(kind: str, merged: bool, aux: str, time_major: bool) -> None:
    rng = np.random.default_rng(3)
    # Batch-major with merged outputs, upstream mistakes the states' row length: one batch only.
    n_batch, time, n_input, n_cell = 1 if merged and not time_major else 2, 3, 5, 6
    n_output, n_aux = 4, 5 if aux == "instead" else 3
    shape = (time, n_batch, n_input) if time_major else (n_batch, time, n_input)
    forward = lstm_tensors(rng, n_input, n_cell, n_output, kind, projection=True)
    backward = lstm_tensors(rng, n_input, n_cell, n_output, kind, cifg=True, peephole=True, projection=True)
    linked = [
        weights(rng, (n_cell, n_aux), kind) if aux == "linked" and (half, g) != (1, 0) else None
        for half in range(2)
        for g in range(4)
    ]
    x_aux = None if aux == "no" else {"type": "FLOAT32", "shape": (*shape[:2], n_aux)}
    states = [variable((n_batch, n)) for n in (n_output, n_cell, n_output, n_cell)]
    depths = [2 * n_output] if merged else [n_output, n_output]
    data = one_op(
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        [{"type": "FLOAT32", "shape": shape}, *forward, *backward, *states, x_aux, *linked],
        [{"type": "FLOAT32", "shape": (*shape[:2], n)} for n in depths],
        version=1,
        fused_activation_function="TANH",
        merge_outputs=merged,
        time_major=time_major,
    )
    shapes = [shape] if x_aux is None else [shape, x_aux["shape"]]
    assert_same_as_litert(data, sequences(rng, *shapes))


def test_weights_may_be_inputs_of_the_model() -> None:
    rng = np.random.default_rng(4)
    tensors = lstm_tensors(rng, 3, 2, 2, "FLOAT32")
    varying = tensors[1]
    assert varying is not None
    tensors[1] = {"type": "FLOAT32", "shape": (2, 3)}
    data = one_op(
        "LSTM",
        [{"type": "FLOAT32", "shape": (1, 3)}, *tensors, variable((1, 2)), variable((1, 2))],
        [{"type": "FLOAT32", "shape": (1, 2)}],
        fused_activation_function="TANH",
    )
    assert_same_as_litert(data, sequences(rng, (1, 3), (2, 3)))


def test_reset_all_variables_forgets_the_state() -> None:
    data, invokes = lstm_model("FLOAT32", seed=5)
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    outputs = []
    for _ in range(2):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], invokes[0][0])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
        interpreter.reset_all_variables()
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        (1, "recurrent weights"),
        (12, "gate biases"),
        (9, "peephole weights"),
        (16, "needs a projection|needs projection"),
    ],
)
def test_incomplete_cells_are_refused(drop: int, message: str) -> None:
    rng = np.random.default_rng(6)
    tensors: list[Any] = [None, *lstm_tensors(rng, 3, 4, 2, "FLOAT32", peephole=True, projection=True)]
    tensors[0] = {"type": "FLOAT32", "shape": (1, 3)}
    tensors[drop] = None
    data = one_op("LSTM", [*tensors, variable((1, 2)), variable((1, 4))], [{"type": "FLOAT32", "shape": (1, 2)}])
    with pytest.raises(RuntimeError, match=message):
        Interpreter(model_content=data).allocate_tensors()


def test_a_state_must_be_a_variable() -> None:
    rng = np.random.default_rng(7)
    state = {"type": "FLOAT32", "shape": (1, 4)}
    tensors = lstm_tensors(rng, 3, 4, 4, "FLOAT32")
    data = one_op("LSTM", [{"type": "FLOAT32", "shape": (1, 3)}, *tensors, state, state], [state])
    with pytest.raises(RuntimeError, match="output_state != nullptr"):
        Interpreter(model_content=data).allocate_tensors()


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 0, 5)])
def test_an_empty_sequence_does_not_change_the_state(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(8)
    state = variable((shape[0], 4))
    data = one_op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [{"type": "FLOAT32", "shape": shape}, *lstm_tensors(rng, 5, 4, 4, "INT8"), state, state],
        [{"type": "FLOAT32", "shape": (*shape[:2], 4)}],
        fused_activation_function="TANH",
    )
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    interpreter.invoke()
    assert interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).shape == (*shape[:2], 4)
