"""`tflgpu run`: one invoke, its outputs labelled, summarised or saved."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from tflgpu.cli.inputs import Fit, ImageSettings, Inputs, Mean, Seed, Std, feed, inputs_for, resized
from tflgpu.cli.models import (
    DelegateOptions,
    Delegates,
    LimitOptions,
    ModelPath,
    Shapes,
    Threads,
    columns,
    console,
    loaded,
    opened,
    outputs_of,
    plain_errors,
    reshaped,
)
from tflgpu.metadata import labels as labels_of
from tflgpu.metadata import top_k
from tflgpu.model.graph import Array
from tflgpu.quantized import dequantize


@plain_errors
def run(
    model: ModelPath,
    inputs: Inputs = None,
    shape: Shapes = None,
    seed: Seed = 0,
    output: Annotated[Path | None, typer.Option("--output", help="Save the outputs here, as .npz.")] = None,
    signature: Annotated[str, typer.Option("--signature", help="Run this signature, with its names of inputs.")] = "",
    labels: Annotated[Path | None, typer.Option(help="A label a line. Else the model's own.", exists=True)] = None,
    top: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many of the highest scores to show.")] = 5,
    mean: Mean = "",
    std: Std = "",
    fit: Fit = "resize",
    delegate: Delegates = None,
    delegate_option: DelegateOptions = None,
    limit: LimitOptions = None,
    num_threads: Threads = None,
) -> None:
    """Run a model once. Inputs that are not given are random, by --seed."""
    interpreter = opened(model, loaded(delegate, delegate_option), num_threads, limit=limit)
    reshaped(interpreter, shape)
    images = ImageSettings.read(mean, std, fit)
    with console.status("running the model"):
        ran = _signature if signature else _main
        results, details, elapsed_ms = ran(interpreter, inputs, seed, images, signature)
    if delegate:
        console.print(interpreter.delegation_report().splitlines()[0])
    if output:
        output = output if output.suffix == ".npz" else output.with_name(f"{output.name}.npz")
        np.savez(output, **results)  # type: ignore[arg-type]
        console.print(f"{', '.join(results)} in {output}")
    else:
        console.print(summary(results))
        words = labels_of(labels) if labels else []
        for number, (name, values) in enumerate(results.items()):
            own = None if signature or words else number
            show_best(interpreter, _Scores(name, values, details[number]), own, words, top)
    console.print(f"one invoke took {elapsed_ms:.3f} ms; tflgpu benchmark times many")


_Ran = tuple[dict[str, Array], Sequence[Mapping[str, Any]], float]


def _main(interpreter: Any, given: list[str] | None, seed: int, images: ImageSettings, _: str) -> _Ran:
    """Outputs by name, their details, and the milliseconds of one invoke."""
    arrays = inputs_for(interpreter, given, seed, images=images)
    for text in resized(interpreter, arrays):
        console.print(f"resized {text}")
    feed(interpreter, arrays)
    start = time.perf_counter()
    interpreter.invoke()
    elapsed_ms = (time.perf_counter() - start) * 1e3
    return outputs_of(interpreter), interpreter.get_output_details(), elapsed_ms


def _signature(interpreter: Any, given: list[str] | None, seed: int, images: ImageSettings, key: str) -> _Ran:
    known = list(interpreter.get_signature_list())
    if key not in known:
        raise ValueError(f"--signature: no signature {key!r}; the model has {', '.join(known) or 'none'}")
    runner = interpreter.get_signature_runner(key)
    details = [{**d, "name": name} for name, d in runner.get_input_details().items()]
    arrays = inputs_for(interpreter, given, seed, images=images, details=details)
    named = {d["name"]: array for d, array in zip(details, arrays, strict=True)}
    runner(**named)  # prepares
    start = time.perf_counter()
    results = runner(**named)
    elapsed_ms = (time.perf_counter() - start) * 1e3
    found = runner.get_output_details()
    return results, [found[name] for name in results], elapsed_ms


@dataclass(frozen=True)
class _Scores:
    """An output that may be scores."""

    name: str
    values: Array
    details: Mapping[str, Any]

    @property
    def of_one_example(self) -> bool:
        return self.values.size > 1 and self.values.size == self.values.shape[-1] and self.values.dtype.kind in "fiu"


def show_best(interpreter: Any, scores: _Scores, number: int | None, words: Sequence[str], k: int) -> None:
    """The highest scores with their labels, where an output has labels and is the scores of one example.

    number: of the output whose labels the metadata may have; None where `words` are all that is known.
    """
    calibration = None
    if number is not None:
        words, calibration = interpreter.metadata.labels(number), interpreter.metadata.calibration(number)
    if not words or not scores.of_one_example:
        return
    real = dequantize(scores.values, scores.details)
    table = columns("index", "label", "score", title=f"highest of {scores.name}")
    for best in top_k(real if calibration is None else calibration(real), k, words):
        table.add_row(str(best.index), best.label, f"{best.score:.4g}")
    console.print(table)


def summary(arrays: dict[str, Array]) -> Table:
    """A row an array: name, type, shape, extremes, mean, and the first values."""
    table = columns("output", "type", "shape", "min", "max", "mean", "begins")
    for name, array in arrays.items():
        numeric = array.dtype.kind in "fiub" and array.size
        extremes = [f"{f(array):.6g}" for f in (np.min, np.max)] if numeric else ["", ""]
        mean = f"{np.mean(array, dtype=np.float64):.6g}" if numeric else ""
        begins = np.array2string(array.ravel()[:4], precision=4, separator=", ").strip("[]")
        table.add_row(name, str(array.dtype), str(list(array.shape)), *extremes, mean, begins)
    return table
