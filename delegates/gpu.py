"""A delegate for any Device: it takes a node if it can lower it; a partition becomes one list of launches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from tflgpu.delegates.compilation import Progress, compile_partition
from tflgpu.delegates.control_flow.hosted_loop import Host, HostedLoop, hosted_loop, in_segments
from tflgpu.delegates.device import Call, Device, RecordsCopies, TakesArrays
from tflgpu.delegates.device_memory import MemoryReport
from tflgpu.delegates.launch import Loop, launches_of
from tflgpu.delegates.lowering import lower
from tflgpu.delegates.lowering.reduction.reduction_bodies import with_body
from tflgpu.delegates.megakernel.barrier_kernel import fits
from tflgpu.delegates.passes import Watch
from tflgpu.delegation.delegate import HasNotes, Limits, Partition, Unsupported
from tflgpu.delegation.discovery import LoadedAs, load_again
from tflgpu.limits import Meter
from tflgpu.memory import MakesHostArrays, StreamedPlace, Tensor, Variable
from tflgpu.model.graph import Array, Graph, Model, Node, Shape, TensorSpec
from tflgpu.ops.registry import OPS
from tflgpu.ops.state.variables import assigned
from tflgpu.optional import offers
from tflgpu.rewrites.inline_composites import inline_composites

MOST_SHAPES = 8
"""For how many an interpreter compiles programs of their own; for more, those that all shapes share."""


class CompiledPartition:
    """A partition ready to run. uses: what must live as long. device_nbytes: what it holds beside the constants."""

    def __init__(self, run: Call, uses: object, device_nbytes: int):
        self._run, self._uses, self.device_nbytes = run, uses, device_nbytes

    def __call__(self) -> None:
        self._run()


class GpuDelegate:
    """Runs partitions of graphs on a device."""

    keeps_variables = True
    loaded_as: LoadedAs = ()

    def __init__(self, name: str, device: Device, limits: Limits):
        self.name = name
        self.device = device
        self.limits = limits
        self.model: Model | None = None
        self.watch: Watch | None = None
        self.progress: Progress | None = None
        self._compiled: Counter[tuple[tuple[int, str], ...]] = Counter()
        self.meter = Meter()

    def attach(self, model: Model, threads: int) -> GpuDelegate:
        """The same for one interpreter, with a queue of its own; its nodes may name graphs of its model."""
        model = replace(model, graphs=inline_composites(model))
        served = object.__new__(type(self))
        served.__dict__.update(self.__dict__, model=model, device=self.device.with_own_queue(), _compiled=Counter())
        return served

    def within(self, meter: Meter) -> None:
        """Keeps to one interpreter's limits, from its next compile on. For what `attach` returned."""
        self.meter = meter
        self.device.limits = replace(self.device.limits, loop_iterations=meter.limits.loop_iterations)

    def check(self, node: Node) -> None:
        """Raises Unsupported where the node cannot be lowered: lowering it is the test."""
        self.meter.check()
        try:
            self._check_lowered(node)
        except Unsupported as reason:
            if node.op != "WHILE":
                raise
            self._check_hosted(node, str(reason))

    def _check_lowered(self, node: Node) -> None:
        dialect, limits = self.device.dialect, self.device.limits
        steps = lower(with_body(node, self._graphs), limits)
        for launch in launches_of(steps):
            if launch.texts and dialect.suffix not in launch.texts:
                raise Unsupported(f"no body of {node.op} in this device's language (.{dialect.suffix})")
        for launch in (launch for step in steps if isinstance(step, Loop) for launch in step.launches()):
            if not fits(launch, limits):
                raise Unsupported(f"{launch.name} in a graph that one launch runs")

    def _check_hosted(self, loop: Node, instead: str) -> None:
        """Raises Unsupported where the host cannot drive the loop; instead: why it is not one launch."""
        try:
            known = hosted_loop(loop, self._graphs)
            for node in (*known.cond.nodes, *known.body.nodes):
                self.check(node)
        except Unsupported as reason:
            raise Unsupported(f"{instead}; and {reason}") from reason

    def _hosted(self, nodes: Sequence[Node]) -> dict[int, HostedLoop]:
        """The loops that the host drives, by their numbers."""
        found = {}
        for node in (node for node in nodes if node.op == "WHILE"):
            try:
                self._check_lowered(node)
            except Unsupported:
                found[node.index] = hosted_loop(node, self._graphs)
        return found

    @property
    def _graphs(self) -> Sequence[Graph]:
        return () if self.model is None else self.model.graphs

    def compile(self, partition: Partition, tensors: Mapping[int, Tensor]) -> CompiledPartition:
        """The partition as a callable: moves what is stale to the device, launches, marks the outputs as made there."""
        self.meter.check()
        device = self.device
        hosted = self._hosted(partition.nodes)
        if hosted:
            inside: list[CompiledPartition] = []

            def compile(inner: Partition, tensors: Mapping[int, Tensor]) -> Call:
                inside.append(self.compile(inner, tensors))
                return inside[-1]

            run_all = in_segments(partition, tensors, hosted, Host(device, compile, self.meter))
            return CompiledPartition(run_all, inside, sum(one.device_nbytes for one in inside))
        partition = replace(partition, nodes=tuple(with_body(node, self._graphs) for node in partition.nodes))
        few = self._has_few_shapes(partition)
        compiled = compile_partition(device, partition, tensors, self.watch, self.progress, few)
        reads = [tensors[i] for i in sorted(partition.inputs & compiled.buffers.tensors) if i in tensors]
        # A variable that kernels wrote is current on the device alone, as an output is.
        writes = [tensors[i] for i in sorted({*partition.outputs, *_written_variables(partition)}) if i in tensors]
        run = device.sequence(compiled.calls)
        check = compiled.buffers.fault_check()

        step = or_else(between_copies(device, reads, writes, run), device.synchronize)  # before its buffers may go
        if compiled.buffers.counters is not None:
            step = or_else(step, compiled.buffers.after_failure)
        if check is not None:
            step = one_after_another(step, check)
        step = with_variables(partition, tensors, step)
        return CompiledPartition(step, compiled.buffers, compiled.nbytes)

    def _has_few_shapes(self, partition: Partition) -> bool:
        """Whether these nodes have not been compiled often yet, which is for other shapes each time."""
        nodes = tuple((node.index, node.op) for node in partition.nodes)
        self._compiled[nodes] += 1
        return self._compiled[nodes] <= MOST_SHAPES

    def memory(self) -> MemoryReport:
        """What all interpreters that use this delegate hold on its device now, and why."""
        return self.device.memory.report()

    def host_array(self, shape: Shape, dtype: npt.DTypeLike) -> Array | None:
        """Zeroed host memory that the device copies to and from fastest; None where any memory will do."""
        return self.device.host_array(shape, dtype) if offers(self.device, MakesHostArrays) else None

    def bind(self, array: Any, spec: TensorSpec) -> tuple[StreamedPlace, Any]:
        """The device and a buffer on it that is a caller's array. Raises ValueError where it cannot be."""
        if not offers(self.device, TakesArrays):
            raise ValueError(f"{spec}: the {self.name} delegate cannot use arrays of others.")
        return self.device, self.device.external(array, spec)

    def watch_passes(self, watch: Watch) -> None:
        """From now on `watch` is told of each pass over a partition's steps."""
        self.watch = watch

    def watch_kernels(self, watch: Progress) -> None:
        """From now on `watch(done, of)` is told how many kernels of a partition are compiled."""
        self.progress = watch

    @property
    def notes(self) -> Sequence[str]:
        """What the report should say of the device beyond which node runs where."""
        return self.device.notes if offers(self.device, HasNotes) else ()

    def __reduce__(self) -> tuple[Callable[..., Any], LoadedAs]:
        return load_again(self)

    def __repr__(self) -> str:
        limits = f"; {self.limits}" if self.limits != Limits() else ""
        return f"<{self.name} delegate on {self.device.name}{limits}>"


def one_after_another(first: Call, second: Call) -> Call:
    """Both, one after the other."""

    def run() -> None:
        first()
        second()

    return run


def or_else(run: Call, after_failure: Call) -> Call:
    """run; where it fails, after_failure too, if that can still be done."""

    def step() -> None:
        try:
            run()
        except BaseException:
            with suppress(Exception):  # the device may be gone, which is what is being raised
                after_failure()
            raise

    return step


def _written_variables(partition: Partition) -> set[int]:
    """The variables that the partition's nodes write to."""
    nodes = [
        node for node in partition.nodes if node.op == "ASSIGN_VARIABLE" or ((op := OPS.get(node.op)) and op.variables)
    ]
    return {spec.index for node in nodes for spec in node.inputs if spec is not None and spec.is_variable}


def with_variables(partition: Partition, tensors: Mapping[int, Tensor], step: Call) -> Call:
    """The step of a partition, with what its resource variables ask for: a value before it, a note of one after it."""
    read, written = dict[int, Variable](), dict[int, Variable]()
    for node in partition.nodes:
        first = node.optional(0)
        variable = tensors.get(first.index) if first is not None else None
        if isinstance(variable, Variable) and node.op == "ASSIGN_VARIABLE":
            written[id(variable)] = variable
        elif isinstance(variable, Variable) and id(variable) not in written:
            read[id(variable)] = variable
    if not read and not written:
        return step

    def run() -> None:
        for variable in read.values():
            assigned(variable)
        for variable in written.values():
            if variable.replaced:
                assigned(variable)
        step()
        for variable in written.values():
            variable.assigned = True

    return run


def between_copies(device: Device, reads: Sequence[Tensor], writes: Sequence[Tensor], run: Call) -> Call:
    """run, after what brings the tensors it reads to the device and before what marks its outputs as made there."""
    if offers(device, RecordsCopies):
        return device.with_copies(reads, writes, run)

    def step() -> None:
        for tensor in reads:
            tensor.read(device)
        run()
        for tensor in writes:
            tensor.write(device)

    return step
