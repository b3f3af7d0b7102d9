"""Memory that the steps of one interpreter share: scratch, which others overwrite, and converted constants."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import numpy.typing as npt

from tflgpu.model.graph import Array

_shared: ContextVar[dict[Any, Any] | None] = ContextVar("scratch", default=None)


@contextmanager
def sharing(state: MutableMapping[Any, Any]) -> Iterator[None]:
    """Within it, `scratch` and `copied` give memory that is cached in `state`."""
    token = _shared.set(state.setdefault("scratch", {}))
    try:
        yield
    finally:
        _shared.reset(token)


def scratch(slot: str, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """An array of undefined content, for use within one step. Arrays of one slot overlap, others do not.

    Outside of `sharing` it is a new array.
    """
    dtype = np.dtype(dtype)
    buffers = _shared.get()
    if buffers is None:
        return np.zeros(shape, dtype)
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    buffer = buffers.get(slot)
    if buffer is None or buffer.nbytes < nbytes:
        # Zeros, so that what has not been written yet is a number in every type.
        buffer = buffers[slot] = np.zeros(nbytes, np.uint8)
    return buffer[:nbytes].view(dtype).reshape(shape)


def copied(source: Array, dtype: npt.DTypeLike) -> Array:
    """source in another type, read-only: one copy for all nodes with the same constant."""
    dtype = np.dtype(dtype)
    known = _shared.get()
    if known is None or source.flags.writeable:
        return source.astype(dtype)
    key = source.ctypes.data, source.shape, source.strides, source.dtype, dtype
    if key not in known:
        # The source too: while it is referenced, no other array can have its address.
        known[key] = source, source.astype(dtype)
    copy: Array = known[key][1]
    return copy
