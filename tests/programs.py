"""The programs that a model's kernels are compiled as, and the fewest cases that have all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from kit import fed

from tflgpu.conformance.cases.case import Case
from tflgpu.delegates.control_flow import control as control  # which registers how WHILE is lowered
from tflgpu.delegates.cuda.device import CudaDevice
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.fusion.steps import PassContext, Step
from tflgpu.delegates.launch import LIBRARY, Launch, Loop, launches_of
from tflgpu.delegates.lowering.reduction.reduction_bodies import with_body
from tflgpu.delegates.lowering.registry import C_TYPES
from tflgpu.delegates.megakernel.barrier_kernel import composed
from tflgpu.delegates.passes import PASSES, run_passes
from tflgpu.delegates.program import Dialect
from tflgpu.delegation.delegate import Partition
from tflgpu.limits import Meter
from tflgpu.model.graph import Node
from tflgpu.model.loader import load
from tflgpu.ops.registry import OPS
from tflgpu.runtime.graph_runner import graph_runners
from tflgpu.runtime.session import Session


def launches(model: bytes, limits: DeviceLimits, dialect: Dialect = CudaDevice.dialect) -> list[Launch]:
    """What the nodes of a model become, all variants."""
    steps = steps_of(model, limits, dialect)
    loops = [composed([step], dialect, limits) for step in steps if isinstance(step, Loop)]
    ways = [way for launch in launches_of(steps) for way in (launch, *launch.variants)]
    return [*(one for way in ways for one in way.sequence if one.stem != LIBRARY), *loops]


def steps_of(model: bytes, limits: DeviceLimits, dialect: Dialect = CudaDevice.dialect) -> list[Any]:
    """What the passes make of a model."""
    loaded = load(path=None, content=model)
    session = Session(OPS, meter=Meter(file_nbytes=len(model)))
    graph = graph_runners(loaded, session)[0]
    graph.allocate()
    partitions = [
        replace(partition, nodes=[with_body(node, loaded.graphs) for node in partition.nodes if not settled(node)])
        for partition in graph.partitions
    ]
    outputs = loaded.graphs[0].outputs  # which partitions of the CPU do not name
    return [op for partition in partitions for op in passed(partition, outputs, limits, dialect)]


def settled(node: Node) -> bool:
    """Whether all inputs are constants: the CPU runs the node once."""
    return all(spec.data is not None for spec in node.inputs if spec is not None)


def passed(partition: Partition, outputs: Iterable[int], limits: DeviceLimits, dialect: Dialect) -> list[Any]:
    """What the passes make of a partition."""
    specs = {spec.index: spec for node in partition.nodes for spec in (*node.inputs, *node.outputs) if spec is not None}
    context = PassContext(limits, partition.nodes, specs, {*partition.inputs, *partition.outputs, *outputs}, dialect)
    return [
        step.op for step in run_passes(PASSES, tuple(Step(k, node) for k, node in enumerate(partition.nodes)), context)
    ]


def kind(launch: Launch) -> str:
    """The kernel, its set of macros and how many arguments it has."""
    return f"{launch.kernel} {' '.join(sorted(launch.defines))} {len(launch.arguments)}"


def one_of_each_kernel(cases: Iterable[Case], limits: DeviceLimits, dialect: Dialect) -> Iterator[Case]:
    """Those of the cases that have a kernel that none before them has."""
    seen: set[str] = set()
    for case in cases:
        names = {launch.kernel for launch in launches(fed(case)[0], limits, dialect)}
        if names - seen:
            seen |= names
            yield case


def one_of_each(
    cases: Iterable[Case], limits: DeviceLimits, dialect: Dialect, operators: bool = False
) -> Iterator[Case]:
    """Those of the cases that have a kind of launch, of element types, that none before them has.

    operators: those too that are the first of their operator.
    """
    seen: set[Any] = set()
    words = set(C_TYPES.values())
    for case in cases:
        made = launches(fed(case)[0], limits, dialect)
        kinds: set[Any] = {
            (kind(one), *(f"{k} {v}" for k, v in sorted(one.defines.items()) if v in words)) for one in made
        }
        if operators:
            kinds.add(case.op)
        if kinds - seen:
            seen |= kinds
            yield case
