"""Our delegates in Google's interpreters: an object that these take, backed by functions that outlive it.

The interpreter may call what it was given for as long as it lives, whoever has let go of the delegate meanwhile. So the
C structs and functions are made once and never freed; they hold numbers, by which the Python objects are found, or not.
"""

from __future__ import annotations

import ctypes as c
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tflgpu.delegates.abi import structs
from tflgpu.delegates.abi.guest_graph import GuestGraph
from tflgpu.delegates.abi.guest_kernel import BUFFERS, NUMBERS, GuestKernel, Owner, crossing
from tflgpu.delegates.abi.structs import ERROR, OK
from tflgpu.delegation.delegate import Delegate, Unsupported
from tflgpu.delegation.partitioner import partition
from tflgpu.model.graph import Node

_GUESTS: weakref.WeakValueDictionary[int, Guest] = weakref.WeakValueDictionary()
_KERNELS: dict[int, GuestKernel] = {}
_IMMORTAL: list[Any] = []

_REPORT = c.CFUNCTYPE(None, structs.Pointer, c.c_char_p)


def as_guest(delegate: Delegate) -> Guest:
    """The delegate as an object for `experimental_delegates` of Google's interpreters."""
    return Guest(delegate)


class Guest:
    """A delegate of ours that Google's interpreters take.

    errors: the exceptions that its callbacks have met, the last 16; Google's RuntimeError shows their texts. left: the
    nodes that it was shown and did not take, with the reasons, and the partitions that it no longer takes at new
    shapes, of which a RuntimeWarning tells too; the last 1000. `close` ends it: what still uses it gets a RuntimeError.
    """

    def __init__(self, delegate: Delegate):
        self.delegate = delegate
        self.errors: list[BaseException] = []
        self.left: list[str] = []
        self.closed = False
        self.graphs: dict[int, GuestGraph] = {}
        self._number = next(NUMBERS)
        self.struct = structs.Delegate(
            data_=self._number,
            Prepare=_PREPARE,
            CopyFromBufferHandle=_COPY_FROM_HANDLE,
            FreeBufferHandle=_FREE_HANDLE,
            # Our kernels give their outputs the shapes that they have. With PROPAGATE_SHAPES too, the runtime would do
            # it, and prepare the nodes that we have taken: it fails at those that only a delegate takes.
            flags=structs.ALLOW_DYNAMIC,
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

    def tell(self, text: str) -> None:
        """Warns of a partition that is not on the device, and keeps the text."""
        self._keep([text])
        warnings.warn(f"{self.delegate.name} delegate: {text}", RuntimeWarning, stacklevel=2)

    def _keep(self, left: Sequence[str]) -> None:
        self.left[:] = [*self.left, *left][-1000:]

    def choose(self, context: structs.Context) -> int:
        """Asks the delegate for the nodes it takes, and hands them to the runtime. Returns its status."""
        graph = GuestGraph(context)
        inferred = graph.inferred()
        partitions = partition(inferred, [_Choosing(self.delegate, graph.unreadable)])
        left = [
            f"{n}: {'; '.join(one.why.get(n.index, ()))}" for one in partitions if one.owner is None for n in one.nodes
        ]
        self._keep(left)
        chosen = sorted(node.index for one in partitions if one.owner is not None for node in one.nodes)
        array = (c.c_int32 * (len(chosen) + 1))(len(chosen), *chosen)
        address = c.addressof(context)
        self.graphs[address] = graph
        status: int = context.ReplaceNodeSubsetsWithDelegateKernels(
            address, self.registration, c.addressof(array), self.pointer
        )
        if not graph.kernels:
            self.graphs.pop(address, None)
        # With preserve_all_tensors the runtime makes a partition of each node, and shows every tensor, but does not ask
        # for what is left on a device.
        ours = sum(one.owner is not None for one in partitions)
        graph.all_at_the_host = ours < graph.kernels == len(chosen)
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


def _told(context: int, error: BaseException, owner: Owner | None) -> None:
    """Keeps an exception, and has the runtime say its text in the RuntimeError that it raises."""
    if owner is not None:
        owner.errors[:] = [*owner.errors[-15:], error]
    text = f"{type(error).__name__}: {error}" if not isinstance(error, RuntimeError) else str(error)
    report = _REPORT(c.cast(structs.Context.from_address(context).ReportError, c.c_void_p).value or 0)
    # A format without arguments, since variadic ones are passed in ways of their own; the runtime shows 1023 bytes.
    report(context, (text.strip()[:600] + "\n").replace("%", "%%").encode("utf-8", "replace"))


def _function(kind: Any, failure: Any) -> Callable[[Callable[..., Any]], Any]:
    """A C function that lasts as long as the process. What its body raises is told, and `failure` returned.

    The body yields whose call it is, if it can say so, before the work that may fail.
    """

    def make(body: Callable[..., Any]) -> Any:
        def call(context: int, *arguments: Any) -> Any:
            owner: list[Owner] = []
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
def _PREPARE(context: int, owner: list[Owner], delegate: int) -> int:
    found = _guest_of(delegate)
    owner.append(found)
    return found.choose(structs.Context.from_address(context))


@_function(structs.INIT, structs.INIT_FAILED)
def _INIT(context: int, owner: list[Owner], buffer: int, length: int) -> int:
    params = structs.DelegateParams.from_address(buffer)
    found = _guest_of(params.delegate)
    owner.append(found)
    number = next(NUMBERS)
    _KERNELS[number] = GuestKernel(found, found.graphs[context], params)
    return number


@_function(structs.FREE, None)
def _FREE(context: int, owner: list[Owner], number: int) -> None:
    kernel = _KERNELS.pop(number, None)
    if kernel is not None:
        kernel.free()


@_function(structs.RUN, ERROR)
def _KERNEL_PREPARE(context: int, owner: list[Owner], node: int) -> int:
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
def _COPY_FROM_HANDLE(context: int, owner: list[Owner], delegate: int, handle: int, tensor: int) -> int:
    found = BUFFERS.get(handle)
    owning = _GUESTS.get(structs.Delegate.from_address(delegate).data_)
    if found is None or owning is None:
        raise RuntimeError("a delegate of tflgpu that holds a tensor's value was closed. ")
    owner.append(owning)
    crossing(structs.Tensor.from_address(tensor), found).put()
    return OK


@_function(structs.FREE_HANDLE, None)
def _FREE_HANDLE(context: int, owner: list[Owner], delegate: int, handle: Any) -> None:
    BUFFERS.pop(handle[0], None)
    handle[0] = structs.NO_HANDLE
