"""Loops become kernels, and launches in a row a persistent kernel where cores agree faster than launches start."""

from __future__ import annotations

from tflgpu.delegates.fusion import join_small_launches
from tflgpu.delegates.fusion.steps import PassContext, Step, Steps
from tflgpu.delegates.launch import Buffer, Launch, Loop
from tflgpu.delegates.megakernel.barrier_kernel import MOST_BARRIERS, barriers, composed
from tflgpu.delegates.megakernel.persistent_kernel import Stage, fits, single, team


def join_launches(steps: Steps, context: PassContext) -> Steps:
    """Launches alone, in order."""
    dialect, limits = context.dialect, context.limits
    assert dialect is not None
    out: list[Step] = []
    stages: list[tuple[int, Stage]] = []

    def storage_of_nodes(buffer: Buffer) -> object:
        # Of launches of several nodes one may use in the arena what another has done with.
        return "arena" if context.in_arena(buffer) else context.storage(buffer)

    def close() -> None:
        launches = [stage.launch for _, stage in stages]
        if len(launches) < 2:
            out.extend(Step(node, stage.launch) for node, stage in stages)
        else:
            alone = not any(single(launch) for launch in launches)
            few = sum(barriers(launch, limits) for launch in launches) <= MOST_BARRIERS
            if alone and few:
                whole = composed([Loop(tuple(launches), 1)], dialect, limits, storage_of_nodes)
            else:
                whole = team([stage for _, stage in stages], dialect, limits)
            out.append(Step(stages[-1][0], whole))
        stages.clear()

    for step in steps:
        if isinstance(step.op, Loop):
            close()
            out.append(Step(step.node, composed([step.op], dialect, limits, context.storage)))
        elif isinstance(step.op, Launch) and not limits.has("persistent"):
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
