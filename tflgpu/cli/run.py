"""`tflgpu run`: one invoke, its outputs saved or summarised."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from tflgpu.cli.models import (
    DelegateOptions,
    Delegates,
    Inputs,
    LimitOptions,
    ModelPath,
    Seed,
    Shapes,
    Threads,
    console,
    feed,
    inputs_for,
    loaded,
    opened,
    outputs_of,
    plain_errors,
    reshaped,
)
from tflgpu.model.graph import Array


@plain_errors
def run(
    model: ModelPath,
    inputs: Inputs = None,
    shape: Shapes = None,
    seed: Seed = 0,
    output: Annotated[Path | None, typer.Option("--output", help="Save the outputs here, as .npz.")] = None,
    delegate: Delegates = None,
    delegate_option: DelegateOptions = None,
    limit: LimitOptions = None,
    num_threads: Threads = None,
) -> None:
    """Run a model once. Inputs that are not given are random, by --seed."""
    interpreter = opened(model, loaded(delegate, delegate_option), num_threads, limit=limit)
    reshaped(interpreter, shape)
    with console.status("running the model"):
        feed(interpreter, inputs_for(interpreter, inputs, seed))
        interpreter.invoke()
    if delegate:
        console.print(interpreter.delegation_report().splitlines()[0])
    results: dict[str, Any] = outputs_of(interpreter)
    if output:
        output = output if output.suffix == ".npz" else output.with_name(f"{output.name}.npz")
        np.savez(output, **results)
        console.print(f"{', '.join(results)} in {output}")
    else:
        console.print(summary(results))


def summary(arrays: dict[str, Array]) -> Table:
    """A row an array: name, type, shape, extremes, mean, and the first values."""
    table = Table("output", "type", "shape", "min", "max", "mean", "begins")
    for name, array in arrays.items():
        numeric = array.dtype.kind in "fiub" and array.size
        extremes = [f"{f(array):.6g}" for f in (np.min, np.max)] if numeric else ["", ""]
        mean = f"{np.mean(array, dtype=np.float64):.6g}" if numeric else ""
        begins = np.array2string(array.ravel()[:4], precision=4, separator=", ").strip("[]")
        table.add_row(name, str(array.dtype), str(list(array.shape)), *extremes, mean, begins)
    return table
