"""RNN layers with float and 8-bit weights against LiteRT's reference resolver, several invokes in a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import answers, litert, one_op
from recurrent_models import Spec, assert_same_as_litert, sequences, variable, weights

from tflgpu import Interpreter
from tflgpu.ops.recurrent.sequence import upstream_tanh

KINDS = [("FLOAT32", False), ("INT8", False), ("INT8", True), ("UINT8", False)]


def layer(rng: np.random.Generator, n_input: int, n: int, n_batch: int, kind: str) -> list[Spec]:
    """Input weights, recurrent weights, bias and state of a layer."""
    return [
        weights(rng, (n, n_input), kind),
        weights(rng, (n, n), kind, 0.4),
        weights(rng, (n,), "FLOAT32"),
        variable((n_batch, n)),
    ]


@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT"])
@pytest.mark.parametrize(("kind", "asymmetric"), KINDS)
def test_rnn_keeps_its_state_over_invokes(kind: str, asymmetric: bool, activation: str) -> None:
    rng = np.random.default_rng(0)
    data = one_op(
        "RNN",
        [{"type": "FLOAT32", "shape": (3, 17)}, *layer(rng, 17, 5, 3, kind)],
        [{"type": "FLOAT32", "shape": (3, 5)}],
        fused_activation_function=activation,
        asymmetric_quantize_inputs=asymmetric,
    )
    assert_same_as_litert(data, sequences(rng, (3, 17)))


@pytest.mark.parametrize("time_major", [True, False])
@pytest.mark.parametrize(("kind", "asymmetric"), KINDS)
def test_unidirectional_sequence_rnn(kind: str, asymmetric: bool, time_major: bool) -> None:
    rng = np.random.default_rng(1)
    shape = (4, 3, 6) if time_major else (3, 4, 6)
    data = one_op(
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        [{"type": "FLOAT32", "shape": shape}, *layer(rng, 6, 5, 3, kind)],
        [{"type": "FLOAT32", "shape": (*shape[:2], 5)}],
        fused_activation_function="TANH",
        time_major=time_major,
        asymmetric_quantize_inputs=asymmetric,
    )
    assert_same_as_litert(data, sequences(rng, shape))


def bidirectional_model(
    kind: str, asymmetric: bool, time_major: bool, merged: bool, aux: str
) -> tuple[bytes, list[Any]]:
    rng = np.random.default_rng(2)
    n_input, n_forward, n_backward = 6, 5, 3
    shape = (4, 2, n_input) if time_major else (2, 4, n_input)
    forward, backward = (layer(rng, n_input, n, 2, kind) for n in (n_forward, n_backward))
    linked = [weights(rng, (n, n_input), kind) if aux == "linked" else None for n in (n_forward, n_backward)]
    x = {"type": "FLOAT32", "shape": shape}
    depths = [n_forward + n_backward] if merged else [n_forward, n_backward]
    data = one_op(
        "BIDIRECTIONAL_SEQUENCE_RNN",
        [x, *forward, *backward, None if aux == "no" else x, *linked],
        [{"type": "FLOAT32", "shape": (*shape[:2], n)} for n in depths],
        fused_activation_function="TANH",
        time_major=time_major,
        merge_outputs=merged,
        asymmetric_quantize_inputs=asymmetric,
    )
    return data, sequences(rng, *([shape] if aux == "no" else [shape, shape]))


@pytest.mark.parametrize("aux", ["no", "linked", "instead"])
@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("time_major", [True, False])
@pytest.mark.parametrize(("kind", "asymmetric"), KINDS)
def test_bidirectional_sequence_rnn(kind: str, asymmetric: bool, time_major: bool, merged: bool, aux: str) -> None:
    data, invokes = bidirectional_model(kind, asymmetric, time_major, merged, aux)
    if kind != "FLOAT32" and not asymmetric and time_major and merged:
        # LiteRT crashes on these; merging only moves the outputs.
        apart, _ = bidirectional_model(kind, asymmetric, time_major, False, aux)
        directions = answers(Interpreter(model_content=apart), invokes)
        want = [np.concatenate(directions[i : i + 2], axis=2) for i in range(0, len(directions), 2)]
        for got, expected in zip(answers(Interpreter(model_content=data), invokes), want, strict=True):
            np.testing.assert_array_equal(got, expected)
        return
    assert_same_as_litert(data, invokes)


def test_tanh_of_states_to_quantize_is_upstreams_to_the_bit() -> None:
    x = np.concatenate([np.linspace(-9, 9, 30001), [0.0, -0.0, 1e-30, np.inf, -np.inf]]).astype(np.float32)
    data = one_op("TANH", [{"type": "FLOAT32", "shape": x.shape}], [{"type": "FLOAT32", "shape": x.shape}])
    # The reference kernel calls std::tanh; the recurrent kernels Eigen, as the optimized one does.
    want = litert(data, [x], resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES")[0]
    got = np.empty_like(x)
    upstream_tanh(x, got)
    np.testing.assert_array_equal(got, want)


def test_int8_input_is_refused() -> None:
    rng = np.random.default_rng(3)
    x = {"type": "INT8", "shape": (1, 6), "scale": 0.1}
    data = one_op("RNN", [x, *layer(rng, 6, 5, 1, "INT8")], [{"type": "INT8", "shape": (1, 5), "scale": 0.1}])
    with pytest.raises(RuntimeError, match="INT8"):
        Interpreter(model_content=data).allocate_tensors()


def test_weights_of_mixed_types_are_refused() -> None:
    rng = np.random.default_rng(4)
    tensors = layer(rng, 6, 5, 1, "INT8")
    tensors[1] = weights(rng, (5, 5), "FLOAT32")
    data = one_op("RNN", [{"type": "FLOAT32", "shape": (1, 6)}, *tensors], [{"type": "FLOAT32", "shape": (1, 5)}])
    with pytest.raises(RuntimeError, match="not supported together"):
        Interpreter(model_content=data).allocate_tensors()
