"""One partition that a delegate of ours runs inside Google's interpreter, and what crosses to and from it."""

from __future__ import annotations

import ctypes as c
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from tflgpu.delegates.abi import structs
from tflgpu.delegates.abi.guest_fallback import on_the_cpu
from tflgpu.delegates.abi.guest_graph import GuestGraph, infer_node, over
from tflgpu.delegates.abi.structs import OK
from tflgpu.delegation.boundary import boundary
from tflgpu.delegation.delegate import Delegate, Partition, Unsupported
from tflgpu.memory import HOST, Tensor, host_array
from tflgpu.model.constants import Budget, decode, encode
from tflgpu.model.graph import BITS, Array, Graph, Node, TensorSpec

NUMBERS = itertools.count(1)
"""Of delegates, kernels and buffers, each given once."""
BUFFERS: dict[int, Tensor] = {}
"""What our buffer handles stand for."""


class Owner(Protocol):
    """The delegate that a kernel is of."""

    delegate: Delegate
    closed: bool
    errors: list[BaseException]
    graphs: dict[int, GuestGraph]

    def require_open(self) -> None: ...
    def tell(self, text: str) -> None: ...


class Crossing:
    """A tensor that crosses between the runtime's memory and ours."""

    __slots__ = ("_address", "_view", "native", "tensor")

    def __init__(self, native: structs.Tensor, tensor: Tensor):
        self.native, self.tensor = native, tensor
        self._address: int | None = None
        self._view: Array = tensor.host

    def view(self) -> Array:
        """The runtime's memory, as an array; made anew only when it has moved."""
        address = self.native.data
        if address != self._address:
            found = structs.array_at(self.native, self.tensor.spec)
            if found is None:
                raise RuntimeError(f"the runtime has no memory for {self.tensor.spec}. ")
            self._view, self._address = found, address
        return self._view

    def get(self) -> None:
        """Takes the runtime's value."""
        np.copyto(self.tensor.write(), self.view())

    def put(self) -> None:
        """Gives the runtime our value."""
        np.copyto(self.view(), self.tensor.read())


class PackedCrossing(Crossing):
    """One of which the runtime has several elements in a byte."""

    __slots__ = ()

    def view(self) -> Array:
        """The runtime's memory, as bytes."""
        if not self.native.data:
            raise RuntimeError(f"the runtime has no memory for {self.tensor.spec}. ")
        return structs.memory(self.native.data, self.native.bytes)

    def get(self) -> None:
        spec, raw = self.tensor.spec, self.view()
        np.copyto(self.tensor.write(), decode(raw, spec.type, spec.shape, None, Budget(8 * raw.size)))

    def put(self) -> None:
        np.copyto(self.view(), np.frombuffer(encode(self.tensor.read(), self.tensor.spec.type), np.uint8))


def crossing(native: structs.Tensor, tensor: Tensor) -> Crossing:
    """A tensor's crossing, by its type."""
    return (PackedCrossing if tensor.spec.type in BITS else Crossing)(native, tensor)


class GuestKernel:
    """One partition that a delegate of ours runs for Google's runtime."""

    def __init__(self, owner: Owner, graph: GuestGraph, params: structs.DelegateParams):
        self.owner, self.graph = owner, graph
        self._numbers = set(structs.ints(params.nodes_to_replace))
        self._inputs = frozenset(structs.ints(params.input_tensors))
        self._outputs = frozenset(structs.ints(params.output_tensors))
        self._key: Any = None
        self._base: int | None = None
        self._step: Callable[[], None] | None = None
        self._tensors: dict[int, Tensor] = {}
        self._handles: dict[int, int] = {}
        self._reads: list[Crossing] = []
        self._writes: list[tuple[Crossing, int]] = []
        self._variables: list[Crossing] = []
        graph.made_by_us |= self._outputs
        graph.kernels += 1

    def prepare(self) -> None:
        """Compiles the partition for the present shapes; nothing where they have not changed."""
        self.owner.require_open()
        graph = self.graph.inferred()
        specs = list(graph.tensors)
        for index in self._inputs:
            if specs[index].data is None:
                specs[index] = _reshaped(specs[index], self.graph.shape(index))
        nodes = []
        for base in graph.nodes:
            if base.index in self._numbers:
                infer_node(base, specs)
                nodes.append(over(base, specs))
        key = tuple((i, specs[i].shape, id(specs[i].data)) for i in sorted(self._inputs | self._outputs))
        if key != self._key:
            self._compile(graph, tuple(nodes), specs)
            self._key = key
        for index in self._outputs:
            self._resize(specs[index])
        self._base = None

    def _compile(self, graph: Graph, nodes: tuple[Node, ...], specs: Sequence[TensorSpec]) -> None:
        delegate = self.owner.delegate
        indices = [i for i in sorted(self._inputs | self._outputs) if specs[i].data is None]
        self._tensors = {i: self._tensor(specs[i]) for i in indices}
        # The library may keep a tensor that nobody reads, which is then no output of the partition.
        reads, _ = boundary(graph, nodes)
        partition = Partition(delegate, nodes, reads, self._outputs)
        try:
            for node in nodes:
                delegate.check(node)
            self._step = delegate.compile(partition, self._tensors)
        except Unsupported as reason:  # the runtime does not take a partition back when shapes change
            shapes = ", ".join(f"{specs[i].name} {list(specs[i].shape)}" for i in indices if i in self._inputs)
            self.owner.tell(f"{len(nodes)} nodes from {nodes[0]} run on tflgpu's CPU kernels at {shapes}: {reason}")
            self._step = on_the_cpu(nodes, self._tensors, self._outputs)

    def _tensor(self, spec: TensorSpec) -> Tensor:
        """The tensor's storage, which partitions of ours share."""
        known = self.graph.tensors.get(spec.index)
        if known is None or known.spec.shape != spec.shape:
            known = self.graph.tensors[spec.index] = Tensor(spec, host_array(spec, [self.owner.delegate]))
        return known

    def _resize(self, spec: TensorSpec) -> None:
        """Gives an output of the partition its shape, and memory where the runtime would wait for more to be known."""
        context = self.graph.context
        tensor = structs.tensor_at(context, spec.index)
        waits = tensor.allocation_type == structs.DYNAMIC and not tensor.data
        if waits or tuple(structs.ints(tensor.dims)) != spec.shape:
            status = context.ResizeTensor(c.addressof(context), c.addressof(tensor), structs.int_array(spec.shape))
            if status != OK:
                raise RuntimeError(f"the runtime does not resize {spec}. ")

    def _bind(self) -> None:
        """Finds the runtime's tensors, whose array has moved."""
        context = self.graph.context
        crossings = {i: crossing(structs.tensor_at(context, i), t) for i, t in self._tensors.items()}
        self._reads = [x for i, x in crossings.items() if i in self._inputs and i not in self.graph.made_by_us]
        # What another partition of ours made is read where that partition left it.
        self._writes = [(x, self._handle(i)) for i, x in crossings.items() if i in self._outputs]
        self._variables = [x for x in self._reads if x.tensor.spec.is_variable]
        self._base = context.tensors

    def _handle(self, index: int) -> int:
        if index not in self._handles:
            self._handles[index] = next(NUMBERS)
        BUFFERS[self._handles[index]] = self._tensors[index]
        return self._handles[index]

    def invoke(self) -> None:
        """Runs the partition on the runtime's inputs and outputs; what is left on a device gets a buffer handle."""
        if self.owner.closed:
            self.owner.require_open()
        if self._base != self.graph.context.tensors:
            self._bind()
        for read in self._reads:
            read.get()
        assert self._step is not None
        self._step()
        for written, handle in self._writes:
            native = written.native
            native.data_is_stale = HOST not in written.tensor.current and not self.graph.all_at_the_host
            if native.data_is_stale:
                native.buffer_handle = handle
            else:
                written.put()
        for variable in self._variables:
            variable.put()

    def free(self) -> None:
        """Forgets what the runtime no longer needs."""
        for handle in self._handles.values():
            BUFFERS.pop(handle, None)
        self.graph.kernels -= 1
        if not self.graph.kernels:
            self.owner.graphs.pop(c.addressof(self.graph.context), None)


def _reshaped(spec: TensorSpec, shape: tuple[int, ...]) -> TensorSpec:
    return spec if spec.shape == shape else replace(spec, shape=shape)
