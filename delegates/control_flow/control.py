"""WHILE and IF whose graphs are small: lowered whole, into one Loop that runs in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tflgpu.delegates import render
from tflgpu.delegates.control_flow.subgraphs import Storage, lowered_graph
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import Expr, X, equal, unequal
from tflgpu.delegates.ir import Alias, Copy, Elementwise, Operand
from tflgpu.delegates.launch import Buffer, Fault, Launch, Loop, Lowered, Ref, Temp, launches_of
from tflgpu.delegates.lowering.movement.movement import copy
from tflgpu.delegates.lowering.recurrent.sequence import small_step
from tflgpu.delegates.lowering.reduction.reduction_bodies import graphs_of
from tflgpu.delegates.lowering.registry import bits_type, lowers, require, size
from tflgpu.delegates.megakernel.barrier_kernel import MAX_BUFFERS, MOST_BARRIERS, buffers
from tflgpu.model.graph import Node, TensorSpec

MOST_LAUNCHES = 256
"""Launches of an iteration, at the most; on a CPU as many as a barrier kernel may have barriers."""


def _touches(step: Launch | Loop, buffer: Buffer) -> bool:
    buffers = [a for launch in launches_of([step]) for one in launch.sequence for a in one.buffers]
    return any(_same(a, buffer) for a in buffers) or (isinstance(step, Loop) and step.test is buffer)


def _same(one: Buffer, other: Buffer) -> bool:
    return one == other if isinstance(one, Ref) and isinstance(other, Ref) else one is other


@lowers("WHILE")
def while_(node: Node, limits: DeviceLimits) -> Lowered:
    """The outputs are the loop variables; those that no iteration changes are aliases of the inputs."""
    graphs = graphs_of(node)
    first = [node.input(k) for k in range(len(node.inputs))]
    cond, body = (graphs[i] for i in (node.options.cond_subgraph_index, node.options.body_subgraph_index))
    fixed = [i == o for i, o in zip(body.inputs, body.outputs, strict=True)]
    given = [spec if still else replace(spec, data=None) for spec, still in zip(first, fixed, strict=True)]
    test, step = (lowered_graph(graph, given, graphs, limits) for graph in (cond, body))
    work = test.work + step.work
    require(work <= small_step(limits), f"an iteration of {work:,} operations")
    for k, index in enumerate(body.outputs):
        after = step.specs[index]
        require((after.shape, after.type) == (first[k].shape, first[k].type), f"loop variable {k} changes its shape")
    held: list[Buffer] = [
        Ref(spec.index) if still else Ref(out.index)
        for spec, out, still in zip(first, node.outputs, fixed, strict=True)
    ]
    asks, does = Storage(test, held), Storage(step, held)
    condition = asks(Ref(cond.outputs[0]))
    steps = does.steps()
    carried = [(k, does(Ref(body.outputs[k]))) for k, still in enumerate(fixed) if not still and size(first[k])]
    loop = Loop(tuple(_carried(steps, carried, held, first)), 0, tuple(asks.steps()), condition, work)
    begin = [render.copy(copy(first[k], node.outputs[k])) for k, _ in carried]
    kept = [Alias(out.index, spec.index) for spec, out, still in zip(first, node.outputs, fixed, strict=True) if still]
    return [_checked(Loop((*begin, loop), 1, overrun=_overrun(node, limits)), limits), *kept]


def _overrun(node: Node, limits: DeviceLimits) -> Fault:
    most = limits.loop_iterations
    allowed = (
        "a launch may; Limits.loop_iterations allows more" if most is None else f"limits.loop_iterations = {most:,}"
    )
    return Fault(f"{node} takes more iterations than {allowed}. ")


def _checked(loop: Loop, limits: DeviceLimits) -> Loop:
    launches = list(loop.launches())
    require(limits.inner_barriers, "a loop that ends by a test, which the device's compiler does not support")
    most = MOST_BARRIERS if limits.cpu else MOST_LAUNCHES
    require(len(launches) <= most, f"an iteration of {len(launches)} launches, where {most} are the most")
    count = len(buffers(launches))
    require(count <= MAX_BUFFERS, f"{count} buffers in its graphs, where {MAX_BUFFERS} are the most")
    return loop


def _carried(
    steps: list[Launch | Loop],
    carried: Sequence[tuple[int, Buffer]],
    held: Sequence[Buffer],
    specs: Sequence[TensorSpec],
) -> list[Launch | Loop]:
    """The steps of an iteration, then copies that make its results the loop variables, all at once.

    A result is written to its variable's own buffer where nothing reads the old value afterwards.
    """
    olds = {id(held[k]) for k, _ in carried}
    apart: list[tuple[int, Buffer]] = []
    for k, result in carried:
        others = [r for j, r in carried if j != k]
        wanted_later = any(r is held[k] or r is result for r in others)
        direct = None if wanted_later or not isinstance(result, Temp) else _in_place(steps, result, held[k], specs[k])
        if direct is None:
            apart.append((k, result))
        else:
            steps = direct
    moved: list[Launch | Loop] = []
    after: list[Launch | Loop] = []
    for k, result in apart:
        source = result
        if id(result) in olds and len(apart) > 1:  # another variable, which may be overwritten before this one is
            source = Temp(size(specs[k]) * specs[k].dtype.itemsize)
            moved.append(_copied(result, source, specs[k]))
        after.append(_copied(source, held[k], specs[k]))
    return [*steps, *moved, *after]


def _copied(x: Buffer, out: Buffer, spec: TensorSpec) -> Launch:
    return render.copy(Copy(x, out, size(spec), bits_type(spec)))


def _in_place(
    steps: Sequence[Launch | Loop], result: Temp, old: Buffer, spec: TensorSpec
) -> list[Launch | Loop] | None:
    """The steps with the result made where the old value is; None where a step still looks at that."""
    readers = [at for at, step in enumerate(steps) if _touches(step, old)]
    makers = [at for at, step in enumerate(steps) if _touches(step, result)]
    if not makers:
        return None
    start = steps[makers[0]]
    whole = _copied(old, result, spec)
    begins_as_old = (
        isinstance(start, Launch)
        and (start.kernel, start.defines, start.sizes) == (whole.kernel, whole.defines, whole.sizes)
        and _same(start.inputs["x"], old)
        and start.outputs["out"] is result
    )
    if readers and readers[-1] > makers[0] - (not begins_as_old):
        return None
    kept = [step for step in steps if not (begins_as_old and step is start)]
    return [step.on(lambda a: old if a is result else a) for step in kept]


@lowers("IF")
def if_(node: Node, limits: DeviceLimits) -> Lowered:
    """Both branches stand in the kernel, each in a loop that runs once or not at all."""
    graphs = graphs_of(node)
    given = [node.input(k) for k in range(1, len(node.inputs))]
    indices = node.options.then_subgraph_index, node.options.else_subgraph_index
    steps: list[Launch | Loop] = []
    loops: list[Loop] = []
    condition = node.input(0)
    for index, value in zip(indices, (unequal(X, 0), equal(X, 0)), strict=True):
        branch = lowered_graph(graphs[index], given, graphs, limits)
        require(branch.work <= small_step(limits), f"a branch of {branch.work:,} operations")
        storage = Storage(branch, [Ref(spec.index) for spec in given])
        body = storage.steps()
        for k, out in enumerate(node.outputs):
            made = branch.specs[graphs[index].outputs[k]]
            require((made.shape, made.type) == (out.shape, out.type), f"output {k} differs between the branches")
            if size(out):
                body.append(_copied(storage(Ref(graphs[index].outputs[k])), Ref(out.index), out))
        flag = Temp(1)
        steps.append(_flag(condition, flag, value))
        done = render.copy(Copy(np.zeros(1, np.bool_), flag, 1, "u8"))
        loops.append(Loop((*body, done), 0, (), flag, branch.work))
    return [_checked(Loop((*steps, *loops), 1, overrun=_overrun(node, limits)), limits)]


def _flag(condition: TensorSpec, flag: Temp, expression: Expr) -> Launch:
    return render.elementwise(Elementwise((Operand(Ref(condition.index), "u8"),), expression, flag, "u8", 1))
