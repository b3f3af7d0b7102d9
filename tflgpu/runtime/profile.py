"""Where the time of an invoke goes: each node's and each delegated partition's, as a table or a trace."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tflgpu.delegation.delegate import Partition
from tflgpu.delegation.launch_times import LaunchTimes
from tflgpu.model.graph import Node
from tflgpu.ops.registry import Step

DELEGATE = "DELEGATE"
"""What stands for an operator where a partition ran."""


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

    def trace(self, launches: Sequence[LaunchTimes] = ()) -> str:
        """The runs as JSON for chrome://tracing or Perfetto, and those of a delegate's launches.

        A device has a clock of its own: its first launch is drawn where the first partition starts.
        """
        events = [e for t in self.timings for e in _events(t, t.name, t.op, t.owner)]
        partitions = [start for t in self.timings if t.op == DELEGATE for start in t.starts]
        starts = [start for launch in launches for start in launch.starts]
        shift = min(partitions, default=0) - min(starts, default=0)
        events += [e for x in launches for e in _events(x, str(x), x.kernel, "kernels", shift)]
        return json.dumps({"traceEvents": sorted(events, key=lambda e: e["ts"]), "displayTimeUnit": "ms"})


def _events(
    times: Timing | LaunchTimes, name: str, category: str, thread: str, shift: int = 0
) -> Iterator[dict[str, Any]]:
    for start, duration in zip(times.starts, times.durations, strict=True):
        when = {"ts": (start + shift) / 1e3, "dur": duration / 1e3}
        yield {"name": name, "cat": category, "ph": "X", **when, "pid": 0, "tid": thread}


def _named(what: Partition | Node) -> Timing:
    if isinstance(what, Node):
        return Timing(str(what), what.op, "cpu")
    owner = "cpu" if what.owner is None else what.owner.name
    first, last = what.nodes[0], what.nodes[-1]
    return Timing(f"{len(what.nodes)} nodes, {first.index} {first.op} to {last.index} {last.op}", DELEGATE, owner)
