"""A large node in shares, a range of rows each, which the threads of an interpreter run at once.

Shares write disjoint rows and have scratch of their own. Integers are those of one thread; so are floats, as far as
BLAS sums a row in the same order whatever rows are beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from tflgpu.model.graph import Array
from tflgpu.ops.registry import Step
from tflgpu.ops.scratch import apart, workers

LEAST_WORK = 1 << 22
"""Multiply-adds of a share at least: to wake a thread and to wait for it costs as much as a tenth of that."""

Share = TypeVar("Share")


def ranges(length: int, work: int) -> list[slice]:
    """`length` rows of a node of `work` multiply-adds as even ranges; one for all where threads would not pay."""
    threads = workers()
    count = 1 if threads is None else max(1, min(threads.count, length, work // LEAST_WORK))
    return [slice(n * length // count, (n + 1) * length // count) for n in range(count)]


def cut(a: Array, axis: int, rows: slice) -> Array:
    """The rows of an axis of a, with all of the other axes."""
    return a.swapaxes(0, axis)[rows].swapaxes(0, axis)


def in_shares(shares: Sequence[Share], bind: Callable[[Share], Step]) -> Step:
    """A step that runs what `bind` makes of each share: all at once where there are several."""
    if len(shares) == 1:
        return bind(shares[0])
    threads, steps = workers(), []
    assert threads is not None, "several shares need workers"
    for number, share in enumerate(shares):
        with apart(number):
            steps.append(bind(share))
    return partial(threads.run, steps)
