"""Operators and fast kernels on the CUDA delegate's emulator: the CPU's results, and no rule of CUDA broken."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_delegates import DEVICE, Always, emulated
from kit import check, fed, kernels, of_family
from oracle import tflgpu_run
from programs import one_of_each

from tflgpu.conformance.cases.case import Case
from tflgpu.delegates.cuda.device import CudaDevice
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegation.discovery import load_delegate

GPU = DeviceLimits(units=132, tensor_cores=True).plus("warps", "chains", "cublas")
ALONE = list(one_of_each(kernels(main=True), GPU, CudaDevice.dialect, operators=True))
"""A case of each operator and of each program."""
SOFTMAX = [case for case in of_family("gpu tiles") if "SOFTMAX" in case.op]
GEMMS = [case for case in of_family("gpu tiles") if "SOFTMAX" not in case.op]


@pytest.mark.parametrize("case", [*ALONE, *SOFTMAX], ids=lambda case: case.name)
def test_a_delegated_operator_gives_the_cpus_results_and_breaks_no_rule(case: Case) -> None:
    check(case, emulated(check=True))


IN_PRECISIONS = [
    (case, p)
    for case in GEMMS
    for p in ("fp32", "tf32", "fp16")
    if p == "fp32" or (case.type == "float32" and "hybrid" not in case.name)
]


@pytest.mark.parametrize(("case", "precision"), IN_PRECISIONS, ids=lambda value: getattr(value, "name", value))
def test_every_fast_kernel_is_exact_on_whole_numbers(case: Case, precision: str) -> None:
    model, values = fed(case)
    want = tflgpu_run(model, values)
    for checking in (False, True):
        delegate = emulated(precision=precision, check=checking)
        for got, expected in zip(tflgpu_run(model, values, [delegate]), want, strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    "case",
    [c for c in GEMMS if c.op == "BATCH_MATMUL" and (c.type == "int8" or "hybrid" in c.name)],
    ids=lambda c: c.name,
)
def test_batched_gemms_of_large_int8_matrices_are_made_on_tensor_cores(case: Case) -> None:
    delegate = emulated(profile=True)
    if not delegate.device.limits.tensor_cores:
        pytest.skip(delegate.device.notes[0])
    before = delegate.device.times().get("batched_gemm_mma", (0, 0.0))[0]
    tflgpu_run(*fed(case), [delegate])
    made = delegate.device.times().get("batched_gemm_mma", (0, 0.0))[0] - before
    assert made == ("tensor cores" in case.name)


@pytest.mark.parametrize(("case", "precision"), IN_PRECISIONS, ids=lambda value: getattr(value, "name", value))
def test_every_variant_of_a_fast_kernel_is_exact_on_whole_numbers(case: Case, precision: str) -> None:
    model, values = fed(case)
    want = tflgpu_run(model, values)
    delegate = load_delegate("cuda", {"device": DEVICE, "precision": precision, "autotune": True, "require_full": True})
    tuner = delegate.device.tuner = Always(1)
    while tuner.number < max(tuner.most, 2):
        try:
            results = tflgpu_run(model, values, [delegate])
        except RuntimeError as error:
            if "cublas" not in str(error):
                raise
            results = want  # a size that this cuBLAS does not take: the tuner would not choose it
        for got, expected in zip(results, want, strict=True):
            np.testing.assert_array_equal(got, expected, f"variant {tuner.number}")
        tuner.number += 1
