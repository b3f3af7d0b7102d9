"""Runs the graphs of a model: each keeps a plan for its present input shapes, and all share one session."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import setitem
from typing import Any

import numpy as np

from tflgpu.delegation.delegate import Delegate, Partition
from tflgpu.memory import HOST, Tensor, host_array, nbytes, refuse_beyond_memory
from tflgpu.model.graph import Array, Graph, Model, Shape, TensorSpec, graphs_named
from tflgpu.ops.registry import Op, Step
from tflgpu.runtime.binding import Binding
from tflgpu.runtime.plan import Observer, Plan
from tflgpu.runtime.plan_cache import make_room


class Session:
    """What the graphs of one interpreter share: the model, the delegates, the state; the Runtime of its operators."""

    def __init__(
        self,
        model: Model,
        ops: Mapping[str, Op],
        delegates: Sequence[Delegate] = (),
        preserve_all_tensors: bool = False,
        observe: Observer | None = None,
    ):
        self.ops = ops
        self.delegates = tuple(delegates)
        self.preserve_all_tensors = preserve_all_tensors
        self.observe = observe
        self.state: dict[Any, Any] = {}
        self.one_plan = any(getattr(delegate, "one_plan", False) for delegate in delegates)
        # No cycle: what an interpreter holds, native delegates too, goes at once when the interpreter goes.
        itself: Session = weakref.proxy(self)
        self.graphs = [GraphRunner(itself, graph) for graph in model.graphs]

    def subgraph(self, index: int) -> GraphRunner:
        return self.graphs[index]


class GraphRunner:
    """One graph of the model in use: its present input shapes, its tensors, and the plan that runs it."""

    def __init__(self, session: Session, graph: Graph):
        self._session = session
        self.graph = graph
        self.specs = list(graph.tensors)
        self.plan: Plan | None = None
        self._ran: Plan | None = None
        self._kept: dict[tuple[Shape, ...], Plan] = {}
        self._variables: dict[int, Tensor] = {}
        self._read = {spec.index for node in graph.nodes for spec in node.inputs if spec is not None}
        self._read.update(graph.outputs)
        self.called = False
        self._allocated_for: list[Shape] = []
        self._entry: _Entry | None = None
        self.bindings: dict[int, Binding] = {}

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return tuple(self.specs[i] for i in self.graph.inputs)

    @property
    def output_count(self) -> int:
        return len(self.graph.outputs)

    @property
    def ready(self) -> bool:
        return self.plan is not None

    @property
    def callees(self) -> set[int]:
        """The graphs that the nodes on the CPU name."""
        nodes = (node for part in self.parts if part.owner is None for node in part.nodes)
        return {index for node in nodes for index in graphs_named(node)}

    @property
    def parts(self) -> list[Partition]:
        """The parts of the present plan, and of those behind dynamic nodes as far as they have run."""
        parts, plan = [], self.plan
        while plan is not None:
            parts += plan.parts
            plan = plan.ran_into
        return parts

    def resize(self, index: int, shape: Shape) -> None:
        """Gives an input another shape, from the next `allocate` on. The same shape changes nothing."""
        if self.specs[index].shape != shape:
            self.specs[index] = replace(self.specs[index], shape=shape)
            self.plan = None
            self._allocated_for = []

    def allocate(self) -> None:
        """Makes the plan for the present input shapes; nothing where there is one. Raises RuntimeError."""
        if self.plan is not None:
            return
        shapes = tuple(spec.shape for spec in self.inputs)
        if shapes not in self._kept:
            make_room(self._kept, self._session.one_plan)
            self._kept[shapes] = self._prepared()
        plan = self._kept[shapes]
        self._keep_inputs(plan)
        self.plan = self._ran = plan
        self.specs = list(plan.specs)
        self.reset_variables()

    def _prepared(self) -> Plan:
        made = {spec.index for node in self.graph.nodes for spec in node.outputs}
        specs = [base if base.index in made else self.specs[base.index] for base in self.graph.tensors]
        storage = dict(self._variable_tensors(specs))
        for index in self.graph.inputs:
            if specs[index].data is None and index not in storage:
                refuse_beyond_memory(nbytes(specs[index]), str(specs[index]))
                storage[index] = Tensor(specs[index], host_array(specs[index], self._session.delegates))
                if index in self.bindings:
                    self.bindings[index].attach(storage[index])
        return Plan(self._session, self.graph, self.graph.nodes, specs, storage, self.bindings, self.called)

    def _variable_tensors(self, specs: Sequence[TensorSpec]) -> Mapping[int, Tensor]:
        for spec in specs:
            known = self._variables.get(spec.index)
            if spec.is_variable and (known is None or known.spec.shape != spec.shape):
                refuse_beyond_memory(nbytes(spec), str(spec))
                self._variables[spec.index] = Tensor(spec, host_array(spec))
        return self._variables

    def _keep_inputs(self, plan: Plan) -> None:
        """Inputs whose shape did not change keep their values."""
        before = self._ran
        if before is None or before is plan:
            return
        for index in self.graph.inputs:
            old, new = before.storage.get(index), plan.storage.get(index)
            if old is None or new is None or old is new or index in self.bindings:
                continue
            if old.host.shape == new.host.shape:
                np.copyto(new.write(), old.read())

    def reset_variables(self) -> None:
        """Sets every variable tensor to zeros: in int8 to the zero point; other types not, as in TensorFlow Lite."""
        for tensor in self._variables.values():
            quantization = tensor.spec.quantization
            at_zero_point = tensor.spec.type == "INT8" and quantization is not None and not quantization.per_channel
            tensor.write().fill(tensor.spec.zero_point if at_zero_point else 0)

    def invoke(self) -> None:
        """Runs the plan; the outputs are at the host when it returns. Raises RuntimeError, naming the node."""
        plan = self.plan
        if plan is None:
            raise RuntimeError("Invoke called on model that is not ready.")
        if not self._session.delegates and not plan.waiting:
            self._ran = plan.run()
            return
        for index, binding in self.bindings.items():
            binding.place.wait_for(binding.stream)
            if index in self.graph.inputs:
                plan.storage[index].write(binding.place)  # its holder may have changed it unseen
        self._ran = last = plan.run()
        if last is not plan:
            self.specs = list(last.specs)
        for index in self.graph.outputs:
            last.storage[index].read(self.bindings[index].place if index in self.bindings else HOST)
        for binding in self.bindings.values():
            binding.place.synchronize()

    def bind(self, index: int, binding: Binding | None) -> None:
        """Uses the binding's array as the tensor's storage from now on; None: the graph's own again."""
        if binding is not None:
            self.bindings[index] = binding
        elif index in self.bindings:
            del self.bindings[index]
        self._kept.clear()  # their kernels know the addresses
        self.plan = None
        self.allocate()

    def tensor(self, index: int) -> Tensor | None:
        """The tensor's storage, a constant's value, or None while there is neither."""
        found = self._ran.storage.get(index) if self._ran is not None else None
        spec = self.specs[index]
        if found is None and spec.data is not None:
            return Tensor(spec, spec.data)
        return found

    def outputs_for(self, shapes: Sequence[Shape]) -> list[TensorSpec | None]:
        """The outputs' specs for inputs of these shapes; None for one whose shape is known only by running."""
        self._allocate_for(shapes)
        assert self.plan is not None
        known = self.plan.storage
        return [self.plan.specs[i] if i in known else None for i in self.graph.outputs]

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The outputs' values, in arrays of the graph's own that its next run overwrites.

        A tuple that comes again is taken as it was, so that a loop that goes round only copies and runs.
        """
        entry = self._entry
        if entry is None or entry.inputs is not inputs or entry.plan is not self.plan:
            entry = self._entry = self._enter(inputs)
        for copy in entry.copies:
            copy()
        if entry.outputs is None:
            self.invoke()
            assert self._ran is not None
            return tuple(self._ran.storage[index].read() for index in self.graph.outputs)
        self._ran = entry.plan.run()
        return entry.outputs

    def _enter(self, inputs: tuple[Array, ...]) -> _Entry:
        shapes = [x.shape for x in inputs]
        if self.plan is None or shapes != self._allocated_for:
            self._allocate_for(shapes)
            self._allocated_for = shapes
        plan = self.plan
        assert plan is not None
        elsewhere = bool(self._session.delegates)
        return _Entry(inputs, plan, self._copies(plan, inputs, elsewhere), None if elsewhere else plan.outputs)

    def _copies(self, plan: Plan, inputs: tuple[Array, ...], elsewhere: bool) -> list[Step]:
        """What takes the inputs into the plan's storage: but those that no node reads, and those that are there."""
        everything = self._session.preserve_all_tensors
        tensors = [plan.storage[index] for index in self.graph.inputs]
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
        if self.plan is None:
            self.allocate()


@dataclass(frozen=True)
class _Entry:
    """How a graph is run for these inputs. outputs: their arrays, where no delegate has them and no shape waits."""

    inputs: tuple[Array, ...]
    plan: Plan
    copies: Sequence[Step]
    outputs: tuple[Array, ...] | None


def _overwrite(tensor: Tensor, x: Array) -> None:
    np.copyto(tensor.write(), x)
