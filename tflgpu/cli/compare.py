"""`tflgpu compare`: a model on two runtimes, output by output and node by node."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from tflgpu.cli import compare_models
from tflgpu.cli.inputs import Inputs, Seed, feed, inputs_for
from tflgpu.cli.models import (
    DelegateOptions,
    Delegates,
    LimitOptions,
    ModelPath,
    Shapes,
    columns,
    console,
    key_values,
    loaded,
    opened,
    outputs_of,
    plain_errors,
    reshaped,
)
from tflgpu.comparison.measure import METRICS, Measure, read_metrics
from tflgpu.conformance import bisect as bisection
from tflgpu.model.graph import Array
from tflgpu.quantized import dequantize

DIFFERS = Text("differs", "red")
_RESOLVERS = {
    "litert": "BUILTIN",
    "litert-ref": "BUILTIN_REF",
    "litert-builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
}


@dataclass(frozen=True)
class Tolerance:
    """How far values may be apart: floats by atol + rtol * |want|, integers by steps."""

    rtol: float
    atol: float
    steps: int = 0


@plain_errors
def compare(
    model: ModelPath,
    other_model: Annotated[
        Path | None, typer.Argument(help="Another model, e.g. what was quantized of it.", exists=True, dir_okay=False)
    ] = None,
    against: Annotated[
        str, typer.Option(help="litert (with XNNPACK), litert-ref, litert-builtin, or cpu: ours with no delegate.")
    ] = "litert-ref",
    inputs: Inputs = None,
    shape: Shapes = None,
    seed: Seed = 0,
    rtol: Annotated[float, typer.Option(help="Relative difference that floats may have.")] = 1e-4,
    atol: Annotated[float, typer.Option(help="Absolute difference that floats may have.")] = 1e-4,
    tolerance_steps: Annotated[
        int, typer.Option("--tolerance-steps", min=0, help="Steps by which integers may differ.")
    ] = 0,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="NAME=BOUND",
            help=f"What the outputs are judged by: {', '.join(METRICS)}; repeatable.",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Of two models: examples to run.")] = 4,
    html: Annotated[Path | None, typer.Option(help="Of two models: a page with plots, written here.")] = None,
    delegate: Delegates = None,
    delegate_option: DelegateOptions = None,
    limit: LimitOptions = None,
    bisect: Annotated[
        bool,
        typer.Option("--bisect", help="Look for the first node that differs inside delegates' partitions too."),
    ] = False,
    nodes: Annotated[
        bool, typer.Option("--nodes", help="Show every node's outputs, whether or not they differ.")
    ] = False,
) -> None:
    """Run a model here and elsewhere, or two models, and show where they differ; the exit status is 1 where they do."""
    bounds = read_metrics(key_values(metric, "--metric"))
    allowed = Tolerance(rtol, atol, tolerance_steps)
    if other_model is not None:
        if delegate or bisect:
            raise ValueError("two models are compared on the CPU: leave --delegate and --bisect out")
        paths = (model, other_model)
        comparison = compare_models.compare_files(paths, inputs, shape, seed, samples, limit)
        compare_models.tell(comparison, nodes)
        return compare_models.finish(paths, comparison, html, bounds)
    if html:
        raise ValueError("--html is for two models: tflgpu compare A.tflite B.tflite --html page.html")
    interpreter = opened(model, loaded(delegate, delegate_option), limit=limit)
    reshaped(interpreter, shape)
    arrays = inputs_for(interpreter, inputs, seed)
    with console.status("running both"):
        mine = ran(interpreter, arrays)
        theirs = ran(other(str(model), against, False), arrays)
    table, agree = output_table(mine, theirs, allowed)
    console.print(table)
    if bounds:
        measures = measured(mine, theirs)
        console.print(compare_models.outputs_table(measures, 1))
        return compare_models.judge(measures, bounds)

    def keeping_all() -> tuple[Any, Any]:
        here = opened(model, loaded(delegate, delegate_option), preserve_all_tensors=True, limit=limit)
        return ran(here, arrays), ran(other(str(model), against, True), arrays)

    if nodes:
        console.print(node_table(*keeping_all(), allowed))
    if agree:
        return None
    if bisect:
        found: str | None = _bisected(model, delegate, delegate_option, against, arrays, allowed)
    else:
        with console.status("looking for the first node that differs"):
            found = first_difference(*keeping_all(), allowed)
    console.print(found or "No node of the main graph differs in what both runtimes keep.")
    raise typer.Exit(1)


def _bisected(
    model: Path,
    delegate: list[str] | None,
    options: list[str] | None,
    against: str,
    arrays: list[Array],
    allowed: Tolerance,
) -> str:
    """Which node, or which nodes together, make the outputs differ."""
    theirs = ran(other(str(model), against, True), arrays)
    values = {d["index"]: _value(theirs, d["index"]) for d in theirs.get_tensor_details()}
    reference = {index: value for index, value in values.items() if value is not None}

    def differs(got: Array, want: Array) -> bool:
        return got.shape != want.shape or bool(differing(got, want, allowed).any())

    with console.status("bisecting"):
        found = bisection.bisect(str(model), loaded(delegate, options), arrays, reference, differs)
    return str(found) if found else "No node of the main graph differs, alone or with others."


def other(model: str, against: str, preserve: bool) -> Any:
    """The interpreter to compare with. Raises ValueError for an unknown name, or where LiteRT is missing."""
    if against == "cpu":
        import tflgpu

        return tflgpu.Interpreter(model_path=model, experimental_preserve_all_tensors=preserve)
    if against not in _RESOLVERS:
        raise ValueError(f"--against takes cpu, {', '.join(_RESOLVERS)}, not {against!r}")
    try:
        litert = importlib.import_module("ai_edge_litert.interpreter")
    except ModuleNotFoundError as missing:
        raise ValueError("comparing with LiteRT needs it: pip install 'tflgpu[interop]'") from missing
    # XNNPACK hides the tensors inside its partitions, so the nodes are compared without it.
    resolver = _RESOLVERS["litert-builtin" if preserve and against == "litert" else against]
    return litert.Interpreter(
        model_path=model,
        experimental_op_resolver_type=getattr(litert.OpResolverType, resolver),
        experimental_preserve_all_tensors=preserve,
    )


def ran(interpreter: Any, arrays: list[Array]) -> Any:
    feed(interpreter, arrays)
    interpreter.invoke()
    return interpreter


def measured(mine: Any, theirs: Any) -> dict[str, Measure]:
    """The metrics of each output that has numbers, in real values."""
    found = {}
    for details, (name, got) in zip(mine.get_output_details(), outputs_of(mine).items(), strict=True):
        want = outputs_of(theirs)[name]
        if got.dtype.kind in "fiub" and got.shape == want.shape:
            found[name] = Measure.of(details)
            found[name].add(dequantize(want, details), dequantize(got, details))
    return found


def differing(got: Array, want: Array, allowed: Tolerance) -> Array:
    """Where two arrays of one shape differ by more than what is allowed; bools, strings and the like by anything."""
    if got.dtype.kind in "fc":
        with np.errstate(invalid="ignore", over="ignore"):
            return ~np.isclose(got, want, rtol=allowed.rtol, atol=allowed.atol, equal_nan=True)
    if got.dtype.kind in "iu" and allowed.steps:
        return np.asarray(np.where(got > want, got - want, want - got).astype(np.uint64) > allowed.steps)
    return np.asarray(got != want)


def output_table(mine: Any, theirs: Any, allowed: Tolerance) -> tuple[Table, bool]:
    """A row for every output; whether all agree."""
    table = columns("output", "type", "shape", "differing", "largest difference", "")
    wanted = outputs_of(theirs)
    verdicts = [row(table, name, got, wanted[name], allowed) for name, got in outputs_of(mine).items()]
    return table, all(verdicts)


def row(table: Table, name: str, got: Array, want: Array, allowed: Tolerance) -> bool:
    """Adds an output's row; whether it agrees."""
    if got.shape != want.shape or got.dtype != want.dtype:
        table.add_row(name, f"{got.dtype} / {want.dtype}", f"{got.shape} / {want.shape}", "", "", DIFFERS)
        return False
    wrong = differing(got, want, allowed)
    numeric = got.dtype.kind in "fiub"
    largest = f"{_distance(got, want):.4g}" if numeric and got.size else ""
    verdict = DIFFERS if wrong.any() else Text("equal" if largest in ("", "0") else "close", "green")
    table.add_row(name, str(got.dtype), str(list(got.shape)), f"{wrong.sum():,} of {got.size:,}", largest, verdict)
    return not wrong.any()


def _distance(got: Array, want: Array) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.abs(got.astype(np.float64) - want.astype(np.float64)), initial=0.0))


def compared_nodes(mine: Any, theirs: Any) -> Iterator[tuple[dict[str, Any], int, Array, Array]]:
    """(node, tensor index, here, there) for every output of a node, in the model's order, that both runtimes keep."""
    for node in mine._get_ops_details():
        for index in map(int, node["outputs"] if node["op_name"] != "DELEGATE" else ()):
            got, want = _value(mine, index), _value(theirs, index)
            if got is not None and want is not None:
                yield node, index, got, want


def first_difference(mine: Any, theirs: Any, allowed: Tolerance) -> str | None:
    """The first node, in the model's order, with an output that differs; None where no visible one does."""
    for node, index, got, want in compared_nodes(mine, theirs):
        if got.shape != want.shape or differing(got, want, allowed).any():
            what = (
                f"largest difference {_distance(got, want):.4g}"
                if got.shape == want.shape and got.dtype.kind in "fiub"
                else f"{got.dtype} {got.shape} against {want.dtype} {want.shape}"
            )
            return f"first diverging node: {node['index']} {node['op_name']}, output tensor {index}: {what}"
    return None


def node_table(mine: Any, theirs: Any, allowed: Tolerance) -> Table:
    """A row for every node's output that both runtimes keep."""
    table = columns("node", "type", "shape", "differing", "largest difference", "")
    for node, index, got, want in compared_nodes(mine, theirs):
        row(table, f"{node['index']} {node['op_name']}, tensor {index}", got, want, allowed)
    return table


def _value(interpreter: Any, index: int) -> Array | None:
    """A tensor's value, None where the runtime does not keep it (inside a delegate's partition)."""
    try:
        return np.asarray(interpreter.get_tensor(index))
    except (ValueError, RuntimeError):
        return None
