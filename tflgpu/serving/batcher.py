"""Dynamic batching: requests of one model that wait together run together, on the first instance that is free."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tflgpu.model.graph import Array
from tflgpu.serving.entry_point import Arrays
from tflgpu.serving.metrics import ModelMetrics
from tflgpu.serving.predictor import Predictor
from tflgpu.values import at_random

MAX_ROWS = 2**16
"""Of one request."""


class BusyError(RuntimeError):
    """More requests wait than may."""


@dataclass(eq=False)
class Request:
    """Rows that a caller waits for. kind: equal for requests that may share a batch."""

    arrays: Arrays
    rows: int
    kind: object
    answer: asyncio.Future[dict[str, Array]]
    arrived: float = field(default_factory=time.perf_counter)


class Instance:
    """A predictor and the thread that runs it."""

    def __init__(self, predictor: Predictor):
        self.predictor = predictor
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="tflgpu instance", daemon=True)
        self._thread.start()

    def submit(self, task: Callable[[], None]) -> None:
        self._tasks.put(task)

    def prepare(self) -> Future[None]:
        """Opens the model, and runs each size of batch once on random rows, in the thread that runs it later."""
        done: Future[None] = Future()

        def task() -> None:
            try:
                _warm(self.predictor)
                done.set_result(None)
            except Exception as error:
                done.set_exception(error)

        self.submit(task)
        return done

    def stop(self) -> None:
        """Ends the thread after the tasks that it has."""
        self._tasks.put(None)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            del task  # it holds a batch


class Batcher:
    """Runs requests on instances of a model, in batches. All but `prepare` is called in one event loop.

    predictors: one for each instance. max_delay: seconds that a request waits for others at most, while an instance is
    free; 0 makes batches only of what arrives while all instances run. max_queue: requests that may wait.
    """

    def __init__(self, predictors: Sequence[Predictor], max_delay: float, max_queue: int, metrics: ModelMetrics):
        self._instances = [Instance(predictor) for predictor in predictors]
        self._idle = list(self._instances)
        self._waiting: deque[Request] = deque()
        self._max_delay, self._max_queue = max_delay, max_queue
        self._metrics = metrics
        self._timer: asyncio.TimerHandle | None = None
        self._all_idle = asyncio.Event()
        self._all_idle.set()

    def prepare(self) -> None:
        """Opens the model in every instance. Raises ValueError or RuntimeError where it cannot be used."""
        for done in [instance.prepare() for instance in self._instances]:
            done.result()
        rows = self._instances[0].predictor.rows
        self._divisible = rows.divisible
        self.max_rows = rows.batch if rows.divisible and not rows.entry.stateful else 0
        self._metrics.arena_bytes.set(sum(i.predictor.rows.entry.arena_nbytes() for i in self._instances))

    async def predict(self, arrays: Arrays) -> dict[str, Array]:
        """The outputs for these rows, or for a whole input of a model without a batch.

        Raises ValueError for inputs that do not fit, BusyError where too many wait, RuntimeError where the model fails.
        """
        rows = self._instances[0].predictor.rows.check(arrays, self._divisible)
        if rows > MAX_ROWS:
            raise ValueError(f"a request has at most {MAX_ROWS} rows, not {rows}")
        if len(self._waiting) >= self._max_queue:
            raise BusyError(f"{len(self._waiting)} requests wait already")
        kind = [(x.dtype, x.shape[1:]) for x in arrays.values()] if 0 < rows < self.max_rows else object()
        request = Request(arrays, rows, kind, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._all_idle.clear()
        self._dispatch()
        return await request.answer

    async def close(self) -> None:
        """Answers what waits, then ends the instances."""
        self._max_delay = 0
        self._dispatch()
        await self._all_idle.wait()
        for instance in self._instances:
            instance.stop()

    def _dispatch(self) -> None:
        while self._idle and self._waiting:
            batch = self._next_batch()
            if not batch:
                break
            instance = self._idle.pop()
            instance.submit(partial(self._run, instance, batch, asyncio.get_running_loop()))
        self._metrics.queued.set(len(self._waiting))
        if not self._waiting and len(self._idle) == len(self._instances):
            self._all_idle.set()

    def _next_batch(self) -> list[Request]:
        """The oldest request and those that can join it; none while they may still wait for others."""
        while self._waiting and self._waiting[0].answer.done():
            self._waiting.popleft()  # its caller is gone
        if not self._waiting:
            return []
        first = self._waiting[0]
        chosen, rows = list[Request](), 0
        for request in self._waiting:
            if request.answer.done() or request.kind != first.kind:
                continue
            if chosen and rows + request.rows > self.max_rows:
                break
            chosen.append(request)
            rows += request.rows
        wait = first.arrived + self._max_delay - time.perf_counter()
        if rows < self.max_rows and wait > 0:
            self._wait(wait)
            return []
        taken = set(map(id, chosen))
        self._waiting = deque(r for r in self._waiting if id(r) not in taken and not r.answer.done())
        return chosen

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._dispatch)

    def _run(self, instance: Instance, batch: Sequence[Request], loop: asyncio.AbstractEventLoop) -> None:
        """In the instance's thread: the batch, and each request alone where it fails."""
        start = time.perf_counter()
        for request in batch:
            self._metrics.queue_seconds.observe(start - request.arrived)
        results = _results(instance.predictor, batch)
        self._metrics.invoke_seconds.observe(time.perf_counter() - start)
        self._metrics.batch_rows.observe(sum(request.rows for request in batch))
        loop.call_soon_threadsafe(self._answer, instance, batch, results)

    def _answer(self, instance: Instance, batch: Sequence[Request], results: Sequence[Any]) -> None:
        for request, result in zip(batch, results, strict=True):
            if request.answer.done():
                continue
            if isinstance(result, Exception):
                request.answer.set_exception(result)
            else:
                request.answer.set_result(result)
        self._idle.append(instance)
        self._dispatch()


def _warm(predictor: Predictor) -> None:
    rows = predictor.rows
    if not rows.own:
        return
    generator, ports = np.random.default_rng(0), rows.entry.inputs.items()
    shapes = {name: (rows.batch, *(max(d, 1) for d in port.own[1:])) for name, port in ports}
    arrays = {name: at_random({"shape": shapes[name], "dtype": port.dtype}, generator) for name, port in ports}
    try:
        rows(arrays)
        rows.keep_what_pays(arrays)
    except (ValueError, RuntimeError):
        return  # random numbers need not be inputs


def _results(predictor: Predictor, batch: Sequence[Request]) -> Sequence[dict[str, Array] | Exception]:
    """The outputs of each request, or its own error: a request that fails takes none of the others with it."""
    try:
        if len(batch) == 1:
            rows, arrays = predictor.rows, batch[0].arrays
            return [_of_one_shape(rows(arrays)) if rows.divisible else rows.entry.invoke(arrays)]
        names = batch[0].arrays
        arrays = {name: np.concatenate([r.arrays[name] for r in batch]) for name in names}
        joined = _of_one_shape(predictor.rows(arrays))
        ends = np.cumsum([request.rows for request in batch])
        return [{name: x[end - r.rows : end] for name, x in joined.items()} for r, end in zip(batch, ends, strict=True)]
    except Exception as error:
        if len(batch) == 1:
            return [error]
        return [result for request in batch for result in _results(predictor, [request])]


def _of_one_shape(results: dict[str, Array]) -> dict[str, Array]:
    """The same. Raises ValueError where the rows of an output have different shapes, which no tensor has."""
    for name, x in results.items():
        if x.dtype == object and any(isinstance(row, np.ndarray) for row in x[:1]):
            shapes = sorted({row.shape for row in x})
            raise ValueError(f"output {name!r} has rows of the shapes {shapes}: ask for one row at a time")
    return results
