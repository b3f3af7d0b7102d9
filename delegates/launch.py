"""Launches: what a device runs for a node, independent of the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

from tflgpu.delegation.delegate import Unsupported
from tflgpu.model.graph import Array

MAX_ELEMENTS = 2**31 - 1024
"""Kernels number elements with int, and the work-items of the last block too, which is whole and of 1024 at the most; a
tensor of more elements stays on the CPU."""


@dataclass(frozen=True)
class Ref:
    """The device address of a graph tensor, by its index."""

    tensor: int


@dataclass(frozen=True, eq=False)
class Temp:
    """Device memory that lives during one node's launches only. Two Temps are the same memory if the same object."""

    nbytes: int


@dataclass(frozen=True, eq=False)
class Packed:
    """A constant made by calling `make`, which happens when a partition is compiled and not when a node is checked."""

    make: Callable[[], Array]


@dataclass(frozen=True, eq=False)
class Fault:
    """An int on the device that is 0 until a kernel finds the node's inputs wrong; `message` is then raised."""

    message: str


@dataclass(frozen=True, eq=False)
class Counters:
    """So many int32 on the device that are 0 when a launch begins, and that it leaves so."""

    count: int


@dataclass(frozen=True, eq=False)
class Cells:
    """So many int32 on the device that are 0 before the first run, and from then on what the launch makes of them."""

    count: int


@dataclass(frozen=True)
class PerIteration:
    """An int32 that differs from one iteration of a Loop to the next: start, and stride more each time."""

    start: int
    stride: int

    def at(self, iteration: int) -> int:
        return self.start + iteration * self.stride


Buffer = Ref | Temp | Packed | Fault | Counters | Cells | Array
"""What a kernel takes by its address. An array or a Packed is a constant, which no kernel writes: all launches
that have one of the same bytes share it."""

Argument = Buffer | np.generic | PerIteration

Size = int | PerIteration


LIBRARY = "library"
"""The stem of kernels that are no text of ours but a routine that the device has: its `routine` knows them."""


@dataclass(frozen=True, eq=False)
class Launch:
    """One kernel call, whose arguments are called as the kernel's parameters are.

    kernel: file stem and function name, "softmax.softmax"; of stem LIBRARY, a routine of the vendor's.
    threads: work-items in all, rounded up to whole blocks; none is run where any is 0.
    inputs, outputs, sizes, scalars, extra, fault, counters: the kernel's parameters, in this order. outputs: what it
    writes, whether or not it reads it too. sizes: int32. scalars: NumPy scalars, by value. extra: what the
    epilogues take, once they are rendered. fault, counters: its last parameters, where it has them.
    variants: other launches with the same results, of which autotune.py may find one faster. before: launches that run
    right before this one and belong to it. epilogues: what it does to its output before it stores it. texts: by the
    suffix of a dialect, the program instead of the kernel's file, for custom operators.

    computes: the IR value whose launch it is, a Gemm or one of ir.py's, where passes ask what that is.

    What megakernels ask: stage, as which the kernel can be one of several: "items", its work-items do nothing together
    and ask for no more than their number; "rows", a block of WIDTH makes a row, with so many `reductions` over the
    block; "none". single: whether its blocks are single work-items, as the kernel's ONE_WORK_ITEM says.
    """

    kernel: str
    threads: tuple[int, ...]
    block: tuple[int, ...] = (64,)
    inputs: Mapping[str, Buffer] = field(default_factory=dict)
    outputs: Mapping[str, Buffer] = field(default_factory=dict)
    sizes: Mapping[str, Size] = field(default_factory=dict)
    scalars: Mapping[str, np.generic] = field(default_factory=dict)
    extra: Mapping[str, Buffer | np.generic] = field(default_factory=dict)
    epilogues: tuple[Op, ...] = ()
    fault: Fault | None = None
    counters: Counters | None = None
    defines: Mapping[str, object] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    computes: object = None
    stage: Literal["items", "rows", "none"] = "items"
    reductions: int = 0
    single: bool = False
    variants: tuple[Launch, ...] = ()
    before: tuple[Launch, ...] = ()

    def __post_init__(self) -> None:
        for name, size in self.sizes.items():
            if not isinstance(size, PerIteration) and not -(2**31) <= size < 2**31:
                raise Unsupported(f"a size {name} of {size}")

    @property
    def arguments(self) -> dict[str, Argument]:
        """Everything that the kernel takes, in the order of its parameters."""
        sizes = {name: s if isinstance(s, PerIteration) else np.int32(s) for name, s in self.sizes.items()}
        last = {"fault": self.fault, "counters": self.counters}
        return {
            **self.inputs,
            **self.outputs,
            **sizes,
            **self.scalars,
            **self.extra,
            **{name: buffer for name, buffer in last.items() if buffer is not None},
        }

    @property
    def reads(self) -> list[Buffer]:
        """The buffers that the kernel only reads."""
        fused = [buffer for epilogue in self.epilogues for buffer in epilogue.reads]
        return [*(a for a in (*self.inputs.values(), *self.extra.values()) if not isinstance(a, np.generic)), *fused]

    @property
    def writes(self) -> list[Buffer]:
        """The buffers that it writes."""
        return [a for a in (*self.outputs.values(), self.fault, self.counters) if a is not None]

    @property
    def buffers(self) -> list[Buffer]:
        return [*self.reads, *self.writes]

    def on(self, put: Callable[[Buffer], Buffer]) -> Launch:
        """The launch, with its variants and those before it, on other buffers."""

        def placed(buffers: Mapping[str, Any]) -> dict[str, Any]:
            return {name: a if isinstance(a, np.generic) else put(a) for name, a in buffers.items()}

        return replace(
            self,
            inputs=placed(self.inputs),
            outputs=placed(self.outputs),
            extra=placed(self.extra),
            epilogues=tuple(epilogue.on(put) for epilogue in self.epilogues),
            variants=tuple(variant.on(put) for variant in self.variants),
            before=tuple(other.on(put) for other in self.before),
        )

    @property
    def sequence(self) -> tuple[Launch, ...]:
        """All that runs: those before it, with those before them, and itself."""
        return (*(launch for other in self.before for launch in other.sequence), self)

    @property
    def vectors(self) -> bool:
        """Whether its program has the dialect's file of vectors."""
        return "VW" in self.defines

    @property
    def stem(self) -> str:
        return self.kernel.split(".")[0]

    @property
    def name(self) -> str:
        return self.kernel.split(".")[1]

    @property
    def grid(self) -> tuple[int, ...]:
        """Blocks along each dimension."""
        return tuple(-(-t // b) for t, b in zip(self.threads, self.block, strict=True))


@dataclass(frozen=True, eq=False)
class Loop:
    """Steps that are repeated, all in one launch (barrier_kernel.py).

    Either `iterations` times; or while the byte at `test`, which `before` computes before every iteration, is not 0.
    work: operations of an iteration, which decide how many blocks run it. overrun: raised where loops that end by a
    test, in it at any depth, take more iterations than the device's limits have.
    """

    steps: tuple[Launch | Loop, ...]
    iterations: int = 0
    before: tuple[Launch | Loop, ...] = ()
    test: Buffer | None = None
    work: int = 0
    overrun: Fault | None = None

    @property
    def reads(self) -> list[Buffer]:
        return [buffer for launch in self.launches() for one in launch.sequence for buffer in one.reads]

    @property
    def writes(self) -> list[Buffer]:
        own: list[Buffer] = [] if self.overrun is None else [self.overrun]
        return own + [buffer for launch in self.launches() for one in launch.sequence for buffer in one.writes]

    def on(self, put: Callable[[Buffer], Buffer]) -> Loop:
        """The loop on other buffers; its launches have no variants then."""
        steps, before = (
            tuple(s.on(put) if isinstance(s, Loop) else replace(s.on(put), variants=()) for s in group)
            for group in (self.steps, self.before)
        )
        test = None if self.test is None else put(self.test)
        return replace(self, steps=steps, before=before, test=test)

    def launches(self) -> Iterator[Launch]:
        """All launches in it, those of inner loops too."""
        for step in (*self.before, *self.steps):
            if isinstance(step, Loop):
                yield from step.launches()
            else:
                yield step


def faults_of(ops: Iterable[Op]) -> list[Fault]:
    """All that the launches and loops among ops may raise."""
    own = [op.overrun for op in ops if isinstance(op, Loop)]
    return [fault for fault in (*own, *(launch.fault for launch in launches_of(ops))) if fault is not None]


class Op(Protocol):
    """Something that a node computes: a launch, a loop of launches, or what ir.py has."""

    @property
    def reads(self) -> list[Buffer]:
        """The buffers that it only reads."""

    @property
    def writes(self) -> list[Buffer]:
        """The buffers that it writes."""

    def on(self, put: Callable[[Buffer], Buffer]) -> Op:
        """The same on other buffers."""


Lowered = list[Op]


def launches_of(steps: Iterable[Op]) -> Iterator[Launch]:
    """The launches among steps and in their loops."""
    for step in steps:
        if isinstance(step, Launch):
            yield step
        elif isinstance(step, Loop):
            yield from step.launches()
