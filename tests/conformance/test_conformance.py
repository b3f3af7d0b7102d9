"""The conformance kit on our own delegates: the project's tests of them, beside those of each delegate's own ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from abi.abi_libraries import compiled
from checkout import EXAMPLES
from devices import cuda_device

from tflgpu.conformance import catalog, runner, verdicts
from tflgpu.conformance.cases import every
from tflgpu.conformance.reference import answer
from tflgpu.conformance.settings import Settings
from tflgpu.conformance.verdicts import Result
from tflgpu.interpreter import Interpreter

NUMPY = Settings("tflgpu.conformance.broken:load")
OPENCL_DELEGATED = 340
"""Cases of --quick that the OpenCL delegate takes: raise it as it learns."""
REFERENCE_BUGS = ("SUM[int8", "SUM[uint8", "LOCAL_RESPONSE_NORMALIZATION[")
"""Where LiteRT's reference kernels are wrong and ours follow its optimized ones."""
OURS_ALONE = ("aeq.hadamard_rotation[",)
"""Custom operators that the LiteRT of PyPI has not."""


def told(results: Sequence[Result]) -> str:
    return "\n".join(f"{r.verdict} {r.name}: {r.why}" for r in results if r.bad)


def test_there_are_at_least_5000_cases_named_by_operator_type_and_shapes() -> None:
    names = list(every())
    assert len(names) >= 5000
    assert "SOFTMAX[float32,4x1001,beta=0.5]" in names
    assert all(name.startswith(f"{case.op}[{case.type},") for name, case in every().items())


def test_every_case_runs_on_the_cpu() -> None:
    for case in every().values():
        sample = case.sample()
        assert answer(Interpreter(model_content=sample.model), sample.values()), case.name


def test_a_case_is_the_same_every_time() -> None:
    for name in ("CONV_2D[int8,1x5x7x3,6x3x3x3,same]", "RANDOM[seed=3]"):
        case = catalog.found(name)
        assert case is not None
        first, second = case.sample(), case.sample()
        assert first.model == second.model
        assert [v.tobytes() for v in first.values()] == [v.tobytes() for v in second.values()]


def test_the_cpu_answers_as_litert_does() -> None:
    pytest.importorskip("ai_edge_litert")
    names = [
        name
        for name in catalog.names(quick=True)
        if not name.startswith(("CONTRACT", "RANDOM", *REFERENCE_BUGS, *OURS_ALONE))
    ]
    results = runner.run_all(names, dataclasses.replace(NUMPY, reference="litert"), jobs=2)
    assert not told(results)


def test_a_right_delegate_of_a_hundred_lines_passes() -> None:
    results = runner.run_all(catalog.names(quick=True), NUMPY, jobs=2)
    assert not told(results)
    assert runner.counts(results)[verdicts.PASSED] >= 360


def test_opencl_passes_the_quick_cases() -> None:
    pytest.importorskip("pyopencl")
    results = runner.run_all(catalog.names(quick=True), Settings("opencl"), jobs=2)
    assert not told(results)
    assert runner.counts(results)[verdicts.PASSED] >= OPENCL_DELEGATED


# A kernel costs the emulator a compilation of half a second: some of each kind, not all.
EMULATED = r"CONTRACT|^GRAPH\[(?!.*(convolution|WHILE:))|^(ADD|CONV_2D|MEAN|TRANSPOSE|SOFTMAX)\[(float32|int8)"
EMULATED_DELEGATED = 40


def test_cuda_on_the_emulator_fulfils_the_contracts() -> None:
    device = cuda_device()
    names = catalog.names(EMULATED, quick=True)
    results = runner.run_all(names, Settings("cuda", {"device": device}), jobs=2)
    assert not told(results)
    assert runner.counts(results)[verdicts.PASSED] >= EMULATED_DELEGATED


def test_the_example_delegate_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "numpy_delegate"))
    names = catalog.names(r"^CONTRACT|^GRAPH|^(ADD|MUL|RELU)\[float32")
    results = runner.run_all(names, Settings("numpy_delegate:load"), jobs=2)
    assert not told(results)
    assert runner.counts(results)[verdicts.PASSED] >= 60


def test_a_native_library_fulfils_the_contracts() -> None:
    library = compiled("adder")
    names = catalog.names(r"^CONTRACT|^GRAPH|^(ADD|MUL)\[float32,(7,7|2x3x5,2x3x5|65,65)\]")
    results = runner.run_all(names, Settings(str(library)), jobs=2)
    assert not told(results)
    assert runner.counts(results)[verdicts.PASSED] >= 30


def test_compare_bisects_inside_a_partition() -> None:
    pytest.importorskip("pyopencl")
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from tflgpu.cli.app import app

    model = str(EXAMPLES / "digits" / "digits_float32.tflite")
    # No float agrees within nothing at all with one summed in another order.
    options = ["--against", "cpu", "-d", "opencl", "--rtol", "0", "--atol", "0", "--bisect"]
    found = CliRunner().invoke(app, ["compare", model, *options], env={"COLUMNS": "250"})
    assert found.exit_code == 1, found.output
    assert "first diverging node: " in found.output and "alone on the delegate it" in found.output
