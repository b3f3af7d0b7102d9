"""The kit on delegates of others, end to end: native ones built here, right and wrong, by the command and by pytest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from abi.abi_libraries import compiled
from checkout import TESTS

from tflgpu.conformance import log, runner, verdicts
from tflgpu.conformance.settings import Settings
from tflgpu.conformance.verdicts import Result
from tflgpu.delegation.discovery import load_delegate

CASES = ("ABS[float32,7]", "ABS[float32,2x3x5]", "ABS[int32,7]", "NEG[float32,7]")


def verdicts_of(fault: str, *names: str, **options: Any) -> dict[str, Result]:
    settings = Settings(str(compiled("faulty")), {"fault": fault} if fault else {})
    return {result.name: result for result in runner.run_all(names or CASES, settings, **options)}


def test_a_right_native_delegate_passes_what_it_takes() -> None:
    found = verdicts_of("", jobs=2)
    assert [r.verdict for r in found.values()] == [verdicts.PASSED] * 2 + [verdicts.NOT_DELEGATED] * 2


@pytest.mark.parametrize(
    ("fault", "verdict", "why"),
    [
        ("crash", verdicts.CRASHED, "SIGABRT"),
        ("hang", verdicts.TIMED_OUT, "no answer within 10 s"),
        ("half", verdicts.FAILED, "output 0"),
        ("evil", verdicts.FAILED, "wrote past the end of a host array"),
    ],
)
def test_a_wrong_native_delegate_is_caught_where_it_is_wrong(fault: str, verdict: str, why: str) -> None:
    taken, left = (CASES[:1] if fault == "hang" else CASES[:2]), CASES[2:]  # each hang takes its time
    found = verdicts_of(fault, *taken, *left, jobs=2, timeout_s=10.0 if fault == "hang" else 30.0)
    for name in taken:
        assert found[name].verdict == verdict and why in found[name].why, found[name]
    assert [found[name].verdict for name in left] == [verdicts.NOT_DELEGATED] * 2, "the others ran all the same"


def test_a_greedy_native_delegate_is_wrong_where_it_has_no_kernel() -> None:
    found = verdicts_of("greedy", jobs=1)
    assert [r.verdict for r in found.values()] == [verdicts.PASSED] * 2 + [verdicts.FAILED, verdicts.ERROR]
    assert "no kernel for operator 59" in found["NEG[float32,7]"].why


def test_a_native_library_is_not_held_to_options_that_it_does_not_know() -> None:
    (found,) = verdicts_of("", "CONTRACT[its options set the limits]").values()
    assert found.verdict == verdicts.NOT_DELEGATED and "native library" in found.why


class Owner:
    """As the delegates of TensorFlow Lite's own packages are: of a pointer alone."""

    def __init__(self, options: Mapping[str, str]):
        self._held: Any = load_delegate(str(compiled("faulty")), options)

    def _get_native_delegate_pointer(self) -> int:
        pointer: int = self._held._get_native_delegate_pointer()
        return pointer


def test_an_object_with_a_native_pointer_is_a_delegate_and_another_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TESTS))
    where = "conformance.test_native_delegates"
    found = runner.run_all(CASES[:1], Settings(f"{where}:Owner"), jobs=1)
    assert [r.verdict for r in found] == [verdicts.PASSED]
    found = runner.run_all(CASES[:1], Settings(f"{where}:Owner", {"fault": "half"}), jobs=1)
    assert [r.verdict for r in found] == [verdicts.FAILED]
    with pytest.raises(runner.DelegateUnavailable, match="object is no delegate"):
        runner.run_all(CASES[:1], Settings("collections:OrderedDict"), jobs=1)


def command(*arguments: str) -> Any:
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from tflgpu.cli.app import app

    return CliRunner().invoke(app, ["conformance", *arguments], env={"COLUMNS": "250"})


def test_the_command_writes_what_ci_reads(tmp_path: Path) -> None:
    library = ["-d", str(compiled("faulty")), "--output", str(tmp_path), "--jobs", "2"]
    found = command(*library, "-o", "fault=crash", "-k", r"^(ABS|NEG)\[float32,(7|65)\]")
    assert found.exit_code == 1 and "crashed ABS[float32,7]" in found.output, found.output
    suites = ElementTree.parse(tmp_path / "report.xml").getroot()
    cases = {case.get("name"): [child.tag for child in case] for case in suites.iter("testcase")}
    assert cases["ABS[float32,7]"] == cases["ABS[float32,65]"] == ["error"]
    assert cases["NEG[float32,7]"] == ["skipped"] and len(cases) == 4
    assert json.loads((tmp_path / "report.json").read_text())["counts"] == {"not delegated": 2, "crashed": 2}


def test_the_plugin_runs_in_several_processes(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    plugins = ["-p", "tflgpu.conformance.pytest_options", "-p", "no:cacheprovider", "-n", "2"]
    options = ["--delegate", str(compiled("faulty")), "--delegate-option", "fault=half", "--case-timeout", "30"]
    chosen = ["-k", "(ABS or NEG) and float32 and special", "--pyargs", "tflgpu.conformance"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options, *chosen], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1 and "failed: output 0" in done.stdout, done.stdout + done.stderr
    assert "1 failed" in done.stdout and "1 skipped" in done.stdout


def test_a_run_is_resumed_only_by_the_same(tmp_path: Path) -> None:
    library, output = (
        ["-d", str(compiled("faulty"))],
        ["--output", str(tmp_path), "-j", "1", "-k", r"^ABS\[float32,7\]"],
    )
    assert command(*library, *output).exit_code == 0
    assert command(*library, *output, "--resume").exit_code == 0
    other = command(*library, *output, "--resume", "-o", "fault=half")
    assert other.exit_code == 1 and "options was {}, is {'fault': 'half'}" in other.output
    other = command("-d", "tflgpu.conformance.broken:load", *output, "--resume")
    assert other.exit_code == 1 and "results of another run" in other.output
    assert command(*library, *output, "--resume", "--rounding", "one-step").exit_code == 1
    (tmp_path / "results.jsonl").write_text("")
    assert "not known" in command(*library, *output, "--resume").output


def test_a_rebuilt_library_is_another(tmp_path: Path) -> None:
    library, results = tmp_path / "delegate.so", tmp_path / "results.jsonl"
    library.write_bytes(compiled("faulty").read_bytes())
    log.begin(results, Settings(str(library)))
    log.resumed(results, Settings(str(library)))
    library.write_bytes(library.read_bytes() + b"\0")
    with pytest.raises(log.OtherRun, match="file was"):
        log.resumed(results, Settings(str(library)))
