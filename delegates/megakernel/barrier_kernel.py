"""Barrier kernels: several launches as one, with barriers between them, so that only one launch has to start.

Each launch's kernel becomes a function of the work-item's number, under its own macros. The WIDTH work-items of a block
share its work-items; a CPU's compiler vectorizes over them. Launches that do not touch what another writes share the
barrier after them. Scalars become literals; a Loop becomes one in C. Where an iteration is much work and the device
runs several blocks at once, these share it, with a barrier for all of them (GRID_WIDE).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import c_float
from tflgpu.delegates.launch import Argument, Buffer, Cells, Launch, Loop, PerIteration, Ref, launches_of
from tflgpu.delegates.lowering.recurrent.sequence import SMALL_STEP_OF_A_GPU
from tflgpu.delegates.megakernel.linking import Functions
from tflgpu.delegates.program import Dialect, file_text, needs_types

MAX_BUFFERS = 96
"""Pointers that a kernel may have: PoCL takes 1024 bytes of arguments."""

SHARE = 1 << 14
"""Operations of an iteration for each block, where several blocks share it, as bandwidth grows with them."""

MOST_COUNTED = 2**31 - 1 - 2**16
"""Iterations that an i32 counts, and as many tests after them as loops may be nested."""

MOST_ITERATIONS, MOST_OPERATIONS = 2**24, 2**36
"""Of the loops in one launch, operations of each block, where the user sets no limit: no launch can be interrupted."""

Step = Launch | Loop
Memory = Callable[[Buffer], object]
"""What two buffers have in common whose storage is the same."""


def width(limits: DeviceLimits) -> int:
    """Work-items of the block. On a CPU a few vectors' worth: by measurement 16 to 256 are equally fast."""
    return 64 if limits.cpu else limits.max_block


def fits(launch: Launch, limits: DeviceLimits) -> bool:
    """Whether the launch can be a stage of a barrier kernel: no vectors, one dimension."""
    return limits.inner_barriers and launch.stage != "none" and len(launch.threads) == 1 and not needs_types(launch)


@dataclass(eq=False)
class Program:
    """The text of a kernel: the functions of its launches, and the buffers that they use."""

    functions: Functions
    memory: Memory
    buffers: dict[object, Buffer] = field(default_factory=dict)
    counts: bool = False

    def argument(self, value: Argument, iteration: str) -> str:
        if isinstance(value, PerIteration):
            return f"({value.start} + {value.stride} * {iteration})"
        if isinstance(value, np.generic):
            return literal(value)
        if identity(value) not in self.buffers:
            self.buffers[identity(value)] = value
        return f"UNTYPED(p{list(self.buffers).index(identity(value))})"

    def stages(self, steps: Iterable[Step], depth: int = 0, read: Sequence[Buffer] = ()) -> list[str]:
        """C of the steps. read: buffers that work-items may still read when the first stage begins."""
        out: list[str] = []
        waiting: list[Launch] = []
        for step in steps:
            if isinstance(step, Loop):
                out += self.with_barriers(waiting, depth, read)
                out += self.loop(step, depth)
                waiting, read = [], ()
            else:
                waiting += [launch for launch in step.sequence if 0 not in launch.threads]
        return out + self.with_barriers(waiting, depth, read)

    def with_barriers(self, launches: Sequence[Launch], depth: int, read: Sequence[Buffer]) -> list[str]:
        """The launches in as few stages as their reads and writes allow, with a barrier after each stage."""
        if read and not launches:
            return ["GRID_BARRIER;"]
        out: list[list[str]] = []
        written: dict[object, int] = {}
        seen = {self.memory(a): 1 for a in read}
        for launch in launches:
            touched = [(self.memory(a), True) for a in launch.reads] + [(self.memory(a), False) for a in launch.writes]
            # The first stage after all writes of what it touches, and after all reads of what it writes.
            stage = max(
                [0, *(written.get(m, 0) for m, _ in touched), *(seen.get(m, 0) for m, still in touched if not still)]
            )
            for m, still in touched:
                stages = seen if still else written
                stages[m] = max(stages.get(m, 0), stage + 1)
            while stage >= len(out):  # two, where the first waits for what is read
                out.append([])
            out[stage].append(self.stage(launch, f"iteration{depth - 1}"))
        return [line for lines in out for line in (*lines, "GRID_BARRIER;")]

    def loop(self, loop: Loop, depth: int) -> list[str]:
        iteration = f"iteration{depth}"
        if loop.overrun is not None and depth == 0:  # the count of all loops in it, the same for every work-item
            self.counts = True
            cell = self.argument(loop.overrun, "")
            body = self.loop(replace(loop, overrun=None), depth)
            return ["{", "i32 count = 0;", *body, f"if (count > most && FIRST_ITEM == 0) *(OUT(i32)){cell} = 1;", "}"]
        if loop.test is None:
            steps = self.stages(loop.steps, depth + 1)
            return [f"for (i32 {iteration} = 0; {iteration} < {loop.iterations}; {iteration}++) {{", *steps, "}"]
        # With faulty inputs the test may never end the loop.
        faults = dict.fromkeys(launch.fault for launch in loop.launches() if launch.fault is not None)
        before = self.stages(loop.before, depth + 1)
        steps = self.stages((*loop.steps, *loop.before), depth + 1, (loop.test, *faults))
        tests = [f"*(IN(u8)){self.argument(loop.test, '')}"]
        tests += [f"!*(IN(i32)){self.argument(fault, '')}" for fault in faults]
        tests += ["count++ < most"] if self.counts else []
        return [*before, f"for (i32 {iteration} = 0; {' && '.join(tests)}; {iteration}++) {{", *steps, "}"]

    @property
    def parameters(self) -> dict[str, Buffer]:
        """The buffers by the names that the text has for them."""
        return {f"p{k}": buffer for k, buffer in enumerate(self.buffers.values())}

    def stage(self, launch: Launch, iteration: str) -> str:
        kind, count = ("ROW", launch.grid[0]) if self.functions.of_rows(launch) else ("ITEM", launch.threads[0])
        call = self.call(launch, "item", iteration)
        return f"for (i32 item = FIRST_{kind}; item < {count}; item += {kind}S) {call}"

    def call(self, launch: Launch, item: str, iteration: str = "") -> str:
        """The launch's function for a work-item, or a row, by a number."""
        name, memory = self.functions.name(launch), ["partial"] if self.functions.of_rows(launch) else []
        given = [self.argument(a, iteration) for a in launch.arguments.values()]
        return f"{name}({', '.join([item, *memory, *given])});"


def identity(buffer: Buffer) -> object:
    """What two arguments that are the same buffer have in common."""
    return buffer if isinstance(buffer, Ref) else id(buffer)


def buffers(steps: Iterable[Step]) -> set[object]:
    """The identities of all buffers that the steps use."""
    return {identity(buffer) for launch in launches_of(steps) for buffer in launch.buffers}


def literal(value: Any) -> str:
    """A kernel's scalar argument, a NumPy scalar, as C."""
    if value.dtype == np.float32:
        return c_float(float(value))
    if value.dtype.kind == "f":
        return f"({float(value).hex()})"
    number = int(value)
    if -(2**31) < number < 2**31:
        return f"({number})"
    if number == -(2**31):
        return "(-2147483647 - 1)"
    return f"((i64)((u64){number >> 32 & 0xFFFFFFFF}u << 32 | {number & 0xFFFFFFFF}u))"


def composed(steps: Sequence[Step], dialect: Dialect, limits: DeviceLimits, memory: Memory = identity) -> Launch:
    """The steps, all of which fit, as one launch."""
    block = width(limits)
    program = Program(Functions(dialect, block), memory)
    body = program.stages(steps)
    work = _most_work(steps)
    blocks = 1 if work <= SMALL_STEP_OF_A_GPU else min(limits.blocks, -(-work // SHARE))
    defines, parameters = {"WIDTH": block}, program.parameters
    if blocks > 1:
        defines["GRID_WIDE"] = 1
        parameters["arrived"] = Cells(1)
    sizes = {"most": _most_iterations(work // blocks, limits)} if program.counts else {}
    declared = [*(f"BUFFER {name}" for name in parameters), *(f"i32 {name}" for name in sizes)]
    text = [
        file_text(dialect.package, f"barrier_kernel.{dialect.suffix}h"),
        *program.functions.texts,
        f"BLOCK barrier_kernel({', '.join(declared)}) {{",
        "SHARED_FLOATS(partial);",
        *body,
        "}",
    ]
    texts = {dialect.suffix: "\n".join(text)}
    threads = (block * blocks,)
    name = "barrier_kernel.barrier_kernel"
    return Launch(name, threads, (block,), {}, parameters, sizes, defines=defines, texts=texts)


def _most_iterations(work: int, limits: DeviceLimits) -> int:
    """How many iterations, of so many operations of a block at most, the loops in one launch may take."""
    if limits.loop_iterations is None:
        return min(MOST_ITERATIONS, MOST_OPERATIONS // max(work, 1))
    return min(limits.loop_iterations, MOST_COUNTED)


def _most_work(steps: Iterable[Step]) -> int:
    """Operations of an iteration of the loop that has the most."""
    loops = [step for step in steps if isinstance(step, Loop)]
    return max((max(loop.work, _most_work((*loop.before, *loop.steps))) for loop in loops), default=0)


MOST_BARRIERS = 40
"""Barriers of one kernel at the most: compile times grow with them. Intel's compiler, as of version 2026.2, has a table
of uses between barriers, and now and then crashes when that outgrows its first 48 entries."""


def barriers(launch: Launch, limits: DeviceLimits) -> int:
    """How many a launch that fits brings into a barrier kernel: one after it, and on CPUs those of its reductions."""
    reductions = sum(one.reductions for one in launch.sequence) if limits.cpu else 0
    return len(launch.sequence) + reductions * (width(limits).bit_length() + 1)
