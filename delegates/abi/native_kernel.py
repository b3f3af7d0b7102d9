"""A kernel that a native delegate made for a part, and its buffers as a place where tensors can be."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tflgpu.delegates.abi import structs
from tflgpu.model.graph import Array
from tflgpu.shapes import DelegateError

if TYPE_CHECKING:
    from tflgpu.delegates.abi.native_graph import NativeGraph


class Kernel:
    """A part that the delegate took: its node, what runs it, and what it calls its own."""

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

    def __init__(self, graph: NativeGraph):
        self._graph = weakref.ref(graph)

    def allocate(self, nbytes: int) -> int:
        raise RuntimeError("a native delegate allocates its buffers itself. ")

    def upload(self, buffer: int, host: Array) -> None:
        raise RuntimeError("a native delegate reads its inputs at the host. ")

    def download(self, buffer: int, host: Array) -> None:
        """Has the delegate copy a tensor to the host. Raises DelegateError where it cannot, or is gone."""
        graph = self._graph()
        if graph is None or graph.closed:
            raise DelegateError("the delegate that holds this tensor's value is no longer applied. ")
        graph.copy_from_handle(buffer, host)
