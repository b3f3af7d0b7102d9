"""Persistent kernels: launches that the work-groups of a CPU run together, one after another, in one launch.

Each launch is a stage, whose work-items the work-groups claim. A stage begins when all claims of the one before are
done: work-groups spin until then, for less time than a launch takes to start. Unlike a barrier kernel, which is one
block, it runs on all cores, and its kernels may be of vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Cells, Launch
from tflgpu.delegates.megakernel.barrier_kernel import Program, buffers, identity
from tflgpu.delegates.megakernel.linking import Functions
from tflgpu.delegates.program import Dialect, file_text, needs_types

CELL = 16
"""Ints from one counter to the next, as in persistent_kernel.clh: a cache line."""

SOLO = 16384
"""Operations of a launch that one core does in less time than two cores take to synchronize."""

MOST_STAGES = 64
MOST_BUFFERS = 400


@dataclass(frozen=True)
class Stage:
    """A launch, and how many operations it does."""

    launch: Launch
    work: int

    @property
    def claims(self) -> int:
        return 1 if self.work <= SOLO or self.launch.block != (1,) else self.launch.threads[0]


def single(launch: Launch) -> bool:
    """Whether the launch can be a stage that cores share: its work-groups are single work-items."""
    return launch.single and launch.block == (1,) and len(launch.threads) == 1 and not needs_types(launch)


class _Stages(Program):
    def runs(self, stages: Sequence[Sequence[Stage]]) -> list[str]:
        """C of the stages, each of launches that are one claim, or of one launch that is a claim for each work-item."""
        out = []
        for stage in stages:
            claims = stage[0].claims
            if claims > 1:
                call = self.call(stage[0].launch, "claim")
            else:
                call = "\n".join(self.loop_over(one.launch) for one in stage)
            out.append(f"STAGE({claims}u, {call})")
        return out

    def loop_over(self, launch: Launch) -> str:
        """All items one after another: the rows of a kernel of which a block makes one, else its work-items."""
        items = launch.grid[0] if self.functions.of_rows(launch) else launch.threads[0]
        return f"for (i32 item = 0; item < {items}; item++) {self.call(launch, 'item')}"


def merged(stages: Iterable[Stage]) -> list[list[Stage]]:
    """The stages, with consecutive stages of one claim each merged."""
    out: list[list[Stage]] = []
    for stage in stages:
        if out and stage.claims == out[-1][0].claims == 1:
            out[-1].append(stage)
        else:
            out.append([stage])
    return out


def fits(stages: Sequence[Stage], more: Stage) -> bool:
    """Whether one launch can be so many stages, and use so many buffers."""
    launches = [stage.launch for stage in (*stages, more)]
    return len(launches) <= MOST_STAGES and len(buffers(launches)) <= MOST_BUFFERS


def persistent_launch(stages: Sequence[Stage], dialect: Dialect, limits: DeviceLimits) -> Launch:
    """The stages as one launch."""
    together = merged(stages)
    program = _Stages(Functions(dialect, 1, singles=True), identity)
    body = program.runs(together)
    parameters = "".join(f", BUFFER {name}" for name in program.parameters)
    text = [
        file_text(dialect.package, "barrier_kernel.clh"),
        *program.functions.texts,
        file_text(dialect.package, "persistent_kernel.clh"),
        f"ONE_WORK_ITEM kernel void persistent_kernel(global u32* cells{parameters}) {{",
        "local f32 partial[1];",
        "JOIN",
        *body,
        "LEAVE",
        "}",
    ]
    groups = min(limits.units, max(stage[0].claims for stage in together))
    cells = Cells((1 + len(together) * (groups + 1)) * CELL)
    outputs, texts = {"cells": cells, **program.parameters}, {dialect.suffix: "\n".join(text)}
    name = "persistent_kernel.persistent_kernel"
    return Launch(name, (groups,), (1,), outputs=outputs, defines={"WIDTH": 1}, texts=texts)
