"""ci/fuzz.py finds what is planted, counts it and makes it small."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "ci"))
from fuzz import Child, fuzzed
from mutants import content_of, mutant, seed_model

from tflgpu.conformance.cases import every
from tflgpu.model.loader import load
from tflgpu.model.verifier import read_model

NAMES = sorted(every())


def test_a_seed_makes_the_same_mutants_each_time_and_most_of_them_are_models() -> None:
    mutants = [content_of(mutant(f"3-{number}", NAMES)[1]) for number in range(100)]
    assert mutants == [content_of(mutant(f"3-{number}", NAMES)[1]) for number in range(100)]
    assert len(set(mutants)) > 90
    sound = 0
    for content in mutants:
        try:
            load(content=content or b"none")
        except ValueError:
            continue
        sound += 1
    assert sound > 50


class Planted:
    """Stands for a process in which an ADD crashes, and a SUB raises what it should not."""

    def end_of(self, content: bytes) -> str:
        try:
            ops = {node.op for graph in load(content=content).graphs for node in graph.nodes}
        except ValueError as error:
            return f"refused: {error}"
        return (
            "crash: exit status -11" if "ADD" in ops else "wrong exception: KeyError: 3" if "SUB" in ops else "result"
        )

    def stop(self) -> None:
        pass


def test_what_is_found_is_counted_and_printed_as_a_small_test(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {name: case for name, case in every().items() if case.op in ("ADD", "SUB", "MUL")}
    monkeypatch.setattr("fuzz.every", lambda: names)
    monkeypatch.setattr("fuzz.GRAPHS", {})
    planted: Any = Planted()
    counts, findings = fuzzed(planted, 60, 0, 40)
    assert counts["crash"] > 3 and counts["wrong exception"] > 3 and counts["result"] > 3
    assert {found.end for found in findings} == {"crash: exit status -11", "wrong exception: KeyError: 3"}
    for found in findings:
        if isinstance(found.model, dict):
            (graph,) = read_model(content_of(found.model)).subgraphs
            assert len(graph.operators) == 1 and not graph.operators[0].builtin_options
            lines: dict[str, Any] = {}
            exec(found.as_test("cpu"), {"serialize": None}, lines)  # it is Python
            assert len(lines) == 1


def test_a_process_that_ends_is_a_crash_and_another_one_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Child("cpu")
    sound = seed_model(next(name for name in NAMES if name.startswith("ADD[")))
    assert process.end_of(sound) == "result"
    assert process.end_of(b"no model").startswith("refused: The model is not")
    process._process.kill()
    process._process.join()
    assert process.end_of(sound) == "crash: exit status -9"
    assert process.end_of(sound) == "result"
    monkeypatch.setattr("fuzz.HANG_S", 1)
    os.kill(process._process.pid, signal.SIGSTOP)
    assert process.end_of(sound) == "hang: 1 s"
