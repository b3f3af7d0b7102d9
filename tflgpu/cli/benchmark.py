"""`tflgpu benchmark`: how long a model takes, with the flag names of TensorFlow Lite's benchmark_model."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tflgpu.cli.inputs import Seed, feed, inputs_for
from tflgpu.cli.models import (
    DelegateOptions,
    Delegates,
    LimitOptions,
    Threads,
    columns,
    console,
    loaded,
    opened,
    plain_errors,
    sizes,
)
from tflgpu.delegation.delegate import Delegate
from tflgpu.delegation.discovery import load_delegate
from tflgpu.runtime.profile import Profiler


def flag(*names: str, help: str, min: float | None = None) -> Any:
    return typer.Option(*names, help=help, min=min)


@plain_errors
def benchmark(
    model: Annotated[
        Path | None, typer.Argument(help="The .tflite file.", exists=True, dir_okay=False, show_default=False)
    ] = None,
    graph: Annotated[
        Path | None, typer.Option(help="The .tflite file, as benchmark_model asks for it.", exists=True, dir_okay=False)
    ] = None,
    num_runs: Annotated[int, flag("--num_runs", "--num-runs", help="At least this many timed runs.", min=1)] = 50,
    min_secs: Annotated[float, flag("--min_secs", "--min-secs", help="Timed runs go on for this long.", min=0)] = 1.0,
    max_secs: Annotated[float, flag("--max_secs", "--max-secs", help="And no longer than this.", min=0)] = 150.0,
    warmup_runs: Annotated[int, flag("--warmup_runs", "--warmup-runs", help="Untimed runs before.", min=0)] = 1,
    warmup_min_secs: Annotated[
        float, flag("--warmup_min_secs", "--warmup-min-secs", help="For this long.", min=0)
    ] = 0.5,
    run_delay: Annotated[float, flag("--run_delay", "--run-delay", help="Seconds between two runs.", min=0)] = 0.0,
    num_threads: Threads = None,
    input_layer: Annotated[str, flag("--input_layer", "--input-layer", help="Input names, comma-separated.")] = "",
    input_layer_shape: Annotated[
        str, flag("--input_layer_shape", "--input-layer-shape", help="Their shapes: 1,224,224,3:1,20")
    ] = "",
    input_layer_value_range: Annotated[
        str, flag("--input_layer_value_range", "--input-layer-value-range", help="name,low,high:name,low,high")
    ] = "",
    external_delegate_path: Annotated[
        str, flag("--external_delegate_path", "--external-delegate-path", help="A native delegate's library.")
    ] = "",
    external_delegate_options: Annotated[
        str, flag("--external_delegate_options", "--external-delegate-options", help="key:value;key:value")
    ] = "",
    delegate: Delegates = None,
    delegate_option: DelegateOptions = None,
    limit: LimitOptions = None,
    enable_op_profiling: Annotated[
        bool, flag("--enable_op_profiling/--no-op-profiling", "--enable-op-profiling", help="Time each node.")
    ] = False,
    profiling_output_csv_file: Annotated[
        Path | None, flag("--profiling_output_csv_file", "--profiling-output-csv-file", help="The profile, as CSV.")
    ] = None,
    trace: Annotated[Path | None, flag("--trace", help="The profile, for chrome://tracing or Perfetto.")] = None,
    seed: Seed = 0,
) -> None:
    """Time a model: preparing it, the first run, and many more; with --enable_op_profiling, every node."""
    path = model or graph
    if path is None or (model and graph):
        raise ValueError("the model is to be given once: as MODEL or with --graph")
    profiler = Profiler() if enable_op_profiling or profiling_output_csv_file or trace else None
    delegates = loaded(delegate, delegate_option) + external(external_delegate_path, external_delegate_options)
    start = time.perf_counter()
    interpreter = opened(path, delegates, num_threads, profiler, limit=limit)
    resize(interpreter, input_layer, input_layer_shape)
    interpreter.allocate_tensors()
    init_ms = (time.perf_counter() - start) * 1e3
    feed(interpreter, inputs_for(interpreter, None, seed, value_ranges(input_layer_value_range)))
    first_ms = timed(interpreter)
    bars = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*bars, console=console, transient=True) as progress:
        task = progress.add_task("warming up", total=None)
        repeated(interpreter, warmup_runs, warmup_min_secs, max_secs, 0)
        if profiler:
            profiler.clear()
        progress.update(task, description="timing")
        times = repeated(interpreter, num_runs, min_secs, max_secs, run_delay)
    if delegates:
        console.print(interpreter.delegation_report().splitlines()[0])
    console.print(latencies(init_ms, first_ms, times))
    if profiler and enable_op_profiling:
        console.print(profile_table(profiler, len(times)))
    if profiler and profiling_output_csv_file:
        write_csv(profiling_output_csv_file, profiler)
    if profiler and trace:
        trace.write_text(profiler.trace())


def external(path: str, options: str) -> list[Delegate]:
    """The delegate of benchmark_model's two flags, if any."""
    pairs = (pair.partition(":") for pair in options.split(";") if pair)
    return [load_delegate(path, {key: value for key, _, value in pairs})] if path else []


def resize(interpreter: Any, names: str, shapes: str) -> None:
    """Gives the named inputs their shapes; with no names, the inputs in order."""
    if not shapes:
        return
    details = interpreter.get_input_details()
    chosen = names.split(",") if names else [d["name"] for d in details]
    indices = {d["name"]: d["index"] for d in details}
    given = shapes.split(":")
    if len(given) != len(chosen):
        raise ValueError(f"--input_layer_shape has {len(given)} shapes for the inputs {chosen}; write 1,224,224,3:1,20")
    for name, shape in zip(chosen, given, strict=True):
        if name not in indices:
            raise ValueError(f"--input_layer: no input {name!r}; the inputs are {list(indices)}")
        interpreter.resize_tensor_input(indices[name], sizes(shape, "--input_layer_shape"))


def value_ranges(text: str) -> dict[str, tuple[float, float]]:
    """Input name -> (low, high), from name,low,high:name,low,high."""
    found = {}
    for item in filter(None, text.split(":")):
        name, *limits = item.rsplit(",", 2)
        try:
            low, high = map(float, limits)
        except ValueError:
            raise ValueError(f"--input_layer_value_range takes name,low,high, not {item!r}") from None
        if not low <= high:
            raise ValueError(f"--input_layer_value_range: {low:g} is above {high:g} in {item!r}")
        found[name] = (low, high)
    return found


def timed(interpreter: Any) -> float:
    """Milliseconds of one invoke."""
    start = time.perf_counter()
    interpreter.invoke()
    return (time.perf_counter() - start) * 1e3


def repeated(interpreter: Any, runs: int, min_secs: float, max_secs: float, delay: float) -> list[float]:
    """Milliseconds of each invoke: at least `runs` and for `min_secs`, but within `max_secs`."""
    times: list[float] = []
    start = time.perf_counter()
    while (spent := time.perf_counter() - start) < max_secs and (len(times) < runs or spent < min_secs):
        times.append(timed(interpreter))
        if delay > 0:
            time.sleep(delay)
    return times


def latencies(init_ms: float, first_ms: float, times: list[float]) -> Table:
    table = columns("measured", "milliseconds", title=f"{len(times)} runs")
    table.add_row("initialisation", f"{init_ms:.3f}")
    table.add_row("first run", f"{first_ms:.3f}")
    if times:
        for name, amount in (("average", np.mean(times)), ("standard deviation", np.std(times)), ("least", min(times))):
            table.add_row(name, f"{amount:.3f}")
        for q in (50, 90, 95, 99):
            table.add_row(f"{q}th percentile", f"{np.percentile(times, q):.3f}")
    return table


def profile_table(profiler: Profiler, runs: int) -> Table:
    """Operators by their share of the time, then the slowest nodes."""
    runs = max(runs, 1)
    whole = sum(total for _, total in profiler.by_op().values()) or 1.0
    table = columns("node", "ms a run", "share", title="operators, then the ten slowest nodes")
    for op, (count, total) in profiler.by_op().items():
        table.add_row(f"{count} {op}", f"{total / runs:.4f}", f"{total / whole:.1%}")
    table.add_section()
    for timing in profiler.slowest()[:10]:
        table.add_row(timing.name, f"{timing.total_ms / runs:.4f}", f"{timing.total_ms / whole:.1%}")
    return table


def write_csv(path: Path, profiler: Profiler) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "op", "owner", "runs", "average_ms", "total_ms"])
        for timing in profiler.slowest():
            runs = len(timing.durations)
            rows.writerow([timing.name, timing.op, timing.owner, runs, timing.total_ms / runs, timing.total_ms])
