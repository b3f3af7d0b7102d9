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
    """A loop with memory for its variables, ready to run."""

    def __init__(self, loop: HostedLoop, tensors: Mapping[int, Tensor], host: Host):
        self._device, self._meter, compile, new = host.device, host.meter, host.compile, host.new_tensor
        changing = [k for k, still in enumerate(loop.fixed) if not still]
        first = [tensors[s.index] if s.data is None else Tensor(s, np.ascontiguousarray(s.data)) for s in loop.first]
        held = [new(spec) if k in changing else first[k] for k, spec in enumerate(loop.first)]
        inside = {spec.index: new(spec) for spec in _leaving(loop.body)} | dict(
            zip(loop.body.inputs, held, strict=True)
        )
        (condition,) = _leaving(loop.cond)
        self._condition = new(condition)
        asked = dict(zip(loop.cond.inputs, held, strict=True)) | {condition.index: self._condition}
        self._ask, self._iterate = compile(_whole(loop.cond), asked), compile(_whole(loop.body), inside)
        results = [_result(loop.specs[loop.body.outputs[k]], inside) for k in changing]
        # A variable may become what another was: that is kept before any of them is overwritten.
        aside = {id(tensor): new(tensor.spec) for tensor in results if any(tensor is other for other in held)}
        self._save = self._copies([(tensor, aside[id(tensor)]) for tensor in held if id(tensor) in aside])
        self._carry = self._copies([(aside.get(id(x), x), held[k]) for k, x in zip(changing, results, strict=True)])
        self._start = self._copies([(first[k], held[k]) for k in changing])
        outputs = [tensors.get(spec.index) for spec in loop.node.outputs]
        self._finish = self._copies([(held[k], out) for k, out in enumerate(outputs) if out is not None])

    def run(self) -> None:
        self._start()
        while self._asked():
            self._meter.iteration()
            self._iterate()
            self._save()
            self._carry()
        self._finish()

    def _asked(self) -> bool:
        self._ask()
        return bool(self._condition.read().item())

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


def _leaving(graph: Graph) -> list[TensorSpec]:
    """The outputs that the graph's nodes make."""
    return [spec for node in graph.nodes for spec in node.outputs if spec.index in graph.outputs]


def _result(spec: TensorSpec, inside: Mapping[int, Tensor]) -> Tensor:
    return inside[spec.index] if spec.data is None else Tensor(spec, np.ascontiguousarray(spec.data))


def _whole(graph: Graph) -> Partition:
    return Partition(None, graph.nodes, *boundary(graph, graph.nodes))


def _buffer(tensor: Tensor, device: Device) -> Any:
    if device not in tensor.buffers:
        tensor.buffers[device] = exchange(device, max(tensor.host.nbytes, 1))
    return tensor.buffers[device]
