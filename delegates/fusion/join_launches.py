"""Loops become barrier kernels; consecutive launches a persistent kernel, where barriers cost less than starts."""

from __future__ import annotations

from collections.abc import Sequence

from tflgpu.delegates.fusion import join_small_launches
from tflgpu.delegates.fusion.steps import PassContext, Step, Steps
from tflgpu.delegates.launch import Buffer, Launch, Loop
from tflgpu.delegates.megakernel.barrier_kernel import MOST_BARRIERS, barriers, composed
from tflgpu.delegates.megakernel.persistent_kernel import Stage, fits, persistent_launch, single
from tflgpu.delegates.program import Dialect


def join_launches(steps: Steps, context: PassContext) -> Steps:
    """Launches alone, in order."""
    dialect, limits = context.dialect, context.limits
    assert dialect is not None
    out: list[Step] = []
    stages: list[tuple[int, Stage]] = []

    def close() -> None:
        if len(stages) > 1:
            out.append(Step(stages[-1][0], _joined([stage for _, stage in stages], dialect, context)))
        else:
            out.extend(Step(node, stage.launch) for node, stage in stages)
        stages.clear()

    for step in steps:
        if isinstance(step.op, Loop):
            close()
            out.append(Step(step.node, composed([step.op], dialect, limits, context.storage)))
        elif isinstance(step.op, Launch) and not (limits.has("persistent") and context.own_programs):
            out.append(step)
        elif isinstance(step.op, Launch):
            for launch in (one for one in step.op.sequence if 0 not in one.threads):
                stage = Stage(launch, join_small_launches.work_of(launch, step.node, context))
                if not single(launch) and not join_small_launches.is_small(launch, step.node, context):
                    close()
                    out.append(Step(step.node, launch))
                    continue
                if not fits([known for _, known in stages], stage):
                    close()
                stages.append((step.node, stage))
    close()
    return tuple(out)


def _joined(stages: Sequence[Stage], dialect: Dialect, context: PassContext) -> Launch:
    """The stages as one kernel: with barriers of one work-group where cores share none, else persistent."""
    limits, launches = context.limits, [stage.launch for stage in stages]

    def storage(buffer: Buffer) -> object:
        # Launches of several nodes may use the same memory of the arena one after another.
        return "arena" if context.in_arena(buffer) else context.storage(buffer)

    few = sum(barriers(launch, limits) for launch in launches) <= MOST_BARRIERS
    if few and not any(map(single, launches)):
        return composed([Loop(tuple(launches), 1)], dialect, limits, storage)
    return persistent_launch(stages, dialect, limits)
