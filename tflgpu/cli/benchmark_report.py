"""What `tflgpu benchmark` measured, as tables, JSON and CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from tflgpu.cli.models import columns, quantity
from tflgpu.delegation.launch_times import LaunchTimes, by_kernel
from tflgpu.runtime.profile import Profiler, Timing

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Measured:
    """Milliseconds of preparing, of the first run and of each after. launches: of delegates, timed on their devices."""

    model: str
    init_ms: float
    first_ms: float
    times: list[float]
    launches: list[LaunchTimes]

    def figures(self) -> dict[str, float]:
        """Milliseconds by what was measured."""
        found = {"initialisation": self.init_ms, "first run": self.first_ms}
        if self.times:
            found |= {
                "average": float(np.mean(self.times)),
                "standard deviation": float(np.std(self.times)),
                "least": min(self.times),
            }
            found |= {f"{q}th percentile": float(np.percentile(self.times, q)) for q in PERCENTILES}
        return found

    @property
    def per_second(self) -> float | None:
        return 1e3 * len(self.times) / sum(self.times) if self.times else None

    def table(self) -> Table:
        table = columns("measured", "milliseconds", title=f"{len(self.times)} runs")
        for name, ms in self.figures().items():
            table.add_row(name, f"{ms:.3f}")
        table.add_section()
        if self.per_second is not None:
            table.add_row("runs a second", f"{self.per_second:,.1f}")
        peak = peak_memory()
        if peak is not None:
            table.add_row("peak memory of the process", quantity(peak))
        return table

    def as_dict(self, interpreter: Any, profiler: Profiler | None) -> dict[str, Any]:
        profile = profiler.slowest() if profiler else []
        return {
            "model": self.model,
            "delegation": interpreter.delegation_report().splitlines()[:1] if interpreter._delegates else [],
            "runs": len(self.times),
            "milliseconds": self.figures(),
            "runs_per_second": self.per_second,
            "peak_memory_bytes": peak_memory(),
            "times_ms": self.times,
            "nodes": [{"name": t.name, "op": t.op, "owner": t.owner, "total_ms": t.total_ms} for t in profile],
            "kernels": [
                {"name": x.kernel, "nodes": x.nodes, "runs": len(x.durations), "total_ms": x.total_ms}
                for x in slowest(self.launches)
            ],
        }


def peak_memory() -> int | None:
    """The most bytes that the process had resident; None where the system does not say."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def slowest(launches: Iterable[LaunchTimes]) -> list[LaunchTimes]:
    return sorted(launches, key=lambda launch: -launch.total_ms)


def kernel_table(launches: Sequence[LaunchTimes], runs: int) -> Table:
    """Kernels by their share of the device's time, then the slowest launches with the nodes that each joins."""
    whole = sum(launch.total_ms for launch in launches) or 1.0
    table = columns("kernel: nodes", "ms a run", "share", title="kernels on the device, then the ten slowest launches")
    for name, (count, ms) in sorted(by_kernel(launches).items(), key=lambda item: -item[1][1]):
        table.add_row(f"{count / runs:.0f} {name}", f"{ms / runs:.4f}", f"{ms / whole:.1%}")
    table.add_section()
    for launch in slowest(launches)[:10]:
        table.add_row(str(launch), f"{launch.total_ms / runs:.4f}", f"{launch.total_ms / whole:.1%}")
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


def write_csv(path: Path, profiler: Profiler, launches: Sequence[LaunchTimes]) -> None:
    """A row for each node or partition that ran, then one for each launch of a delegate's kernel."""
    steps: list[tuple[str, str, str, Timing | LaunchTimes]]
    steps = [(timing.name, timing.op, timing.owner, timing) for timing in profiler.slowest()]
    steps += [(", ".join(launch.nodes), launch.kernel, "kernel", launch) for launch in slowest(launches)]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "op", "owner", "runs", "average_ms", "total_ms"])
        for name, op, owner, times in steps:
            runs = len(times.durations)
            rows.writerow([name, op, owner, runs, times.total_ms / runs, times.total_ms])
