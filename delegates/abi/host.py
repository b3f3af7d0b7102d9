"""Native delegates in our interpreter: of libraries with tflite_plugin_create_delegate, or of whoever has one."""

from __future__ import annotations

import ctypes as c
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tflgpu.delegates.abi import structs
from tflgpu.delegates.abi.native_graph import Kernel, NativeGraph
from tflgpu.delegates.abi.packed import Packed, is_packed
from tflgpu.delegation.delegate import Limits, Partition, Unsupported
from tflgpu.delegation.discovery import LoadedAs, load_again
from tflgpu.delegation.forks import Opened
from tflgpu.memory import Tensor
from tflgpu.model.graph import Array, Graph, Model, Node, Shape
from tflgpu.ops.registry import OPS, Op, OpError
from tflgpu.shapes import DelegateError

_REPORT = c.CFUNCTYPE(None, c.c_char_p)


class NoPlugin(AttributeError, ValueError):
    """A library without the two functions of an external delegate; TensorFlow Lite raises AttributeError."""


def load(path: str, options: Mapping[str, Any]) -> NativeDelegate:
    """The delegate that a library creates for these options, which it is given as text.

    Raises OSError where the library cannot be opened, ValueError with its own message where it refuses.
    """
    library = c.CDLL(path)
    try:
        create, destroy = library.tflite_plugin_create_delegate, library.tflite_plugin_destroy_delegate
    except AttributeError as error:
        raise NoPlugin(str(error)) from None
    create.argtypes = [c.POINTER(c.c_char_p), c.POINTER(c.c_char_p), c.c_size_t, _REPORT]
    create.restype = structs.Pointer
    destroy.argtypes, destroy.restype = [structs.Pointer], None
    messages: list[str] = []
    report = _REPORT(lambda text: messages.append((text or b"").decode("utf-8", "replace")))
    keys, values = ((c.c_char_p * len(options))(*(str(x).encode() for x in xs)) for xs in (options, options.values()))
    pointer = create(keys, values, len(options), report)
    if not pointer:
        raise ValueError(f"Failed to load delegate from {path}\n{''.join(messages)}")
    return NativeDelegate(pointer, Path(path).name, lambda: destroy(pointer))


def borrow(owner: Any) -> NativeDelegate:
    """The delegate of an object that has _get_native_delegate_pointer, which keeps it; TensorFlow Lite's own have."""
    pointer = owner._get_native_delegate_pointer()
    return NativeDelegate(pointer, type(owner).__name__, lambda: owner and None)


class NativeDelegate:
    """A TfLiteDelegate: destroyed when nobody holds this object, and no interpreter that uses it, any more."""

    limits = Limits()
    loaded_as: LoadedAs = ()

    def __init__(self, pointer: int, name: str, destroy: Callable[[], object]):
        self.name = name
        self.opened = Opened(f"native delegate {name}")
        self._pointer = pointer
        self._destroy = destroy
        if not self.struct.Prepare:
            raise ValueError(
                f"Failed to load delegate from {name}\nopaque delegates (TfLiteOpaqueDelegate) are not supported"
            )

    @property
    def struct(self) -> structs.Delegate:
        return structs.Delegate.from_address(self._pointer)

    def attach(self, model: Model, threads: int) -> Attached:
        """What serves one interpreter with this delegate."""
        return Attached(self, model, threads)

    def check(self, node: Node) -> None:
        """Raises Unsupported: a native delegate chooses its nodes in `Attached.claim`."""
        raise Unsupported("a native delegate claims its nodes")

    def compile(self, partition: Partition, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
        raise DelegateError(f"{self.name} must be attached to an interpreter first. ")

    def _get_native_delegate_pointer(self) -> int:
        return self._pointer

    def __del__(self) -> None:
        destroy, self._destroy = getattr(self, "_destroy", None), None  # type: ignore[assignment]
        if destroy is not None and not self.opened.lost:  # it may wait for its threads
            destroy()

    def __reduce__(self) -> tuple[Callable[..., Any], LoadedAs]:
        return load_again(self)

    def __repr__(self) -> str:
        return f"native delegate {self.name}"


class Attached:
    """A native delegate in one interpreter, with the kernels it made for its graphs."""

    one_plan = True  # as in TensorFlow Lite: for another shape it prepares anew
    limits = Limits()

    def __init__(self, delegate: NativeDelegate, model: Model, threads: int):
        self.delegate = delegate
        self.name = delegate.name
        self._model, self._threads = model, threads
        self._graphs: dict[tuple[int, int], NativeGraph] = {}
        self._claimed: dict[Node, tuple[NativeGraph, Kernel]] = {}
        self.stand_ins = _stand_ins(model)

    @property
    def static_only(self) -> bool:
        """Whether it refuses graphs with shapes that are known only at run time."""
        return not self.delegate.struct.flags & structs.ALLOW_DYNAMIC

    def check(self, node: Node) -> None:
        raise Unsupported("a native delegate claims its nodes")

    def claim(self, graph: Graph) -> list[tuple[Node, ...]]:
        """The groups of nodes that the library takes. Raises DelegateError where it fails.

        A library that allows dynamic tensors is asked once for the nodes of a graph, another for every shape.
        """
        self.delegate.opened.require()
        nodes = {node.index: node for node in graph.nodes}
        key = graph.index, min(nodes, default=0)
        applied = self._graphs.get(key)
        if applied is not None and not self.static_only and applied.same_nodes(graph):
            applied.reshape(graph)
        else:
            if applied is not None:
                applied.close()
            pointer = self.delegate._get_native_delegate_pointer()
            applied = self._graphs[key] = NativeGraph(self.delegate, pointer, graph, self._model, self._threads)
            applied.apply()
        groups = [(kernel, tuple(nodes[i] for i in kernel.nodes)) for kernel in applied.kernels.values()]
        self._claimed.update((group[0], (applied, kernel)) for kernel, group in groups)
        return [group for _, group in groups]

    def compile(self, partition: Partition, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
        """The partition as a call of its kernel, which is prepared here."""
        applied, kernel = self._claimed.pop(partition.nodes[0])
        packed = {i: Packed(applied.tensors, tensor) for i, tensor in tensors.items() if is_packed(tensor.spec)}
        for index, tensor in tensors.items():
            native = applied.tensors[index]
            native.data_is_stale = False
            address = packed[index].address if index in packed else tensor.host.ctypes.data
            if address is not None:
                applied.bound[index] = native.data = address
        applied.prepare(kernel)
        return _step(applied, kernel, partition, tensors, packed, self.delegate.opened.require)

    def __repr__(self) -> str:
        return repr(self.delegate)


def _step(
    applied: NativeGraph,
    kernel: Kernel,
    partition: Partition,
    tensors: Mapping[int, Tensor],
    packed: Mapping[int, Packed],
    require: Callable[[], None],
) -> Callable[[], None]:
    invoke, context, node = kernel.registration.invoke, applied.address, c.addressof(kernel.node)
    reads = [tensors[i] for i in sorted(partition.inputs) if i in tensors]
    writes = [tensors[i] for i in sorted(partition.outputs)]

    def failed() -> DelegateError:
        return applied.error(f"{kernel} failed to invoke.")

    def step() -> None:
        require()
        for tensor in reads:
            tensor.read()
        if applied.closed or invoke(context, node):
            raise failed()
        for tensor in writes:
            tensor.write()

    elsewhere = applied.moves_data or any(
        applied.tensors[i].allocation_type == structs.DYNAMIC for i in partition.outputs
    )
    if packed or elsewhere:

        def checked() -> int:
            require()
            return invoke(context, node)

        return _step_with_handles(applied, partition, tensors, packed, checked, failed)
    return step


def _step_with_handles(
    applied: NativeGraph,
    partition: Partition,
    tensors: Mapping[int, Tensor],
    packed: Mapping[int, Packed],
    invoke: Callable[[], int],
    failed: Callable[[], DelegateError],
) -> Callable[[], None]:
    """The step of a delegate that may leave results in buffers of its own or in memory that it allocates, or whose
    tensors C lays out otherwise."""
    place = applied.place
    reads = [(tensors[i], applied.tensors[i]) for i in sorted(partition.inputs) if i in tensors]
    given = [packed[i] for i in sorted(partition.inputs) if i in packed]
    writes = [(i, tensors[i]) for i in sorted(partition.outputs)]

    def step() -> None:
        for tensor, native in reads:
            if not (native.data_is_stale and place in tensor.current):
                tensor.read()
        for value in given:
            value.give()
        if applied.closed or invoke():
            raise failed()
        for index, tensor in writes:
            native = applied.tensors[index]
            if index in packed:
                tensor.write()
                packed[index].take()
            elif native.data_is_stale:
                tensor.buffers[place] = index
                tensor.write(place)
            else:
                host = tensor.write()
                if native.data and native.data != applied.bound[index]:
                    c.memmove(host.ctypes.data, native.data, host.nbytes)

    return step


def _stand_ins(model: Model) -> dict[str, Op]:
    """An operator for each custom one of the model that nobody has: it has the model's shapes, and cannot run here."""

    def shapes(node: Node) -> Sequence[Shape]:
        return [spec.shape for spec in node.outputs]

    def refuse(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Any:
        raise OpError(
            f"Encountered unresolved custom op: {node.op}.\n"
            "See instructions: https://www.tensorflow.org/lite/guide/ops_custom "
        )

    names = {node.op for graph in model.graphs for node in graph.nodes if node.is_custom} - OPS.keys()
    return {name: Op(name, 1, frozenset(), 0, shapes, refuse, "kernel", False, True) for name in names}
