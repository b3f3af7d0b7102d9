"""What a delegate is: the members that it must have, those that it may have, and the limits to what it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from tflgpu.hints import did_you_mean
from tflgpu.limits import Meter
from tflgpu.memory import StreamedPlace, Tensor
from tflgpu.model.graph import Graph, Model, Node, TensorSpec
from tflgpu.model.schema import BUILTIN_OPERATORS
from tflgpu.ops.registry import OPS, Op


class Unsupported(Exception):
    """A delegate does not take a node. The text is the reason, as the report prints it."""


@dataclass(frozen=True)
class Limits:
    """What a user lets a delegate take. An empty set of names or numbers means no limit by it.

    max_partitions: the partitions that save most by the cost model are taken, this many; 0 for any number.
    min_nodes: a partition of fewer nodes stays on the CPU; None leaves that to the cost model of partitioner.py.
    require_full: a node that stays on the CPU is an error.
    """

    max_partitions: int = 0
    min_nodes: int | None = None
    only_ops: frozenset[str] = frozenset()
    skip_ops: frozenset[str] = frozenset()
    only_nodes: frozenset[int] = frozenset()
    skip_nodes: frozenset[int] = frozenset()
    require_full: bool = False

    def __str__(self) -> str:
        """Those that are set, as text."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        shown = {name: set(value) if isinstance(value, frozenset) else value for name, value in own.items()}
        return ", ".join(f"{name}={value}" for name, value in shown.items())

    def check_names(self, model: Model) -> None:
        """Raises ValueError for an operator that neither TensorFlow Lite nor the model has, and for a missing node."""
        nodes = [node for graph in model.graphs for node in graph.nodes]
        own = {node.op for node in nodes}
        for option in ("only_ops", "skip_ops"):
            for name in sorted(getattr(self, option) - {*BUILTIN_OPERATORS, *OPS} - own):
                meant = did_you_mean(name, {*BUILTIN_OPERATORS, *OPS, *own})
                there = f"the model has {', '.join(sorted(own))}"
                raise ValueError(f"option {option}: there is no operator {name!r}{meant}; {there}")
        if "STABLEHLO_COMPOSITE" in own:
            return  # inlining it numbers its nodes after the others
        last = max((node.index for node in nodes), default=-1)
        for option in ("only_nodes", "skip_nodes"):
            for number in sorted(number for number in getattr(self, option) if number > last):
                raise ValueError(f"option {option}: there is no node {number}; the model has nodes 0 to {last}")

    def check(self, node: Node) -> None:
        """Raises Unsupported where these limits exclude the node, or the composite that it comes from."""
        ops, numbers = {node.op}, {node.index}
        if node.composite is not None:
            ops, numbers = ops | {"STABLEHLO_COMPOSITE"}, {node.composite.node}
        if ops & self.skip_ops or (self.only_ops and not ops & self.only_ops):
            raise Unsupported(f"the options leave {node.op} to the CPU")
        if numbers & self.skip_nodes or (self.only_nodes and not numbers & self.only_nodes):
            raise Unsupported(f"the options leave node {min(numbers)} to the CPU")


@dataclass(frozen=True, eq=False)
class Partition:
    """Nodes that one owner runs together, in order; owner None is the CPU.

    inputs: indices of the tensors that it reads and does not make, constants among them. outputs: of those it makes
    that are read outside, or, being all that a node makes, by no node: such a node is there to be looked at. why: for
    nodes of the CPU, why each delegate did not take it, in their order.
    """

    owner: Delegate | None
    nodes: tuple[Node, ...]
    inputs: frozenset[int]
    outputs: frozenset[int]
    why: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def __repr__(self) -> str:
        owner = "the CPU" if self.owner is None else self.owner.name
        first, last = self.nodes[0], self.nodes[-1]
        return f"<{len(self.nodes)} nodes on {owner}: {first.index} {first.op} to {last.index} {last.op}>"


class Delegate(Protocol):
    """Takes partitions of a graph. One instance may serve several interpreters, one after another.

    What it may have besides is declared by the Protocols below, one for each ability; a member that is None is not
    offered.
    """

    name: str
    limits: Limits

    def check(self, node: Node, /) -> None:
        """Raises Unsupported, saying why, where the delegate cannot run the node. Called before any compile."""

    def compile(self, partition: Partition, tensors: Mapping[int, Tensor], /) -> Callable[[], None]:
        """The partition as a callable that reads its inputs and writes its outputs among tensors.

        tensors: by index, the partition's inputs that are not constants and its outputs. Everything else that it
        touches is the delegate's own. The callable takes its inputs with tensor.read(place) and gives its outputs with
        tensor.write(place); place is "host" or an object with allocate, upload and download (memory.Place).
        """


class Attaches(Protocol):
    """A delegate with state of each interpreter, or that must know the model. See also memory.MakesHostArrays."""

    def attach(self, model: Model, threads: int, /) -> Delegate:
        """The delegate that serves one interpreter. threads: how many it may use; -1 leaves that to it."""


class KeepsLimits(Protocol):
    """A delegate that allocates tensors or runs loops by itself, and keeps to the interpreter's limits in that."""

    def within(self, meter: Meter, /) -> None:
        """Keeps to the limits of one interpreter from now on. Called once, after attach."""


class ClaimsNodes(Protocol):
    """A delegate that chooses its nodes by itself, as native libraries do; check and the cost model are not asked."""

    def claim(self, graph: Graph, /) -> Sequence[Sequence[Node]]:
        """The groups of nodes that it takes, each of which becomes a partition."""


class StandsIn(Protocol):
    """A delegate for custom operators that nothing else can run."""

    stand_ins: Mapping[str, Op]
    """Those operators by custom name: they give shapes, and raise where they are run."""


class CompilesForOneShape(Protocol):
    """A delegate that may be compiled for one set of input shapes at a time."""

    one_plan: bool
    """Whether it is: then what was prepared for other shapes is forgotten."""


class MayRefuseDynamicShapes(Protocol):
    """A delegate that may need every shape before anything runs."""

    static_only: bool
    """Whether it does: then a graph with shapes that are known only at run time is refused."""


class KeepsVariables(Protocol):
    """A delegate that may keep resource variables on its device."""

    keeps_variables: bool
    """Whether it runs READ_VARIABLE and ASSIGN_VARIABLE. It sees the variable itself as their input 0: a
    memory.Variable among the tensors of compile."""


class BindsArrays(Protocol):
    """A delegate whose device can use arrays that callers have there (`Interpreter.bind_input`)."""

    def bind(self, array: Any, spec: TensorSpec, /) -> tuple[StreamedPlace, Any]:
        """The device, and a buffer on it that is the array. Raises ValueError where the array does not fit."""


class HoldsDeviceMemory(Protocol):
    """What `compile` returned, where it says how much memory it holds."""

    device_nbytes: int
    """Bytes on the device, but for constants that others share: they count for how many plans are kept."""


class HasPasses(Protocol):
    """A delegate that rewrites partitions pass by pass."""

    def watch_passes(self, watch: Callable[[str, Sequence[str], Sequence[str]], None], /) -> None:
        """From now on `watch` is told of each pass: its name, the steps before and the steps after it, in words."""


class CompilesKernels(Protocol):
    """A delegate that takes a while to compile a partition, kernel by kernel."""

    def watch_kernels(self, watch: Callable[[int, int], None], /) -> None:
        """From now on `watch(done, of)` is called when a partition's kernels are begun, with done = 0, and after each.

        For interpreters that are made afterwards. A kernel of the cache counts too, and takes no time.
        """


class HasDevice(Protocol):
    """A delegate with a device that may be asked, e.g. as launch_times.TimesLaunches."""

    device: Any


class HasNotes(Protocol):
    """A delegate that has more to report than which node runs where."""

    notes: Sequence[str]
    """Lines for the delegation report."""
