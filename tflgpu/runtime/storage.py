"""Storage for the tensors of a graph that is being prepared: each has an array of its own, or lies in the arena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tflgpu.delegation.delegate import Delegate, Partition
from tflgpu.limits import Meter
from tflgpu.memory import Tensor, arena, nbytes
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.runtime.binding import Binding
from tflgpu.runtime.memory_planner import Arena, in_arena, overwriting
from tflgpu.runtime.resource_variables import FIRST, variable_of
from tflgpu.runtime.session import Session
from tflgpu.shapes import Inferred


@dataclass(frozen=True, eq=False)
class Context:
    """How a graph is used. bindings: callers' arrays, by tensor. called: whether an operator of another graph runs it,
    or would if no delegate did."""

    session: Session
    bindings: Mapping[int, Binding]
    called: bool


def new_tensor(
    spec: TensorSpec,
    meter: Meter,
    delegates: Sequence[Delegate] = (),
    binding: Binding | None = None,
    value: Array | None = None,
) -> Tensor:
    """Storage for a tensor: zeros, or a value that is not copied. Raises RuntimeError where memory is too small."""
    tensor = Tensor(spec, meter.host_array(spec, delegates) if value is None else value)
    if binding is not None:
        binding.attach(tensor)
    return tensor


class Storage:
    """The tensors of a graph while it is prepared: those there were, and those made when they are first asked for.

    tensors: all of them, by index. read_later: those that nodes after this segment read. crossing: those at the
    boundary of a delegated partition.
    """

    def __init__(
        self, inferred: Inferred, partitions: Sequence[Partition], known: Mapping[int, Tensor], context: Context
    ):
        self.graph = inferred.graph
        self.specs = inferred.graph.tensors
        self.read_later = inferred.read_later
        self.crossing = {i for p in partitions if p.owner is not None for i in p.inputs | p.outputs}
        self.tensors = dict(known)
        self._context = context
        self._session = context.session

    def make(self, spec: TensorSpec) -> Tensor:
        """Gives the tensor storage of its own; a constant's is its value, not copied."""
        delegates = self._session.delegates if spec.index in self.crossing else ()
        binding = self._context.bindings.get(spec.index)
        tensor = self.tensors[spec.index] = new_tensor(spec, self._session.meter, delegates, binding, spec.data)
        return tensor

    def array(self, spec: TensorSpec | None) -> Array | None:
        """The host array of a node's input; a constant's value."""
        if spec is None or (spec.data is not None and not spec.is_variable):
            return None if spec is None else spec.data
        # One that nothing writes is zeros, as in TensorFlow Lite.
        return (self.tensors.get(spec.index) or self.make(spec)).host

    def at_boundary(self, partition: Partition) -> dict[int, Tensor]:
        """The tensors that a delegate gets with its partition: all inputs but constants, and the outputs."""
        found = {}
        for index in partition.inputs | partition.outputs:
            if index >= FIRST:
                self.tensors[index] = variable_of(index, self._session)
            elif self.specs[index].data is not None:
                continue
            found[index] = self.tensors.get(index) or self.make(self.specs[index])
        return found

    def leaves_the_host(self, index: int) -> bool:
        """Whether a delegate may hold the tensor's current value when a node on the CPU uses it."""
        # A delegate may use a variable in the segment for other shapes, and what is read later in a later segment.
        shared = (self.specs[index].is_variable or index in self.read_later) and bool(self._session.delegates)
        tensor = self.tensors.get(index)
        return tensor is not None and (shared or index in self.crossing or bool(tensor.buffers))

    def allocate(self, partitions: Sequence[Partition]) -> Arena:
        """Makes storage for all that the nodes write. Returns the arena that holds most of it."""
        order = [node for partition in partitions for node in partition.nodes]
        made = {spec.index for node in order for spec in node.outputs} - _inside(partitions)
        overwritten = self._overwritten(order)
        for index, source in overwritten.items():
            if source in self.tensors:
                self.tensors[index] = Tensor(self.specs[index], self.tensors[source].host)
                made.discard(index)
        apart = self._apart()
        for index in made & apart:
            if index not in self.tensors:
                self.make(self.specs[index])
        for one in partitions:
            if one.owner is not None:
                self._session.meter.reserve(_nbytes_inside(one), f"what {one} makes inside")
        here = {node.index for partition in partitions if partition.owner is None for node in partition.nodes}
        cpu = [(at, node) for at, node in enumerate(order) if node.index in here]
        session = self._session
        arena = in_arena(self.specs, made - apart, order, cpu, session.ops, overwritten, session.meter)
        self.tensors.update({i: Tensor(self.specs[i], array) for i, array in arena.arrays.items()})
        return arena

    def _overwritten(self, order: Sequence[Node]) -> Mapping[int, int]:
        if self._session.delegates or self._session.preserve_all_tensors:
            return {}
        # Who calls a graph gives it its inputs anew each time; the model's own stay until they are set.
        spare = set(self.graph.inputs) if self._context.called and self.graph.index else set()
        live_out = {*self.graph.outputs, *self.read_later, *(self.tensors.keys() - spare)}
        return overwriting(order, self._session.ops, live_out)

    def _apart(self) -> set[int]:
        """Tensors that do not share the arena: they outlive the segment, cross to a delegate, or are no plain bytes."""
        if self._session.preserve_all_tensors:
            return set(range(len(self.specs)))
        apart = {spec.index for spec in self.specs if spec.is_variable or spec.dtype == object}
        return apart | self.read_later | self.crossing | set(self.graph.outputs)


def _inside(partitions: Sequence[Partition]) -> set[int]:
    """The tensors that live only inside a delegated partition."""
    delegated = [partition for partition in partitions if partition.owner is not None]
    made = {(p, spec.index) for p in delegated for node in p.nodes for spec in node.outputs}
    return {index for partition, index in made if index not in partition.outputs}


def _nbytes_inside(partition: Partition) -> int:
    """Bytes of the tensors that live only inside a delegated partition, each as long as nodes read it."""
    sizes, live = dict[int, int](), dict[int, tuple[int, int]]()
    for time, node in enumerate(partition.nodes):
        for spec in (*node.outputs, *(s for s in node.inputs if s is not None and s.index in sizes)):
            if spec.index not in partition.outputs:
                sizes[spec.index] = nbytes(spec)
                live[spec.index] = (live.get(spec.index, (time,))[0], time)
    return arena(sizes, live)[1]


def variables_written(node: Node, session: Session) -> list[TensorSpec]:
    """The inputs that running the node may write to."""
    if not session.ops[node.op].variables:
        return []
    return [spec for spec in node.inputs if spec is not None and spec.is_variable]
