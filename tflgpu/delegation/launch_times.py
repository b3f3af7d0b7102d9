"""The times of launches on a device, each with the nodes whose work it does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(eq=False)
class LaunchTimes:
    """The runs of one launch: their starts and durations in nanoseconds of the device's clock.

    nodes: number and operator of those that the kernel computes.
    """

    kernel: str
    nodes: tuple[str, ...] = ()
    starts: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)

    @property
    def total_ms(self) -> float:
        return sum(self.durations) / 1e6

    def __str__(self) -> str:
        return f"{self.kernel}: {', '.join(self.nodes)}" if self.nodes else self.kernel

    def ran(self, start_ns: int, end_ns: int) -> None:
        self.starts.append(start_ns)
        self.durations.append(end_ns - start_ns)

    def forget(self) -> None:
        """Leaves out the runs so far, e.g. of warm-up runs."""
        self.starts.clear()
        self.durations.clear()


class TimesLaunches(Protocol):
    """A device that times its launches, where its option `profile` is set."""

    def launches(self) -> Sequence[LaunchTimes]:
        """Every launch that was prepared, with its runs so far."""


def by_kernel(launches: Iterable[LaunchTimes]) -> dict[str, tuple[int, float]]:
    """Runs and milliseconds of each kernel that ran, by its name."""
    found: dict[str, tuple[int, float]] = {}
    for launch in (one for one in launches if one.durations):
        runs, ms = found.get(launch.kernel, (0, 0.0))
        found[launch.kernel] = runs + len(launch.durations), ms + launch.total_ms
    return found
