"""Who tests the tester: delegates wrong in one way each, and what the kit makes of crashes, hangs and reports."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from checkout import EXAMPLES

import tflgpu
from tflgpu.conformance import broken, catalog, html, random_graphs, report, runner, verdicts
from tflgpu.conformance.bisect import bisect, every_value
from tflgpu.conformance.guards import Watched
from tflgpu.conformance.reference import answer
from tflgpu.conformance.settings import Settings, opened
from tflgpu.conformance.shrink import shrunk
from tflgpu.conformance.tolerances import read_overrides
from tflgpu.conformance.verdicts import Result

DIGITS = EXAMPLES / "digits" / "digits_float32.tflite"
ENDS_ITS_PROCESS = ("crash", "hang")


def of(fault: str = "", **fields: Any) -> Settings:
    return Settings("tflgpu.conformance.broken:load", {"fault": fault} if fault else {}, **fields)


def here(pattern: str, settings: Settings) -> list[Result]:
    """Results of cases run in this process."""
    delegate = Watched(opened(settings))
    return [catalog.run(name, delegate, settings) for name in catalog.names(pattern)]


def test_there_are_at_least_15_broken_delegates() -> None:
    assert len(broken.FAULTS) >= 15


@pytest.mark.parametrize("fault", [name for name in broken.FAULTS if name not in ENDS_ITS_PROCESS])
def test_a_broken_delegate_is_caught_and_the_right_one_is_not(fault: str) -> None:
    expected = broken.FAULTS[fault]
    assert expected.verdict in [result.verdict for result in here(expected.caught_by, of(fault))]
    assert not [result for result in here(expected.caught_by, of()) if result.bad]


@pytest.mark.parametrize("fault", ENDS_ITS_PROCESS)
def test_a_crash_or_a_hang_is_a_verdict_and_the_others_still_run(fault: str) -> None:
    names = ["ABS[float32,7]", "SOFTMAX[float32,3x10,beta=1]", "NEG[float32,7]", "ADD[float32,7,7]"]
    found = runner.run_all(names, of(fault), jobs=1, timeout_s=3.0)
    assert [r.verdict for r in found] == ["passed", broken.FAULTS[fault].verdict, "passed", "passed"]
    assert fault != "crash" or "SIGABRT" in found[1].why or os.name == "nt"


def test_a_delegate_that_cannot_be_opened_is_told() -> None:
    with pytest.raises(runner.DelegateUnavailable, match="no fault 'nonesuch'"):
        runner.run_all(["ABS[float32,7]"], of("nonesuch"), jobs=1)


def test_a_resumed_run_reuses_earlier_results(tmp_path: Path) -> None:
    log, names = tmp_path / "log.jsonl", catalog.names(r"^ABS\[float32")
    runner.run_all(names[:5], of(), jobs=1, log=log)
    ran: list[str] = []
    results = runner.run_all(names, of(), jobs=1, log=log, resume=True, seen=lambda r: ran.append(r.name))
    assert [r.name for r in results] == names and sorted(ran) == sorted(names)
    lines = [json.loads(line)["name"] for line in log.read_text().splitlines()[1:]]
    assert len(lines) == len(set(lines)) == len(names)


def test_relaxed_precision_is_judged_apart() -> None:
    pattern = r"^FULLY_CONNECTED\[float32,3x17,6x17\]"
    assert [r.verdict for r in here(pattern, of("half"))] == ["failed"]
    assert [r.verdict for r in here(pattern, of("half", precision="fp16"))] == ["relaxed"]
    assert [r.verdict for r in here(pattern, of(precision="fp16"))] == ["passed"]


def test_an_integer_off_by_one_passes_only_where_that_is_asked_for() -> None:
    pattern = r"^QUANTIZE\[float32,67,to=int8,ties"
    assert [r.verdict for r in here(pattern, of("rounding"))] == ["failed"]
    for spelling in ("one-step", "one-code"):
        assert [r.verdict for r in here(pattern, of("rounding", rounding=spelling))] == ["passed"]


def test_a_wider_bound_needs_a_reason_and_shows_it(tmp_path: Path) -> None:
    file, pattern = tmp_path / "bounds.json", r"^FULLY_CONNECTED\[float32,3x17,6x17\]"
    entry = {"cases": "^FULLY_CONNECTED", "ulps": 1e5, "reason": "half precision"}
    file.write_text(json.dumps([entry]))
    (result,) = here(pattern, of("half", overrides=read_overrides(file)))
    assert result.verdict == verdicts.PASSED and result.notes == ["half precision"]
    file.write_text(json.dumps([entry | {"reason": " "}]))
    with pytest.raises(ValueError, match="needs cases, ulps and a reason"):
        read_overrides(file)


def test_a_failing_random_graph_shrinks_to_a_model_that_reproduces(tmp_path: Path) -> None:
    settings = of("half", reproducers=str(tmp_path))
    # Of the first values, from which a subset of the graph is computed.
    failing = next(r for r in here(r"^RANDOM\[seed=\d+\]", settings) if r.bad and "second run" not in r.why)
    small = shrunk(failing, settings, 20.0)
    assert "shrunk to 1 nodes" in small.why
    model, arrays = Path(small.reproducer).read_bytes(), np.load(Path(small.reproducer).with_suffix(".npz"))
    values = [arrays[f"input{k}"] for k in range(sum(name.startswith("input") for name in arrays))]
    right = answer(tflgpu.Interpreter(model_content=model), values)
    np.testing.assert_array_equal(right[0], arrays["expected0"])
    wrong = answer(tflgpu.Interpreter(model_content=model, experimental_delegates=[opened(of("half"))]), values)
    assert any((w != r).any() for w, r in zip(wrong, right, strict=True))


def test_the_smallest_failing_subset_is_found() -> None:
    assert random_graphs.smallest(range(40), lambda kept: {7, 31} <= set(kept)) == (7, 31)
    assert random_graphs.smallest(range(5), lambda kept: 3 in kept) == (3,)


def test_random_graphs_are_valid_and_of_1_to_60_nodes() -> None:
    sizes = []
    for seed in range(25):
        sample = random_graphs.sample(seed)
        assert answer(tflgpu.Interpreter(model_content=sample.model), sample.values())
        sizes.append(len(random_graphs.nodes_of(seed)))
    assert min(sizes) >= 1 and 40 < max(sizes) <= 60


def differs(got: Any, want: Any) -> bool:
    return not np.allclose(got, want, rtol=1e-4, atol=1e-4)


def bisected(fault: str) -> Any:
    values = [np.random.default_rng(0).random((1, 8, 8, 1), np.float32)]
    reference = every_value(tflgpu.Interpreter(model_path=str(DIGITS)), values)
    return bisect(str(DIGITS), [opened(of(fault))], values, reference, differs)


def test_bisecting_names_the_node_inside_a_partition_that_differs() -> None:
    found = bisected("last_row")
    assert "FULLY_CONNECTED" in found.node and found.alone
    assert "first diverging node" in str(found) and "alone on the delegate it differs too" in str(found)


def test_bisecting_names_nodes_that_differ_only_together() -> None:
    found = bisected("skips")
    assert "SOFTMAX" in found.node and not found.alone
    assert len(found.together) == 3 and "has these together" in str(found)
    assert bisected("") is None


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return here(r"^(ADD|SOFTMAX|RNN)\[|^GRAPH\[diamond|CONTRACT\[sig", of("activation", performance=True))


def test_the_reports_agree_on_the_counts(results: list[Result], tmp_path: Path) -> None:
    whole = report.summary(results, of("activation"), 1.5, False, "some", {"a GPU, driver 1.2"})
    json_file, xml_file, html_file = report.write(whole, results, tmp_path)
    counts = runner.counts(results)
    assert counts[verdicts.FAILED] > 0 and counts[verdicts.NOT_DELEGATED] > 0
    assert json.loads(json_file.read_text())["counts"] == counts
    root = ElementTree.parse(xml_file).getroot()
    assert sum(int(s.get("failures", 0)) for s in root) == counts[verdicts.FAILED] == len(list(root.iter("failure")))
    assert len(list(root.iter("skipped"))) == counts[verdicts.NOT_DELEGATED]
    page = html_file.read_text()
    assert "ADD[float32,2x3x5,5,relu6]" in page and "<svg" in page and "prefers-color-scheme: dark" in page
    assert "a GPU, driver 1.2" in page and "complete: both, and of every operator" in page
    assert "another value; 1 allowed" in html._of_bound(
        Result("x", "f", "EXP", "float32", "failed", ulps=1e17, bound=1.0)
    )
    assert "src=" not in page and "http" not in page, "the page needs nothing from outside"


def test_no_level_is_reached_with_a_failure_and_none_is_judged_of_chosen_cases(results: list[Result]) -> None:
    assert report.summary(results, of(), 1.0, False, None).level == "none"
    right = [result for result in results if not result.bad]
    assert report.summary(right, of(), 1.0, False, "some").level == "not judged"
    assert report.summary(right, of(), 1.0, False, None).level == "partial"
    (relaxed, *_) = here(r"^FULLY_CONNECTED\[float32,3x17,6x17\]", of("half", precision="fp16"))
    assert report.summary([relaxed, *right], of(precision="fp16"), 1.0, False, None).level == "partial at fp16"


def test_the_command_reports_and_fails_where_something_is_wrong(tmp_path: Path) -> None:
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from tflgpu.cli.app import app

    def told(*arguments: str, status: int) -> str:
        found = CliRunner().invoke(app, ["conformance", *arguments], env={"COLUMNS": "250"})
        assert found.exit_code == status, found.output
        return found.output

    ours = ["-d", "tflgpu.conformance.broken:load", "--output", str(tmp_path), "-j", "1"]
    assert "level: not judged" in told(*ours, "-k", r"^ABS\[float32,7\]", status=0)
    text = told(*ours, "-k", "ADD[float32,2x3x5,5,relu6]", "-o", "fault=activation", status=1)
    assert "failed ADD[float32,2x3x5,5,relu6]" in text and ".tflite" in text
    assert list((tmp_path / "reproducers").glob("*.npz"))
    assert "SOFTMAX[float32,4x1001,beta=0.5]" in told("-d", "opencl", "--list", "-k", "SOFTMAX", status=0)
    assert "no case has" in told("-d", "opencl", "-k", "NONESUCH[", status=1)
    assert "cannot open shared object file" in told(
        "-d", "libnope.so", "-k", "^ABS", "--output", str(tmp_path), status=1
    )


def test_the_pytest_plugin_runs_the_cases_of_a_delegate(tmp_path: Path) -> None:
    # Named too, since an older installation of the package may lack the entry point.
    plugins = ["-p", "tflgpu.conformance.pytest_options", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *plugins, "--pyargs", "tflgpu.conformance"]
    options = ["--delegate", "tflgpu.conformance.broken:load", "--delegate-option", "fault=claims", "--quick", "-k"]
    wanted = "RNN or LOGICAL_AND or (HASHTABLE and FIND)"
    done = subprocess.run([*command, *options, wanted], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "error: claimed, but preparing it raised" in done.stdout and "1 passed" in done.stdout


def test_settings_survive_the_way_to_a_worker() -> None:
    from tflgpu.conformance.settings import from_dict

    settings = of("half", overrides=read_overrides(None), precision="fp16")
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(settings)))) == settings


def test_a_file_of_tolerances_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wide.json"
    path.write_text("ulps: 64")
    with pytest.raises(ValueError, match=r"wide\.json is no JSON"):
        read_overrides(path)
