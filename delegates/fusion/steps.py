"""What the passes have in common: a partition's steps, what a pass may know besides, and who makes and reads what."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.ir import Alias
from tflgpu.delegates.launch import Buffer, Launch, Op, Ref
from tflgpu.delegates.program import Dialect
from tflgpu.model.graph import Array, Node, TensorSpec


@dataclass(frozen=True, eq=False)
class Step:
    """One op, and the number in the partition of the node that it is of. A node is an op until it is lowered."""

    node: int
    op: Op | Node


Steps = tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class PassContext:
    """What passes know of the partition besides its steps.

    live: tensors that exist or are wanted outside of it. dialect: None where it is not known yet. storage: what two
    buffers have in common whose memory is the same. in_arena: whether a buffer is in memory that others use later.
    own_programs: whether programs are worth compiling that are of use for these shapes alone. one_storage: whether two
    tensors that exist outside are stored in the same memory.
    """

    limits: DeviceLimits
    nodes: Sequence[Node]
    specs: Mapping[int, TensorSpec]
    live: Collection[int]
    dialect: Dialect | None = None
    storage: Callable[[Buffer], object] = id
    in_arena: Callable[[Buffer], bool] = lambda buffer: False
    own_programs: bool = True
    one_storage: Callable[[int, int], bool] = lambda one, other: False

    def constant(self, buffer: Buffer) -> Array | None:
        """A tensor's value, where it is constant."""
        return self.specs[buffer.tensor].data if isinstance(buffer, Ref) and buffer.tensor in self.specs else None


Pass = Callable[[Steps, PassContext], Steps]


def alias_roots(steps: Iterable[Step]) -> dict[int, int]:
    """For each tensor that shares another's storage, the tensor that has it."""
    roots: dict[int, int] = {}
    for step in steps:
        if isinstance(step.op, Alias):
            roots[step.op.output] = roots.get(step.op.input, step.op.input)
    return roots


def reads_of(op: Op) -> list[Buffer]:
    """What the op reads, in whichever of its variants, and what belongs to it reads."""
    return [buffer for one in _every(op) for buffer in one.reads]


def writes_of(op: Op) -> list[Buffer]:
    """The same of what is written."""
    return [buffer for one in _every(op) for buffer in one.writes]


def _every(op: Op) -> Sequence[Op]:
    if not isinstance(op, Launch):
        return [op]
    return [one for way in (op, *op.variants) for one in way.sequence]


@dataclass(eq=False)
class Uses:
    """Who makes and who uses each tensor of lowered steps, by the tensor that has its storage: positions of steps.

    A later write of what an earlier step made is a use of it.
    """

    steps: Steps
    context: PassContext
    roots: dict[int, int] = field(init=False)
    makers: dict[int, int] = field(init=False, default_factory=dict)
    users: dict[int, set[int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.roots = alias_roots(self.steps)
        self._live = {self.roots.get(tensor, tensor) for tensor in self.context.live}
        for position, step in enumerate(self.steps):
            if isinstance(step.op, Alias | Node):
                continue
            for ref in (a for a in reads_of(step.op) if isinstance(a, Ref)):
                self.users.setdefault(self.root(ref), set()).add(position)
            for ref in (a for a in writes_of(step.op) if isinstance(a, Ref)):
                if self.makers.setdefault(self.root(ref), position) != position:
                    self.users.setdefault(self.root(ref), set()).add(position)

    def root(self, ref: Ref) -> int:
        """The tensor that has its storage."""
        return self.roots.get(ref.tensor, ref.tensor)

    def same(self, one: Buffer, other: Buffer) -> bool:
        """Whether both are tensors of one storage."""
        return isinstance(one, Ref) and isinstance(other, Ref) and self.root(one) == self.root(other)

    def live_out(self, ref: Ref) -> bool:
        """Whether its value exists or is wanted outside of the steps."""
        return self.root(ref) in self._live

    def users_of(self, ref: Ref) -> set[int]:
        return self.users.get(self.root(ref), set())

    def used_once(self, ref: Ref) -> bool:
        """Whether one step uses it, and nothing outside does."""
        return len(self.users_of(ref)) == 1 and not self.live_out(ref)


def with_ops(steps: Steps, ops: Mapping[int, Op | None]) -> Steps:
    """The steps with other ops at these positions; without those whose op is None."""
    out = []
    for position, step in enumerate(steps):
        op = ops.get(position, step.op)
        if op is not None:
            out.append(step if op is step.op else Step(step.node, op))
    return tuple(out)
