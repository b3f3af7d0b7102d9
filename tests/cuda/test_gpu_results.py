"""The results of benchmarks/gpu.py are in their files after every model, whatever comes after."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from gpu_results import Results

DEVICE = "NVIDIA H100 PCIe (compute capability 9.0)"


def test_a_phase_adds_to_what_phases_before_it_have_written(tmp_path: Path) -> None:
    first = Results(tmp_path, DEVICE)
    first.of("mobilenet_v2", 1, "int8", "fp32")["tflgpu"] = {"pinned": {"median_ms": 0.5}, "difference": 0.0}
    first.of("mobilenet_v2", 1, "int8", "fp32")["multiplications"] = 3 * 10**8
    first.write()
    second = Results(tmp_path, DEVICE)
    second.of("mobilenet_v2", 1, "int8", "fp32")["tuned"] = {"pinned": {"median_ms": 0.25}}
    second.of("bert_base", 32, "float16", "fp16")["torch"] = {"graph": {"median_ms": 7.0}}
    second.ceilings({"bytes_per_s": 2e12, "int8_flop_per_s": 2e12})
    second.write()
    (found,), (table,) = ([p.read_text() for p in tmp_path.glob(name)] for name in ("*.json", "*.md"))
    models: dict[str, Any] = json.loads(found)["models"]
    assert models["mobilenet_v2, batch 1, int8"].keys() == {"tflgpu", "multiplications", "tuned"}
    assert "| mobilenet_v2, batch 1, int8 | - | 0.500 | - | - | 0.250 | - | - | 1.20 | 60% | 0.0e+00 |" in table
    assert "| bert_base, batch 32, float16 fp16 |" in table and "7.000" in table
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("error, failed", [({}, []), ({"error": "no"}, ["vit_s16, batch 1, float32"])])
def test_models_that_went_wrong_are_named(tmp_path: Path, error: dict[str, str], failed: list[str]) -> None:
    results = Results(tmp_path, DEVICE)
    results.of("vit_s16", 1, "float32", "fp32")["tflgpu"] = error
    assert results.failed == failed
