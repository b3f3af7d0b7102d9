"""The drop-in for `tf.lite.Interpreter` and `ai_edge_litert.interpreter.Interpreter`: same methods, same errors."""

from __future__ import annotations

import enum
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tflgpu import details
from tflgpu.arguments import ModelContent, OpResolverType, check_arguments, checked_content, threads_of
from tflgpu.delegation.delegate import Delegate, KeepsLimits, Partition
from tflgpu.delegation.discovery import attached
from tflgpu.delegation.report import DelegationReport, delegation_report
from tflgpu.details import TensorDetails
from tflgpu.interpreter_wrapper import InterpreterWrapper
from tflgpu.limits import CANCELLED, Limits, Meter
from tflgpu.memory import Loans, Tensor
from tflgpu.model.graph import Array
from tflgpu.model.loader import load
from tflgpu.ops.registry import OPS, Op, check_operators
from tflgpu.optional import offering
from tflgpu.runtime.exclusive import Exclusive
from tflgpu.runtime.graph_runner import GraphRunner, graph_runners
from tflgpu.runtime.list_writes import with_list_writes
from tflgpu.runtime.running import running
from tflgpu.runtime.session import Observer, Session
from tflgpu.shapes import DelegateError, reraise
from tflgpu.signature_runner import SignatureRunner, only_signature
from tflgpu.tensor_access import bind, checked_shape, resize, set_value, tensor_at, value_of, view_of

if TYPE_CHECKING:
    from tflgpu.metadata import Metadata


class Interpreter:
    """Runs a TensorFlow Lite model.

    >>> interpreter = Interpreter(model_path="model.tflite")  # doctest: +SKIP
    >>> interpreter.allocate_tensors()  # doctest: +SKIP
    >>> interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)  # doctest: +SKIP
    >>> interpreter.invoke()  # doctest: +SKIP
    >>> y = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])  # doctest: +SKIP

    model_path: the file, which is mapped and not copied; or model_content: its bytes, or an array or np.memmap of them,
        which must not change.
    experimental_delegates: from `load_delegate`; the first that can take a node gets it.
    num_threads: an int >= 1: the threads that share out large convolutions and matrix multiplies on the CPU. As in
        LiteRT it is 1 unless given; more than the processors that the process may use are taken for these.
    experimental_op_resolver_type: checked; see OpResolverType. TensorFlow's own enum is taken too.
    experimental_preserve_all_tensors: every tensor keeps memory of its own, so that `get_tensor` works on all of them,
        those inside what delegates run too; delegates then fuse less.
    limits: what the interpreter may use, of memory, time, iterations and elements; see Limits. None: no limit.
    copy_model: whether the file is read into memory, so that a change of it has no effect from then on. Unless it is,
        a file that another process cuts short while it is mapped may end this process (SIGBUS), as in TensorFlow Lite.
    The other experimental arguments steer XNNPACK in TensorFlow Lite; they are taken and have no effect here.

    Raises ValueError for arguments or a model that cannot be used, with TensorFlow Lite's texts.
    An interpreter serves one thread at a time: a call during another thread's raises RuntimeError.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        model_content: ModelContent | None = None,
        experimental_delegates: Sequence[Delegate] | None = None,
        num_threads: int | None = None,
        experimental_op_resolver_type: enum.Enum = OpResolverType.AUTO,
        experimental_preserve_all_tensors: bool = False,
        experimental_disable_delegate_clustering: bool = False,
        experimental_default_delegate_latest_features: bool = False,
        experimental_compress_quantization_zero_points: bool = False,
        experimental_disable_delegate_node_fusion: bool = False,
        experimental_force_delegate_node_profiling: bool = False,
        *,
        limits: Limits | None = None,
        copy_model: bool = False,
        _ops: Mapping[str, Op] | None = None,
        _observe: Observer | None = None,
    ):
        check_arguments(experimental_op_resolver_type, num_threads)
        content = checked_content(model_path, model_content)
        self._source = os.fspath(model_path) if model_path else "model_content"
        try:
            model = load(model_path or None, content, copy_model)
            self._model = model if experimental_preserve_all_tensors else with_list_writes(model)
            self._compress_zero_points = experimental_compress_quantization_zero_points
            known_ops = OPS if _ops is None else _ops
            check_operators(self._model, known_ops)
            self._delegates = attached(experimental_delegates, self._model, num_threads)
            ops = details.with_stand_ins(known_ops, self._delegates)
            self._meter = Meter(limits, model.nbytes)
            self._meter.begin()
            for delegate in offering(self._delegates, KeepsLimits):
                delegate.within(self._meter)
            self._session = Session(ops, self._delegates, experimental_preserve_all_tensors, _observe, self._meter)
            if (threads := threads_of(num_threads)) > 1:
                self._session.use_threads(threads)
            self._graphs = graph_runners(self._model, self._session)
            self._loans = Loans()
            self._states: dict[str, Tensor] = {}
            self._exclusive = Exclusive(self._loans, self._meter)
            if self._session.delegates_claim:
                self._apply_delegates()
        except Exception as error:
            reraise(error, self._source)

    def _apply_delegates(self) -> None:
        """Prepares the model at once, so that a native delegate which fails does so here, as in TensorFlow Lite."""
        try:
            self.allocate_tensors()
        except RuntimeError as error:
            if isinstance(error, DelegateError) or self._session.static_only:
                raise  # others are asked again when the inputs may have other shapes

    def allocate_tensors(self) -> None:
        """Prepares the model for the present input shapes: see `runtime.prepare.prepare`.

        Raises RuntimeError where a node cannot be prepared, or while a view of the interpreter's memory is alive.
        """
        self._model.require_whole()
        self._exclusive.run(self._graphs[0].allocate)

    def invoke(self) -> None:
        """Runs the model; its outputs can be read when this returns. Raises RuntimeError, naming the node."""
        self._invoke(self._graphs[0])

    def cancel(self) -> None:
        """Ends the present call of another thread before its next node or iteration; it raises RuntimeError.

        Without such a call nothing happens. The interpreter stays usable.
        """
        self._meter.stopped.append(CANCELLED)

    def _invoke(self, graph: GraphRunner) -> None:
        self._exclusive.run(graph.invoke)

    def get_input_details(self) -> list[TensorDetails]:
        """One dict an input, in the model's order: name, index, shape, shape_signature, dtype, quantization, …"""
        graph = self._graphs[0]
        return [details.of_tensor(graph.specs[i]) for i in graph.graph.inputs]

    def get_output_details(self) -> list[TensorDetails]:
        """One dict an output, as `get_input_details`. A dynamic output has its real shape after `invoke`."""
        graph = self._graphs[0]
        return [details.of_tensor(graph.specs[i]) for i in graph.graph.outputs]

    def get_tensor_details(self, subgraph_index: int = 0) -> list[TensorDetails]:
        """One dict a tensor of a subgraph. Raises ValueError where there is no such subgraph."""
        if not 0 <= subgraph_index < (n := len(self._graphs)):
            text = f"subgraph_index is out of range: {subgraph_index} for the model, which has {n} subgraphs."
            raise ValueError(text)
        return details.of_tensors(self._graphs[subgraph_index].specs)

    def set_tensor(self, tensor_index: int, value: Any) -> None:
        """Copies value into a tensor. Raises ValueError where type, rank, a dimension or the index does not fit."""
        set_value(self._graphs[0], operator.index(tensor_index), value)

    def get_tensor(self, tensor_index: int, subgraph_index: int = 0) -> Array:
        """A copy of a tensor's value. Raises ValueError where there is none yet, or no such tensor."""
        graph = self._graph_at(operator.index(subgraph_index))
        return value_of(graph, operator.index(tensor_index), self._graphs)

    def tensor(self, tensor_index: int) -> Callable[[], Array]:
        """A function that returns a view of a tensor's memory, for use without copies.

        While such a view is alive, `invoke`, `allocate_tensors` and `resize_tensor_input` raise RuntimeError: hold the
        function, which always gives the present memory, and not the view.
        """
        index = operator.index(tensor_index)
        return lambda: self._view(self._graphs[0], index)

    def _view(self, graph: GraphRunner, index: int) -> Array:
        return self._loans.lend(view_of(graph, index, self._graphs))

    def bind_input(self, tensor_index: int, array: Any, stream: int = 0) -> None:
        """Makes `invoke` read an input from `array` where it is, on a delegate's device; None ends that.

        array: of the input's shape and type, C-contiguous. For CUDA with `__cuda_array_interface__` or `__dlpack__`,
        e.g. of CuPy, PyTorch or JAX; for OpenCL pyopencl's array or buffer in the context `delegate.device.context`.
        stream: on which it is written, and whose work `invoke` waits for: a CUDA stream's number, 0 for the default;
        a pyopencl queue's `int_ptr`, 0 where nothing is under way. Binding prepares the model anew. Raises ValueError
        for an array that does not fit, or where no delegate has such a device.
        """
        self._bind("input", operator.index(tensor_index), array, stream)

    def bind_output(self, tensor_index: int, array: Any, stream: int = 0) -> None:
        """Makes `invoke` write an output to `array` where it is, as `bind_input`; the value is there when it returns.

        stream: on which the array is read: `invoke` overwrites it only after what is there by then.
        """
        self._bind("output", operator.index(tensor_index), array, stream)

    def _bind(self, side: str, index: int, array: Any, stream: int) -> None:
        self._exclusive.run(lambda: bind(self._graphs[0], side, index, array, stream, self._delegates))

    def resize_tensor_input(self, input_index: int, tensor_size: Any, strict: bool = False) -> None:
        """Gives an input another shape, from the next `allocate_tensors` on.

        strict: only dimensions that the model's shape signature leaves open (-1) may change. Raises ValueError for a
        shape that is not one-dimensional, RuntimeError for one that the tensor cannot take.
        """
        self._resize(self._graphs[0], operator.index(input_index), tensor_size, strict)

    def _resize(self, graph: GraphRunner, index: int, tensor_size: Any, strict: bool) -> None:
        shape = checked_shape(tensor_size)
        self._exclusive.run(lambda: resize(graph, index, shape, strict))

    def reset_all_variables(self) -> None:
        """Sets every variable tensor of every subgraph to zero (its zero point where it is quantized)."""

        def reset() -> None:
            for graph in self._graphs:
                graph.reset_variables()

        self._exclusive.beside_views().run(reset)

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        """{signature key: {"inputs": names, "outputs": names}}, sorted by name."""
        full = self._get_full_signature_list()
        return {key: {side: list(names) for side, names in sides.items()} for key, sides in full.items()}

    def _get_full_signature_list(self) -> dict[str, dict[str, dict[str, int]]]:
        """As `get_signature_list`, with the index of each tensor by its name: programs for the Edge TPU ask for it."""
        return details.of_signatures(self._model)

    def get_signature_runner(self, signature_key: str | None = None) -> SignatureRunner:
        """A callable for one signature; without a key, for the model's only one. Raises ValueError otherwise."""
        key = only_signature(self._model) if signature_key is None else signature_key
        return SignatureRunner(interpreter=self, signature_key=key)

    def num_subgraphs(self) -> int:
        """The number of subgraphs of the model."""
        return len(self._graphs)

    @property
    def metadata(self) -> Metadata:
        """What the model says about itself: names, normalization, labels, files. Empty where it says nothing.

        Raises ValueError where its metadata are malformed.
        """
        from tflgpu.metadata import metadata_of  # most programs do without

        self._model.require_whole()
        return metadata_of(self._model)

    def delegation_report(self) -> DelegationReport:
        """Which node runs where, why not on a delegate, and what crosses: text, a table in notebooks, and `rows`.

        Raises RuntimeError before allocation."""
        if not any(graph.ready for graph in self._graphs):
            raise RuntimeError("There is no delegation to report before allocate_tensors().")
        return delegation_report(self._running_partitions(), self._delegates)

    def _running_partitions(self) -> list[Partition]:
        return [partition for graph in running(self._graphs) for partition in graph.partitions]

    def _graph_at(self, index: int) -> GraphRunner:
        if not 0 <= index < len(self._graphs):
            raise ValueError(f"Invalid subgraph index {index} exceeds max subgraph index {len(self._graphs)}")
        return self._graphs[index]

    def _get_tensor_details(self, tensor_index: int, subgraph_index: int) -> TensorDetails:
        graph = self._graph_at(operator.index(subgraph_index))
        return details.of_tensor(tensor_at(graph, operator.index(tensor_index)))

    def _get_op_details(self, op_index: int) -> dict[str, Any]:
        """index, op_name, inputs, outputs, operand_types, result_types of one node of the main subgraph."""
        return details.of_node(self._graphs[0], operator.index(op_index))

    def _get_ops_details(self) -> list[dict[str, Any]]:
        """`_get_op_details` of every node: the model's, then one named DELEGATE for each delegated partition."""
        return [self._get_op_details(i) for i in range(details.node_count(self._graphs[0]))]

    @property
    def experimental_compress_quantization_zero_points(self) -> bool:
        """As given to the constructor; it has no effect here."""
        return self._compress_zero_points

    @property
    def _interpreter(self) -> InterpreterWrapper:
        """What programs ask of the native object in TensorFlow Lite's interpreter."""
        return InterpreterWrapper(self)

    def __repr__(self) -> str:
        return details.of_interpreter(self._source, self._graphs[0], self._delegates)

    def __getstate__(self) -> Any:
        raise TypeError("cannot pickle or copy an Interpreter: make one from the model in each process")

    def _safe_to_run(self) -> bool:
        """Whether no view of the interpreter's memory is alive."""
        return not self._loans
