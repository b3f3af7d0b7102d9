"""STABLEHLO_COMPOSITE inlined: the nodes of its decomposition replace it, so that delegates see one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tflgpu.model.graph import Composite, Graph, Model, Node, Quantization, TensorSpec, graphs_named

MOST_NODES = 1 << 16
"""Nodes that inlining adds to all graphs of a model together: composites in composites may double with every level."""

_STATE_BY_TENSOR = frozenset({"RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL"})
"""Operators whose state is known by the tensor that they write, and so shared by all that call their graph."""


def inline_composites(model: Model) -> tuple[Graph, ...]:
    """The model's graphs, in each of them the composites replaced by their decompositions, at any depth.

    A graph's own tensors and nodes keep their numbers; those that it gets are numbered after them, and its nodes name
    the composite that they come from. A composite stays where its decomposition has state of its own, or where the
    tensors outside and inside differ in more than their shapes. Graphs that only inlined composites named stay as they
    are.
    """
    if not any(_is_composite(node) for graph in model.graphs for node in graph.nodes):
        return model.graphs
    graphs = list(model.graphs)
    inliner = _Inliner(model.graphs)
    waiting = {0, *(signature.graph for signature in model.signatures.values())}
    waiting |= {i for graph in graphs for node in graph.nodes if not _is_composite(node) for i in graphs_named(node)}
    done: set[int] = set()
    while waiting - done:
        index = min(waiting - done)
        done.add(index)
        graphs[index] = inliner.inlined(graphs[index])
        waiting |= {i for node in graphs[index].nodes if _is_composite(node) for i in graphs_named(node)}
    return tuple(graphs)


def _is_composite(node: Node) -> bool:
    return node.op == "STABLEHLO_COMPOSITE"


class _Inliner:
    """Inlines into one graph after another, as long as there is room for more nodes."""

    def __init__(self, graphs: Sequence[Graph]):
        self._graphs = graphs
        self._room = MOST_NODES

    def inlined(self, graph: Graph) -> Graph:
        if not any(map(_is_composite, graph.nodes)):
            return graph
        tensors, nodes = list(graph.tensors), list[Node]()
        number = len(graph.nodes)
        # Depth first, without recursion: a file may nest composites as deep as it likes.
        levels = [(iter(graph.nodes), dict[int, TensorSpec](), "", -1)]
        while levels:
            inside, known, name, outer = levels[-1]
            node = next(inside, None)
            if node is None:
                levels.pop()
                continue
            if outer >= 0:
                own = Composite(name, outer, node.index)
                node = replace(_renamed(node, known, tensors), index=number, composite=own)
                number += 1
            decomposition = self._decomposition(node)
            if decomposition is None:
                nodes.append(node)
            else:
                below = _outside(node, decomposition)
                at = node.index if outer < 0 else outer
                levels.append((iter(decomposition.nodes), below, str(node.options.name), at))
        return replace(graph, tensors=tuple(tensors), nodes=tuple(nodes))

    def _decomposition(self, node: Node) -> Graph | None:
        """The graph that replaces a node; None for one that stays."""
        if not _is_composite(node):
            return None
        graph = self._graphs[node.options.decomposition_subgraph_index]
        size = len(graph.nodes)
        if size > self._room or not _same_either_way(node, graph):
            return None
        self._room -= size
        return graph


def _same_either_way(node: Node, graph: Graph) -> bool:
    """Whether the graph's nodes can replace the composite."""
    outer, inner = [*node.inputs, *node.outputs], [*graph.inputs, *graph.outputs]
    if len(outer) != len(inner) or len(node.outputs) != len(graph.outputs) or len(set(inner)) != len(inner):
        return False
    made = {spec.index for step in graph.nodes for spec in step.outputs}
    stateless = not any(spec.is_variable for spec in graph.tensors)
    stateless &= not any(step.op in _STATE_BY_TENSOR for step in graph.nodes)
    ends = all(
        spec is not None and _alike(spec, graph.tensors[index]) for spec, index in zip(outer, inner, strict=True)
    )
    return ends and stateless and made.issuperset(graph.outputs) and made.isdisjoint(graph.inputs)


def _alike(outside: TensorSpec, inside: TensorSpec) -> bool:
    if inside.data is not None or outside.is_variable or outside.sparsity is not None:
        return False
    return outside.type == inside.type and _same_quantization(outside.quantization, inside.quantization)


def _same_quantization(x: Quantization | None, y: Quantization | None) -> bool:
    if x is None or y is None:
        return x is y
    same = np.array_equal(x.scale, y.scale) and np.array_equal(x.zero_point, y.zero_point)
    return same and (x.axis, x.block_size) == (y.axis, y.block_size)


def _outside(node: Node, graph: Graph) -> dict[int, TensorSpec]:
    """What the tensors at the ends of a decomposition are where it is inlined, by their numbers in it."""
    outer = (spec for spec in (*node.inputs, *node.outputs) if spec is not None)
    return dict(zip((*graph.inputs, *graph.outputs), outer, strict=True))


def _renamed(node: Node, known: dict[int, TensorSpec], tensors: list[TensorSpec]) -> Node:
    """The node on the tensors of the graph that it is put into, which gets those that it does not know yet."""
    for spec in (*node.inputs, *node.outputs, *node.intermediates):
        if spec is not None and spec.index not in known:
            known[spec.index] = replace(spec, index=len(tensors))
            tensors.append(known[spec.index])
    return replace(
        node,
        inputs=tuple(None if spec is None else known[spec.index] for spec in node.inputs),
        outputs=_each(node.outputs, known),
        intermediates=_each(node.intermediates, known),
    )


def _each(specs: Sequence[TensorSpec], known: Mapping[int, TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(known[spec.index] for spec in specs)
