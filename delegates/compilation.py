"""A partition becomes a list of calls: passes, then memory, then compiled programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tflgpu.delegates.buffers import Buffers
from tflgpu.delegates.compiler import calls_of
from tflgpu.delegates.control_flow import control as control  # which registers how WHILE and IF are lowered
from tflgpu.delegates.device import Call, Device, NamesLaunches, Tunes
from tflgpu.delegates.fusion.steps import PassContext, Step
from tflgpu.delegates.launch import Launch
from tflgpu.delegates.launch_nodes import nodes_of
from tflgpu.delegates.passes import LAST_PASSES, PASSES, Watch, run_passes
from tflgpu.delegation.delegate import Partition
from tflgpu.memory import Tensor
from tflgpu.model.graph import Node, TensorSpec
from tflgpu.optional import offers

Progress = Callable[[int, int], None]
"""Is told how many are done, and of how many."""

PROGRAM_NBYTES = 2 << 20
"""What a program that is built for a partition is taken to hold: on Intel's runtime it is 1 to 3 MB."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """A partition's calls, in order, and the memory that they use. nbytes: of it what no other partition uses."""

    calls: Sequence[Call]
    buffers: Buffers
    nbytes: int


def compile_partition(
    device: Device,
    partition: Partition,
    tensors: Mapping[int, Tensor],
    watch: Watch | None = None,
    kernels: Progress | None = None,
    own_programs: bool = True,
) -> Compiled:
    """tensors: where those that the partition shares with others are stored. watch: is told of each pass.

    kernels: is told how many launches' kernels are compiled, of how many.
    own_programs: whether to compile what is faster, but of use for the present shapes alone.
    """
    tuned = offers(device, Tunes)
    specs = _specs(partition.nodes)
    boundary = {index: tensors[index] for index in partition.inputs | partition.outputs if specs[index].data is None}
    limits = device.limits if device.limits.cpu and not tuned else device.limits.minus("persistent")
    context = PassContext(limits, partition.nodes, specs, boundary, device.dialect, own_programs=own_programs)
    context = replace(context, one_storage=lambda one, other: one in boundary and boundary[one] is boundary.get(other))
    steps = run_passes(PASSES, tuple(Step(k, node) for k, node in enumerate(partition.nodes)), context, watch)
    buffers = Buffers(device, steps, specs, boundary, every_variant=tuned)
    context = replace(context, storage=buffers.storage, in_arena=buffers.in_arena)
    launches = [step.op for step in run_passes(LAST_PASSES, steps, context, watch) if isinstance(step.op, Launch)]
    built = device.memory.programs
    calls: list[Call] = []
    tell = kernels or (lambda done, of: None)
    tell(0, len(launches))
    for number, (launch, nodes) in enumerate(zip(launches, nodes_of(launches, partition.nodes), strict=True), 1):
        if offers(device, NamesLaunches):
            device.nodes = nodes
        calls += calls_of(launch, device, buffers)
        tell(number, len(launches))
    return Compiled(calls, buffers, buffers.nbytes + (device.memory.programs - built) * PROGRAM_NBYTES)


def _specs(nodes: Sequence[Node]) -> dict[int, TensorSpec]:
    return {spec.index: spec for node in nodes for spec in (*node.inputs, *node.outputs) if spec is not None}
