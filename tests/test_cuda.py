"""The CUDA delegate on the emulator: every case runs whole, gives the CPU's results, and breaks no rule of CUDA."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from delegate_cases import CASES, Case
from oracle import assert_same, one_op, tflgpu_run

import tflgpu
from tflgpu.builder import ModelBuilder
from tflgpu.delegate import load_delegate
from tflgpu.delegates import cuda_emulator

try:
    cuda_emulator.compiler()
except ValueError as error:  # no C++ compiler
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture(scope="module")
def fast() -> Any:
    return load_delegate("cuda", {"device": "emulator", "require_full": True})


@pytest.fixture(scope="module")
def checking() -> Any:
    return load_delegate("cuda", {"device": "emulator", "require_full": True, "check": True})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_delegated_operator_gives_the_cpus_results_and_breaks_no_rule(case: Case, checking: Any) -> None:
    model, values = case.model(), case.values()
    got = tflgpu_run(model, values, [checking])
    assert_same(got, tflgpu_run(model, values), rtol=case.rtol or 2e-6, atol=2e-6)
