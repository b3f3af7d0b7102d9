"""A kernel that a native delegate made for a partition, and its buffers as a place where tensors can be."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

from tflgpu.delegates.abi import structs
from tflgpu.model.graph import Array
from tflgpu.shapes import DelegateError

GONE = "the delegate that holds this tensor's value is no longer applied. "


class Kernel:
    """A partition that the delegate took: its node, what runs it, and what it calls its own."""

    def __init__(self, number: int, nodes: tuple[int, ...], registration: structs.Registration, arrays: Sequence[int]):
        self.number = number
        self.nodes = nodes
        self.registration = registration
        self.name = (registration.custom_name or b"DELEGATE").decode("utf-8", "replace")
        self.node = structs.Node()
        self.params = structs.DelegateParams()
        self.arrays = list(arrays)

    def __str__(self) -> str:
        return f"Node number {self.number} ({self.name})"


class BufferHandles:
    """The delegate's own buffers as a place of tensors; a buffer is named by the number of its tensor."""

    def __init__(self, copy_from_handle: Callable[[int, Array], None]):
        """copy_from_handle: a method, whose object is not kept alive."""
        self._copy_from_handle = weakref.WeakMethod(copy_from_handle)

    def allocate(self, nbytes: int) -> int:
        raise RuntimeError("a native delegate allocates its buffers itself. ")

    def upload(self, buffer: int, host: Array) -> None:
        raise RuntimeError("a native delegate reads its inputs at the host. ")

    def download(self, buffer: int, host: Array) -> None:
        """Has the delegate copy a tensor to the host. Raises DelegateError where it cannot, or is gone."""
        copy = self._copy_from_handle()
        if copy is None:
            raise DelegateError(GONE)
        copy(buffer, host)
