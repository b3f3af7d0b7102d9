"""A graph as a native delegate sees it: a TfLiteContext whose functions are Python's, and the kernels it was given."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from typing import Any

from tflgpu.delegates.abi import structs
from tflgpu.delegates.abi.context_functions import CALLED, FUNCTIONS
from tflgpu.delegates.abi.native_kernel import GONE, BufferHandles, Kernel, described
from tflgpu.delegates.abi.native_tensors import NativeTensors, shape_of
from tflgpu.delegates.abi.structs import ERROR, OK
from tflgpu.delegates.abi.variadic import formatted
from tflgpu.delegation.boundary import boundary
from tflgpu.delegation.partitioner import contracted, groups_of
from tflgpu.model.graph import Array, Graph, Model, Node
from tflgpu.shapes import DelegateError

_RESTORED = "Restored original execution plan after delegate application failure."
_FORBIDDEN = "The function is forbidden if not calling in delegate."


class NativeGraph:
    """One graph applied to one native delegate. `close` frees the kernels; nothing runs after it.

    kernels: by the number of their node. bound: the addresses of the host memory of tensors that cross to and from
    them. messages: what the delegate has reported since something last succeeded.
    """

    def __init__(self, owner: Any, delegate: int, graph: Graph, model: Model, threads: int):
        self._owner = owner  # who must outlive the kernels
        self._delegate = delegate
        self._struct = structs.Delegate.from_address(delegate)
        self._graph = graph
        self._shown = [(node.index, node.op) for node in graph.nodes]
        self.moves_data = bool(self._struct.CopyFromBufferHandle)
        self.place = BufferHandles(self.copy_from_handle)
        self._metadata = {
            name.encode(): c.create_string_buffer(data, len(data)) for name, data in model.metadata.items()
        }
        self.tensors = NativeTensors(graph.tensors)
        self.kernels: dict[int, Kernel] = {}
        self.bound: dict[int, int] = {}
        self.messages: list[str] = []
        self.closed = False
        self.cause: BaseException | None = None
        self._preparing = False
        self._unprepared: set[int] = set()
        self._outside: dict[int, int | None] = {}
        self._plan: int | None = None
        self._preview: list[Any] = []
        self._keep: list[Any] = []
        self._nodes: dict[int, tuple[structs.Node, structs.Registration]] = {}
        for node in graph.nodes:
            self._nodes[node.index] = described(node, self._keep)
        # XNNPACK takes impl_ for the runtime's own object and reads the graph's number there: 0 in zeroed memory.
        self._impl = (c.c_uint8 * 65536)()
        self.context = structs.Context(
            tensors_size=self.tensors.count,
            tensors=self.tensors.address,
            impl_=c.addressof(self._impl),
            recommended_num_threads=threads,
            **FUNCTIONS,
        )
        self.address = c.addressof(self.context)
        CALLED[self.address] = self

    def apply(self) -> None:
        """Shows the delegate the graph. Raises DelegateError where that fails."""
        self._preparing = True
        try:
            status = self._struct.Prepare(self.address, self._delegate)
        finally:
            self._preparing = False
        if status != OK:
            raise self.error(_RESTORED)

    def error(self, text: str = "") -> DelegateError:
        """What to raise: all that was reported since the last call succeeded, then the text."""
        found = DelegateError("\n".join([*self.messages, text] if text else self.messages) or "the delegate failed")
        found.__cause__ = self.cause
        self.messages.clear()
        self.cause = None
        return found

    def copy_from_handle(self, index: int, host: Array) -> None:
        """Fills host from the delegate's own buffer of a tensor. Raises DelegateError, or ForkedError."""
        if self.closed:
            raise DelegateError(GONE)
        self._owner.opened.require()
        tensor = self.tensors[index]
        tensor.data = host.ctypes.data
        copy = self._struct.CopyFromBufferHandle
        if not copy or copy(self.address, self._delegate, tensor.buffer_handle, c.addressof(tensor)) != OK:
            raise self.error(f"the delegate cannot give the value of tensor {index}.")
        tensor.data_is_stale = False

    def same_nodes(self, graph: Graph) -> bool:
        """Whether a graph has the nodes of this one before the delegate took some."""
        return [(node.index, node.op) for node in graph.nodes] == self._shown

    def reshape(self, graph: Graph) -> None:
        """Tells the delegate's kernels the shapes of another graph that has the same nodes."""
        for spec in graph.tensors:
            self.tensors.reshape(spec)

    def prepare(self, kernel: Kernel) -> None:
        """Prepares a kernel for the present shapes. Raises DelegateError."""
        registration = kernel.registration
        if registration.prepare and registration.prepare(self.address, c.addressof(kernel.node)) != OK:
            static = not self._struct.flags & structs.ALLOW_DYNAMIC
            raise self.error(f"{kernel} failed to prepare.{_RESTORED if static else ''}")
        if not registration.invoke:
            raise self.error(f"{kernel} cannot be invoked.")
        for index in structs.ints(kernel.node.temporaries):
            if self.tensors[index].allocation_type != structs.MMAP_RO:
                self.tensors.allocate(index)
        self._unprepared.discard(kernel.number)
        if not self._unprepared:  # until then, what the kernels' init reported may be the reason why one fails
            self.messages.clear()

    def close(self) -> None:
        """Frees the kernels, then what they may have pointed to. Nothing happens the second time."""
        if self.closed:
            return
        self.closed = True
        if not self._owner.opened.lost:
            self._free_kernels()
        nodes = [node for node, _ in self._nodes.values()]
        arrays = [getattr(n, name) for n in nodes for name in ("inputs", "outputs", "intermediates", "temporaries")]
        for address in [*arrays, *(a for kernel in self.kernels.values() for a in kernel.arrays), self._plan]:
            if address:
                structs.free(address)
        self._nodes.clear()
        self.tensors.close()

    def _free_kernels(self) -> None:
        for kernel in self.kernels.values():
            if kernel.registration.free and kernel.node.user_data:
                kernel.registration.free(self.address, kernel.node.user_data)
        if self._struct.FreeBufferHandle:
            for index in range(self.tensors.count):
                handle = c.c_int(self.tensors[index].buffer_handle)
                if handle.value != structs.NO_HANDLE:
                    self._struct.FreeBufferHandle(self.address, self._delegate, c.byref(handle))

    def __del__(self) -> None:
        if hasattr(self, "context"):
            self.close()

    # What follows is called by the delegate, through FUNCTIONS.

    def _get_execution_plan(self, out: Any) -> int:
        if not self._preparing:
            return self._refuse(_FORBIDDEN)
        if self._plan:
            structs.free(self._plan)
        self._plan = structs.int_array([node.index for node in self._graph.nodes])
        out[0] = self._plan
        return OK

    def _get_node_and_registration(self, index: int, node: Any, registration: Any) -> int:
        if not self._preparing:
            return self._refuse(_FORBIDDEN)
        if index not in self._nodes:
            return self._refuse(f"there is no node {index}")
        node[0], registration[0] = map(c.addressof, self._nodes[index])
        return OK

    def _replace(self, registration: structs.Registration, nodes: int, delegate: int) -> int:
        if not self._preparing:
            return self._refuse(_FORBIDDEN)
        groups = groups_of(self._graph, set(structs.ints(nodes)))
        if not groups:
            return OK
        kept = structs.Registration()
        c.memmove(c.addressof(kept), c.addressof(registration), c.sizeof(kept))
        kept.builtin_code = structs.DELEGATE
        crossing = [boundary(self._graph, group) for group in groups]
        self._graph, numbers = contracted(self._graph, groups)
        for number, group, (reads, writes) in zip(numbers, groups, crossing, strict=True):
            if self._add_kernel(number, group, sorted(reads), sorted(writes), kept) != OK:
                return ERROR
        return OK

    def _add_kernel(
        self,
        number: int,
        group: Sequence[Node],
        reads: list[int],
        writes: list[int],
        registration: structs.Registration,
    ) -> int:
        indices = tuple(node.index for node in group)
        arrays = [structs.int_array(values) for values in (indices, reads, writes)]
        kernel = Kernel(number, indices, registration, arrays)
        kernel.params = structs.DelegateParams(self._delegate, *arrays)
        kernel.node.inputs, kernel.node.outputs = structs.int_array(reads), structs.int_array(writes)
        kernel.node.intermediates, kernel.node.temporaries = structs.int_array(()), structs.int_array(())
        kernel.node.builtin_data, kernel.node.delegate = c.addressof(kernel.params), self._delegate
        self._nodes[number] = kernel.node, registration
        if registration.init:
            made = registration.init(self.address, c.addressof(kernel.params), 0)
            if made == structs.INIT_FAILED:
                return self._refuse("Failed to initialize kernel.")
            kernel.node.user_data = made
        self.kernels[number] = kernel
        self._unprepared.add(number)
        for index in writes:
            self.tensors[index].delegate = self._delegate
        return OK

    def _preview_partitioning(self, nodes: int, out: Any, count: Any) -> int:
        groups = groups_of(self._graph, set(structs.ints(nodes)))
        params = (structs.DelegateParams * max(len(groups), 1))()
        self._preview = [params]
        for made, group in zip(params, groups, strict=False):
            reads, writes = boundary(self._graph, group)
            for name, values in (
                ("nodes_to_replace", [node.index for node in group]),
                ("input_tensors", sorted(reads)),
                ("output_tensors", sorted(writes)),
            ):
                array = (c.c_int32 * (len(values) + 1))(len(values), *values)
                self._preview.append(array)
                setattr(made, name, c.addressof(array))
            made.delegate = self._delegate
        out[0] = params
        count[0] = len(groups)
        return OK

    def _add_tensors(self, count: int, first: Any) -> int:
        at = self.tensors.add(count)
        self.context.tensors_size, self.context.tensors = self.tensors.count, self.tensors.address
        if first:
            first[0] = at
        return OK

    def _resize_tensor(self, address: int, dims: int) -> int:
        index = self.tensors.index_of(address)
        tensor = self.tensors[index]
        same = tuple(structs.ints(dims)) == shape_of(tensor)
        own = index >= len(self._graph.tensors)
        fixed = tensor.allocation_type in (structs.MMAP_RO, 0)
        if fixed or not (same or own or self._inside(index)):
            wanted = structs.ints(dims)
            if dims != tensor.dims:
                structs.free(dims)
            return self._refuse(
                "Attempting to resize a fixed-size tensor."
                if fixed
                else f"tensor {index} has the shape {list(shape_of(tensor))} in this graph, not {wanted}."
            )
        self.tensors.set_dims(tensor, dims)
        if index in self.bound:
            tensor.data = self.bound[index]
        elif tensor.allocation_type == structs.DYNAMIC:
            self.tensors.allocate(index)
        return OK

    def _inside(self, index: int) -> bool:
        """Whether a tensor of the graph is made and read inside the delegate's partitions alone."""
        return not any(index in structs.ints(array) for kernel in self.kernels.values() for array in kernel.arrays[1:])

    def _report_error(self, text: bytes, *arguments: Any) -> None:
        self.messages.append(formatted(text.decode("utf-8", "replace"), arguments))

    def _get_external_context(self, kind: int) -> int | None:
        return self._outside.get(kind)

    def _set_external_context(self, kind: int, address: int | None) -> None:
        self._outside[kind] = address

    def _get_model_metadata(self, name: bytes, out: Any, nbytes: Any) -> int:
        if name not in self._metadata:
            return ERROR
        out[0], nbytes[0] = c.addressof(self._metadata[name]), len(self._metadata[name])
        return OK

    def _acquire_subgraph_context(self, index: int, out: Any) -> int:
        if index != self._graph.index:
            return self._refuse(f"subgraph {index} is not open to a delegate of subgraph {self._graph.index}")
        out[0] = self.address
        return OK

    def _release_subgraph_context(self, index: int) -> int:
        return OK

    def _refuse(self, text: str) -> int:
        self.messages.append(text)
        return ERROR
