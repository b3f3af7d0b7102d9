"""Custom operators, and others that few models have, on both GPU delegates: what is wrong with their inputs is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from custom_cases import CUSTOM_CASES
from delegate_cases import i32
from lowering.test_delegates_more import cuda, opencl
from oracle import tflgpu_run

MODELS = {case.name: case for case in CUSTOM_CASES}


@pytest.fixture(scope="module", params=[opencl, cuda], ids=lambda make: make.__name__)
def delegate(request: pytest.FixtureRequest) -> Any:
    return request.param()


def refused() -> dict[str, tuple[str, list[Any]]]:
    x, taps = MODELS["MaxUnpooling2D"].values()
    x, places = MODELS["MaxUnpooling2D by places"].values()
    # One wrong value each: two work-items that report a fault at once are a race to the emulator.
    last = np.arange(taps.size).reshape(taps.shape) == taps.size - 1
    codes = np.arange(1, 100)
    whole = MODELS["SLICE from a computed place"].values()[0]
    return {
        "MaxUnpooling2D": ("outside", [x, np.where(last, np.float32(400), taps)]),
        "MaxUnpooling2D by places": ("outside", [x, np.where(last, np.int32(10**6), places)]),
        "BROADCAST_ARGS": ("not broadcastable", [i32(2, 3), i32(5, 1, 7, 3)]),
        "NumericVerify True": ("Mismatch", [np.array([3, 4, 100, 0], np.int8), np.float32([0, 0.4, 40, -1])]),
        "SLICE from a computed place": ("Invalid begin and size", [whole, i32(3, 0, 3)]),
        "SQRT int8": ("Sqrt is only defined for", [np.where(codes == 7, -6, codes).astype(np.int8)]),
        "RSQRT int16": ("Rsqrt is only defined for", [np.where(codes == 7, -1, codes).astype(np.int16)]),
    }


@pytest.mark.parametrize("name", refused())
def test_wrong_values_are_an_error_and_the_interpreter_stays_usable(name: str, delegate: Any) -> None:
    message, wrong = refused()[name]
    for delegates in ([], [delegate]):
        with pytest.raises(RuntimeError, match=message):
            tflgpu_run(MODELS[name].model(), wrong, delegates)
    if hasattr(delegate.device, "check_guards"):
        delegate.device.check_guards()
