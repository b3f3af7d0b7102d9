"""WHILE whose iterations are too much for one launch: the host asks the condition, all values stay on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from tflgpu.delegates import render
from tflgpu.delegates.control_flow.subgraphs import inferred
from tflgpu.delegates.device import Call, Device
from tflgpu.delegates.ir import Copy
from tflgpu.delegates.launch import MAX_ELEMENTS, Temp
from tflgpu.delegates.lowering.registry import bits_type, require, size
from tflgpu.delegates.program import source
from tflgpu.delegation.boundary import boundary
from tflgpu.delegation.delegate import Partition
from tflgpu.delegation.partitioner import pays
from tflgpu.limits import Meter
from tflgpu.memory import Tensor, exchange
from tflgpu.model.graph import Graph, Node, TensorSpec
from tflgpu.ops.registry import nothing

Compile = Callable[[Partition, Mapping[int, Tensor]], Call]


@dataclass(frozen=True, eq=False)
class HostedLoop:
    """first: the loop variables as they come in. fixed: which of them no iteration changes.

    cond, body: the graphs, with the nodes that run. specs: what is known of the body's tensors.
    """

    node: Node
    first: tuple[TensorSpec, ...]
    fixed: tuple[bool, ...]
    cond: Graph
    body: Graph
    specs: Sequence[TensorSpec]


def hosted_loop(node: Node, graphs: Sequence[Graph]) -> HostedLoop:
    """The loop. Raises Unsupported where shapes change between iterations, or an iteration is too little work."""
    require(graphs, "graphs that are not known")
    first = tuple(node.input(k) for k in range(len(node.inputs)))
    cond, body = (graphs[i] for i in (node.options.cond_subgraph_index, node.options.body_subgraph_index))
    for spec in first:
        plain = spec.dtype != object and spec.type != "RESOURCE" and not spec.is_variable and spec.sparsity is None
        require(plain and size(spec) <= MAX_ELEMENTS, f"{spec} as a loop variable")
    fixed = tuple(i == o for i, o in zip(body.inputs, body.outputs, strict=True))
    given = [spec if still else replace(spec, data=None) for spec, still in zip(first, fixed, strict=True)]
    tests, cond_specs = inferred(cond, given, graphs)
    nodes, specs = inferred(body, given, graphs)
    cond, body = replace(cond, nodes=tests), replace(body, nodes=nodes)
    condition = cond_specs[cond.outputs[0]]
    require(condition.type == "BOOL" and size(condition) == 1, "a condition that is no single BOOL")
    require(len(_leaving(cond)) == 1, "a condition that never changes")
    for spec, index in zip(first, body.outputs, strict=True):
        after = specs[index]
        require((after.shape, after.type) == (spec.shape, spec.type), f"{spec} changes its shape in a loop")
    require(pays(body, body.nodes), "iterations that are too little work for their launches")
    return HostedLoop(node, first, fixed, cond, body, specs)


@dataclass(frozen=True, eq=False)
class Host:
    """What drives loops on a device. compile: makes calls of their graphs. meter: of the interpreter's limits."""

    device: Device
    compile: Compile
    meter: Meter

    def new_tensor(self, spec: TensorSpec) -> Tensor:
        return Tensor(spec, self.meter.host_array(spec))


def in_segments(
    partition: Partition, tensors: Mapping[int, Tensor], hosted: Mapping[int, HostedLoop], host: Host
) -> Call:
    """The partition as one call; between its loops that the host drives, the nodes as partitions of their own."""
    known = dict(tensors)
    whole = Graph(0, "", (), partition.nodes, (), tuple(partition.outputs))
    steps: list[Call] = []
    for number, run in groupby(partition.nodes, lambda node: node.index if node.index in hosted else -1):
        nodes = tuple(run)
        inputs, outputs = boundary(whole, nodes)
        for spec in (spec for node in nodes for spec in node.outputs if spec.index in outputs):
            known.setdefault(spec.index, host.new_tensor(spec))
        if number in hosted:
            steps.append(_Compiled(hosted[number], known, host).run)
        else:
            steps.append(host.compile(Partition(partition.owner, nodes, inputs, outputs), known))

    def run_all() -> None:
        for step in steps:
            step()

    return run_all


class _Compiled:
    """A loop with memory for its variables, ready to run.

    Every variable that changes has two tensors. An iteration reads the one and writes the other, so that nothing is
    copied, and ends with the condition of the next one: it is compiled twice, once each way.
    """

    def __init__(self, loop: HostedLoop, tensors: Mapping[int, Tensor], host: Host):
        self._device, self._meter, compile, new = host.device, host.meter, host.compile, host.new_tensor
        changing = [k for k, still in enumerate(loop.fixed) if not still]
        first = [tensors[s.index] if s.data is None else Tensor(s, np.ascontiguousarray(s.data)) for s in loop.first]
        sides = [[new(spec) if k in changing else first[k] for k, spec in enumerate(loop.first)] for _ in range(2)]
        (condition,) = _leaving(loop.cond)
        self._condition = new(condition)
        asked = dict(zip(loop.cond.inputs, sides[0], strict=True)) | {condition.index: self._condition}
        self._ask = compile(_whole(loop.cond), asked)
        self._iterations = [self._iteration(loop, held, other, compile) for held, other in (sides, sides[::-1])]
        self._start = self._copies([(first[k], sides[0][k]) for k in changing])
        outputs = [tensors.get(spec.index) for spec in loop.node.outputs]
        given = [(k, out) for k, out in enumerate(outputs) if out is not None]
        self._finish = [self._copies([(held[k], out) for k, out in given]) for held in sides]

    def run(self) -> None:
        self._start()
        self._ask()
        side = 0
        while self._condition.read().item():
            self._meter.iteration()
            for step in self._iterations[side]:
                step()
            side = 1 - side
        self._finish[side]()

    def _iteration(
        self, loop: HostedLoop, held: Sequence[Tensor], other: Sequence[Tensor], compile: Compile
    ) -> tuple[Call, Call]:
        """From the variables `held` to their next values, in `other`, and the condition of these."""
        inside = dict(zip(loop.body.inputs, held, strict=True))
        copied: list[tuple[Tensor, Tensor]] = []
        for k, index in enumerate(loop.body.outputs):
            spec = loop.specs[index]
            if loop.fixed[k]:
                continue
            if spec.data is not None:
                constant = Tensor(spec, np.ascontiguousarray(spec.data))
                inside[loop.cond.inputs[k] + len(loop.specs)] = constant
                copied.append((constant, other[k]))
            elif index in inside:  # what another variable was, or becomes too
                copied.append((inside[index], other[k]))
            else:
                inside[index] = other[k]
        iteration = with_next_condition(loop)
        inside[iteration.outputs[-1]] = self._condition
        return compile(_whole(iteration), inside), self._copies(copied)

    def _copies(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Call:
        """What copies the value of each pair's first tensor to the second, on the device."""
        device = self._device
        run = device.sequence([self._copy(x, to) for x, to in pairs if size(x.spec)])

        def step() -> None:
            for x, _ in pairs:
                x.read(device)
            run()
            for _, to in pairs:
                to.write(device)

        return step if pairs else nothing

    def _copy(self, x: Tensor, to: Tensor) -> Call:
        device = self._device
        launch = render.copy(Copy(Temp(1), Temp(1), size(x.spec), bits_type(x.spec)))
        kernel = device.kernel(source(launch, device.dialect), launch.name)
        sizes = [size for size in launch.arguments.values() if isinstance(size, np.generic)]
        return device.bind(kernel, [_buffer(x, device), _buffer(to, device), *sizes], launch.grid, launch.block)


def with_next_condition(loop: HostedLoop) -> Graph:
    """The body, then the condition over its results: the last output.

    Tensors of the condition are numbered after the body's, also those that are constants of the body.
    """
    made = zip(loop.cond.inputs, loop.body.outputs, strict=True)
    results = {index: loop.specs[result] for index, result in made if loop.specs[result].data is None}
    tensors, nodes = len(loop.specs), 1 + max((node.index for node in loop.body.nodes), default=0)

    def seen(spec: TensorSpec) -> TensorSpec:
        return results[spec.index] if spec.index in results else replace(spec, index=spec.index + tensors)

    tests = tuple(
        replace(
            node,
            index=node.index + nodes,
            inputs=tuple(spec if spec is None else seen(spec) for spec in node.inputs),
            outputs=tuple(map(seen, node.outputs)),
            intermediates=tuple(map(seen, node.intermediates)),
        )
        for node in loop.cond.nodes
    )
    outputs = (*loop.body.outputs, loop.cond.outputs[0] + tensors)
    return replace(loop.body, nodes=(*loop.body.nodes, *tests), outputs=outputs)


def _leaving(graph: Graph) -> list[TensorSpec]:
    """The outputs that the graph's nodes make."""
    return [spec for node in graph.nodes for spec in node.outputs if spec.index in graph.outputs]


def _whole(graph: Graph) -> Partition:
    return Partition(None, graph.nodes, *boundary(graph, graph.nodes))


def _buffer(tensor: Tensor, device: Device) -> Any:
    if device not in tensor.buffers:
        tensor.buffers[device] = exchange(device, max(tensor.host.nbytes, 1))
    return tensor.buffers[device]
