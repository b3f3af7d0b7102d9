"""The corpus of one-op models and the zoo, with LiteRT's answers, where a checkout has them beside it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import CORPUS

KNOWN = Path(__file__).parent / "known_differences.txt"

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not beside this checkout (../shared/corpus)")


def known() -> set[str]:
    lines = (line.partition("#")[0].split() for line in KNOWN.read_text().splitlines())
    return {words[0] for words in lines if words}


def test_every_case_passes_but_the_known_differences(tmp_path):
    found = tmp_path / "verdicts.jsonl"
    command = [sys.executable, str(CORPUS / "compare.py"), "--module", "tflgpu", "--quiet", "--json", str(found)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=900)
    rows = [json.loads(line) for line in found.read_text().splitlines()]
    assert len(rows) > 4000, told.stderr
    failing = {f"{row['group']}/{row['case']}": row["text"] for row in rows if row["verdict"] != "pass"}
    assert failing.keys() == known(), {name: text for name, text in failing.items() if name not in known()}


def test_every_zoo_model_gives_litert_s_answers(tmp_path):
    found = tmp_path / "verdicts.json"
    command = [sys.executable, str(CORPUS / "zoo.py"), "--module", "tflgpu", "--json", str(found)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=900)
    rows = json.loads(found.read_text())
    wrong = {row["name"]: row.get("text", row) for row in rows if row["verdict"] not in ("pass", "no golden")}
    assert len(rows) > 50 and not wrong, (wrong, told.stderr)
