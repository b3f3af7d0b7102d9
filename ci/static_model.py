"""A model with all that follows from its inputs' shapes already computed, for runtimes that do not fold constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from tflgpu.model.builder import GraphBuilder, ModelBuilder
from tflgpu.model.graph import Node, TensorSpec
from tflgpu.model.loader import load
from tflgpu.ops.registry import OPS
from tflgpu.shapes import infer_stage


def static_model(content: bytes, shapes: Sequence[Sequence[int]]) -> bytes:
    """The file for these input shapes. Raises ValueError for dynamic shapes, or several graphs."""
    model = load(content=content)
    if len(model.graphs) != 1:
        raise ValueError(f"{len(model.graphs)} graphs")
    graph = model.graphs[0]
    specs = list(graph.tensors)
    for index, shape in zip(graph.inputs, shapes, strict=True):
        specs[index] = replace(specs[index], shape=tuple(shape), shape_signature=None)
    runtime: Any = SimpleNamespace(state={}, ops=OPS)
    stage = infer_stage(graph.nodes, specs, runtime)
    if stage.dynamic:
        raise ValueError(f"{stage.dynamic[0]} has shapes known only at run time")
    made = ModelBuilder()
    g = made.graph()
    for spec in specs:
        _tensor(g, spec)
    for node in stage.nodes:
        _node(g, node)
    g.interface = {"inputs": list(graph.inputs), "outputs": list(graph.outputs)}
    return made.build()


def _tensor(g: GraphBuilder, spec: TensorSpec) -> None:
    q = spec.quantization
    fields: dict[str, Any] = {} if q is None else {"scale": q.scale, "zero_point": q.zero_point, "axis": q.axis}
    if spec.data is not None:
        g.constant(spec.name, spec.data, type=spec.type, **fields)
    else:
        g.tensor(spec.name, spec.type, spec.shape, is_variable=spec.is_variable, **fields)


def _node(g: GraphBuilder, node: Node) -> None:
    inputs = [None if spec is None else spec.index for spec in node.inputs]
    outputs = [spec.index for spec in node.outputs]
    if node.is_custom:
        g.custom(node.op, inputs, outputs, options=node.custom_options, version=node.version)
        return
    inner = [spec.index for spec in node.intermediates] or None
    g.node(node.op, inputs, outputs, version=node.version, intermediates=inner, **vars(node.options))
