"""`tflgpu batch`: a folder of images or Parquet files through a model."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tflgpu.cli.models import LimitOptions, ModelPath, Threads, console, key_values, plain_errors
from tflgpu.limits import UNTRUSTED, read_limits
from tflgpu.serving.predictor import Predictor

Function = Callable[[Any], Any]


@plain_errors
def batch(
    model: ModelPath,
    inputs: Annotated[Path, typer.Argument(help="A folder of images, or a Parquet file or folder.", exists=True)],
    output: Annotated[Path, typer.Option(help="The folder of results: Parquet files, one a shard.")],
    ray: Annotated[
        str | None, typer.Option(help="Run on Ray: a cluster's address, auto, or local for one on this machine.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, or actors of Ray; 1 without Ray runs here.")] = 1,
    num_gpus: Annotated[float, typer.Option(min=0, help="GPUs of each actor of Ray.")] = 0,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="DEVICE", help="The delegate's, of a process; repeatable, for one after another."),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch", min=1, help="Rows that one invoke takes.")] = 1,
    shard: Annotated[int, typer.Option(min=1, help="Images a file of results; of Parquet, it is a row group.")] = 1024,
    signature: Annotated[str | None, typer.Option(help="The signature to run, where there are several.")] = None,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column to copy to the results; repeatable.")
    ] = None,
    preprocess: Annotated[
        str | None, typer.Option(help="MODULE:FUNCTION from a dict of columns (path, of images) to that of inputs.")
    ] = None,
    postprocess: Annotated[str | None, typer.Option(help="MODULE:FUNCTION from a dict of outputs to results.")] = None,
    skip_unreadable: Annotated[
        bool, typer.Option(help="List images that cannot be read in _unreadable-N.txt, and go on.")
    ] = False,
    delegate: Annotated[str | None, typer.Option("--delegate", "-d", help="opencl, cuda or another.")] = None,
    delegate_option: Annotated[
        list[str] | None, typer.Option("--delegate-option", "-o", metavar="KEY=VALUE", help="Repeatable.")
    ] = None,
    num_threads: Threads = None,
    limit: LimitOptions = None,
) -> None:
    """Predict every row of the inputs. A job that was stopped goes on: the same command runs what is missing."""
    try:
        from tflgpu.serving.job import begin, shards
    except ModuleNotFoundError as missing:
        raise ValueError(f"tflgpu batch needs {missing.name}: pip install 'tflgpu[batch]'") from missing
    made = shards(inputs.absolute(), output.absolute(), shard, skip_unreadable)
    predictor = Predictor(
        model.absolute(),
        delegate,
        key_values(delegate_option, "--delegate-option"),
        signature,
        batch_size,
        _function(preprocess),
        _function(postprocess),
        tuple(keep or (["path"] if made and not made[0].row_groups else ())),
        num_threads,
        read_limits(key_values(limit, "--limit"), UNTRUSTED),
    )
    todo = begin(predictor, made, output.absolute())
    if len(todo) < len(made):
        console.print(f"{len(made) - len(todo)} of {len(made)} shards are there")
    start, rows = time.perf_counter(), 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("shards", total=len(made), completed=len(made) - len(todo))
        for done in _run(predictor, todo, workers, device or [], ray, num_gpus):
            rows += done
            rate = rows / (time.perf_counter() - start)
            progress.update(task, advance=1, description=f"{rate:,.1f} rows/s")
    console.print(f"{rows} rows in {time.perf_counter() - start:.1f} s, in {output}")


def _run(
    predictor: Predictor, todo: list[Any], workers: int, devices: list[str], ray: str | None, num_gpus: float
) -> Iterator[int]:
    """The rows of each shard, when it is done."""
    from tflgpu.serving.job import run_shard
    from tflgpu.serving.workers import Workers

    if ray is not None:
        if devices:
            raise ValueError("--device is for processes on this machine; Ray assigns GPUs by --num-gpus")
        try:
            from tflgpu.serving.ray_job import run_on_ray

            yield from run_on_ray(predictor, todo, ray, workers, num_gpus)
        except ModuleNotFoundError as missing:
            raise ValueError(f"--ray needs {missing.name}: pip install 'tflgpu[ray]'") from missing
        return
    if workers == 1:
        alone = predictor.on(device=devices[0]) if devices else predictor
        yield from (run_shard(alone, one) for one in todo)
        return
    pinned = [predictor.on(device=devices[i % len(devices)]) if devices else predictor for i in range(workers)]
    with Workers(pinned) as pool:
        yield from pool.map(run_shard, todo)


def _function(where: str | None) -> Function | None:
    """What "module:function" says; modules of the present folder are found, here and in the processes."""
    if where is None:
        return None
    module, sign, name = where.partition(":")
    if not sign:
        raise ValueError(f"a function is MODULE:FUNCTION, not {where!r}")
    sys.path.insert(0, os.getcwd())
    try:
        found: Function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"no function {where}: {error}") from error
    return found
