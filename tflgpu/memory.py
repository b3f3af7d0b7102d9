"""Where a tensor's current value is, how it is copied elsewhere, the views that callers hold, and the arena."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tflgpu.model.graph import Array, Shape, TensorSpec
from tflgpu.optional import offering, offers

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector of a CPU."""


class Place(Protocol):
    """A device that can hold tensors, other than the host."""

    def allocate(self, nbytes: int) -> Any:
        """A buffer of uninitialised memory."""

    def upload(self, buffer: Any, host: Array) -> None:
        """Copies host into buffer. Returns once host may be changed; the device may still be copying."""

    def download(self, buffer: Any, host: Array) -> None:
        """Copies buffer into host. Returns once host is filled."""


class StreamedPlace(Place, Protocol):
    """A device on which callers work too, on streams that have numbers."""

    def wait_for(self, stream: int) -> None:
        """Makes what is given to the device from now on run after what is on that stream now."""

    def synchronize(self) -> None:
        """Returns when everything given to the device has run."""


class MakesExchangeBuffers(Protocol):
    """A place that copies some buffers faster than others."""

    def exchange(self, nbytes: int, /) -> Any:
        """A buffer that it copies fastest to and from the host."""


class MakesHostArrays(Protocol):
    """A delegate or a device that copies some host memory faster than the rest, such as pinned memory."""

    def host_array(self, shape: Shape, dtype: npt.DTypeLike, /) -> Array | None:
        """Zeroed host memory that it copies fastest; None where any memory will do."""


def exchange(place: Place, nbytes: int) -> Any:
    """A buffer that is copied to and from the host."""
    return place.exchange(nbytes) if offers(place, MakesExchangeBuffers) else place.allocate(nbytes)


HOST = "host"


class Tensor:
    """One tensor's storage: host memory, device buffers, and which of them are current.

    Reading at a place makes that place current too; writing at a place leaves it the only current one. The host
    array is never rebound, so that whoever was shown it always sees the present value.
    """

    __slots__ = ("buffers", "current", "host", "spec")

    def __init__(self, spec: TensorSpec, host: Array):
        self.spec = spec
        self.host = host
        self.buffers: dict[Place, Any] = {}
        self.current: set[Place | str] = {HOST}

    def read(self, place: Place | str = HOST) -> Any:
        """The value at `place`, copied there first if it is stale."""
        if place not in self.current:
            if HOST not in self.current:
                source = next(iter(self.current))
                assert not isinstance(source, str)
                source.download(self.buffers[source], self.host)
                self.current.add(HOST)
            if not isinstance(place, str):
                place.upload(self._buffer(place), self.host)
                self.current.add(place)
        return self.host if isinstance(place, str) else self._buffer(place)

    def write(self, place: Place | str = HOST) -> Any:
        """Storage at `place` for a whole new value; every other copy becomes stale."""
        self.current = {place}
        return self.host if isinstance(place, str) else self._buffer(place)

    def _buffer(self, place: Place) -> Any:
        if place not in self.buffers:
            self.buffers[place] = exchange(place, max(self.host.nbytes, 1))
        return self.buffers[place]


class Variable(Tensor):
    """A resource variable, which graphs share. assigned: whether it has a value. replaced: whether one of another form
    has replaced it, so that whoever holds this one is out of date."""

    __slots__ = ("assigned", "replaced")

    def __init__(self, spec: TensorSpec, host: Array):
        super().__init__(spec, host)
        self.assigned = False
        self.replaced = False


def synchronized(step: Callable[[], object], reads: Sequence[Tensor], writes: Sequence[Tensor]) -> Callable[[], None]:
    """The step, once what it reads is current at the host; what it writes is current there alone."""

    def run() -> None:
        for tensor in reads:
            tensor.read()
        for tensor in writes:
            tensor.write()
        step()

    return run


class Loan:
    """The last base of a view that was lent out: alive while any view or slice of it is."""

    __slots__ = ("__array_interface__", "__weakref__", "host")

    def __init__(self, host: Array):
        self.host = host
        self.__array_interface__ = host.__array_interface__


class Loans:
    """The views of an interpreter's memory that its caller still holds."""

    def __init__(self) -> None:
        self._alive: weakref.WeakSet[Loan] = weakref.WeakSet()

    def lend(self, host: Array) -> Array:
        """A writable view of host that counts as alive until it and every view of it are gone; copies do not count."""
        loan = Loan(host)
        self._alive.add(loan)
        return np.asarray(loan)

    def __bool__(self) -> bool:
        return len(self._alive) > 0


def aligned_zeros(nbytes: int, alignment: int = ALIGNMENT) -> Array:
    """nbytes of zeros, as uint8, aligned to a multiple of alignment; untouched pages cost nothing.

    Raises RuntimeError where that much memory is not available.
    """
    try:
        block = np.zeros(nbytes + alignment, np.uint8)
    except (MemoryError, ValueError) as error:
        raise RuntimeError(f"{nbytes:,} bytes of host memory are not available. ") from error
    start = -block.ctypes.data % alignment
    return block[start : start + nbytes]


def host_array(spec: TensorSpec, delegates: Sequence[object] = ()) -> Array:
    """Zeroed host memory for a tensor: from the first delegate that offers pinned memory, else from NumPy."""
    if spec.dtype == object:
        return np.full(spec.shape, b"", object)
    for delegate in offering(delegates, MakesHostArrays):
        found = delegate.host_array(spec.shape, spec.dtype)
        if found is not None:
            return found
    return aligned_zeros(nbytes(spec)).view(spec.dtype).reshape(spec.shape)


def nbytes(spec: TensorSpec) -> int:
    """Bytes of a tensor's host memory, in unbounded integers."""
    return math.prod(spec.shape) * spec.dtype.itemsize


def arena(
    sizes: Mapping[int, int], live: Mapping[int, tuple[int, int]], alignment: int = ALIGNMENT
) -> tuple[dict[int, int], int]:
    """Byte offsets and the arena's size in bytes: tensors whose lives [first, last] overlap share no bytes.

    Greedy by size: the largest first, each into the lowest gap among those placed that live with it.
    """
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last; sorted
    offsets: dict[int, int] = {}
    for key in sorted(sizes, key=lambda k: (-sizes[k], live[k])):
        first, last = live[key]
        size = -(-sizes[key] // alignment) * alignment
        start = 0
        for low, high, other_first, other_last in placed:
            if other_first > last or first > other_last:
                continue
            if start + size <= low:
                break
            start = max(start, high)
        placed.append((start, start + size, first, last))
        placed.sort()
        offsets[key] = start
    return offsets, max((end for _, end, _, _ in placed), default=0)
