"""Fully quantized LSTM cells against LiteRT's reference resolver, bit for bit, several invokes in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Array, one_op
from recurrent_models import Spec, assert_same_as_litert, variable

from tflgpu import Interpreter
from tflgpu.arithmetic.fixed_point import mbqm
from tflgpu.ops.recurrent.lstm_fixed_point import mbqm_up, shift_right, table

CONFIGURATIONS: list[dict[str, Any]] = [
    {},
    {"cifg": True},
    {"peephole": True},
    {"peephole": True, "projection": True},
    {"projection": True, "proj_clip": 0.4, "cell_clip": 0.6},
    {"layer_norm": True},
    {"layer_norm": True, "peephole": True, "cell_clip": 0.3},
    {"cifg": True, "peephole": True, "projection": True, "layer_norm": True},
]


class Drawn:
    """Random quantized tensors of one generator."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def weights(self, *shape: int) -> Spec:
        return {"value": self.rng.integers(-127, 128, shape, np.int8), "scale": self.rng.uniform(0.002, 0.022)}

    def int16(self, n: int, low: int, scale: float) -> Spec:
        return {"value": self.rng.integers(low, 32768, n).astype(np.int16), "scale": scale}

    def bias(self, n: int, size: int = 4000) -> Spec:
        return {"value": self.rng.integers(-size, size, n, np.int32)}

    def inputs(self, shape: Sequence[int], invokes: int = 3) -> list[list[Array]]:
        return [[self.rng.integers(-128, 128, shape, np.int8)] for _ in range(invokes)]


def integer_lstm_model(
    shape: tuple[int, ...],
    n_cell: int = 11,
    n_output: int = 0,
    *,
    seed: int = 0,
    cifg: bool = False,
    peephole: bool = False,
    projection: bool = False,
    layer_norm: bool = False,
    peephole_scale: float = 2.5e-5,
    log2_cell_scale: int = -11,
    **options: Any,
) -> tuple[bytes, list[list[Array]]]:
    """A model of an int8 cell with 16-bit gates, and its inputs for three invokes."""
    drawn = Drawn(seed)
    n_output = n_output or (7 if projection else n_cell)
    time_major = options.get("time_major", False) or len(shape) == 2
    n_batch, n_input = shape[-2] if time_major else shape[0], shape[-1]
    used = "fco" if cifg else "ifco"
    hidden = {"scale": 0.0083, "zero_point": -3} if projection else {"scale": 0.009, "zero_point": 12}
    output = {"scale": 0.009, "zero_point": 12}

    def gated(make: Any, gates: str = "ifco", there: bool = True) -> list[Spec | None]:
        return [make() if there and g in used else None for g in gates]

    tensors = [
        {"type": "INT8", "shape": shape, "scale": 0.031, "zero_point": -5},
        *gated(lambda: drawn.weights(n_cell, n_input)),
        *gated(lambda: drawn.weights(n_cell, n_output)),
        *gated(lambda: drawn.int16(n_cell, -32767, peephole_scale), "ifo", peephole),
        *gated(lambda: drawn.bias(n_cell, 20000 if layer_norm else 4000)),
        drawn.weights(n_output, n_cell) if projection else None,
        drawn.bias(n_output, 2000) if projection else None,
        variable((n_batch, n_output), "INT8", **output),
        variable((n_batch, n_cell), "INT16", scale=2.0**log2_cell_scale, zero_point=0),
        *gated(lambda: drawn.int16(n_cell, 500, drawn.rng.uniform(3e-5, 1.3e-4)), "ifco", layer_norm),
    ]
    intermediates = [
        {"type": "INT16", "shape": (), "scale": drawn.rng.uniform(0.0008, 0.0028), "zero_point": 0} for _ in range(4)
    ]
    data = one_op(
        "LSTM" if len(shape) == 2 else "UNIDIRECTIONAL_SEQUENCE_LSTM",
        tensors,
        [{"type": "INT8", "shape": (*shape[:-1], n_output), **output}],
        intermediates=[*intermediates, {"type": "INT8", "shape": (), **hidden}],
        fused_activation_function="TANH",
        **options,
    )
    return data, drawn.inputs(shape)


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_lstm_of_16_bit_gates(configuration: dict[str, Any]) -> None:
    assert_same_as_litert(*integer_lstm_model((2, 5), **configuration))


@pytest.mark.parametrize("time_major", [True, False])
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_sequence_lstm_of_16_bit_gates(configuration: dict[str, Any], time_major: bool) -> None:
    assert_same_as_litert(*integer_lstm_model((3, 4, 5), seed=1, time_major=time_major, **configuration))


@pytest.mark.parametrize("n_cell", [1, 16, 20, 37])
@pytest.mark.parametrize("configuration", CONFIGURATIONS[:1] + CONFIGURATIONS[5:7], ids=str)
def test_every_number_of_cells(n_cell: int, configuration: dict[str, Any]) -> None:
    assert_same_as_litert(*integer_lstm_model((3, 6), n_cell, seed=2, **configuration))


@pytest.mark.parametrize("n_output", [17, 33])
def test_peephole_products_of_whole_blocks_round_ties_up(n_output: int) -> None:
    # So large a scale that the last shift is short and ties are common.
    model = integer_lstm_model(
        (5, 40, 3), 33, n_output, seed=3, peephole=True, projection=n_output < 33, peephole_scale=0.15, time_major=True
    )
    assert_same_as_litert(*model)


@pytest.mark.parametrize("log2_cell_scale", [-9, -12, -15])
def test_the_cell_state_has_any_number_of_integer_bits(log2_cell_scale: int) -> None:
    assert_same_as_litert(*integer_lstm_model((2, 3, 4), seed=4, log2_cell_scale=log2_cell_scale))


@pytest.mark.parametrize("log2_cell_scale", [-8, -16])
def test_other_cell_scales_are_refused(log2_cell_scale: int) -> None:
    data, _ = integer_lstm_model((2, 3, 4), log2_cell_scale=log2_cell_scale)
    with pytest.raises(RuntimeError, match="cell_scale <= -9"):
        Interpreter(model_content=data).allocate_tensors()


def test_a_recurrent_gemm_beyond_16_bits_is_clamped_only_in_the_sum() -> None:
    assert_same_as_litert(*integer_lstm_model((5, 40, 3), 33, seed=3, time_major=True))


def eight_bit_model(seed: int, **options: Any) -> tuple[bytes, list[list[Array]]]:
    """A model of an int8 cell with 8-bit gate products, and its inputs for three invokes."""
    drawn = Drawn(seed)
    n_batch, n_input, n_cell, n_output = 2, 5, 9, 4
    output = {"scale": 0.0079, "zero_point": 3}
    intermediates = [
        {
            "type": "INT8",
            "shape": (),
            "scale": 2.0**-10 if i % 3 == 0 else drawn.rng.uniform(0.01, 0.03),
            "zero_point": int(drawn.rng.integers(-9, 10)),
        }
        for i in range(12)
    ]
    norms = [drawn.int16(n_cell, 500, drawn.rng.uniform(3e-5, 1.3e-4)) for _ in range(3)]
    data = one_op(
        "LSTM",
        [
            {"type": "INT8", "shape": (n_batch, n_input), "scale": 0.031, "zero_point": -5},
            *[None, *(drawn.weights(n_cell, n_input) for _ in range(3))],
            *[None, *(drawn.weights(n_cell, n_output) for _ in range(3))],
            *[None] * 3,
            *[None, *(drawn.bias(n_cell, 20000) for _ in range(3))],
            drawn.weights(n_output, n_cell),
            drawn.bias(n_output, 200000),
            variable((n_batch, n_output), "INT8", **output),
            variable((n_batch, n_cell), "INT16", scale=2.0**-15, zero_point=0),
            *[None, *norms],
        ],
        [{"type": "INT8", "shape": (n_batch, n_output), **output}],
        intermediates=intermediates,
        fused_activation_function="TANH",
        **options,
    )
    return data, drawn.inputs((n_batch, n_input), 5)


@pytest.mark.parametrize("options", [{}, {"cell_clip": 0.3}, {"proj_clip": 0.2}, {"cell_clip": 4.0}], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_lstm_of_8_bit_gates(seed: int, options: dict[str, float]) -> None:
    assert_same_as_litert(*eight_bit_model(seed, **options))


def basic_model(kind: str, n_batch: int, n_input: int, n: int) -> tuple[bytes, list[list[Array]]]:
    """A model of the BASIC kernel, all of whose outputs are outputs, and inputs for three invokes."""
    rng = np.random.default_rng(n)
    quantized = kind == "UINT8"
    activation = {"scale": 1 / 128, "zero_point": 128} if quantized else {}
    gates = {"scale": 2.0**-12, "zero_point": 0} if quantized else {}
    cell = {"scale": 2.0**-11, "zero_point": 0} if quantized else {}
    shape = (4 * n, n_input + n)
    wide = "INT16" if quantized else kind
    scale = rng.uniform(0.005, 0.02)
    if quantized:
        weights: Spec = {"value": rng.integers(0, 256, shape, np.uint8), "scale": scale, "zero_point": 121}
        bias: Spec = {"value": rng.integers(-9000, 9000, 4 * n, np.int32), "scale": scale / 128}
    else:
        weights = {"value": rng.normal(size=shape).astype(np.float32)}
        bias = {"value": rng.normal(size=4 * n).astype(np.float32)}
    data = one_op(
        "LSTM",
        [
            {"type": kind, "shape": (n_batch, n_input), **activation},
            variable((n_batch, n), kind, **activation),
            weights,
            bias,
            variable((n_batch, n), wide, **cell),
        ],
        [
            {"type": kind, "shape": (n_batch, n), **activation},
            {"type": wide, "shape": (n_batch, n), **cell},
            {"type": kind, "shape": shape[1:], **activation},
            {"type": wide, "shape": shape[:1], **gates},
        ],
        version=2 if quantized else 1,
        kernel_type="BASIC",
        fused_activation_function="TANH",
    )
    xs = [rng.normal(size=(n_batch, n_input)).astype(np.float32) for _ in range(3)]
    if quantized:
        xs = [rng.integers(0, 256, (n_batch, n_input)).astype(np.uint8) for _ in range(3)]
    return data, [[x] for x in xs]


@pytest.mark.parametrize(("n_batch", "n_input", "n"), [(1, 3, 1), (2, 5, 3), (3, 4, 8), (1, 8, 8), (5, 7, 17)])
@pytest.mark.parametrize("kind", ["FLOAT32", "UINT8"])
def test_basic_lstm_with_all_its_outputs(kind: str, n_batch: int, n_input: int, n: int) -> None:
    assert_same_as_litert(*basic_model(kind, n_batch, n_input, n))


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=9), st.integers(15, 21))
def test_shifting_in_place_rounds_ties_away(values: list[int], n: int) -> None:
    x = np.array(values, np.int64)
    want = [(abs(v) + (1 << (n - 1)) >> n) * (1 if v >= 0 else -1) for v in values]
    shift_right(x, n, np.empty_like(x))
    np.testing.assert_array_equal(x, want)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.integers(-(2**30), 2**30), st.integers(2**30, 2**31 - 1), st.integers(-20, 0))
def test_rounding_up_differs_from_rounding_away_at_negative_ties_only(x: int, m: int, e: int) -> None:
    up, away = int(mbqm_up(np.int64(x), m, e)), int(mbqm(x, m, e))
    assert up == away or (x < 0 and up == away + 1)


def test_tables_of_gate_functions_are_symmetric() -> None:
    every = np.arange(-32767, 32768)
    np.testing.assert_array_equal(table("tanh", 3)[every], -table("tanh", 3)[-every])
    np.testing.assert_array_equal(table("logistic", 3)[every[:32767]], 32767 - table("logistic", 3)[-every[:32767]])
