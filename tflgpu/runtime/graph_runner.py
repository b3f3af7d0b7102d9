"""The graphs of a model in use: their present shapes and values, and who runs them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import setitem

import numpy as np

from tflgpu.delegation.delegate import Partition
from tflgpu.hints import resized
from tflgpu.memory import HOST, Tensor
from tflgpu.model.graph import Array, Graph, Model, Shape, TensorSpec, graphs_named
from tflgpu.ops.registry import Step
from tflgpu.rewrites.inline_composites import inline_composites
from tflgpu.runtime.binding import Binding
from tflgpu.runtime.carried import Carried, storage_of_carried, updated_in_place
from tflgpu.runtime.executor import Executor
from tflgpu.runtime.plan_cache import PlanCache
from tflgpu.runtime.prepare import prepare
from tflgpu.runtime.segment import Segment
from tflgpu.runtime.session import Session
from tflgpu.runtime.storage import Context, new_tensor
from tflgpu.shapes import reraise


def graph_runners(model: Model, session: Session) -> list[GraphRunner]:
    """One for each graph of the model; the session has them for its control-flow operators."""
    # No cycle: what an interpreter holds, native delegates too, goes at once when the interpreter goes.
    itself: Session = weakref.proxy(session)
    run = model.graphs if session.preserve_all_tensors or session.delegates_claim else inline_composites(model)
    runners = [GraphRunner(itself, *both) for both in zip(model.graphs, run, strict=True)]
    session.graphs = runners
    return runners


class GraphRunner:
    """One graph of the model in use: its present input shapes, its tensors, and the executor that runs it.

    graph: as in the model. inlined: what runs; its further tensors are not among specs.
    """

    def __init__(self, session: Session, graph: Graph, inlined: Graph):
        self._session = session
        self.graph = graph
        self._inlined = inlined
        self.specs = list(graph.tensors)
        self.executor: Executor | None = None
        self._storage: Mapping[int, Tensor] = {}
        """The tensors with the present values."""
        self._plans: PlanCache[Executor] = PlanCache(session.plans)
        self._variables: dict[int, Tensor] = {}
        self._read = {spec.index for node in inlined.nodes for spec in node.inputs if spec is not None}
        self._read.update(graph.outputs)
        self.called = False
        self._allocated_for: list[Shape] = []
        self._entry: _Entry | None = None
        self.bindings: dict[int, Binding] = {}
        self.carried: dict[int, Carried] = {}
        """By input, what it has from an output."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return tuple(self.specs[i] for i in self.graph.inputs)

    @property
    def output_count(self) -> int:
        return len(self.graph.outputs)

    @property
    def ready(self) -> bool:
        return self.executor is not None

    @property
    def callees(self) -> set[int]:
        """The graphs that the nodes on the CPU name."""
        nodes = (node for partition in self.partitions if partition.owner is None for node in partition.nodes)
        return {index for node in nodes for index in graphs_named(node)}

    @property
    def segments(self) -> Sequence[Segment]:
        """What is prepared: up to the first node of dynamic shapes, and after such nodes as far as they have run."""
        return () if self.executor is None else self.executor.segments

    @property
    def partitions(self) -> list[Partition]:
        """The partitions of all segments."""
        return [partition for segment in self.segments for partition in segment.partitions]

    def resize(self, index: int, shape: Shape) -> None:
        """Gives an input another shape, from the next `allocate` on. The same shape changes nothing."""
        if self.specs[index].shape != shape:
            self.specs[index] = replace(self.specs[index], shape=shape)
            self.executor = None
            self._allocated_for = []

    def allocate(self) -> None:
        """Prepares the graph for the present input shapes; nothing where it is prepared. Raises RuntimeError."""
        if self.executor is not None:
            return
        self._entry = None
        shapes = tuple(spec.shape for spec in self.inputs)
        try:
            executor = self._plans.plan(shapes, self._prepare, self._leave_devices)
        except RuntimeError as error:
            given = [(spec.name, self.graph.tensors[spec.index].shape, spec.shape) for spec in self.inputs]
            error.args = (f"{error}{'' if self.called else resized(given)}",)
            raise
        self._copy_inputs(executor.first)
        self.executor, self._storage = executor, executor.first.storage
        self.specs = list(executor.first.specs[: len(self.graph.tensors)])
        self.reset_variables()

    def _prepare(self) -> Executor:
        made = {spec.index for node in self.graph.nodes for spec in node.outputs}
        own = [base if base.index in made else self.specs[base.index] for base in self.graph.tensors]
        specs = (*own, *self._inlined.tensors[len(own) :])
        if self.called:
            self._session.meter.preparation()
        known, context = self._known_tensors(specs), Context(self._session, self.bindings, self.called)
        first = prepare(replace(self._inlined, tensors=specs), known, context)
        inputs_nbytes = sum(known[index].host.nbytes for index in self.graph.inputs if index in known)
        return Executor(first, inputs_nbytes, self._session.meter.stopped)

    def _known_tensors(self, specs: Sequence[TensorSpec]) -> dict[int, Tensor]:
        """The variables, which all preparations share, and new storage for the inputs."""
        known, session = dict(self._variable_tensors(specs)), self._session
        known |= storage_of_carried(self.carried, specs)
        for index in self.graph.inputs:
            if specs[index].data is None and index not in known:
                binding = self.bindings.get(index)
                known[index] = new_tensor(specs[index], session.meter, session.delegates, binding)
        return known

    def _variable_tensors(self, specs: Sequence[TensorSpec]) -> Mapping[int, Tensor]:
        for spec in specs:
            known = self._variables.get(spec.index)
            if spec.is_variable and (known is None or known.spec.shape != spec.shape):
                self._variables[spec.index] = new_tensor(spec, self._session.meter)
        return self._variables

    def _copy_inputs(self, segment: Segment) -> None:
        """Gives inputs whose shape did not change their present values."""
        for index in self.graph.inputs:
            old, new = self._storage.get(index), segment.storage.get(index)
            if old is None or new is None or old is new or index in self.bindings or index in self.carried:
                continue
            if old.host.shape == new.host.shape:
                np.copyto(new.write(), old.read())

    def _leave_devices(self) -> None:
        """Keeps the present values at the host alone. Not while there is a plan that works on their buffers."""
        self._storage = {index: Tensor(tensor.spec, tensor.read()) for index, tensor in self._storage.items()}

    def expose(self, indices: Iterable[int]) -> None:
        """Makes further tensors of the model's graph outputs, from the next preparation on."""
        outputs = tuple(dict.fromkeys((*self.graph.outputs, *indices)))
        self.graph, self._inlined = replace(self.graph, outputs=outputs), replace(self._inlined, outputs=outputs)

    def reset_variables(self) -> None:
        """Sets every variable tensor to zeros: in int8 to the zero point; other types not, as in TensorFlow Lite."""
        for tensor in self._variables.values():
            quantization = tensor.spec.quantization
            at_zero_point = tensor.spec.type == "INT8" and quantization is not None and not quantization.per_channel
            tensor.write().fill(tensor.spec.zero_point if at_zero_point else 0)

    def invoke(self) -> None:
        """Runs the graph; the outputs are at the host when it returns. Raises RuntimeError, naming the node."""
        executor = self.executor
        if executor is None:
            raise RuntimeError("Invoke called on model that is not ready.")
        first = executor.first
        if not self._session.delegates and first.following is None and not self.carried:
            self._storage = executor.run().storage
            return
        for index, binding in self.bindings.items():
            binding.device.wait_for(binding.stream)
            if index in self.graph.inputs:
                first.storage[index].write(binding.device)  # its holder may have changed it unseen
        last = executor.run()
        self._storage = last.storage
        if last is not first:
            self.specs = list(last.specs[: len(self.graph.tensors)])
        for index in set(self.graph.outputs) - {one.output for one in self.carried.values() if one.in_place}:
            try:
                last.storage[index].read(self.bindings[index].device if index in self.bindings else HOST)
            except Exception as error:
                reraise(error, last.specs[index])
        for binding in self.bindings.values():
            binding.device.synchronize()
        for carried in self.carried.values():
            carried.after_run(last.storage[carried.output])

    def bind(self, index: int, binding: Binding | None) -> None:
        """Uses the binding's array as the tensor's storage from now on; None: the graph's own again."""
        if binding is not None:
            self.bindings[index] = binding
        elif index in self.bindings:
            del self.bindings[index]
        self._forget_plans()
        self.allocate()

    def carry(self, index: int, tensor: Tensor, output: int | None) -> None:
        """Keeps an input in this storage from now on, with the output's value after each run; None: ends that."""
        self.carried.pop(index, None)
        if output is not None:
            in_place = updated_in_place(self._inlined, index, output) and not self._session.preserve_all_tensors
            self.carried[index] = Carried(tensor, output, in_place)
        self._forget_plans()

    def _forget_plans(self) -> None:
        self._plans.clear()  # their kernels know the addresses
        self.executor = None

    def tensor(self, index: int) -> Tensor | None:
        """The tensor's storage, a constant's value, or None while there is neither."""
        found = self._storage.get(index)
        spec = self.specs[index]
        if found is None and spec.data is not None:
            return Tensor(spec, spec.data)
        return found

    def outputs_for(self, shapes: Sequence[Shape]) -> list[TensorSpec | None]:
        """The outputs' specs for inputs of these shapes; None for one whose shape is known only at run time."""
        self._allocate_for(shapes)
        assert self.executor is not None
        first = self.executor.first
        return [first.specs[i] if i in first.storage else None for i in self.graph.outputs]

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The outputs' values, in arrays of the graph's own that its next run overwrites.

        A tuple that comes again is taken as it was, so that an iteration of a loop only copies and runs.
        """
        entry = self._entry
        if entry is None or entry.inputs is not inputs or entry.executor is not self.executor:
            entry = self._entry = self._enter(inputs)
        for copy in entry.copies:
            copy()
        if entry.outputs is None:
            self.invoke()
            return tuple(self._storage[index].read() for index in self.graph.outputs)
        self._storage = entry.executor.run().storage
        return entry.outputs

    def _enter(self, inputs: tuple[Array, ...]) -> _Entry:
        shapes = [x.shape for x in inputs]
        if self.executor is None or shapes != self._allocated_for:
            self._allocate_for(shapes)
            self._allocated_for = shapes
        executor = self.executor
        assert executor is not None
        first, elsewhere = executor.first, bool(self._session.delegates)
        return _Entry(inputs, executor, self._copies(first, inputs, elsewhere), None if elsewhere else first.outputs)

    def _copies(self, first: Segment, inputs: tuple[Array, ...], elsewhere: bool) -> list[Step]:
        """What copies the inputs to their storage, all but those that no node reads and those that are there."""
        everything = self._session.preserve_all_tensors
        tensors = [first.storage[index] for index in self.graph.inputs]
        own = {id(tensor.host) for tensor in tensors}
        saves: list[Step] = []
        copies: list[Step] = []
        for index, tensor, x in zip(self.graph.inputs, tensors, inputs, strict=True):
            if x is tensor.host or not (everything or index in self._read):
                continue
            if id(x) in own:  # A loop may hand back the graph's own arrays in another order.
                saved = np.empty_like(x)
                saves.append(partial(setitem, saved, ..., x))
                x = saved
            copies.append(partial(_overwrite, tensor, x) if elsewhere else partial(setitem, tensor.host, ..., x))
        return saves + copies

    def _allocate_for(self, shapes: Sequence[Shape]) -> None:
        self.called = True
        for index, shape in zip(self.graph.inputs, shapes, strict=True):
            self.resize(index, tuple(shape))
        if self.executor is None:
            self.allocate()


@dataclass(frozen=True)
class _Entry:
    """How a graph is run for these inputs. outputs: their arrays, where no delegate has them and all is static."""

    inputs: tuple[Array, ...]
    executor: Executor
    copies: Sequence[Step]
    outputs: tuple[Array, ...] | None


def _overwrite(tensor: Tensor, x: Array) -> None:
    np.copyto(tensor.write(), x)
