"""Our delegates in Google's interpreters: an object that these take, backed by functions that outlive it.

The interpreter may call what it was given for as long as it lives, whoever has let go of the delegate meanwhile. So the
C structs and functions are made once and never freed; they hold numbers, by which the Python objects are found, or not.
"""

from __future__ import annotations

import ctypes as c
import itertools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tflgpu.delegates.abi import structs
from tflgpu.delegates.abi.guest_graph import GuestGraph, infer_node, over
from tflgpu.delegates.abi.structs import ERROR, OK

from tflgpu.delegate import Delegate, Unsupported
from tflgpu.graph import Array, Graph, Node, TensorSpec
from tflgpu.memory import HOST, Tensor, host_array
from tflgpu.partition import Part, boundary, partition

_NUMBERS = itertools.count(1)
_GUESTS: weakref.WeakValueDictionary[int, Guest] = weakref.WeakValueDictionary()
_KERNELS: dict[int, GuestKernel] = {}
_BUFFERS: dict[int, Tensor] = {}
_IMMORTAL: list[Any] = []

_REPORT = c.CFUNCTYPE(None, structs.Pointer, c.c_char_p)


def as_guest(delegate: Delegate) -> Guest:
    """The delegate as an object for `experimental_delegates` of Google's interpreters."""
    return Guest(delegate)


class Guest:
    """A delegate of ours that Google's interpreters take.

    errors: the exceptions that its callbacks have met, the last 16; Google's RuntimeError shows their texts. `close`
    ends it: what still uses it gets a RuntimeError.
    """

    def __init__(self, delegate: Delegate):
        self.delegate = delegate
        self.errors: list[BaseException] = []
        self.closed = False
        self.graphs: dict[int, GuestGraph] = {}
        self._number = next(_NUMBERS)
        self.struct = structs.Delegate(
            data_=self._number,
            Prepare=_PREPARE,
            CopyFromBufferHandle=_COPY_FROM_HANDLE,
            FreeBufferHandle=_FREE_HANDLE,
            flags=structs.ALLOW_DYNAMIC | structs.PROPAGATE_SHAPES,
        )
        self.pointer = c.addressof(self.struct)
        name = f"tflgpu {delegate.name}".encode()
        self.registration = structs.Registration(
            init=_INIT,
            free=_FREE,
            prepare=_KERNEL_PREPARE,
            invoke=_INVOKE,
            builtin_code=structs.DELEGATE,
            custom_name=name,
            version=1,
        )
        _IMMORTAL.append((self.struct, self.registration, name))
        _GUESTS[self._number] = self

    def _get_native_delegate_pointer(self) -> int:
        if self.closed:
            raise RuntimeError(f"{self!r} is closed. ")
        return self.pointer

    def close(self) -> None:
        """Ends the delegate. Interpreters that still have it raise RuntimeError where they would run it."""
        self.closed = True
        self.graphs.clear()
        _GUESTS.pop(self._number, None)

    def __repr__(self) -> str:
        return f"{self.delegate!r} for TensorFlow Lite"

    def require_open(self) -> None:
        """Raises RuntimeError where the delegate was closed."""
        if self.closed:
            raise RuntimeError(f"the delegate {self.delegate.name} was closed, and an interpreter still runs it. ")

    def choose(self, context: structs.Context) -> int:
        """Asks the delegate for the nodes it takes, and hands them to the runtime. Returns its status."""
        graph = GuestGraph(context)
        inferred = graph.inferred()
        parts = partition(inferred, [_Choosing(self.delegate, graph.unreadable)])
        chosen = sorted(node.index for part in parts if part.owner is not None for node in part.nodes)
        array = (c.c_int32 * (len(chosen) + 1))(len(chosen), *chosen)
        address = c.addressof(context)
        self.graphs[address] = graph
        if graph.unresolved:
            # To tell us the shapes it would prepare the model's own nodes, which fails at those it does not know.
            self.struct.flags = structs.ALLOW_DYNAMIC
        status: int = context.ReplaceNodeSubsetsWithDelegateKernels(
            address, self.registration, c.addressof(array), self.pointer
        )
        if not graph.kernels:
            self.graphs.pop(address, None)
        return status


class _Choosing:
    """The delegate while it chooses among nodes, of which it is not shown those that cannot be read."""

    def __init__(self, delegate: Delegate, unreadable: dict[int, str]):
        self.name, self.limits = delegate.name, delegate.limits
        self.compile = delegate.compile
        self._delegate, self._unreadable = delegate, unreadable

    def check(self, node: Node) -> None:
        if node.index in self._unreadable:
            raise Unsupported(self._unreadable[node.index])
        self._delegate.check(node)


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


class GuestKernel:
    """One part that a delegate of ours runs for Google's runtime."""

    def __init__(self, owner: Guest, graph: GuestGraph, params: structs.DelegateParams):
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
        """Compiles the part for the present shapes; nothing where they have not changed."""
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
        for node in nodes:
            delegate.check(node)
        crossing = [i for i in sorted(self._inputs | self._outputs) if specs[i].data is None]
        self._tensors = {i: self._tensor(specs[i]) for i in crossing}
        # The library may keep a tensor that nobody reads, which is then no output of the part.
        reads, _ = boundary(graph, nodes)
        part = Part(delegate, nodes, reads, self._outputs)
        self._step = delegate.compile(part, self._tensors)

    def _tensor(self, spec: TensorSpec) -> Tensor:
        """The tensor's storage, which parts of ours share."""
        known = self.graph.tensors.get(spec.index)
        if known is None or known.spec.shape != spec.shape:
            known = self.graph.tensors[spec.index] = Tensor(spec, host_array(spec, [self.owner.delegate]))
        return known

    def _resize(self, spec: TensorSpec) -> None:
        """Gives one of the part's outputs its shape, and memory where the runtime would wait for more to be known."""
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
        crossings = {i: Crossing(structs.tensor_at(context, i), t) for i, t in self._tensors.items()}
        self._reads = [x for i, x in crossings.items() if i in self._inputs and i not in self.graph.made_by_us]
        # What another part of ours made is read where that part left it.
        self._writes = [(x, self._handle(i)) for i, x in crossings.items() if i in self._outputs]
        self._variables = [x for x in self._reads if x.tensor.spec.is_variable]
        self._base = context.tensors

    def _handle(self, index: int) -> int:
        if index not in self._handles:
            self._handles[index] = next(_NUMBERS)
        _BUFFERS[self._handles[index]] = self._tensors[index]
        return self._handles[index]

    def invoke(self) -> None:
        """Runs the part between the runtime's inputs and outputs; what is left on a device gets a buffer handle."""
        if self.owner.closed:
            self.owner.require_open()
        if self._base != self.graph.context.tensors:
            self._bind()
        for crossing in self._reads:
            np.copyto(crossing.tensor.write(), crossing.view())
        assert self._step is not None
        self._step()
        for crossing, handle in self._writes:
            tensor, native = crossing.tensor, crossing.native
            native.data_is_stale = HOST not in tensor.current
            if HOST in tensor.current:
                np.copyto(crossing.view(), tensor.host)
            else:
                native.buffer_handle = handle
        for crossing in self._variables:
            np.copyto(crossing.view(), crossing.tensor.read())

    def free(self) -> None:
        """Forgets what the runtime no longer needs."""
        for handle in self._handles.values():
            _BUFFERS.pop(handle, None)
        self.graph.kernels -= 1
        if not self.graph.kernels:
            self.owner.graphs.pop(c.addressof(self.graph.context), None)


def _reshaped(spec: TensorSpec, shape: tuple[int, ...]) -> TensorSpec:
    return spec if spec.shape == shape else replace(spec, shape=shape)


def _told(context: int, error: BaseException, owner: Guest | None) -> None:
    """Keeps an exception, and has the runtime say its text in the RuntimeError that it raises."""
    if owner is not None:
        owner.errors[:] = [*owner.errors[-15:], error]
    text = f"{type(error).__name__}: {error}" if not isinstance(error, RuntimeError) else str(error)
    report = _REPORT(c.cast(structs.Context.from_address(context).ReportError, c.c_void_p).value or 0)
    report(context, (text.strip() + "\n").replace("%", "%%").encode("utf-8", "replace")[:1000])


def _function(kind: Any, failure: Any) -> Callable[[Callable[..., Any]], Any]:
    """A C function that lasts as long as the process. What its body raises is told, and `failure` returned.

    The body yields whose call it is, if it can say so, before the work that may fail.
    """

    def make(body: Callable[..., Any]) -> Any:
        def call(context: int, *arguments: Any) -> Any:
            owner: list[Guest] = []
            try:
                return body(context, owner, *arguments)
            except BaseException as error:  # which must not reach C
                _told(context, error, owner[0] if owner else None)
                return failure

        return kind(call)

    return make


def _guest_of(delegate: int) -> Guest:
    found = _GUESTS.get(structs.Delegate.from_address(delegate).data_)
    if found is None:
        raise RuntimeError("a delegate of tflgpu was closed, and an interpreter still uses it. ")
    return found


_USER_DATA = structs.Node.user_data.offset


def _kernel_of(node: int) -> GuestKernel:
    found = _KERNELS.get(structs.Pointer.from_address(node + _USER_DATA).value or 0)
    if found is None:
        raise RuntimeError("a kernel of tflgpu is gone, and an interpreter still uses it. ")
    return found


@_function(structs.RUN, ERROR)
def _PREPARE(context: int, owner: list[Guest], delegate: int) -> int:
    owner.append(_guest_of(delegate))
    return owner[0].choose(structs.Context.from_address(context))


@_function(structs.INIT, structs.INIT_FAILED)
def _INIT(context: int, owner: list[Guest], buffer: int, length: int) -> int:
    params = structs.DelegateParams.from_address(buffer)
    found = _guest_of(params.delegate)
    owner.append(found)
    number = next(_NUMBERS)
    _KERNELS[number] = GuestKernel(found, found.graphs[context], params)
    return number


@_function(structs.FREE, None)
def _FREE(context: int, owner: list[Guest], number: int) -> None:
    kernel = _KERNELS.pop(number, None)
    if kernel is not None:
        kernel.free()


@_function(structs.RUN, ERROR)
def _KERNEL_PREPARE(context: int, owner: list[Guest], node: int) -> int:
    kernel = _kernel_of(node)
    owner.append(kernel.owner)
    with np.errstate(all="ignore"):
        kernel.prepare()
    return OK


# The one that is called for every invoke has no frame of _function around it.
@structs.RUN
def _INVOKE(context: int, node: int) -> int:
    kernel = None
    try:
        kernel = _kernel_of(node)
        kernel.invoke()
        return OK
    except BaseException as error:  # which must not reach C
        _told(context, error, None if kernel is None else kernel.owner)
        return ERROR


@_function(structs.COPY, ERROR)
def _COPY_FROM_HANDLE(context: int, owner: list[Guest], delegate: int, handle: int, tensor: int) -> int:
    found = _BUFFERS.get(handle)
    owning = _GUESTS.get(structs.Delegate.from_address(delegate).data_)
    if found is None or owning is None:
        raise RuntimeError("a delegate of tflgpu that holds a tensor's value was closed. ")
    owner.append(owning)
    np.copyto(Crossing(structs.Tensor.from_address(tensor), found).view(), found.read())
    return OK


@_function(structs.FREE_HANDLE, None)
def _FREE_HANDLE(context: int, owner: list[Guest], delegate: int, handle: Any) -> None:
    _BUFFERS.pop(handle[0], None)
    handle[0] = structs.NO_HANDLE
