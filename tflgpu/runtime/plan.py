"""A stretch of a graph prepared to run: storage for every tensor, and one callable for every node or delegated part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import length_hint
from typing import Protocol

from tflgpu.debug import PARTS, enabled, say
from tflgpu.delegation.delegate import Delegate, Partition
from tflgpu.delegation.partitioner import partition
from tflgpu.delegation.report import delegation_report
from tflgpu.memory import Tensor, host_array, nbytes, refuse_beyond_memory
from tflgpu.model.graph import Array, Graph, Node, TensorSpec
from tflgpu.ops.registry import Runtime, Step, nothing, prepare
from tflgpu.runtime.binding import Binding
from tflgpu.runtime.dynamic_shapes import WaitingNode, variables_of
from tflgpu.runtime.memory_planner import Arena, in_arena, overwriting
from tflgpu.runtime.resource_variables import FIRST, over_variables
from tflgpu.shapes import DelegateError, failed, infer_stage

PLAN_NBYTES = 2**14
"""Bytes that a plan is taken to have besides its tensors."""

Observer = Callable[["Partition | Node", Step], Step]
"""Given what a step runs, returns the step to run in its place: how a profiler watches."""


class Session(Runtime, Protocol):
    """What a plan needs of the interpreter that it runs in."""

    @property
    def delegates(self) -> tuple[Delegate, ...]: ...
    @property
    def preserve_all_tensors(self) -> bool: ...
    @property
    def observe(self) -> Observer | None: ...
    @property
    def one_plan(self) -> bool: ...


class Plan:
    """The steps up to the next node that must wait for a value, and what follows it.

    Where the shape of a node's output is known only at run time, preparation stops there and resumes in `run` after
    that node; what was prepared then is kept by the shapes that came.

    specs: what is known of all the graph's tensors when these steps run. storage: theirs, by index, as far as they
    have any: not the constants, nor what lives only inside a delegate's part. outputs: the arrays of the graph's
    outputs, where no node waits. called: whether an operator of another graph runs it, or would if no delegate did.
    """

    def __init__(
        self,
        session: Session,
        graph: Graph,
        nodes: Sequence[Node],
        specs: list[TensorSpec],
        storage: Mapping[int, Tensor],
        bindings: Mapping[int, Binding] | None = None,
        called: bool = False,
    ):
        self._session = session
        self._called = called
        self._bindings = bindings or {}
        self._graph = graph
        self.specs = specs
        self.storage = dict(storage)
        stage = infer_stage(nodes, specs, session)
        self.waiting = stage.waiting
        _refuse_dynamic(self.waiting, session.delegates)
        self.ran_into: Plan | None = None
        self._read_later = {spec.index for node in self.waiting for spec in node.inputs if spec is not None}
        leaving = tuple({*graph.outputs, *self._read_later})
        nodes, variables = over_variables(stage.nodes, session) if session.delegates else (stage.nodes, {})
        self.storage.update(variables)
        whole = replace(graph, tensors=tuple(specs), nodes=tuple(nodes), outputs=leaving)
        self.parts = partition(whole, session.delegates) if session.delegates else _on_the_cpu(stage.nodes)
        self._crossing = {i for part in self.parts if part.owner is not None for i in part.inputs | part.outputs}
        placed = self._place()
        self.arena_nbytes, self.arena_offsets = placed.block.nbytes, placed.offsets
        own = [tensor for index, tensor in self.storage.items() if tensor is not storage.get(index)]
        self.nbytes = PLAN_NBYTES + sum(tensor.host.nbytes for tensor in own)
        self._steps: list[Step] = []
        self._made_by: list[Node] = []
        if enabled(PARTS):
            say(PARTS, delegation_report(self.parts, session.delegates))
        self._prepare({node.index: node for node in stage.nodes})
        for index in graph.outputs:
            if index not in self.storage and not self._waits_for(index):
                self._store(specs[index])
        self.outputs = None if self.waiting else tuple(self.storage[index].host for index in graph.outputs)
        self._next = self._waiting_node() if self.waiting else None

    def run(self) -> Plan:
        """Runs these steps and all that follow. Returns the last plan, whose storage has the outputs."""
        steps = iter(self._steps)
        try:
            for step in steps:
                step()
        except Exception as error:
            if length_hint(steps) == len(self._made_by):
                raise  # before the first node's
            raise failed(self._made_by[-1 - length_hint(steps)], "invoke", error) from error
        if self._next is None:
            return self
        if self._crossing:
            for index in self._read_later & self._crossing & self.storage.keys():
                self.storage[index].read()  # the plan that follows does not know of the delegate that made it
        self.ran_into = self._next.run()
        return self.ran_into.run()

    def _waiting_node(self) -> WaitingNode:
        node, *behind = self.waiting
        for spec in node.inputs:
            self._array(spec)
        # No reference to this plan: it goes as soon as its graph lets go of it.
        prepared = partial(
            Plan, self._session, self._graph, tuple(behind), bindings=self._bindings, called=self._called
        )
        return WaitingNode(node, self._session, self.specs, self.storage, prepared)

    def _waits_for(self, index: int) -> bool:
        return any(spec.index == index for node in self.waiting for spec in node.outputs)

    def _store(self, spec: TensorSpec) -> Tensor:
        """Gives the tensor storage of its own; a constant's is its value, not copied."""
        refuse_beyond_memory(nbytes(spec), str(spec))
        delegates = self._session.delegates if spec.index in self._crossing else ()
        tensor = Tensor(spec, host_array(spec, delegates) if spec.data is None else spec.data)
        if spec.index in self._bindings:
            self._bindings[spec.index].attach(tensor)
        self.storage[spec.index] = tensor
        return tensor

    def _place(self) -> Arena:
        """Storage for all that the nodes write. Returns the arena that holds most of it."""
        order = [node for part in self.parts for node in part.nodes]
        inside = {
            spec.index
            for part in self.parts
            if part.owner is not None
            for node in part.nodes
            for spec in node.outputs
            if spec.index not in part.outputs
        }
        made = {spec.index for node in order for spec in node.outputs} - inside
        over = self._overwriting(order)
        for index, source in over.items():
            if source in self.storage:
                self.storage[index] = Tensor(self.specs[index], self.storage[source].host)
                made.discard(index)
        apart = self._tensors_apart()
        for index in made & apart:
            if index not in self.storage:
                self._store(self.specs[index])
        here = {node.index for part in self.parts if part.owner is None for node in part.nodes}
        cpu = [(at, node) for at, node in enumerate(order) if node.index in here]
        what = f"the activations of graph {self._graph.index}"
        placed = in_arena(self.specs, made - apart, order, cpu, self._session.ops, over, what)
        self.storage.update({i: Tensor(self.specs[i], array) for i, array in placed.arrays.items()})
        return placed

    def _overwriting(self, order: Sequence[Node]) -> Mapping[int, int]:
        if self._session.delegates or self._session.preserve_all_tensors:
            return {}
        # Who calls a graph gives it its inputs anew each time; the model's own stay until they are set.
        spare = set(self._graph.inputs) if self._called and self._graph.index else set()
        kept = {*self._graph.outputs, *self._read_later, *(self.storage.keys() - spare)}
        return overwriting(order, self._session.ops, kept)

    def _tensors_apart(self) -> set[int]:
        """Tensors that do not share the arena: they outlive this plan, cross to a delegate, or are not plain bytes."""
        if self._session.preserve_all_tensors:
            return set(range(len(self.specs)))
        apart = {spec.index for spec in self.specs if spec.is_variable or spec.dtype == object}
        return apart | self._read_later | self._crossing | set(self._graph.outputs)

    def _prepare(self, given: Mapping[int, Node]) -> None:
        """Makes all steps; given: the nodes for the CPU, by index, as they are in the model."""
        for part in self.parts:
            if part.owner is None:
                for node in part.nodes:
                    self._prepare_node(given[node.index])
            else:
                self._prepare_part(part, part.owner)

    def _prepare_part(self, part: Partition, owner: Delegate) -> None:
        boundary = {
            i: self.storage[i] if i in self.storage else self._store(self.specs[i])
            for i in part.inputs | part.outputs
            if i >= FIRST or self.specs[i].data is None
        }
        if self._called and not hasattr(owner, "claim"):
            step = _compiled_when_run(lambda: owner.compile(part, boundary))
        else:
            try:
                step = owner.compile(part, boundary)
                if not callable(step):
                    raise RuntimeError(f"{owner.name}: compile gave {type(step).__name__}, which cannot be called.")
            except Exception as error:
                raise failed(part.nodes[0], "prepare", error) from error
        self._add(part, part.nodes[0], step)

    def _prepare_node(self, node: Node) -> None:
        outputs = [self.storage[spec.index].host for spec in node.outputs]
        try:
            step = prepare(node, [self._array(spec) for spec in node.inputs], outputs, self._session)
        except Exception as error:
            raise failed(node, "prepare", error) from error
        self._add(node, node, self._synchronized(step, node))

    def _add(self, what: Partition | Node, node: Node, step: Step) -> None:
        observe = self._session.observe
        if step is nothing and observe is None:
            return
        self._steps.append(step if observe is None else observe(what, step))
        self._made_by.append(node)

    def _array(self, spec: TensorSpec | None) -> Array | None:
        if spec is None:
            return None
        if spec.data is not None and not spec.is_variable:
            return spec.data
        if spec.index not in self.storage:  # never written: zeros, as in TensorFlow Lite
            self._store(spec)
        return self.storage[spec.index].host

    def _synchronized(self, step: Step, node: Node) -> Step:
        """The step, with what a delegate may hold of its tensors brought to the host before it."""
        reads = [self.storage[s.index] for s in node.inputs if s is not None and self._leaves_the_host(s.index)]
        written = (*node.outputs, *(variables_of(node) if self._session.ops[node.op].variables else ()))
        writes = [self.storage[s.index] for s in written if self._leaves_the_host(s.index)]
        if not reads and not writes:
            return step

        def synchronized() -> None:
            for tensor in reads:
                tensor.read()
            for tensor in writes:
                tensor.write()
            step()

        return synchronized

    def _leaves_the_host(self, index: int) -> bool:
        # A delegate may use a variable in the plan for other shapes, and what is read later in a plan behind this one.
        shared = (self.specs[index].is_variable or index in self._read_later) and bool(self._session.delegates)
        return index in self.storage and (shared or index in self._crossing or bool(self.storage[index].buffers))


def _compiled_when_run(compile: Callable[[], Step]) -> Step:
    """A graph that another calls may never run: a delegate may have the node that calls it."""
    made: list[Step] = []

    def step() -> None:
        if not made:
            made.append(compile())
        made[0]()

    return step


def _refuse_dynamic(waiting: Sequence[Node], delegates: Sequence[Delegate]) -> None:
    if waiting and any(getattr(delegate, "static_only", False) for delegate in delegates):
        raise DelegateError(
            "Attempting to use a delegate that only supports static-sized tensors with a graph that has dynamic-sized "
            f"tensors (tensor#{waiting[0].outputs[0].index} is a dynamic-sized tensor)."
        )


def _on_the_cpu(nodes: tuple[Node, ...]) -> list[Partition]:
    return [Partition(None, nodes, frozenset(), frozenset())] if nodes else []
