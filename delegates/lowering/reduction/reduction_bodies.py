"""The functions of the graphs that StableHLO's reductions name as their bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

from tflgpu.delegates.lowering.registry import require
from tflgpu.model.graph import Graph, Node
from tflgpu.ops.reduction.reduce_window import BODIES

NAMED_BY = {"STABLEHLO_REDUCE_WINDOW": "body_subgraph_index", "STABLEHLO_SCATTER": "update_computation_subgraph_index"}
"""The option by which a reduction names its body."""


_CONTROL = ("WHILE", "IF")


def with_body(node: Node, graphs: Sequence[Graph]) -> Node:
    """The node with the graph that it names as the option `body`; a control operator with all graphs as `graphs`."""
    if not graphs or node.op not in (*NAMED_BY, *_CONTROL):
        return node
    if node.op in _CONTROL:
        return replace(node, options=SimpleNamespace(**vars(node.options), graphs=graphs))
    number = int(getattr(node.options, NAMED_BY[node.op]))
    require(0 <= number < len(graphs), f"a body that is graph {number}")
    return replace(node, options=SimpleNamespace(**vars(node.options), body=graphs[number]))


def graphs_of(node: Node) -> Sequence[Graph]:
    """The graphs that `with_body` gave a control operator."""
    graphs: Sequence[Graph] = getattr(node.options, "graphs", ())
    require(graphs, "graphs that are not known")
    return graphs


def function_of(node: Node) -> str:
    """The one of reduce_window.FUNCTIONS that the body computes; "UPDATE" where it returns its second argument."""
    body: Graph | None = getattr(node.options, "body", None)
    require(body is not None, "a body that is not known")
    assert body is not None
    if not body.nodes and body.outputs == body.inputs[1:]:
        return "UPDATE"
    require(len(body.nodes) == 1, f"a body of {len(body.nodes)} operators")
    (only,) = body.nodes
    given = {spec.index for spec in only.inputs if spec is not None}
    require(given == set(body.inputs) and only.op in BODIES, f"a body that is {only.op}")
    return BODIES[only.op]
