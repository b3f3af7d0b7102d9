"""What crosses the boundary of some nodes of a graph."""

from __future__ import annotations

from collections.abc import Sequence

from tflgpu.model.graph import Graph, Node


def boundary(graph: Graph, nodes: Sequence[Node]) -> tuple[frozenset[int], frozenset[int]]:
    """Indices of the tensors that nodes read and do not make, and of those they make that are read elsewhere."""
    inside = {node.index for node in nodes}
    made = {spec.index for node in nodes for spec in node.outputs}
    read = {spec.index for node in nodes for spec in node.inputs if spec is not None}
    elsewhere = {s.index for n in graph.nodes if n.index not in inside for s in n.inputs if s is not None}
    # A variable outlives the invocation whoever reads it next.
    variables = {s.index for node in nodes for s in node.outputs if s.is_variable}
    # NumericVerify's only output, for one.
    somewhere = elsewhere | read | set(graph.outputs)
    last = {s.index for n in nodes if somewhere.isdisjoint(o.index for o in n.outputs) for s in n.outputs}
    return frozenset(read - made), frozenset(made & (elsewhere | set(graph.outputs) | variables | last))
