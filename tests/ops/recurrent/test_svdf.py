"""SVDF in float32, with 8-bit weights and in integers against LiteRT's reference resolver, several invokes in a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import Array, answers, one_op
from recurrent_models import Spec, assert_same_as_litert, sequences, variable, weights

from tflgpu import Interpreter
from tflgpu.arithmetic.fixed_point import mbqm, quantize_multiplier


def float_model(kind: str, rank: int, bias: bool, activation: str, asymmetric: bool) -> tuple[bytes, list[Any]]:
    rng = np.random.default_rng(rank)
    n_batch, n_input, units, memory = 2, 17, 4, 10
    filters = units * rank
    data = one_op(
        "SVDF",
        [
            {"type": "FLOAT32", "shape": (n_batch, n_input)},
            weights(rng, (filters, n_input), kind),
            weights(rng, (filters, memory), kind),
            weights(rng, (units,), "FLOAT32") if bias else None,
            variable((n_batch, memory * filters)),
        ],
        [{"type": "FLOAT32", "shape": (n_batch, units)}],
        rank=rank,
        fused_activation_function=activation,
        asymmetric_quantize_inputs=asymmetric,
    )
    return data, sequences(rng, (n_batch, n_input), invokes=12)


@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU6", "RELU_N1_TO_1", "TANH", "SIGN_BIT"])
@pytest.mark.parametrize(
    ("kind", "asymmetric"), [("FLOAT32", False), ("INT8", False), ("INT8", True), ("UINT8", False)]
)
@pytest.mark.parametrize(("rank", "bias"), [(1, True), (2, False), (3, True)])
def test_svdf_keeps_its_state_over_invokes(kind: str, asymmetric: bool, rank: int, bias: bool, activation: str) -> None:
    assert_same_as_litert(*float_model(kind, rank, bias, activation, asymmetric))


def integer_model(rank: int, bias: bool, state: str = "INT16", activation: str = "RELU") -> tuple[bytes, list[Any]]:
    rng = np.random.default_rng(10 + rank)
    n_batch, n_input, units, memory = 2, 9, 5, 7
    filters = units * rank
    wide = np.iinfo(state.lower()).max
    scale = {"INT16": 2.0**-11, "INT8": 2.0**-4}[state]
    time: Spec = {"value": rng.integers(-wide, wide + 1, (filters, memory)).astype(state.lower()), "scale": 0.9 / wide}
    data = one_op(
        "SVDF",
        [
            {"type": "INT8", "shape": (n_batch, n_input), "scale": 0.03, "zero_point": -4},
            {"value": rng.integers(-127, 128, (filters, n_input), np.int8), "scale": 0.011},
            time,
            {"value": rng.integers(-40000, 40000, units, np.int32)} if bias else None,
            variable((n_batch, memory * filters), state, scale=scale, zero_point=0 if state == "INT16" else 5),
        ],
        [{"type": "INT8", "shape": (n_batch, units), "scale": 0.07, "zero_point": 11}],
        version=3,
        rank=rank,
        fused_activation_function=activation,
    )
    return data, [[rng.integers(-128, 128, (n_batch, n_input), np.int8)] for _ in range(9)]


@pytest.mark.parametrize(("rank", "bias"), [(1, True), (2, True), (2, False), (3, False)])
def test_integer_svdf_applies_no_activation(rank: int, bias: bool) -> None:
    data, invokes = integer_model(rank, bias)
    assert min(int(y.min()) for y in answers(Interpreter(model_content=data), invokes)) < 11
    assert_same_as_litert(data, invokes)


def test_integer_svdf_of_another_activation_fails_when_run() -> None:
    data, invokes = integer_model(1, True, activation="NONE")
    with pytest.raises(RuntimeError, match="failed to invoke"):
        answers(Interpreter(model_content=data), invokes)


def _slow_svdf_of_int8_state(tensors: list[Array], xs: list[Array], rank: int) -> list[Array]:
    """TensorFlow Lite Micro's arithmetic, element by element; LiteRT itself reads beyond an int8 state's end."""
    feature, time, bias = tensors
    filters, memory = time.shape
    state = np.full((2, filters, memory), 5)
    first = quantize_multiplier(float(np.float32(np.float32(0.03) * np.float32(0.011)) / np.float32(2**-4)))
    second = quantize_multiplier(float(np.float32(np.float32(2**-4) * np.float32(0.9 / 127)) / np.float32(0.07)))
    results = []
    for x in xs:
        y = np.zeros((2, filters // rank), np.int8)
        for b in range(2):
            for f in range(filters):
                dot = sum(int(w) * (int(v) + 4) for w, v in zip(feature[f], x[b], strict=True))
                state[b, f, :-1] = state[b, f, 1:]
                # Clamped before the zero point is added, and cut to 8 bits after it.
                state[b, f, -1] = (min(max(int(mbqm(dot, *first)), -128), 127) + 5 + 128) % 256 - 128
            for u in range(filters // rank):
                total = int(bias[u])
                for f in range(u * rank, (u + 1) * rank):
                    total += sum(int(w) * (int(s) - 5) for w, s in zip(time[f], state[b, f], strict=True))
                y[b, u] = min(max(int(mbqm(total, *second)) + 11, -128), 127)
        results.append(y)
    return results


def test_integer_svdf_with_an_int8_state() -> None:
    data, invokes = integer_model(2, True, "INT8")
    interpreter = Interpreter(model_content=data)
    got = answers(interpreter, invokes)
    tensors = [interpreter.get_tensor(i) for i in (1, 2, 3)]
    for y, want in zip(got, _slow_svdf_of_int8_state(tensors, [x[0] for x in invokes], 2), strict=True):
        np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize(("rank", "state_size"), [(3, 40), (2, 41), (0, 40)])
def test_shapes_that_do_not_fit_are_refused(rank: int, state_size: int) -> None:
    rng = np.random.default_rng(0)
    data = one_op(
        "SVDF",
        [
            {"type": "FLOAT32", "shape": (1, 3)},
            weights(rng, (4, 3), "FLOAT32"),
            weights(rng, (4, 10), "FLOAT32"),
            None,
            variable((1, state_size)),
        ],
        [{"type": "FLOAT32", "shape": (1, 2)}],
        rank=rank,
    )
    with pytest.raises(RuntimeError, match="failed to prepare"):
        Interpreter(model_content=data).allocate_tensors()
