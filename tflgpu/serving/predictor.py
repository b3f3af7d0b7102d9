"""A model as a function of many rows, which can be sent to where it is to run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from tflgpu.delegation.delegate import Delegate
from tflgpu.delegation.discovery import load_delegate
from tflgpu.interpreter import Interpreter
from tflgpu.limits import Limits
from tflgpu.model.graph import Array
from tflgpu.serving.entry_point import Arrays, EntryPoint
from tflgpu.serving.rows import Rows
from tflgpu.serving.workers import Workers


@dataclass(frozen=True)
class Progress:
    """Rows that are done, after so many seconds."""

    rows: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        return self.rows / max(self.seconds, 1e-9)


@dataclass(eq=False)
class Predictor:
    """Runs a model on any number of rows: `predictor({"image": x})` is a dict of arrays, one row a row of x.

    >>> predictor = Predictor("model.tflite", delegate="opencl", batch=32)  # doctest: +SKIP
    >>> scores = predictor({"image": images})["scores"]  # (n, 224, 224, 3) to (n, 1000)  # doctest: +SKIP

    It can be pickled, which keeps what is written here; the interpreter is opened where it is first called, again in
    each process. Arrays are (rows, …) with the model's names and types; a single array goes to a single input whatever
    its name. Where all inputs of a model have the same first dimension, that is its batch: rows fill it, and the last
    ones are padded. A model without a batch takes whole inputs, stacked: one dimension more than its own.

    model: the file's path, or its content. It must be there where the predictor is called.
    delegate, options: as for `load_delegate`, or a Delegate. num_threads, limits: as for Interpreter.
    signature: the key of one; None for the only one, or the main graph where there are none or several.
    batch: rows that one invoke takes at most. None: the model's own, which is one by one in most models. More are taken
        where the model can be resized and gives the same: the first call runs both ways and compares. Integers are
        equal then, floats up to the order of sums.
    preprocess: from the given dict of arrays to that of the inputs. postprocess: from that of the outputs to what is
        returned. keep: names of given arrays that are returned unchanged beside the outputs.

    A model with variables keeps its state from row to row, as from invoke to invoke, and is not resized. One thread at
    a time may call it. Raises ValueError for arrays that do not fit and for a model or a delegate that cannot be used,
    RuntimeError where the model fails.
    """

    model: str | os.PathLike[str] | bytes
    delegate: str | Delegate | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    signature: str | None = None
    batch: int | None = None
    preprocess: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    postprocess: Callable[[dict[str, Array]], Mapping[str, Any]] | None = None
    keep: Sequence[str] = ()
    num_threads: int | None = None
    limits: Limits | None = None

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch must be at least 1, not {self.batch}")
        if self.options and not isinstance(self.delegate, str):
            raise ValueError("options are for a delegate by name")
        self._opened: tuple[int, Rows] | None = None

    def __call__(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The results for these rows, and what is kept of them. Raises ValueError or RuntimeError."""
        missing = [name for name in self.keep if name not in arrays]
        if missing:
            raise ValueError(f"no {missing} to keep among {list(arrays)}")
        kept = {name: arrays[name] for name in self.keep}
        if self.preprocess is not None:
            arrays = self.preprocess(arrays)
        rows = self.rows
        results: Mapping[str, Any] = rows(self._inputs(arrays, rows.entry))
        if self.postprocess is not None:
            results = self.postprocess(dict(results))
        both = sorted(kept.keys() & results.keys())
        if both:
            raise ValueError(f"{both} are kept and results: keep them by another name")
        return {**kept, **results}

    @property
    def rows(self) -> Rows:
        """What runs the rows in this process: the model is opened when this is first asked for."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), Rows(self.open(), self.batch)
        return self._opened[1]

    def open(self) -> EntryPoint:
        """The signature in a new interpreter, for callers with whole inputs. Raises as Interpreter's constructor."""
        delegate = load_delegate(self.delegate, self.options) if isinstance(self.delegate, str) else self.delegate
        content = self.model if isinstance(self.model, bytes) else None
        interpreter = Interpreter(
            model_path=None if isinstance(self.model, bytes) else self.model,
            model_content=content,
            experimental_delegates=[] if delegate is None else [delegate],
            num_threads=self.num_threads,
            limits=self.limits,
        )
        return EntryPoint(interpreter, self.signature)

    def on(self, **options: Any) -> Predictor:
        """The same with these options of its delegate beside its own, e.g. on(device="1")."""
        return replace(self, options={**self.options, **options})

    def map(
        self,
        batches: Iterable[Mapping[str, Any]],
        workers: int = 1,
        devices: Sequence[str] = (),
        progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The results of each batch, in order, by as many processes; a process that dies is replaced.

        devices: values of the delegate's option `device`, to which the processes are pinned one after another.
        progress: called after each batch. Raises as a call does, RuntimeError where processes die again and again.
        """
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        pinned = [self.on(device=devices[i % len(devices)]) if devices else self for i in range(workers)]
        start, rows = time.perf_counter(), 0
        with Workers(pinned) as pool:
            for result in pool.map(Predictor.__call__, batches):
                rows += len(next(iter(result.values()), ()))
                if progress is not None:
                    progress(Progress(rows, time.perf_counter() - start))
                yield result

    def _inputs(self, arrays: Mapping[str, Any], entry: EntryPoint) -> Arrays:
        given = {name: np.asarray(x) for name, x in arrays.items() if name in entry.inputs or name not in self.keep}
        if len(given) == len(entry.inputs) == 1:
            return {next(iter(entry.inputs)): next(iter(given.values()))}
        return given

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state, _opened=None)
