"""Threads that run the shares of large nodes beside the thread that invokes."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue

import numpy as np

from tflgpu.ops.registry import Step
from tflgpu.runtime.threads import locked


class Workers:
    """`count` threads, of which the one that calls `run` is one; the others begin with the first run.

    A thread claims a step when it is free, so that one that the system lets wait keeps nothing but what it has claimed
    already. They are daemons, which no end of a process waits for, and end when this object goes. A process that was
    forked from one with threads starts its own. An interrupt at any line of a run leaves nothing but steps that are
    under way, for which the next run waits.
    """

    def __init__(self, count: int):
        self.count = count
        self._process = 0
        self._end: Callable[[], object] = _nothing

    def run(self, steps: Sequence[Step]) -> None:
        """Runs all steps, each in one of the threads, and returns after the last. What one raises is raised here."""
        if self._process != os.getpid():
            self._start()
        job = self._job
        job.settle()
        job.errors.clear()
        job.claims.extend(steps)
        for _ in range(min(self.count, len(steps)) - 1):
            job.wake.put(True)
        try:
            job.work()
        finally:
            job.settle()
        if job.errors:
            raise job.errors.popleft()

    def _start(self) -> None:
        self._end()
        job = self._job = _Job(self.count - 1)
        self._end = end = weakref.finalize(self, _dismiss, job.wake, self.count - 1)
        end.atexit = False
        with suppress(RuntimeError):  # the system, or a Python that ends, starts no more: this thread does all
            for busy in job.busy:
                threading.Thread(target=_serve, args=[job, busy], name="tflgpu worker", daemon=True).start()
        self._process = os.getpid()


def _nothing() -> None:
    """There are no threads yet."""


class _Job:
    """What the threads of one pool share. busy: a lock for each, which it holds while it claims and runs steps."""

    def __init__(self, threads: int):
        self.claims: deque[Step] = deque()
        self.wake: SimpleQueue[bool] = SimpleQueue()
        self.busy = [threading.RLock() for _ in range(threads)]
        self.errors: deque[BaseException] = deque()

    def work(self) -> None:
        """Runs steps as long as there are any that nobody has claimed."""
        claims = self.claims
        while claims:
            try:
                step = claims.popleft()
            except IndexError:  # another was faster
                return
            step()

    def settle(self) -> None:
        """Returns when no thread runs a step and there is none to claim."""
        self.claims.clear()
        for busy in self.busy:
            locked(busy, _nothing)


def _serve(job: _Job, busy: threading.RLock) -> None:
    with np.errstate(all="ignore"):  # as in the thread that invokes
        while job.wake.get():
            with busy:
                try:
                    job.work()
                except BaseException as error:
                    job.claims.clear()
                    job.errors.append(error)


def _dismiss(wake: SimpleQueue[bool], threads: int) -> None:
    for _ in range(threads):
        wake.put(False)
