"""Times on the GPU, between events on its stream: of each kernel for a profile, of a variant for the tuner."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

from tflgpu.delegates.device import Call
from tflgpu.delegation.launch_times import LaunchTimes

TURNS, REPEATS = 5, 8
"""How often a variant of a launch is timed, and how many runs of it at a time."""


class Timing:
    """Of calls on one stream. cuda: the module cupy.cuda."""

    def __init__(self, cuda: Any, stream: Any):
        self._cuda, self._stream = cuda, stream
        self._origins: list[Any] = []
        self._events: list[tuple[LaunchTimes, Any, Any]] = []
        self._launches: list[LaunchTimes] = []
        self.traffic: dict[str, int] = {}
        """Bytes of the buffers that the runs so far were given, by name."""
        self._tuning = False

    def on(self, stream: Any) -> Timing:
        """The same record of times, for calls on another stream."""
        other = copy(self)
        other._stream, other._tuning = stream, False
        return other

    def noted(self, launch: LaunchTimes, call: Call, nbytes: int) -> Call:
        """The call, its time and its buffers' bytes noted whenever it runs, but for a tuner's runs."""
        self._launches.append(launch)
        name = launch.kernel

        def timed_call() -> None:
            if self._tuning:
                call()
                return
            start, end = self._cuda.Event(), self._cuda.Event()
            start.record(self._stream)
            if not self._origins:
                self._origins.append(start)
            call()
            end.record(self._stream)
            self._events.append((launch, start, end))
            self.traffic[name] = self.traffic.get(name, 0) + nbytes

        return timed_call

    def launches(self) -> Sequence[LaunchTimes]:
        """Every launch, with its runs so far. Waits for what is not done yet."""
        elapsed = self._cuda.get_elapsed_time
        for launch, start, end in self._events:
            end.synchronize()
            start_ns = int(elapsed(self._origins[0], start) * 1e6)
            launch.ran(start_ns, start_ns + int(elapsed(start, end) * 1e6))
        self._events.clear()
        return self._launches

    def seconds_of(self, call: Call, recorded: Callable[[Call], Call]) -> float:
        """One run's time, of many in a graph where they can be recorded: the median of TURNS."""
        self._tuning = True
        try:
            call()  # loads what is loaded late
            self._stream.synchronize()

            def plain() -> None:
                for _ in range(REPEATS):
                    call()

            try:
                many = recorded(plain)
            except Exception:  # then the host's launches are in the time, of all variants alike
                many = plain
            return statistics.median(self._milliseconds(many) for _ in range(TURNS)) / REPEATS * 1e-3
        finally:
            self._tuning = False

    def _milliseconds(self, run: Call) -> float:
        start, end = self._cuda.Event(), self._cuda.Event()
        start.record(self._stream)
        run()
        end.record(self._stream)
        end.synchronize()
        return float(self._cuda.get_elapsed_time(start, end))
