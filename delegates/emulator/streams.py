"""Streams, events and graphs under CuPy's names: work is done at once, or recorded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence


class Stream:
    """Work is done when it is launched, or recorded while a capture is under way."""

    ptr = 0

    def __init__(self) -> None:
        self.recorded: list[Callable[[], None]] | None = None

    def __enter__(self) -> Stream:
        _entered().append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _entered().pop()

    def do(self, work: Callable[[], None]) -> None:
        if self.recorded is None:
            work()
        else:
            self.recorded.append(work)

    def wait_event(self, event: Event) -> None:
        """Nothing: all before it is done."""

    def synchronize(self) -> None:
        if self.recorded is not None:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")

    def begin_capture(self, mode: int | None = None) -> None:
        self.recorded = []

    def end_capture(self) -> Graph:
        work, self.recorded = self.recorded, None
        assert work is not None
        return Graph(work)


_of_thread = threading.local()


def _entered() -> list[Stream]:
    """The streams that this thread has entered; the last is its current one."""
    streams: list[Stream] = _of_thread.__dict__.setdefault("streams", [])
    return streams


def current() -> Stream:
    return _entered()[-1]


clock = time.perf_counter
"""Seconds, by which events are timed."""


class Event:
    """Past when it is recorded."""

    ptr = 0

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False):
        self.seconds = 0.0

    def record(self, stream: Stream | None = None) -> None:
        self.seconds = clock()

    def synchronize(self) -> None:
        """Nothing: it is past."""


def elapsed_time(start_event: Event, end_event: Event) -> float:
    return (end_event.seconds - start_event.seconds) * 1e3


class Graph:
    """Recorded work."""

    def __init__(self, work: Sequence[Callable[[], None]]):
        self._work = tuple(work)

    def launch(self, stream: Stream | None = None) -> None:
        for work in self._work:
            work()
