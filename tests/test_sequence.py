"""Launches that run as one: a sequence gives what its launches give one by one, on every runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from opencl_runtimes import require_intel
from oracle import assert_same
from recurrent_models import answers
from test_delegates_more import RECURRENT, cuda, opencl
from tflgpu.delegates.lowering import recurrent
from tflgpu.delegates.preprocess import active_lines
from tflgpu.delegates.sequence import literal

import tflgpu
from tflgpu.delegate import Limits

TEXT = """a
#if defined(X) && !defined(Y)
b
#elif Y > 1
#define Z 2
c \\
    d
#if Z == 2
e
#endif
#else
f
#endif
g"""


@pytest.mark.parametrize(
    "defines, lines",
    [
        ({"X": ""}, "a b g"),
        ({"X": "", "Y": 1}, "a f g"),
        ({"Y": 2}, "a #define Z 2 c d e g"),
        ({}, "a f g"),
        ({"X(v)": "v"}, "a b g"),
    ],
)
def test_lines_whose_conditions_hold_stay(defines: dict[str, Any], lines: str) -> None:
    assert " ".join(active_lines(TEXT, defines)) == lines


def test_a_condition_that_is_not_understood_is_an_error() -> None:
    with pytest.raises(ValueError, match="X \\+ 1"):
        active_lines("#if X + 1\n#endif", {})


@pytest.mark.parametrize(
    "value, text",
    [
        (np.int32(-5), "(-5)"),
        (np.int32(-(2**31)), "(-2147483647 - 1)"),
        (np.float32(0.1), "(0x1.99999a0000000p-4f)"),
        (np.float32(-np.inf), "(-INFINITY)"),
        (np.int64(-(2**40)), "((i64)((u64)4294967040u << 32 | 0u))"),
        (np.float64(0.5), "(0x1.0000000000000p-1)"),
    ],
)
def test_scalars_are_literals(value: Any, text: str) -> None:
    assert literal(value) == text


def intel() -> Any:
    device = require_intel()
    from guarded_device import GuardedDevice
    from tflgpu.delegates.gpu import GpuDelegate

    return GpuDelegate("opencl", GuardedDevice(device), Limits(require_full=True))


@pytest.fixture(scope="module", params=[opencl, intel, cuda], ids=lambda make: make.__name__)
def delegate(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.mark.parametrize("name", ["LSTM float, everything", "LSTM hybrid", "LSTM int8, layer norm", "RNN hybrid"])
def test_a_loop_over_time_gives_what_its_launches_give(
    name: str, delegate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, invokes = RECURRENT[name]
    looped = answers(tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate]), invokes)
    monkeypatch.setattr(recurrent, "SMALL_STEP", -1)
    monkeypatch.setattr(recurrent, "SMALL_STEP_OF_A_GPU", -1)
    unrolled = answers(tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate]), invokes)
    assert_same(looped, unrolled, rtol=1e-6, atol=1e-6)
