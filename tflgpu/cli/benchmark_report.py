"""What `tflgpu benchmark` measured, as tables, JSON and CSV."""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from tflgpu.cli.models import columns, quantity
from tflgpu.runtime.profile import Profiler

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Measured:
    """Milliseconds of preparing, of the first run and of each after. kernels: runs and milliseconds by kernel."""

    model: str
    init_ms: float
    first_ms: float
    times: list[float]
    kernels: dict[str, tuple[int, float]]

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
            "kernels": [{"name": k, "runs": n, "total_ms": ms} for k, (n, ms) in self.kernels.items()],
        }


def peak_memory() -> int | None:
    """The most bytes that the process had resident; None where the system does not say."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def kernel_table(kernels: dict[str, tuple[int, float]]) -> Table:
    """A delegate's kernels, those that took longest first."""
    whole = sum(ms for _, ms in kernels.values()) or 1.0
    table = columns("kernel", "runs", "ms a run", "share", title="kernels on the device, all runs")
    for name, (runs, ms) in sorted(kernels.items(), key=lambda item: -item[1][1]):
        table.add_row(name, str(runs), f"{ms / runs:.4f}", f"{ms / whole:.1%}")
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
