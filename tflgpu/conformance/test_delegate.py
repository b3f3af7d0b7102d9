"""Every case as a pytest test: `pytest --pyargs tflgpu.conformance --delegate opencl`."""

from __future__ import annotations

import pytest

from tflgpu.conformance import verdicts
from tflgpu.conformance.runner import Worker


def test_case(case: str, worker: Worker, case_timeout: float) -> None:
    """The delegate is right in this case; skipped, with its reason, where it leaves the model to the CPU."""
    result = worker.run(case, case_timeout)
    if result.verdict == verdicts.NOT_DELEGATED:
        pytest.skip(f"not delegated: {result.why}")
    if result.bad:
        where = f"\nreproducer: {result.reproducer}" if result.reproducer else ""
        pytest.fail(f"{result.verdict}: {result.why}{where}", pytrace=False)
