"""A model's graph as steps that a node of another graph can have inside: lowered whole, in that one's memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.fusion.steps import PassContext, Step, alias_roots
from tflgpu.delegates.launch import Buffer, Launch, Loop, Lowered, Packed, Ref, Temp, launches_of
from tflgpu.delegates.lowering.recurrent.linear import Accumulation, weights_of
from tflgpu.delegates.lowering.reduction.reduction_bodies import with_body
from tflgpu.delegates.lowering.registry import lower, require, size
from tflgpu.delegates.passes import SUBGRAPH_PASSES, run_passes
from tflgpu.delegation.cost import macs, operations
from tflgpu.limits import Meter
from tflgpu.model.graph import Array, Graph, Node, Quantization, Shape, TensorSpec, graphs_named
from tflgpu.ops.registry import OPS
from tflgpu.shapes import infer_stage

MOST_NESTED = 4
"""Graphs in graphs that a device runs: their kernels are made anew wherever they are named."""

MOST_STEPS = 1024
"""Launches of a graph before passes make them fewer; the most of what may become one launch are 256."""


class _Runtime:
    """What shape inference asks of an interpreter, over the model's graphs."""

    def __init__(self, graphs: Sequence[Graph]):
        self.state: dict[Any, Any] = {}
        self.ops = OPS
        self.meter = Meter()
        self.graphs = graphs
        self._known: dict[int, Any] = {}

    def subgraph(self, index: int) -> Any:
        if index not in self._known:
            self._known[index] = self._subgraph(index)
        return self._known[index]

    def _subgraph(self, index: int) -> Any:
        graph, itself = self.graphs[index], cast(Any, self)

        @cache  # else the time of graphs in graphs doubles with each level
        def outputs_for(shapes: tuple[Shape, ...]) -> list[TensorSpec | None]:
            specs = _with_inputs(graph, shapes)
            waiting = infer_stage(graph.nodes, specs, itself).dynamic
            late = {spec.index for node in waiting for spec in node.outputs}
            return [None if index in late else specs[index] for index in graph.outputs]

        return SimpleNamespace(
            graph=graph,
            inputs=tuple(graph.tensors[i] for i in graph.inputs),
            output_count=len(graph.outputs),
            outputs_for=lambda shapes: outputs_for(tuple(shapes)),
            run=None,
        )


def _with_inputs(graph: Graph, shapes: Sequence[Shape]) -> list[TensorSpec]:
    specs = list(graph.tensors)
    for index, shape in zip(graph.inputs, shapes, strict=True):
        specs[index] = replace(specs[index], shape=tuple(shape))
    return specs


@dataclass(frozen=True, eq=False)
class LoweredGraph:
    """A graph as steps over its own tensors. work: elements touched and products made by all its nodes."""

    graph: Graph
    specs: Sequence[TensorSpec]
    steps: tuple[Launch | Loop, ...]
    roots: Mapping[int, int]
    work: int

    def root(self, tensor: int) -> int:
        return self.roots.get(tensor, tensor)

    @property
    def inputs(self) -> list[int]:
        return [self.root(i) for i in self.graph.inputs]

    @property
    def outputs(self) -> list[int]:
        return [self.root(i) for i in self.graph.outputs]


def lowered_graph(
    graph: Graph, given: Sequence[TensorSpec], graphs: Sequence[Graph], limits: DeviceLimits
) -> LoweredGraph:
    """The graph for inputs of these shapes, and values where they are constants. Raises Unsupported."""
    nodes, specs = inferred(graph, given, graphs)
    alone = replace(limits.minus("register_tiles", "vnni", "warps", "cublas"), tensor_cores=False)
    steps: list[Step] = []
    count = 0
    for k, n in enumerate(nodes):
        ops = _dense(n, alone) or lower(with_body(n, graphs), alone)
        count += len(list(launches_of(ops)))
        require(count <= MOST_STEPS, "a graph of too many launches")
        steps += [Step(k, op) for op in ops]
    # No kernels of vectors: here the block's work-items are the vector.
    plain = replace(alone.plus("chains"), cpu=False)
    live = (*graph.inputs, *graph.outputs)
    context = PassContext(plain, nodes, {spec.index: spec for spec in specs}, live)
    passed = run_passes(SUBGRAPH_PASSES, tuple(steps), context)
    launches = tuple(step.op for step in passed if isinstance(step.op, Launch | Loop))
    work = sum(max(operations(node), macs(node, specs)) for node in nodes)
    return LoweredGraph(graph, specs, launches, alias_roots(passed), work)


def inferred(
    graph: Graph, given: Sequence[TensorSpec], graphs: Sequence[Graph]
) -> tuple[tuple[Node, ...], list[TensorSpec]]:
    """The nodes of a graph that run, for inputs of these shapes and values, and what is known of its tensors.

    Raises Unsupported where that is not all, or where the graph has variables.
    """
    require(_nesting(graph, graphs) <= MOST_NESTED, f"graphs nested more than {MOST_NESTED} deep")
    specs = _with_inputs(graph, [spec.shape for spec in given])
    for index, spec in zip(graph.inputs, given, strict=True):
        require(specs[index].type == spec.type, f"a loop variable of {spec.type} that becomes {specs[index].type}")
        specs[index] = replace(specs[index], data=spec.data)
    runtime: Any = _Runtime(graphs)
    stage = infer_stage(graph.nodes, specs, runtime)
    require(not stage.dynamic, "shapes that are known only at run time, in its graphs")
    for node in stage.nodes:
        every = [spec for spec in (*node.inputs, *node.outputs) if spec is not None]
        require(not any(s.is_variable or s.type in ("RESOURCE", "VARIANT") for s in every), "variables in its graphs")
    return stage.nodes, specs


def _nesting(graph: Graph, graphs: Sequence[Graph]) -> int:
    """How many graphs deep the graphs are that this one names, itself counted; MOST_NESTED + 1 for any more."""
    level, depth = {graph.index}, 0
    while level and depth <= MOST_NESTED:
        level = {i for index in level for node in graphs[index].nodes for i in graphs_named(node)}
        depth += 1
    return depth


def _dense(node: Node, limits: DeviceLimits) -> Lowered | None:
    """FULLY_CONNECTED of floats by constants, by the kernels that recurrent layers have; None for any other."""
    if node.op != "FULLY_CONNECTED" or node.options.weights_format != "DEFAULT":
        return None
    x, weights, bias, out = node.input(0), node.input(1), node.optional(2), node.outputs[0]
    plain = x.data is None and weights.data is not None and node.options.fused_activation_function == "NONE"
    known = {x.type, out.type} == {"FLOAT32"} and weights.type in ("FLOAT32", "INT8") and not weights.sparsity
    if not plain or not known or (bias is not None and bias.data is None):
        return None
    units = weights.shape[0]
    rows = size(out) // units if units else 0
    start = np.zeros(units, np.float32) if bias is None or bias.data is None else bias.data.reshape(-1)
    if not rows or start.dtype != np.float32 or not weights.shape[1]:
        return None
    if weights.type == "FLOAT32":
        dense = weights_of([weights])
    else:
        scales = weights.quantization
        if scales is None or scales.block_size:
            return None
        dense = replace(weights_of([_of_one_scale(weights)]), scales=Packed(lambda: _for_each(scales.scale, units)))
    made = Accumulation.of(Ref(x.index), rows, dense, bool(node.options.asymmetric_quantize_inputs), limits)
    return [*made.launches(start, 0, 0, Ref(out.index))]


def _of_one_scale(spec: TensorSpec) -> TensorSpec:
    return replace(spec, quantization=Quantization(np.ones(1, np.float32), np.zeros(1, np.int64)))


def _for_each(scales: Array, units: int) -> Array:
    return np.ascontiguousarray(np.broadcast_to(scales.astype(np.float32), (units,)))


class Storage:
    """Where the tensors of one graph lie: its inputs where the caller says, what it makes in temporary memory."""

    def __init__(self, of: LoweredGraph, inputs: Sequence[Buffer]):
        self._of = of
        self._known: dict[int, Buffer] = {}
        for index, argument in zip(of.inputs, inputs, strict=True):
            self._known.setdefault(index, argument)

    def __call__(self, argument: Buffer) -> Buffer:
        if not isinstance(argument, Ref):
            return argument
        root = self._of.root(argument.tensor)
        if root not in self._known:
            spec = self._of.specs[root]
            made = max(size(spec) * spec.dtype.itemsize, 1)
            self._known[root] = Temp(made) if spec.data is None else np.ascontiguousarray(spec.data)
        return self._known[root]

    def steps(self) -> list[Launch | Loop]:
        return list(Loop(self._of.steps).on(self).steps)
