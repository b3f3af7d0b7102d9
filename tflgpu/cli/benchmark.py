"""`tflgpu benchmark`: how long a model takes, with the flag names of TensorFlow Lite's benchmark_model."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tflgpu.cli.benchmark_report import Measured, kernel_table, profile_table, write_csv
from tflgpu.cli.inputs import Seed, feed, inputs_for
from tflgpu.cli.models import (
    DelegateOptions,
    Delegates,
    LimitOptions,
    Threads,
    console,
    errors,
    loaded,
    opened,
    plain_errors,
    sizes,
)
from tflgpu.delegation.delegate import Delegate, HasDevice
from tflgpu.delegation.discovery import load_delegate
from tflgpu.delegation.launch_times import LaunchTimes, TimesLaunches
from tflgpu.optional import offering
from tflgpu.runtime.profile import Profiler

Work = Callable[[], Any]


def flag(name: str, help: str, min: float | None = None) -> Any:
    """An option by benchmark_model's name, with dashes for its underscores too."""
    dashed = name.partition("/")[0].replace("_", "-")
    return typer.Option(*dict.fromkeys((name, dashed)), help=help, min=min)


@plain_errors
def benchmark(
    model: Annotated[
        Path | None, typer.Argument(help="The .tflite file.", exists=True, dir_okay=False, show_default=False)
    ] = None,
    graph: Annotated[
        Path | None, typer.Option(help="The .tflite file, as benchmark_model asks for it.", exists=True, dir_okay=False)
    ] = None,
    num_runs: Annotated[int, flag("--num_runs", help="At least this many timed runs.", min=1)] = 50,
    min_secs: Annotated[float, flag("--min_secs", help="Timed runs go on for this long.", min=0)] = 1.0,
    max_secs: Annotated[float, flag("--max_secs", help="And no longer than this.", min=0)] = 150.0,
    warmup_runs: Annotated[int, flag("--warmup_runs", help="Untimed runs before.", min=0)] = 1,
    warmup_min_secs: Annotated[float, flag("--warmup_min_secs", help="For this long.", min=0)] = 0.5,
    run_delay: Annotated[float, flag("--run_delay", help="Seconds between two runs.", min=0)] = 0.0,
    num_threads: Threads = None,
    input_layer: Annotated[str, flag("--input_layer", help="Input names, comma-separated.")] = "",
    input_layer_shape: Annotated[str, flag("--input_layer_shape", help="Their shapes: 1,224,224,3:1,20")] = "",
    input_layer_value_range: Annotated[str, flag("--input_layer_value_range", help="name,low,high:name,low,high")] = "",
    input_layer_value_files: Annotated[str, flag("--input_layer_value_files", help="name:file,name:file")] = "",
    signature_to_run_for: Annotated[str, flag("--signature_to_run_for", help="Time this signature.")] = "",
    use_gpu: Annotated[bool, flag("--use_gpu/--no-use_gpu", help="The best GPU delegate here.")] = False,
    use_xnnpack: Annotated[
        bool, flag("--use_xnnpack/--no-use_xnnpack", help="Taken and without effect: there is none.")
    ] = False,
    verbose: Annotated[bool, flag("--verbose/--no-verbose", help="Taken and without effect.")] = False,
    report_peak_memory_footprint: Annotated[
        bool,
        flag("--report_peak_memory_footprint/--no-report_peak_memory_footprint", help="Taken: it is always reported."),
    ] = True,
    external_delegate_path: Annotated[str, flag("--external_delegate_path", help="A native delegate's library.")] = "",
    external_delegate_options: Annotated[str, flag("--external_delegate_options", help="key:value;key:value")] = "",
    delegate: Delegates = None,
    delegate_option: DelegateOptions = None,
    limit: LimitOptions = None,
    enable_op_profiling: Annotated[
        bool, flag("--enable_op_profiling/--no-op-profiling", help="Time each node.")
    ] = False,
    profiling_output_csv_file: Annotated[
        Path | None, flag("--profiling_output_csv_file", help="The profile, as CSV.")
    ] = None,
    trace: Annotated[Path | None, flag("--trace", help="The profile, for chrome://tracing or Perfetto.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False,
    seed: Seed = 0,
) -> None:
    """Time a model: preparing it, the first run, and many more; with --enable_op_profiling, every node."""
    path = model or graph
    if path is None or (model and graph):
        raise ValueError("the model is to be given once: as MODEL or with --graph")
    profiler = Profiler() if enable_op_profiling or profiling_output_csv_file or trace else None
    delegates = (profiled if profiler else loaded)(delegate, delegate_option)
    delegates += external(external_delegate_path, external_delegate_options)
    delegates += best_gpu(profiler is not None) if use_gpu else []
    start = time.perf_counter()
    interpreter = opened(path, delegates, num_threads, profiler, limit=limit)
    names = [d["name"] for d in interpreter.get_input_details()]
    resize(interpreter, input_layer, input_layer_shape)
    interpreter.allocate_tensors()
    init_ms = (time.perf_counter() - start) * 1e3
    inputs = files(input_layer_value_files, names), seed, value_ranges(input_layer_value_range)
    work = signature_call(interpreter, signature_to_run_for, *inputs) if signature_to_run_for else None
    if work is None:
        feed(interpreter, inputs_for(interpreter, *inputs))
        work = interpreter.invoke
    first_ms = timed(work)
    schedule = Schedule(num_runs, min_secs, max_secs, run_delay)

    def forget() -> None:
        if profiler:
            profiler.clear()
        for launch in launches_of(interpreter):
            launch.forget()

    times = measured(work, Schedule(warmup_runs, warmup_min_secs, max_secs, 0), schedule, forget)
    found = Measured(path.name, init_ms, first_ms, times, launches_of(interpreter))
    profile = profiler if enable_op_profiling else None
    if as_json:
        typer.echo(json.dumps(found.as_dict(interpreter, profile), indent=2))
    else:
        if delegates:
            console.print(interpreter.delegation_report().splitlines()[0])
        show(found, profile)
    if profiler and profiling_output_csv_file:
        write_csv(profiling_output_csv_file, profiler, found.launches)
    if profiler and trace:
        trace.write_text(profiler.trace(found.launches))


def show(found: Measured, profile: Profiler | None) -> None:
    """Prints the times, those of the nodes where there is a profile, and those of the launches that were timed."""
    runs = len(found.times)
    console.print(found.table())
    if profile:
        console.print(profile_table(profile, runs))
    if found.launches:
        console.print(kernel_table(found.launches, runs))


GPU_LIBRARY = "libtensorflowlite_gpu_delegate.so"
"""What TensorFlow Lite's GPU delegate is called: the best GPU delegate here, where there is no such library."""


@dataclass(frozen=True)
class Schedule:
    """At least `runs`, and for `min_secs`, but within `max_secs`; delay: seconds between two runs."""

    runs: int
    min_secs: float
    max_secs: float
    delay: float


def measured(work: Work, warmup: Schedule, schedule: Schedule, forget: Work) -> list[float]:
    """Milliseconds of each run after the warmup, when `forget` is called; those that were done where Ctrl-C ends it."""
    bars = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    times: list[float] = []
    with Progress(*bars, console=errors, transient=True) as progress:
        task = progress.add_task("warming up", total=None)
        try:
            repeated(work, warmup, [])
            forget()
            progress.update(task, description="timing; Ctrl-C shows what was measured")
            repeated(work, schedule, times)
        except KeyboardInterrupt:
            errors.print(f"interrupted after {len(times)} runs")
    return times


def files(text: str, names: Sequence[str]) -> list[str]:
    """name=file for each, from name:file,name:file; names may have colons, with or without a \\. Raises ValueError."""
    spelled = {f"{way}:": name for name in names for way in (name, name.replace(":", r"\:"))}
    found = []
    for item in filter(None, text.split(",")):
        start = max((way for way in spelled if item.startswith(way)), key=len, default=None)
        if start is None:
            raise ValueError(f"--input_layer_value_files takes name:file, not {item!r}; the inputs are {list(names)}")
        found.append(f"{spelled[start]}={item.removeprefix(start)}")
    return found


def signature_call(interpreter: Any, key: str, given: list[str], seed: int, ranges: dict[str, Any]) -> Work:
    """One run of a signature, its inputs' copies too."""
    known = list(interpreter.get_signature_list())
    if key not in known:
        raise ValueError(f"--signature_to_run_for: no signature {key!r}; the model has {', '.join(known) or 'none'}")
    runner = interpreter.get_signature_runner(key)
    details = [{**d, "name": name} for name, d in runner.get_input_details().items()]
    arrays = inputs_for(interpreter, given, seed, ranges, details=details)
    return partial(runner, **{d["name"]: array for d, array in zip(details, arrays, strict=True)})


def launches_of(interpreter: Any) -> list[LaunchTimes]:
    """The delegates' launches that have run, where their option `profile` is set."""
    devices = [delegate.device for delegate in offering(interpreter._delegates, HasDevice)]
    found = [launch for device in offering(devices, TimesLaunches) for launch in device.launches()]
    return [launch for launch in found if launch.durations]


def profiled(names: Sequence[str] | None, options: Sequence[str] | None) -> list[Delegate]:
    """The delegates by name, those that can time their launches doing so."""
    given = list(options or ())
    return [d for name in names or () for d in loaded([name], [*given, *(["profile=true"] if name in TIMED else [])])]


TIMED = ("opencl", "cuda")


def best_gpu(timed: bool) -> list[Delegate]:
    """The delegate of --use_gpu; timed: times its launches, if it can."""
    best = load_delegate(GPU_LIBRARY)
    return profiled([best.name], None) if timed and best.name in TIMED else [best]


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
    """Input name -> (low, high), from name,low,high:name,low,high; names may have colons."""
    found = {}
    while text:
        item = re.match(r"(.+?),([^,:]+),([^,:]+)(:|$)", text)
        try:
            low, high = (float(item[2]), float(item[3])) if item else (0.0, float("nan"))
        except ValueError:
            item = None
        if item is None:
            raise ValueError(f"--input_layer_value_range takes name,low,high, not {text!r}")
        if not low <= high:
            raise ValueError(f"--input_layer_value_range: {low:g} is above {high:g} in {item[0].rstrip(':')!r}")
        found[item[1]] = (low, high)
        text = text[item.end() :]
    return found


def timed(work: Work) -> float:
    """Milliseconds of one run."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def repeated(work: Work, schedule: Schedule, times: list[float]) -> None:
    """Adds the milliseconds of each run."""
    start = time.perf_counter()
    while (spent := time.perf_counter() - start) < schedule.max_secs and (
        len(times) < schedule.runs or spent < schedule.min_secs
    ):
        times.append(timed(work))
        if schedule.delay > 0:
            time.sleep(schedule.delay)
