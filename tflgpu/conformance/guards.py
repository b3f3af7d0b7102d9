"""A delegate under watch: guard bytes around all that it may write, and what it leaves after a case."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from tflgpu.delegation.delegate import HasDevice, Limits, Partition
from tflgpu.memory import HOST, Tensor
from tflgpu.model.graph import Array, Node, Shape
from tflgpu.optional import offers

GUARD = 256
"""Bytes on each side."""
POISON = np.frombuffer(b"\xa5\xa5\xa5\x7f", np.uint8)
"""A word that is NaN as float32 and large as an integer: what a kernel reads beyond its buffers must not count."""


def poison(nbytes: int) -> Array:
    """So many bytes of poison, from a whole word on."""
    return np.resize(POISON, nbytes)


def is_poison(found: Array, start: int = 0) -> bool:
    """Whether bytes from offset `start` of what was poisoned on are as they were."""
    return bool((found == poison(start % POISON.size + found.size)[start % POISON.size :]).all())


class Watched:
    """A delegate whose boundary tensors, and device buffers if it has a Device, lie between guard bytes.

    limits: the delegate's own, but that small partitions are taken too. runs: how often each partition has run.
    inspects: whether a partition's inputs are compared before and after it.
    """

    def __init__(self, delegate: Any):
        self.inner = delegate
        self.name: str = delegate.name
        self.limits: Limits = replace(delegate.limits, min_nodes=1)
        self.device = _guard_device(delegate)
        self.partitions: list[tuple[Partition, Mapping[int, Tensor]]] = []
        self.runs: list[int] = []
        self.steps: list[weakref.ref[Any]] = []
        self.inspects = True
        self._changed: list[str] = []
        self._hosts: list[Array] = []

    def check(self, node: Node) -> None:
        self.inner.check(node)

    def __getattr__(self, name: str) -> Any:
        """What only some delegates have: attach, claim, ops, one_plan, static_only."""
        if name.startswith("_") or "inner" not in self.__dict__:
            raise AttributeError(name)
        found = getattr(self.inner, name)
        return self._attaching(found) if name == "attach" else found

    def _attaching(self, attach: Callable[..., Any]) -> Callable[..., Watched]:
        def attached(*arguments: Any) -> Watched:
            other = copy(self)  # what it records, it records here
            other.inner = attach(*arguments)
            return other

        return attached

    def compile(self, partition: Partition, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
        step = self.inner.compile(partition, tensors)
        number = len(self.partitions)
        self.partitions.append((partition, dict(tensors)))
        self.runs.append(0)

        def counted() -> None:
            if self.inspects:
                self._inspected(step, partition, tensors)
            else:
                step()
            if number < len(self.runs):  # not since forgotten
                self.runs[number] += 1

        self.steps.append(weakref.ref(counted))
        return counted

    def host_array(self, shape: Shape, dtype: np.dtype[Any]) -> Array | None:
        """Host memory between guards, at the alignment that tflgpu.memory has."""
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        block = np.empty(nbytes + 2 * GUARD + 64, np.uint8)
        start = GUARD + (-(block.ctypes.data + GUARD) % 64)
        block = block[start - GUARD : start + nbytes + GUARD]
        block[...] = poison(block.size)
        inside = block[GUARD : GUARD + nbytes]
        inside[...] = 0
        self._hosts.append(block)
        return inside.view(dtype).reshape(shape)

    def poison_outputs(self) -> None:
        """Fills what the partitions must write anew, so that what stays unwritten shows."""
        for partition, tensors in self.partitions:
            for index in partition.outputs:
                tensor = tensors[index]
                if not tensor.spec.is_variable and tensor.host.dtype != object:
                    out = tensor.write(HOST).reshape(-1).view(np.uint8)
                    out[...] = poison(out.size)

    def violations(self) -> list[str]:
        """What was written where it must not be since the last time: guards, and inputs at the host and on devices."""
        found = list(self._changed)
        self._changed.clear()
        for block in self._hosts:
            if not is_poison(block[:GUARD]):
                found.append(f"wrote before a host array of {block.size - 2 * GUARD} bytes")
            if not is_poison(block[-GUARD:], block.size - GUARD):
                found.append(f"wrote past the end of a host array of {block.size - 2 * GUARD} bytes")
        return found + (self.device.violations() if self.device is not None else [])

    def _inspected(self, step: Callable[[], None], partition: Partition, tensors: Mapping[int, Tensor]) -> None:
        """Runs a partition and notes which of its inputs it changed."""
        inputs = [
            tensors[index]
            for index in partition.inputs - partition.outputs
            if index in tensors and tensors[index].host.dtype != object and not tensors[index].spec.is_variable
        ]
        before = [tensor.read().tobytes() for tensor in inputs]
        step()
        for tensor, value in zip(inputs, before, strict=True):
            if tensor.host.tobytes() != value:
                self._changed.append(f"changed its input {tensor.spec}")
            for device, buffer in tensor.buffers.items():
                copy = np.empty_like(tensor.host)
                if device in tensor.current and copy.nbytes:
                    device.download(buffer, copy)
                    if copy.tobytes() != value:
                        self._changed.append(f"changed its input {tensor.spec} on the device")

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """For interpreters made meanwhile, the delegate as users have it: copies and buffers are the device's own."""
        guarded, inspects = self.device, self.inspects
        self.device, self.inspects = None, False
        if guarded is not None:
            self.inner.device = guarded.inner
        try:
            yield
        finally:
            self.device, self.inspects = guarded, inspects
            if guarded is not None:
                self.inner.device = guarded

    def forget(self) -> None:
        """Lets go of everything of the case before."""
        for record in (self.partitions, self.runs, self.steps, self._hosts, self._changed):
            record.clear()
        if self.device is not None:
            self.device.forget()

    def blocks(self) -> list[Array]:
        return self._hosts


class HasBuffers(Protocol):
    """A device whose buffers can be guarded: it makes slices of them, and its limits have their alignment."""

    limits: Any

    def allocate(self, nbytes: int, /) -> Any: ...
    def slice(self, buffer: Any, offset: int, nbytes: int, /) -> Any: ...
    def upload(self, buffer: Any, host: Array, /) -> None: ...
    def download(self, buffer: Any, host: Array, /) -> None: ...


def _guard_device(delegate: Any) -> Any:
    """The guarding device that replaces the delegate's own; None where it has none of the kind."""
    device = delegate.device if offers(delegate, HasDevice) else None
    if isinstance(device, GuardedDevice):
        return device
    if not offers(device, HasBuffers):
        return None
    delegate.device = GuardedDevice(device)
    return delegate.device


class GuardedDevice:
    """A Device (delegates/device.py) whose buffers lie between guard bytes and begin full of poison.

    It offers neither recorded copies (`with_copies`) nor host memory of its own.
    """

    with_copies = None
    host_array = None

    def __init__(self, device: Any):
        self.inner = device
        self.active = True
        self._guard = -(-GUARD // device.limits.alignment) * device.limits.alignment
        self._wholes: list[tuple[Any, int]] = []
        self._inside: dict[int, tuple[Any, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def allocate(self, nbytes: int, *what: str) -> Any:
        if not self.active:
            return self.inner.allocate(nbytes, *what)
        size = nbytes + 2 * self._guard
        whole = self.inner.allocate(size, *what)
        self.inner.upload(whole, poison(size))
        self._wholes.append((whole, nbytes))
        inside = self.inner.slice(whole, self._guard, nbytes)
        self._inside[id(inside)] = (inside, whole)
        return inside

    def exchange(self, nbytes: int) -> Any:
        return self.allocate(nbytes)

    def with_own_queue(self) -> GuardedDevice:
        """Itself: all buffers are watched here."""
        return self

    def slice(self, buffer: Any, offset: int, nbytes: int) -> Any:
        known = self._inside.get(id(buffer))
        if known is None:
            return self.inner.slice(buffer, offset, nbytes)
        return self.inner.slice(known[1], self._guard + offset, nbytes)

    def violations(self) -> list[str]:
        self.inner.synchronize()
        found = []
        for whole, nbytes in self._wholes:
            copy = np.empty(nbytes + 2 * self._guard, np.uint8)
            self.inner.download(whole, copy)
            if not is_poison(copy[: self._guard]):
                found.append(f"a kernel wrote before a buffer of {nbytes} bytes")
            if not is_poison(copy[self._guard + nbytes :], self._guard + nbytes):
                found.append(f"a kernel wrote past the end of a buffer of {nbytes} bytes")
        return found

    def forget(self) -> None:
        self._wholes.clear()
        self._inside.clear()
