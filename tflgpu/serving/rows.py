"""Any number of rows through a model whose batch has a size of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from tflgpu.model.graph import Array
from tflgpu.serving.entry_point import Arrays, EntryPoint, Port

PLANS = 4
"""Batch sizes that are prepared: as many as an interpreter caches."""


class Rows:
    """Runs rows through a model: arrays (rows, …) in, arrays (rows, …) out, equal to one invoke a row.

    Where all inputs of the model have the same first dimension, 1 or also that of all outputs, it is the batch, and the
    other dimensions are a row's. Arrays of one dimension more than the model's hold whole inputs instead, one a row.

    batch: rows that one invoke takes at most; the model is resized to them where its results stay the same, which the
    first rows show that differ. None, and where they do not: the model's own batch. Incomplete batches are padded.
    """

    def __init__(self, entry: EntryPoint, batch: int | None = None):
        self.entry = entry
        own = _first_dimension(entry.inputs.values())
        self._batched = {name for name, port in entry.outputs.items() if _has_batch(port, own, entry)}
        self.own = own if own == 1 or len(self._batched) == len(entry.outputs) else 0
        wanted = max(batch or 1, self.own) // max(self.own, 1) * self.own
        self.divisible = self.own > 0 and len(self._batched) == len(entry.outputs)
        self.sizes = batch_sizes(wanted, self.own) if self.divisible and not entry.stateful else [self.own]
        self._resizing_checked = self._padding_checked = False

    @property
    def batch(self) -> int:
        """Rows that one invoke takes at most; 0 where the model has no batch."""
        return self.sizes[0]

    def keep_what_pays(self, arrays: Arrays) -> None:
        """Times each batch size on the first of these rows, and forgets those no faster than smaller ones together."""
        kept = [(self.own, math.inf)]
        for size in reversed(self.sizes):
            chunk = {name: x[:size] for name, x in arrays.items()}
            seconds = min(_seconds(partial(self.entry.invoke, chunk)) for _ in range(3))
            smaller, of_smaller = kept[-1]
            if seconds < of_smaller * size / smaller:
                kept.append((size, seconds))
        self.sizes = [size for size, _ in reversed(kept[1:])]

    def __call__(self, arrays: Arrays) -> dict[str, Array]:
        """The outputs of all rows. Raises ValueError for inputs that do not fit, RuntimeError as `invoke`."""
        inputs = self.entry.inputs
        if arrays.keys() == inputs.keys():
            if {arrays[name].ndim - len(port.shape) for name, port in inputs.items()} == {1}:
                return self._whole_inputs(arrays)
            if not self.own:
                shapes = {name: ["n", *port.shape] for name, port in inputs.items()}
                raise ValueError(f"this model has no batch: give whole inputs, of the shapes {shapes}")
        rows = self.check(arrays)
        if rows == 0:
            return {name: np.empty((0, *_positive(port)[1:]), port.dtype) for name, port in self.entry.outputs.items()}
        return self._joined(list(self._invokes(arrays, rows)), self._batched)

    def check(self, arrays: Arrays, rows: bool = True) -> int:
        """How many rows these are; 1 without `rows`, when they must have the model's own shapes.

        Raises ValueError, naming what does not fit.
        """
        inputs = self.entry.inputs
        if arrays.keys() != inputs.keys():
            raise ValueError(f"the inputs are {list(inputs)}, given were {list(arrays)}")
        for name, port in inputs.items():
            port.check(arrays[name], fixed_from=int(rows))
        return _rows(arrays) if rows else 1

    def _whole_inputs(self, arrays: Arrays) -> dict[str, Array]:
        for name, port in self.entry.inputs.items():
            port.check(arrays[name][0] if len(arrays[name]) else np.empty(_positive(port), port.dtype))
        results = [self.entry.invoke({n: x[row] for n, x in arrays.items()}) for row in range(_rows(arrays))]
        if not results:
            return {name: np.empty((0, *_positive(port)), port.dtype) for name, port in self.entry.outputs.items()}
        return self._joined(results, set())

    def _joined(self, results: Sequence[Arrays], batched: set[str]) -> dict[str, Array]:
        columns = {name: [result[name] for result in results] for name in self.entry.outputs}
        return {name: _rows_of(values, name in batched) for name, values in columns.items()}

    def _invokes(self, arrays: Arrays, rows: int) -> Iterator[Arrays]:
        start = 0
        while start < rows:
            size = next_size(rows - start, self.sizes)
            chunk = {name: x[start : start + size] for name, x in arrays.items()}
            yield from self._resized(chunk, size) if size > self.own else [self._padded(chunk, size)]
            start += size

    def _resized(self, chunk: Arrays, size: int) -> list[Arrays]:
        """The chunk in one invoke, or in the model's own batches where that is not the same."""
        if self._resizing_checked:
            return [self._padded(chunk, size)]
        alone = []
        for start in range(0, _rows(chunk), self.own):
            alone.append(self._padded({name: x[start : start + self.own] for name, x in chunk.items()}, self.own))
        if any(_differ(x) for x in chunk.values()):
            self._resizing_checked = True
            wanted = self._joined(alone, self._batched)
            got = _attempt(lambda: self._cut(self.entry.invoke(_filled(chunk, size, _last)), size, _rows(chunk)))
            if got is None or not all(agree(got[name], wanted[name]) for name in wanted):
                self.sizes = [self.own]
        return alone

    def _padded(self, chunk: Arrays, size: int) -> Arrays:
        """The results of a chunk of at most `size` rows. Raises ValueError where those of its rows depend on others."""
        rows = _rows(chunk)
        if rows == size:
            return self.entry.invoke(chunk)
        result = self._cut(self.entry.invoke(_filled(chunk, size, _last)), size, rows)
        if not self._padding_checked and size == self.own:
            other = None
            if not self.entry.stateful:
                other = _attempt(lambda: self._cut(self.entry.invoke(_filled(chunk, size, _zero)), size, rows))
            if other is None or not all(agree(result[name], other[name]) for name in result):
                raise ValueError(
                    f"{rows} rows do not fill the model's batch of {self.own}, whose rows depend on one another: "
                    f"give a multiple of {self.own}"
                )
            self._padding_checked = True
        return result

    def _cut(self, result: Arrays, size: int, rows: int) -> Arrays:
        for name, value in result.items():
            if value.shape[:1] != (size,):
                raise ValueError(f"output {name!r} has the shape {list(value.shape)} for {size} rows")
        return {name: value[:rows] for name, value in result.items()}


def batch_sizes(most: int, own: int) -> list[int]:
    """At most PLANS batch sizes, multiples of the model's own, from `most` down."""
    ratio = max(2, math.ceil((most // own) ** (1 / (PLANS - 1)) - 1e-9))
    sizes = [most]
    while sizes[-1] > own:
        sizes.append(max(sizes[-1] // own // ratio, 1) * own)
    return sizes


def next_size(left: int, sizes: Sequence[int]) -> int:
    """The batch size for the next of `left` rows: one that they fill, or that they fill more than half."""
    above = [size for size in sizes if left <= size < 2 * left]
    return above[-1] if above else next((size for size in sizes if size <= left), sizes[-1])


def agree(got: Array, wanted: Array) -> bool:
    """Whether results are the same: floats up to the order of sums in GEMMs of other sizes, all else equal."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return False
    if wanted.dtype.kind not in "fc":
        return bool(np.array_equal(got, wanted))
    finite = np.abs(wanted[np.isfinite(wanted)])
    atol = 1e-4 * float(finite.max(initial=0.0))
    return bool(np.allclose(got, wanted, rtol=1e-3, atol=atol, equal_nan=True))


def _first_dimension(inputs: Iterable[Port]) -> int:
    """That of all the inputs; 0 where they differ or have none."""
    firsts = {port.own[:1] for port in inputs}
    return next(iter(firsts))[0] if len(firsts) == 1 and firsts != {()} else 0


def _has_batch(output: Port, own: int, entry: EntryPoint) -> bool:
    """Whether an output's first dimension is the batch: not one that is known only at run time."""
    open_batch = any(port.shape[:1] == (-1,) for port in entry.inputs.values())
    return output.own[:1] == (own,) and (open_batch or output.shape[0] != -1)


def _rows(arrays: Arrays) -> int:
    rows = {name: len(x) for name, x in arrays.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"the inputs have different numbers of rows: {rows}")
    return next(iter(rows.values()), 0)


def _rows_of(values: Sequence[Array], batched: bool) -> Array:
    """The rows of several results as one array; of objects, where the rows' shapes differ."""
    if not batched:
        values = [value[None] for value in values]
    if len(values) == 1:
        return values[0]
    if len({value.shape[1:] for value in values}) == 1:
        return np.concatenate(values)
    rows = [row for value in values for row in value]
    found = np.empty(len(rows), object)
    for i, row in enumerate(rows):
        found[i] = row
    return found


def _positive(port: Port) -> list[int]:
    return [max(d, 1) if o == -1 else o for d, o in zip(port.own, port.shape, strict=True)]


def _filled(chunk: Arrays, size: int, with_row: Callable[[Array], Array]) -> Arrays:
    """The chunk with rows appended up to `size`."""
    missing = size - _rows(chunk)
    return {name: np.concatenate([x, np.repeat(with_row(x), missing, 0)]) for name, x in chunk.items()}


def _last(x: Array) -> Array:
    return x[-1:]


def _zero(x: Array) -> Array:
    return np.full_like(x[:1], b"" if x.dtype.kind in "SUO" else 0)


def _differ(x: Array) -> bool:
    return len(x) > 1 and bool(np.any(x[1:] != x[:1]))


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _attempt(call: Callable[[], Any]) -> Any:
    """What the call returns, or None where the model refuses."""
    try:
        return call()
    except (ValueError, RuntimeError):
        return None
