"""Where the time of an invoke goes: each node's and each delegated partition's, as a table or a trace."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tflgpu.delegation.delegate import Partition
from tflgpu.model.graph import Node
from tflgpu.ops.registry import Step


@dataclass
class Timing:
    """The runs of one node or one partition: their starts and durations in nanoseconds of time.perf_counter_ns."""

    name: str
    op: str
    owner: str
    starts: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)

    @property
    def total_ms(self) -> float:
        return sum(self.durations) / 1e6


class Profiler:
    """Watches every step that is prepared with it: `Interpreter(..., _observe=profiler)`.

    A nested graph's nodes are counted by themselves and within the control-flow node that runs them.
    """

    def __init__(self) -> None:
        self.timings: list[Timing] = []

    def __call__(self, what: Partition | Node, step: Step) -> Step:
        timing = _named(what)
        self.timings.append(timing)

        def timed() -> None:
            start = time.perf_counter_ns()
            step()
            timing.starts.append(start)
            timing.durations.append(time.perf_counter_ns() - start)

        return timed

    def clear(self) -> None:
        """Forgets the times so far, e.g. of warm-up runs."""
        for timing in self.timings:
            timing.starts.clear()
            timing.durations.clear()

    def slowest(self) -> list[Timing]:
        """What ran, the most total time first."""
        return sorted((t for t in self.timings if t.durations), key=lambda t: -t.total_ms)

    def by_op(self) -> dict[str, tuple[int, float]]:
        """Operator -> how many nodes, and their total milliseconds; the most time first."""
        found: dict[str, tuple[int, float]] = {}
        for timing in self.slowest():
            count, total = found.get(timing.op, (0, 0.0))
            found[timing.op] = (count + 1, total + timing.total_ms)
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))

    def trace(self) -> str:
        """The runs as JSON for chrome://tracing or Perfetto."""
        return json.dumps({"traceEvents": sorted(self._events(), key=lambda e: e["ts"]), "displayTimeUnit": "ms"})

    def _events(self) -> Iterator[dict[str, Any]]:
        for timing in self.timings:
            for start, duration in zip(timing.starts, timing.durations, strict=True):
                yield {
                    "name": timing.name,
                    "cat": timing.op,
                    "ph": "X",
                    "ts": start / 1e3,
                    "dur": duration / 1e3,
                    "pid": 0,
                    "tid": timing.owner,
                }


def _named(what: Partition | Node) -> Timing:
    if isinstance(what, Node):
        return Timing(str(what), what.op, "cpu")
    owner = "cpu" if what.owner is None else what.owner.name
    first, last = what.nodes[0], what.nodes[-1]
    return Timing(f"{len(what.nodes)} nodes, {first.index} {first.op} to {last.index} {last.op}", "DELEGATE", owner)
