"""Consecutive small launches become one barrier kernel, where starting them costs more than running them."""

from __future__ import annotations

from tflgpu.delegates.fusion.render_steps import rendered
from tflgpu.delegates.fusion.steps import PassContext, Step, Steps
from tflgpu.delegates.ir import Alias
from tflgpu.delegates.launch import Launch, Loop
from tflgpu.delegates.megakernel.barrier_kernel import MAX_BUFFERS, MOST_BARRIERS, barriers, buffers, fits
from tflgpu.delegation.cost import macs, operations

SMALL_LAUNCH = 8192
"""Operations of a launch that is not worth a start of its own on a CPU, at the most."""


def join_small_launches(steps: Steps, context: PassContext) -> Steps:
    """The steps, each run of small launches replaced by a Loop of one iteration and at most MOST_BARRIERS barriers."""
    persistent = context.limits.has("persistent")  # then join_launches joins them, and more
    if persistent or not context.own_programs:
        return steps
    out: list[Step] = []
    run: list[tuple[Step, Launch]] = []
    used: set[object] = set()
    spent = 0

    def close() -> None:
        if len(run) > 1:
            out.append(Step(run[-1][0].node, Loop(tuple(launch for _, launch in run), 1)))
        else:
            out.extend(step for step, _ in run)
        run.clear()
        used.clear()

    for step in steps:
        launch = rendered(step.op, context.limits)
        if isinstance(launch, Launch) and 0 < (brought := cost(launch, step.node, context)) <= MOST_BARRIERS:
            more = buffers([launch])
            if spent + brought > MOST_BARRIERS or len(used | more) > MAX_BUFFERS:
                close()
                spent = 0
            run.append((step, launch))
            used.update(more)
            spent += brought
        elif isinstance(launch, Alias):
            out.append(step)
        else:
            close()
            spent = 0
            out.append(step)
    close()
    return tuple(out)


def cost(launch: Launch, node: int, context: PassContext) -> int:
    """How many barriers the launch brings into a kernel of several; 0 where it is worth more than its start."""
    if context.dialect is None or not is_small(launch, node, context):
        return 0
    return barriers(launch, context.limits)


def is_small(launch: Launch, node: int, context: PassContext) -> bool:
    """Whether one core does the launch in less time than it takes to start: 4 microseconds, by measurement."""
    limits = context.limits
    if context.dialect is None or not limits.cpu or not limits.inner_barriers or 0 in launch.threads:
        return False
    return work_of(launch, node, context) <= SMALL_LAUNCH and fits(launch, limits)


def work_of(launch: Launch, node: int, context: PassContext) -> int:
    """Operations of a launch of a node."""
    if launch.stem in ("elementwise", "movement", "lut", "indexing"):
        return launch.threads[0]
    return max(operations(context.nodes[node]), macs(context.nodes[node], context.specs))
