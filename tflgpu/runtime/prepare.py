"""Preparation: a graph and its partitions -> the steps that run it, with their storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from tflgpu.debug import PARTITIONS, enabled, say
from tflgpu.delegation.delegate import ClaimsNodes, Delegate, HoldsDeviceMemory, Partition
from tflgpu.delegation.partitioner import partition
from tflgpu.delegation.report import delegation_report
from tflgpu.memory import Tensor, synchronized
from tflgpu.model.graph import Graph, Node, TensorSpec
from tflgpu.ops.registry import Step, nothing
from tflgpu.ops.registry import prepare as prepare_operator
from tflgpu.optional import offers
from tflgpu.runtime.dynamic_shapes import DynamicNode
from tflgpu.runtime.resource_variables import over_variables
from tflgpu.runtime.segment import Segment
from tflgpu.runtime.session import Session
from tflgpu.runtime.storage import Context, Storage, variables_written
from tflgpu.shapes import DelegateError, Inferred, failed, infer_shapes

SEGMENT_NBYTES = 2**14
"""Bytes that a segment is taken to have besides its tensors."""


def prepare(graph: Graph, known: Mapping[int, Tensor], context: Context) -> Segment:
    """The graph, whose inputs' shapes are known, ready to run as far as its shapes are known.

    known: the tensors that have storage already, by index. Raises RuntimeError where a node cannot be prepared.
    """
    session = context.session
    inferred = infer_shapes(graph, session, keep_handles=session.delegates_claim)
    partitions = partition(_as_delegates_see(inferred, session), session.delegates, session.preserve_all_tensors)
    return _segment(inferred, partitions, known, context)


def _segment(
    inferred: Inferred, partitions: Sequence[Partition], known: Mapping[int, Tensor], context: Context
) -> Segment:
    """Storage and steps for the partitions. Where nodes follow whose shapes are known only at run time, the segment
    ends with the first of them, and preparation resumes when that has run."""
    graph, session = inferred.graph, context.session
    storage = Storage(inferred, partitions, known, context)
    arena = storage.allocate(partitions)
    own = [tensor for index, tensor in storage.tensors.items() if tensor is not known.get(index)]
    nbytes = SEGMENT_NBYTES + sum(tensor.host.nbytes for tensor in own)
    if enabled(PARTITIONS):
        say(PARTITIONS, delegation_report(partitions, session.delegates))
    steps, made_by = _observed(_steps(inferred, partitions, storage, context), session)
    late = {spec.index for node in inferred.dynamic for spec in node.outputs}
    for index in graph.outputs:
        if index not in storage.tensors and index not in late:
            storage.make(graph.tensors[index])
    static = not inferred.dynamic
    return Segment(
        specs=graph.tensors,
        partitions=partitions,
        storage=storage.tensors,
        steps=steps,
        made_by=made_by,
        outputs=tuple(storage.tensors[index].host for index in graph.outputs) if static else None,
        arena_nbytes=arena.block.nbytes,
        arena_offsets=arena.offsets,
        host_nbytes=nbytes,
        dynamic=inferred.dynamic,
        following=None if static else _following(inferred, storage, context),
        # The segment that follows does not know of the delegate that made them.
        brought_back=[storage.tensors[i] for i in storage.read_later & storage.crossing & storage.tensors.keys()],
    )


def _as_delegates_see(inferred: Inferred, session: Session) -> Graph:
    """The graph to be partitioned: what later nodes read is an output, and variables stand for their handles.

    Raises DelegateError for a dynamic graph where a delegate takes none.
    """
    if inferred.dynamic and session.static_only:
        raise DelegateError(
            "Attempting to use a delegate that only supports static-sized tensors with a graph that has dynamic-sized "
            f"tensors (tensor#{inferred.dynamic[0].outputs[0].index} is a dynamic-sized tensor)."
        )
    graph = replace(inferred.graph, outputs=tuple({*inferred.graph.outputs, *inferred.read_later}))
    return replace(graph, nodes=over_variables(graph.nodes, session)) if session.delegates else graph


def _following(inferred: Inferred, storage: Storage, context: Context) -> DynamicNode:
    node, *later = inferred.dynamic
    for spec in node.inputs:
        storage.array(spec)
    # No reference to the segment: it goes as soon as its graph lets go of it.
    resume = partial(_resumed, replace(inferred.graph, nodes=tuple(later)), context)
    return DynamicNode(node, context.session, storage.specs, storage.tensors, resume)


def _resumed(graph: Graph, context: Context, specs: Sequence[TensorSpec], known: Mapping[int, Tensor]) -> Segment:
    return prepare(replace(graph, tensors=tuple(specs)), known, context)


Made = tuple["Partition | Node", Node, Step]
"""What a step runs, the node that it begins with, and the step."""


def _observed(made: Iterator[Made], session: Session) -> tuple[list[Step], list[Node]]:
    """The steps that do something, each as the session's observer gives it back; and the nodes they begin with."""
    observe, checked = session.observe, session.meter.checked
    if observe is None:
        found = [(checked(step), node) for _, node, step in made if step is not nothing]
    else:
        found = [(checked(observe(what, step)), node) for what, node, step in made]
    return [step for step, _ in found], [node for _, node in found]


def _steps(inferred: Inferred, partitions: Sequence[Partition], storage: Storage, context: Context) -> Iterator[Made]:
    given = {node.index: node for node in inferred.graph.nodes}  # those of the CPU have handles, not variables
    for one in partitions:
        if one.owner is None:
            for node in one.nodes:
                node = given[node.index]
                yield node, node, _node_step(node, storage, context.session)
        else:
            yield one, one.nodes[0], _partition_step(one, one.owner, storage, context.called)


def _partition_step(partition: Partition, owner: Delegate, storage: Storage, called: bool) -> Step:
    boundary = storage.at_boundary(partition)
    if called and not offers(owner, ClaimsNodes):
        return _CompiledWhenRun(lambda: owner.compile(partition, boundary))
    try:
        step = owner.compile(partition, boundary)
        if not callable(step):
            raise RuntimeError(f"{owner.name}: compile gave {type(step).__name__}, which cannot be called.")
    except Exception as error:
        raise failed(partition.nodes[0], "prepare", error) from error
    return step


def _node_step(node: Node, storage: Storage, session: Session) -> Step:
    outputs = [storage.tensors[spec.index].host for spec in node.outputs]
    try:
        step = prepare_operator(node, [storage.array(spec) for spec in node.inputs], outputs, session)
    except Exception as error:
        raise failed(node, "prepare", error) from error
    return _synchronized(step, node, storage, session)


def _synchronized(step: Step, node: Node, storage: Storage, session: Session) -> Step:
    """The step, with what a delegate may hold of its tensors brought to the host before it."""
    if not session.delegates:
        return step
    inputs = [spec for spec in node.inputs if spec is not None]
    written = (*node.outputs, *variables_written(node, session))
    reads = [storage.tensors[spec.index] for spec in inputs if storage.leaves_the_host(spec.index)]
    writes = [storage.tensors[spec.index] for spec in written if storage.leaves_the_host(spec.index)]
    return synchronized(step, reads, writes) if reads or writes else step


class _CompiledWhenRun:
    """A partition of a graph that another calls, which may never run: a delegate may have the node that calls it."""

    def __init__(self, compile: Callable[[], Step]):
        self._compile = compile
        self._step: Step = nothing

    @property
    def device_nbytes(self) -> int:
        """What it holds on a device; 0 until it has run."""
        return self._step.device_nbytes if offers(self._step, HoldsDeviceMemory) else 0

    def __call__(self) -> None:
        if self._step is nothing:
            self._step = self._compile()
        self._step()
