"""`tflgpu conformance`: whether a delegate is right, with reports."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from tflgpu.cli.models import columns, console, key_values, plain_errors
from tflgpu.conformance import catalog, report, runner
from tflgpu.conformance.settings import Settings
from tflgpu.conformance.shrink import shrunk
from tflgpu.conformance.tolerances import RELAXED, read_overrides
from tflgpu.conformance.verdicts import Result

SHOWN = 20
"""Failures that the terminal lists."""
SHRUNK = 4
"""Random graphs that are shrunk; those that fail together mostly have one cause."""


@plain_errors
def conformance(
    delegate: Annotated[str, typer.Option("--delegate", "-d", help="A name, a library's path, or module:callable.")],
    options: Annotated[
        list[str] | None, typer.Option("--options", "--delegate-option", "-o", metavar="KEY=VALUE", help="Repeatable.")
    ] = None,
    cases: Annotated[str | None, typer.Option("--cases", "-k", help="Only names with this text or pattern.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="The edges of every operator and type, in under a minute.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = min(os.cpu_count() or 1, 8),
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one case may take.")] = 60.0,
    output: Annotated[Path, typer.Option("--output", help="The folder of logs, reports and reproducers.")] = Path(
        "conformance-report"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Keep the results that the folder has already.")] = False,
    precision: Annotated[str, typer.Option(help="fp32, or tf32 or fp16 to accept what is right at that.")] = "fp32",
    rounding: Annotated[
        str, typer.Option(help="reference: integers equal; one-step: 8 and 16 bits may be one off.")
    ] = "reference",
    reference: Annotated[str, typer.Option(help="cpu, or litert for its reference resolver.")] = "cpu",
    tolerances: Annotated[
        Path | None, typer.Option(help="A JSON file of wider bounds, with reasons.", exists=True)
    ] = None,
    performance: Annotated[bool, typer.Option("--performance", help="Time passing cases against the CPU.")] = False,
    seed: Annotated[int, typer.Option(help="Of the random graphs.")] = 0,
    list_cases: Annotated[bool, typer.Option("--list", help="Only list the names.")] = False,
) -> None:
    """Test a delegate: numbers, contracts, random graphs. The exit status is 1 where anything is wrong."""
    names = catalog.names(cases, quick, seed)
    if list_cases:
        for name in names:
            console.print(name, highlight=False, soft_wrap=True)
        return
    if not names:
        raise ValueError(f"no case has {cases!r} in its name")
    settings = Settings(
        delegate,
        key_values(options, "--options"),
        precision,
        rounding,
        reference,
        performance,
        str(output / "reproducers"),
        read_overrides(tolerances),
    )
    for value, known in (
        (settings.precision, tuple(RELAXED)),
        (settings.rounding, tuple(report.ROUNDING)),
        (settings.reference, ("cpu", "litert")),
    ):
        if value not in known:
            raise ValueError(f"{value!r} is none of {', '.join(known)}")
    start = time.perf_counter()
    devices: set[str] = set()
    with _watched(settings.delegate, len(names)) as seen:
        log = output / "results.jsonl"
        results = runner.run_all(
            names, settings, jobs=jobs, timeout_s=timeout, log=log, resume=resume, seen=seen, devices=devices
        )
    with console.status("shrinking the random graphs that fail"):
        for result in [result for result in results if _random(result)][:SHRUNK]:
            shrunk(result, settings, timeout)
    whole = report.summary(results, settings, time.perf_counter() - start, quick, cases, devices)
    _tell(results, whole, report.write(whole, results, output))
    if any(result.bad for result in results):
        raise typer.Exit(1)


def _random(result: Result) -> bool:
    return result.bad and re.fullmatch(r"RANDOM\[seed=\d+\]", result.name) is not None


@contextmanager
def _watched(title: str, count: int) -> Iterator[Callable[[Result], None]]:
    """A bar that moves with each result that it is told."""
    bars = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[red]{task.fields[bad]}[/]"),
    )
    with Progress(*bars, console=console, transient=True) as progress:
        task = progress.add_task(title, total=count, bad="")
        wrong = 0

        def seen(result: Result) -> None:
            nonlocal wrong
            wrong += result.bad
            progress.update(task, advance=1, bad=f"{wrong} wrong" if wrong else "")

        yield seen


def _tell(results: list[Result], whole: report.Summary, files: list[Path]) -> None:
    occurring = list(whole.counts)
    families = columns("family", *occurring, title=f"{whole.delegate}, {whole.seconds:.0f} s")
    for family, found in whole.families.items():
        families.add_row(family, *(str(found.get(v, "")) for v in occurring))
    families.add_section()
    families.add_row("all", *(str(whole.counts.get(v, "")) for v in occurring))
    console.print(families)
    wrong = [result for result in results if result.bad]
    for result in wrong[:SHOWN]:
        console.print(result.verdict, style="red", end=" ")
        console.print(f"{result.name}: {result.why}", highlight=False)
        if result.reproducer:
            console.print(f"    {result.reproducer}", highlight=False)
    if len(wrong) > SHOWN:
        console.print(f"and {len(wrong) - SHOWN} more")
    if "device" in whole.versions:
        console.print(f"device: {whole.versions['device']}", highlight=False)
    console.print("level:", Text(whole.level, "bold"), f"({whole.level_reason})")
    console.print("reports: " + ", ".join(map(str, files)), highlight=False)
