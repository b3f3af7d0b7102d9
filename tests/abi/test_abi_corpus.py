"""Some of the corpus across TensorFlow Lite's C ABI; ci/abi_corpus.py runs all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from abi.xnnpack import library
from checkout import CORPUS, ROOT

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not beside this checkout (../shared/corpus)")


@pytest.mark.parametrize("direction, sample", [("guest", "11/60"), ("host", "23/60")])
def test_a_sample_of_the_corpus_gives_litert_s_answers(direction: str, sample: str, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert.interpreter")
    if direction == "guest":
        pytest.importorskip("pyopencl")
    elif library() is None:
        pytest.skip("no XNNPACK to load: pip install tflite-runtime==2.14.0 (Python 3.11 or older)")
    found = tmp_path / "rows.jsonl"
    command = [
        sys.executable,
        str(ROOT / "ci" / "abi_corpus.py"),
        direction,
        "--sample",
        sample,
        "--results",
        str(found),
    ]
    told = subprocess.run([*command, "--timeout", "300"], capture_output=True, text=True, timeout=900)
    assert told.returncode == 0, told.stdout + told.stderr
    rows = [json.loads(line) for line in found.read_text().splitlines()]
    assert len(rows) == 80 and sum(row["verdict"] == "equal" for row in rows) >= 10
