"""One case on one delegate: its numbers against the reference's, and what the delegate must not do meanwhile."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tflgpu.conformance import verdicts
from tflgpu.conformance.cases.case import Case, Sample
from tflgpu.conformance.guards import Watched
from tflgpu.conformance.reference import Expected, Reference, feed, outputs_of, timed
from tflgpu.conformance.settings import Settings
from tflgpu.conformance.tolerances import Distance, distance, override_for
from tflgpu.conformance.verdicts import Result
from tflgpu.interpreter import Interpreter
from tflgpu.model.graph import Array


def judged(case: Case, delegate: Watched, settings: Settings) -> Result:
    """The case's result; it tells what was raised on the way too."""
    start = time.perf_counter()
    result = Result(case.name, case.family, case.op, case.type, verdicts.PASSED)
    try:
        _judge(case, delegate, settings, result)
    except Exception as error:  # a delegate may raise anything at all
        result.verdict, result.why = verdicts.ERROR, f"{type(error).__name__}: {error}"
    finally:
        delegate.forget()
    result.elapsed_ms = (time.perf_counter() - start) * 1e3
    return result


def _judge(case: Case, delegate: Watched, settings: Settings, result: Result) -> None:
    try:
        sample = case.sample()
        values = [sample.values(0), sample.values(1)]
    except Exception as error:
        result.verdict, result.why = verdicts.INVALID, f"the case cannot be made: {error}"
        return
    try:
        interpreter = Interpreter(model_content=sample.model, experimental_delegates=[delegate])
        feed(interpreter, values[0])
    except Exception as error:
        _raised(error, sample, values[0], settings, result)
        return
    result.nodes = sum(len(graph.graph.nodes) for graph in interpreter._graphs)
    result.delegated = sum(len(partition.nodes) for partition, _ in delegate.partitions)
    if not result.delegated and not _more_at_run_time(interpreter):
        result.verdict, result.why = verdicts.NOT_DELEGATED, reason(interpreter, delegate)
        return
    try:
        wanted = _wanted(sample, values, settings)
    except Exception as error:
        result.verdict, result.why = verdicts.INVALID, f"the reference: {error}"
        return
    _compare(interpreter, delegate, values, wanted, settings, result)
    if not result.bad and delegate.device is not None:
        _compare_unguarded(sample, delegate, values, wanted, settings, result)
    if result.bad:
        expected = [] if wanted[0] is None else wanted[0].outputs
        result.reproducer = save(case.name, sample, values[0], expected, settings)
    elif settings.performance and result.verdict in (verdicts.PASSED, verdicts.RELAXED):
        result.delegate_ms = timed(interpreter, values[0])
        result.cpu_ms = Reference(sample.model).milliseconds(values[0])


def _raised(error: Exception, sample: Sample, values: list[Array], settings: Settings, result: Result) -> None:
    """What preparing a model with the delegate raised: the case's fault where the reference cannot either."""
    try:
        wanted = Reference(sample.model).expected(values)
    except Exception as own:
        result.verdict, result.why = verdicts.INVALID, f"the reference: {own}"
        return
    if "only supports static-sized tensors" in str(error):
        result.verdict, result.why = verdicts.NOT_DELEGATED, "it takes no graph with shapes known only at run time"
        return
    result.verdict, result.why = verdicts.ERROR, f"claimed, but preparing it raised {type(error).__name__}: {error}"
    result.reproducer = save(result.name, sample, values, wanted.outputs, settings)


def _more_at_run_time(interpreter: Interpreter) -> bool:
    """Whether nodes follow one of dynamic shapes, which a delegate may take."""
    return any(len(segment.dynamic) > 1 for runner in interpreter._graphs for segment in runner.segments[:1])


def _wanted(sample: Sample, values: Sequence[list[Array]], settings: Settings) -> list[Expected | None]:
    """What is expected of each draw; None where it is to be refused, which the reference does too."""
    reference = Reference(sample.model, litert=settings.reference == "litert")
    if not sample.refused:
        return [reference.expected(v) for v in values]
    first = reference.expected(values[0])
    if not _refused(lambda: reference.expected(values[1])):
        raise ValueError("it refuses nothing of the second draw")
    return [first, None]


MISTAKES = (LookupError, TypeError, AttributeError, AssertionError)
"""Exceptions that say nothing of the values: where one ends an invoke, nothing was refused."""


def _refused(run: Callable[[], object]) -> bool:
    try:
        run()
    except RuntimeError as error:
        if isinstance(error.__cause__, MISTAKES):
            raise error.__cause__ from None
        return True
    return False


def _compare(
    interpreter: Interpreter,
    delegate: Watched,
    values: Sequence[list[Array]],
    wanted: Sequence[Expected | None],
    settings: Settings,
    result: Result,
) -> None:
    """Three runs: one set of values, another, and the first again, which must give the same bits."""
    first: list[Array] = []
    for number, draw in enumerate((0, 1, 0)):
        if number == 2:
            interpreter.reset_all_variables()
        feed(interpreter, values[draw])
        delegate.poison_outputs()
        want = wanted[draw]
        if want is None:
            if not _refused(interpreter.invoke):
                result.verdict, result.why = verdicts.FAILED, "took values that the reference refuses"
                return
            continue
        interpreter.invoke()
        got = outputs_of(interpreter)
        broken = delegate.violations()
        if not all(
            _same_bits(np.asarray(interpreter.get_tensor(d["index"])), v)
            for d, v in zip(interpreter.get_input_details(), values[draw], strict=True)
        ):
            broken.append("changed an input of the model")
        if broken:
            result.verdict, result.why = verdicts.FAILED, "; ".join(dict.fromkeys(broken))
            return
        if number == 2:
            if not all(map(_same_bits, got, first)):
                result.verdict, result.why = verdicts.FAILED, "the same inputs gave other outputs the second time"
            break
        first = first or got
        _measure(got, want, settings, result, "" if number == 0 else "second run: ")
        if result.bad:
            return
    result.delegated = max(result.delegated, sum(len(partition.nodes) for partition, _ in delegate.partitions))
    if not result.delegated:
        result.verdict, result.why = verdicts.NOT_DELEGATED, reason(interpreter, delegate)
    elif len(interpreter._graphs) == 1 and 0 in delegate.runs:
        result.verdict, result.why = verdicts.FAILED, "a partition that was claimed did not run"


def _compare_unguarded(
    sample: Sample,
    delegate: Watched,
    values: Sequence[list[Array]],
    wanted: Sequence[Expected | None],
    settings: Settings,
    result: Result,
) -> None:
    """Both draws on the device's own buffers, which are other ones, and may not be copied at all."""
    with delegate.unguarded():
        interpreter = Interpreter(model_content=sample.model, experimental_delegates=[delegate])
        for draw, want in enumerate(wanted):
            if want is None or result.bad:
                return
            feed(interpreter, values[draw])
            interpreter.invoke()
            _measure(outputs_of(interpreter), want, settings, result, "without guards: ")


MOST_TOLD = 1e6
"""A distance in ULP beyond which the values themselves say more."""


def _measure(got: list[Array], want: Expected, settings: Settings, result: Result, when: str) -> None:
    override = override_for(result.name, settings.overrides)
    for number, (g, w) in enumerate(zip(got, want.outputs, strict=True)):
        unit, bound = want.units[number], want.bounds[number]
        if override is not None and unit is not None:
            bound = override.ulps
        found = _distance(g, w, unit, want.slack[number], "fp32", settings)
        if unit is not None:
            result.ulps = max(result.ulps or 0.0, found.ulps)
            result.bound = max(result.bound or 0.0, bound)
        if found.ulps <= bound:
            if override is not None and override.reason not in result.notes:
                result.notes.append(override.reason)
            continue
        if settings.precision != "fp32":
            found = _distance(g, w, unit, want.slack[number], settings.precision, settings)
            if found.ulps <= bound:
                result.verdict = verdicts.RELAXED
                continue
        told = found.ulps <= MOST_TOLD
        off = f"{found.ulps:.3g} ULP where {bound:.3g} are allowed, " if told else ""
        result.verdict, result.why = verdicts.FAILED, f"{when}output {number} {off}{found.text}"
        return


def _distance(got: Array, want: Array, unit: Array | None, slack: int, precision: str, settings: Settings) -> Distance:
    if slack and got.shape == want.shape and want.dtype.kind in "iub":
        off = int(np.abs(got.astype(np.int64) - want.astype(np.int64)).max(initial=0))
        if off <= slack:
            return Distance(0.0)
    return distance(got, want, unit, precision, settings.rounding == "one-step")


def _same_bits(a: Array, b: Array) -> bool:
    if a.dtype == object:
        return bool(np.array_equal(a, b))
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def reason(interpreter: Interpreter, delegate: Watched) -> str:
    """Why nothing was delegated, as the delegate says it, without its name."""
    partitions = [partition for runner in interpreter._graphs for partition in runner.partitions]
    whys = [why for partition in partitions for texts in partition.why.values() for why in texts]
    if whys:
        return whys[0].removeprefix(f"{delegate.name}: ")
    if any(segment.dynamic for runner in interpreter._graphs for segment in runner.segments[:1]):
        return "its output's shape is known only at run time"
    return "nothing is left to run: the output is constant"


def save(name: str, sample: Sample, values: list[Array], outputs: list[Array], settings: Settings) -> str:
    """A model with inputs and expected outputs on disk, that reproduces; its path, or nothing where none was asked."""
    if not settings.reproducers:
        return ""
    folder = Path(settings.reproducers)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (re.sub(r"[^A-Za-z0-9=.,_+-]+", "_", name)[:120].strip("_") + ".tflite")
    path.write_bytes(sample.model)
    arrays: dict[str, Any] = {f"input{k}": v for k, v in enumerate(values) if v.dtype != object}
    arrays |= {f"expected{k}": v for k, v in enumerate(outputs) if v.dtype != object}
    np.savez(path.with_suffix(".npz"), **arrays)
    return str(path)


def quiet(settings: Settings) -> Settings:
    """The settings for probes whose failures are expected: nothing is saved or timed."""
    return replace(settings, reproducers="", performance=False)
