"""NaN, infinities and numbers beyond every range: one answer wherever a node runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import TestedDevice
from oracle import assert_same, litert, one_op, tflgpu_run

F = np.float32
nan, inf = F(np.nan), F(np.inf)

ROWS = np.array(
    [
        [nan, 7, 7],
        [nan, 1, 2],
        [5, nan, 3],
        [1, 9, nan],
        [nan, nan, -inf],
        [nan, inf, nan],
        [-inf, nan, inf],
        [nan, nan, nan],
        [0, -0.0, nan],
    ],
    F,
)


@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("index", ["INT32", "INT64"])
def test_the_extreme_is_a_number_wherever_nan_is(op: str, axis: int, index: str, device: TestedDevice) -> None:
    out = {"type": index, "shape": np.argmax(ROWS, axis).shape}
    data = one_op(op, [{"type": "FLOAT32", "shape": ROWS.shape}, np.int32(axis)], [out], output_type=index)
    want = litert(data, [ROWS])
    assert_same(device.run(data, [ROWS]), want)
    assert_same(tflgpu_run(data, [ROWS]), want)


@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize("depth", [1, 2, 7, 33])
def test_nan_is_never_chosen_before_a_number(op: str, depth: int, device: TestedDevice) -> None:
    """Along another axis than the last, where LiteRT's kernel does not lose the NaN in a vector's lanes."""
    rng = np.random.default_rng(depth)
    x = rng.integers(-3, 3, (2, depth, 40)).astype(F)
    x[rng.random(x.shape) < 0.4] = nan
    ins, out = [{"type": "FLOAT32", "shape": x.shape}, np.int32(1)], {"type": "INT32", "shape": (2, 40)}
    data = one_op(op, ins, [out], output_type="INT32")
    assert_same(device.run(data, [x]), litert(data, [x]))


SPECIAL = np.array(
    [
        *(nan, inf, -inf, 0.0, -0.0, 3.4028235e38, -3.4028235e38, 1e30, -1e30, 1e10, -1e10, 1e5, -1e5),
        *(100, -100, 40, -40, 20, -20, 9.2, -9.2, 5.5, -5.5, 3, -3, 2, -2, 1, -1, 0.5, -0.5, 1e-42, -1e-42),
        *(1.1754944e-38, -1.1754944e-38, 6.2831855, 8388609, 16777217, 33554432, 2147483520, 2147483648, -2147483648),
    ],
    F,
)
"""What functions treat apart: of every sign and size."""

EVERYWHERE = np.concatenate([SPECIAL, np.linspace(-4, 4, 91, dtype=F), SPECIAL[::-1], SPECIAL[:7]])
"""The same in first, middle and last positions, of a length that fills no vectors."""

PLAIN = (
    *("ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "HARD_SWISH", "LOG", "LOGISTIC", "NEG", "RELU", "RELU6", "ROUND"),
    *("RELU_0_TO_1", "RELU_N1_TO_1", "RSQRT", "SIGN", "SIN", "SQRT", "SQUARE", "TANH"),
)
UNARY: dict[str, dict[str, Any]] = {
    **{op: {} for op in PLAIN},
    "LEAKY_RELU": {"alpha": 0.3},
    "GELU": {"approximate": False},
    "GELU approximate": {"approximate": True},
}
_NOT_IN_THE_REFERENCE_RESOLVER = ("CEIL", "ELU", "ROUND")


def floats(*shape: int) -> dict[str, Any]:
    return {"type": "FLOAT32", "shape": shape}


def agree(data: bytes, inputs: list[Any], device: TestedDevice, resolver: str = "BUILTIN_REF") -> None:
    """The device, the CPU and LiteRT give one answer."""
    want = litert(data, inputs, resolver)
    with np.errstate(all="ignore"):
        assert_same(tflgpu_run(data, inputs), want)
    assert_same(device.run(data, inputs), want)


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_special_values(name: str, device: TestedDevice) -> None:
    op = name.split()[0]
    data = one_op(op, [floats(EVERYWHERE.size)], [floats(EVERYWHERE.size)], **UNARY[name])
    optimized = op in _NOT_IN_THE_REFERENCE_RESOLVER
    agree(data, [EVERYWHERE], device, "BUILTIN_WITHOUT_DEFAULT_DELEGATES" if optimized else "BUILTIN_REF")


BINARY = ("ADD", "SUB", "MUL", "DIV", "ATAN2", "POW", "PRELU", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "FLOOR_MOD")
COMPARISONS = ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")


@pytest.mark.parametrize("op", [*BINARY, *COMPARISONS])
def test_functions_of_pairs_of_special_values(op: str, device: TestedDevice) -> None:
    x, y = (grid.reshape(-1) for grid in np.meshgrid(SPECIAL, SPECIAL))
    out = {"type": "BOOL" if op in COMPARISONS else "FLOAT32", "shape": x.shape}
    options = {"fused_activation_function": "NONE"} if op in ("ADD", "SUB", "MUL", "DIV") else {}
    agree(one_op(op, [floats(x.size), floats(x.size)], [out], **options), [x, y], device)


def test_slopes_that_are_no_numbers_leave_what_is_not_negative(device: TestedDevice) -> None:
    x = np.repeat(SPECIAL[:, None], 3, 1)
    slopes = np.array([nan, inf, 0], F)
    agree(one_op("PRELU", [floats(*x.shape), slopes], [floats(*x.shape)]), [x], device)


ZERO_POINTS = [("INT8", 5), ("INT8", -3), ("UINT8", 0), ("UINT8", 200), ("INT16", 0)]


@pytest.mark.parametrize(("type", "zero_point"), ZERO_POINTS)
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_quantized_values_of_what_no_integer_holds(
    type: str, zero_point: int, scale: float, device: TestedDevice
) -> None:
    out = {"type": type, "shape": EVERYWHERE.shape, "scale": scale, "zero_point": zero_point}
    agree(one_op("QUANTIZE", [floats(EVERYWHERE.size)], [out]), [EVERYWHERE], device)


@pytest.mark.parametrize(("type", "zero_point"), ZERO_POINTS)
def test_quantized_values_by_channel_of_what_no_integer_holds(type: str, zero_point: int) -> None:
    x = np.stack([EVERYWHERE, EVERYWHERE], -1)
    out = {"type": type, "shape": x.shape, "scale": [1.0, 0.1], "zero_point": [zero_point] * 2, "axis": 1}
    data = one_op("QUANTIZE", [floats(*x.shape)], [out], version=3)
    assert_same(tflgpu_run(data, [x]), litert(data, [x]))


@pytest.mark.parametrize("source", ["FLOAT32", "FLOAT64", "FLOAT16"])
@pytest.mark.parametrize("target", ["INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "BOOL"])
def test_integers_of_what_no_integer_holds(source: str, target: str, device: TestedDevice) -> None:
    with np.errstate(over="ignore"):
        x = EVERYWHERE.astype(source.lower())
    data = one_op("CAST", [{"type": source, "shape": x.shape}], [{"type": target, "shape": x.shape}], version=9)
    agree(data, [x], device)


EXPONENTS = [0, 1, 2, 3, 5, 100, -1, -3, 0.5, -0.5, 1.5, 1.000005, 2.99999, nan, inf, -inf, 2147483520, 1e10]


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("constant", [True, False])
def test_a_single_exponent_means_products_that_stay_finite(
    exponent: float, constant: bool, device: TestedDevice
) -> None:
    single = np.array([exponent], F)
    data = one_op("POW", [floats(EVERYWHERE.size), single if constant else floats(1)], [floats(EVERYWHERE.size)])
    agree(data, [EVERYWHERE] if constant else [EVERYWHERE, single], device)


def test_exponents_of_rows(device: TestedDevice) -> None:
    exponents = np.array([[0.5], [2], [-0.5]], F)
    data = one_op("POW", [floats(EVERYWHERE.size), exponents], [floats(3, EVERYWHERE.size)])
    agree(data, [EVERYWHERE], device)
