"""What a native delegate sees of a node, the kernel that it made for a partition, and its buffers as a place."""

from __future__ import annotations

import ctypes as c
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from tflgpu.delegates.abi import builtin_data, structs
from tflgpu.delegation.partitioner import has_side_effects
from tflgpu.model.graph import Array, Node, Options
from tflgpu.model.schema import BUILTIN_OPERATORS
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


def described(node: Node, keep: list[Any]) -> tuple[structs.Node, structs.Registration]:
    """The node as a delegate sees it. keep: gets what both point to."""
    arrays = [
        structs.int_array([-1 if spec is None else spec.index for spec in specs])
        for specs in (node.inputs, node.outputs, node.intermediates, ())
    ]
    made = structs.Node(*arrays, might_have_side_effect=has_side_effects(node))
    told = node.options
    if node.op == "CAST":  # whose options are often absent, and never needed
        told = Options(in_data_type=node.input(0).type, out_data_type=node.outputs[0].type)
    params = None if node.is_custom else builtin_data.write(node.op, told)
    options, name = c.create_string_buffer(node.custom_options, len(node.custom_options)), node.op.encode()
    keep += [params, options, name]
    made.builtin_data = params and c.addressof(params)
    if node.is_custom:
        made.custom_initial_data, made.custom_initial_data_size = c.addressof(options), len(node.custom_options)
    number = structs.CUSTOM if node.is_custom else BUILTIN_OPERATORS.index(node.op)
    registration = structs.Registration(
        builtin_code=number, custom_name=name if node.is_custom else None, version=node.version
    )
    return made, registration
