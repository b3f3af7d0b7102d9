"""The CUDA delegate on the emulator: every case runs whole, gives the CPU's results, and breaks no rule of CUDA."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from cuda_cases import FAST_CASES, whole_numbers
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


@functools.cache
def emulated(**options: Any) -> Any:
    return load_delegate("cuda", {"device": "emulator", "require_full": True} | options)


@pytest.fixture
def fast() -> Any:
    return emulated()


@pytest.fixture
def checking() -> Any:
    return emulated(check=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_delegated_operator_gives_the_cpus_results_and_breaks_no_rule(case: Case, checking: Any) -> None:
    model, values = case.model(), case.values()
    got = tflgpu_run(model, values, [checking])
    assert_same(got, tflgpu_run(model, values), rtol=case.rtol or 2e-6, atol=2e-6)


IN_PRECISIONS = [(case, p) for case in FAST_CASES for p in ("fp32", "tf32", "fp16") if p == "fp32" or "codes" not in case.name]


@pytest.mark.parametrize(("case", "precision"), IN_PRECISIONS, ids=lambda value: getattr(value, "name", value))
def test_every_fast_kernel_is_exact_on_whole_numbers(case: Case, precision: str) -> None:
    model, values = case.model(), whole_numbers(case)
    want = tflgpu_run(model, values)
    for check in (False, True):
        delegate = emulated(precision=precision, check=check)
        for got, expected in zip(tflgpu_run(model, values, [delegate]), want, strict=True):
            np.testing.assert_array_equal(got, expected)
