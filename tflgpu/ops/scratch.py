"""Memory that the steps of one interpreter share: scratch, which others overwrite, and converted constants.

Steps that run in several threads at once share no scratch; see `shares`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tflgpu.model.graph import Array


class Workers(Protocol):
    """Threads that run steps at once."""

    count: int

    def run(self, steps: Sequence[Callable[[], object]]) -> None:
        """Runs all steps, each in one of the threads, and returns after the last. What one raises is raised here."""


@dataclass(frozen=True, eq=False)
class Memory:
    """What the steps of one interpreter share. of_worker: scratch of the further threads, by their numbers."""

    workers: Workers | None = None
    buffers: dict[str, Array] = field(default_factory=dict)
    copies: dict[Any, Any] = field(default_factory=dict)
    of_worker: dict[int, dict[str, Array]] = field(default_factory=dict)


_shared: ContextVar[Memory | None] = ContextVar("scratch", default=None)


@contextmanager
def sharing(state: MutableMapping[Any, Any]) -> Iterator[None]:
    """Within it, `scratch` and `copied` give memory that is cached in `state`, and shares run in its workers."""
    if "scratch" not in state:
        state["scratch"] = Memory()
    token = _shared.set(state["scratch"])
    try:
        yield
    finally:
        _shared.reset(token)


def workers() -> Workers | None:
    """The threads among which steps may be divided; None for one thread."""
    memory = _shared.get()
    return None if memory is None else memory.workers


@contextmanager
def apart(number: int) -> Iterator[None]:
    """Within it, `scratch` gives memory of the worker of that number, for steps that run beside those of others."""
    memory = _shared.get()
    assert memory is not None, "there are no workers outside of sharing"
    token = _shared.set(replace(memory, workers=None, buffers=memory.of_worker.setdefault(number, {})))
    try:
        yield
    finally:
        _shared.reset(token)


def scratch(slot: str, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """An array of undefined content, for use within one step. Arrays of one slot overlap, others do not.

    Outside of `sharing` it is a new array.
    """
    dtype = np.dtype(dtype)
    memory = _shared.get()
    if memory is None:
        return np.zeros(shape, dtype)
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    buffer = memory.buffers.get(slot)
    if buffer is None or buffer.nbytes < nbytes:
        # Zeros, so that what has not been written yet is a number in every type.
        buffer = memory.buffers[slot] = np.zeros(nbytes, np.uint8)
    return buffer[:nbytes].view(dtype).reshape(shape)


def copied(source: Array, dtype: npt.DTypeLike) -> Array:
    """source in another type, read-only: one copy for all nodes with the same constant."""
    dtype = np.dtype(dtype)
    memory = _shared.get()
    if memory is None or source.flags.writeable:
        return source.astype(dtype)
    key = source.ctypes.data, source.shape, source.strides, source.dtype, dtype
    if key not in memory.copies:
        # The source too: while it is referenced, no other array can have its address.
        memory.copies[key] = source, source.astype(dtype)
    copy: Array = memory.copies[key][1]
    return copy
