"""Custom operators, and others that few models have, on both GPU delegates: what is wrong with their inputs is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import cuda, opencl
from kit import case, fed
from oracle import tflgpu_run

from tflgpu.conformance.cases.case import i32

UNPOOL = "MaxUnpooling2D[float32,2x3x2x3,2x3x2x3]"
UNPOOL_POSITIONS = "MaxUnpooling2D[float32,2x3x2x3,2x3x2x3,positions]"
SLICED = "SLICE[float32,4x5x6,3,computed begin]"


@pytest.fixture(scope="module", params=[opencl, cuda], ids=lambda make: make.__name__)
def delegate(request: pytest.FixtureRequest) -> Any:
    return request.param()


def refused() -> dict[str, tuple[str, list[Any]]]:
    _, (x, taps) = fed(case(UNPOOL))
    _, (x, positions) = fed(case(UNPOOL_POSITIONS))
    # One wrong value each: two work-items that report a fault at once are a race to the emulator.
    last = np.arange(taps.size).reshape(taps.shape) == taps.size - 1
    quantized = np.full(65, 9)
    quantized[7] = -6
    whole = fed(case(SLICED))[1][0]
    return {
        UNPOOL: ("outside", [x, np.where(last, np.float32(400), taps)]),
        UNPOOL_POSITIONS: ("outside", [x, np.where(last, np.int32(10**6), positions)]),
        "BROADCAST_ARGS[int32,2,4]": ("not broadcastable", [i32(2, 3), i32(5, 1, 7, 3)]),
        "NumericVerify[int8,4,4,raises]": (
            "Mismatch",
            [np.array([3, 4, 100, 0], np.int8), np.float32([0, 0.4, 40, -1])],
        ),
        SLICED: ("Invalid begin and size", [whole, i32(3, 0, 3)]),
        "SQRT[int8,65]": ("Sqrt is only defined for", [quantized.astype(np.int8)]),
        "RSQRT[int16,65]": ("Rsqrt is only defined for", [quantized.astype(np.int16)]),
    }


@pytest.mark.parametrize("name", refused())
def test_wrong_values_are_an_error_and_the_interpreter_stays_usable(name: str, delegate: Any) -> None:
    message, wrong = refused()[name]
    for delegates in ([], [delegate]):
        with pytest.raises(RuntimeError, match=message):
            tflgpu_run(fed(case(name))[0], wrong, delegates)
    if hasattr(delegate.device, "check_guards"):
        delegate.device.check_guards()
