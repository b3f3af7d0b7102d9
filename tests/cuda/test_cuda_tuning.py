"""Which variant of a kernel the CUDA delegate's tuner takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_delegates import DEVICE, on_emulator
from kit import fed
from oracle import assert_same, tflgpu_run

from tflgpu.conformance.cases.tiles import batched, dense, named
from tflgpu.delegates.cuda import cublas
from tflgpu.delegation.discovery import load_delegate


@on_emulator
@pytest.mark.parametrize("cublas_is_fast", [True, False])
@pytest.mark.parametrize("kind", ["FLOAT32", "INT8", "batched"])
def test_the_fastest_variant_is_taken_and_remembered(
    kind: str, cublas_is_fast: bool, monkeypatch: Any, tmp_path: Any
) -> None:
    from tflgpu.delegates.emulator import streams

    now, put_on_stream = [0.0], streams.Stream.do

    def do(self: Any, work: Any) -> None:
        def timed() -> None:
            work()
            slow = ("gemm", "gemm_mma", "batched_gemm") if cublas_is_fast else ("product",)
            now[0] += 1e-3 if getattr(work, "name", "") in slow else 1e-6

        put_on_stream(self, timed)

    gemm = batched("FLOAT32", (2, 5, 8), (2, 8, 7)) if kind == "batched" else dense(kind, 5, 36, 64)
    case = named("gemm", "tuned", gemm)
    model, values = fed(case)
    want = tflgpu_run(model, values)
    monkeypatch.setattr(streams.Stream, "do", do)
    monkeypatch.setattr(streams, "clock", lambda: now[0])
    options = {"device": DEVICE, "autotune": True, "profile": True, "cache_dir": str(tmp_path)}
    first = load_delegate("cuda", options)
    np.testing.assert_array_equal(tflgpu_run(model, values, [first])[0], want[0])
    assert ("product" in first.device.times()) == cublas_is_fast
    choices = dict(first.device.tuner._chosen)
    second = load_delegate("cuda", options)
    second.device.seconds_of = None  # nothing is timed any more
    np.testing.assert_array_equal(tflgpu_run(model, values, [second])[0], want[0])
    assert ("product" in second.device.times()) == cublas_is_fast
    assert second.device.tuner._chosen == choices != {}


@on_emulator
def test_a_variant_that_does_not_run_is_not_taken(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = cublas.functions
    monkeypatch.setattr(cublas, "functions", lambda m: real(m) | {"cublasGemmStridedBatchedEx": lambda *args: 15})

    case = named("gemm", "tuned", dense("FLOAT32", 5, 36, 64))
    delegate = load_delegate("cuda", {"device": DEVICE, "autotune": True, "cache_dir": str(tmp_path)})
    model, values = fed(case)
    assert_same(tflgpu_run(model, values, [delegate]), tflgpu_run(model, values))
