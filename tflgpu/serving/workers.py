"""Processes that share out tasks, each with a predictor of its own, and outlive the loss of one of them."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, TypeVar

ATTEMPTS = 3
"""How often a task may be on a pool whose processes die, before that is its error."""

P = TypeVar("P")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(Generic[P]):
    """As many processes as predictors, each of which has one. They are started by spawn, when they are first needed.

    A process that dies, killed or out of memory, loses nothing: its task and those that waited run again in new ones.
    """

    def __init__(self, predictors: Sequence[P]):
        self._predictors = predictors
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers[P]:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def map(self, task: Callable[[P, Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """task(predictor, item) of each item, in order. At most two items a process are read ahead.

        Raises what a task raises, RuntimeError where processes die ATTEMPTS times while an item is at work.
        """
        waiting: deque[tuple[Item, int, Future[Result]]] = deque()
        left = iter(items)
        while True:
            while len(waiting) < 2 * len(self._predictors):
                try:
                    item = next(left)
                except StopIteration:
                    break
                waiting.append((item, 1, self._submitted(task, item)))
            if not waiting:
                return
            item, attempts, future = waiting[0]
            try:
                result = future.result()
            except BrokenProcessPool as error:
                if attempts == ATTEMPTS:
                    raise RuntimeError(f"the process that ran {item!r} died, {attempts} times") from error
                self._close()
                again = [(item, attempts + 1) for item, attempts, _ in waiting]
                waiting = deque((item, attempts, self._submitted(task, item)) for item, attempts in again)
                continue
            waiting.popleft()
            yield result

    def _submitted(self, task: Callable[[P, Item], Result], item: Item) -> Future[Result]:
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            taken = spawn.Value("i", 0)
            self._pool = ProcessPoolExecutor(len(self._predictors), spawn, _take, (self._predictors, taken))
        try:
            return self._pool.submit(_run, task, item)
        except BrokenProcessPool as error:
            broken: Future[Result] = Future()
            broken.set_exception(error)
            return broken

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


_own: list[Any] = []


def _take(predictors: Sequence[Any], taken: Any) -> None:
    """Makes the first predictor that no other process has this one's."""
    with taken.get_lock():
        _own.append(predictors[taken.value])
        taken.value += 1


def _run(task: Callable[[Any, Any], Any], item: Any) -> Any:
    return task(_own[0], item)
