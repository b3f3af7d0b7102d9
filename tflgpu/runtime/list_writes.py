"""Loops that fill a list: what converters write for one row of a tensor becomes one operator of static shape.

A write of row i comes as SLICE(x, from 0, i rows), the row, SLICE(x, from i + 1) and CONCATENATION of the three, whose
shapes are known only at run time. Where the loop's counter proves that 0 <= i < rows, DYNAMIC_UPDATE_SLICE(x, row, i)
replaces it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tflgpu.model.graph import Array, Graph, Model, Node, Options, TensorSpec, graphs_named

MOST_STEP = 1 << 20
"""A counter that counts by no more cannot pass beyond int32 within a tensor's rows."""


def with_list_writes(model: Model) -> Model:
    """The model, such writes in the bodies of its loops replaced where that is proved to change nothing."""
    if not any(node.op == "WHILE" for graph in model.graphs for node in graph.nodes):
        return model
    used = list(_used(model))
    graphs = list(model.graphs)
    for graph in model.graphs:
        for node in graph.nodes:
            if node.op != "WHILE":
                continue
            cond, body = node.options.cond_subgraph_index, node.options.body_subgraph_index
            if used.count(body) == 1 and 0 < body < len(graphs) and 0 <= cond < len(graphs):
                graphs[body] = _Loop(node, graphs[cond], graphs[body]).rewritten()
    return replace(model, graphs=tuple(graphs))


def _used(model: Model) -> Iterator[int]:
    """The graphs that nodes and signatures name, as often as they do."""
    yield from (signature.graph for signature in model.signatures.values())
    for node in (node for graph in model.graphs for node in graph.nodes):
        yield from graphs_named(node)


@dataclass(frozen=True, eq=False)
class _Loop:
    node: Node
    cond: Graph
    body: Graph

    def rewritten(self) -> Graph:
        inputs = self.node.inputs
        if not len(inputs) == len(self.body.inputs) == len(self.body.outputs) == len(self.cond.inputs):
            return self.body
        makers = {spec.index: node for node in self.body.nodes for spec in node.outputs}
        nodes, gone = list(self.body.nodes), set[int]()
        for position, node in enumerate(nodes):
            found = self._write(node, makers)
            if found is not None:
                nodes[position], replaced = found
                gone |= replaced
        return replace(self.body, nodes=tuple(_without_unread(nodes, gone, self.body.outputs)))

    def _write(self, node: Node, makers: Mapping[int, Node]) -> tuple[Node, set[int]] | None:
        """The operator in place of a CONCATENATION, and the nodes that it may leave without a reader."""
        if node.op != "CONCATENATION" or len(node.inputs) != 3 or node.options.axis != 0:
            return None
        before, row, later = (makers.get(spec.index) if spec is not None else None for spec in node.inputs)
        if before is None or row is None or later is None or before.op != "SLICE" or later.op != "SLICE":
            return None
        x, out = before.input(0), node.outputs[0]
        rows = self._rows(x)
        if rows is None or later.input(0).index != x.index or out.type != x.type:
            return None
        if node.options.fused_activation_function != "NONE" or not _has_shape(row, (1, *rows[1:])):
            return None
        rank = len(rows)
        start, later_start = before.input(2), later.input(1)
        row_index, next_index = _first_of(start, -1, rank, makers), _first_of(later_start, 0, rank, makers)
        plain = _all(before.input(1), 0, rank) and _all(later.input(2), -1, rank)
        if row_index is None or next_index is None or not plain:
            return None
        plus_one = makers.get(next_index.index)
        if plus_one is None or _added(plus_one, row_index) != 1 or not self._counts_below(row_index, rows[0]):
            return None
        # A start of -1 in a dimension that the row fills is moved to 0.
        written = Node(node.index, "DYNAMIC_UPDATE_SLICE", 1, Options(), (x, node.inputs[1], start), node.outputs)
        steps = [before, later, *(makers.get(s.index) for s in (start, later_start))]
        steps += [makers.get(s.index) for step in steps[2:] if step is not None for s in step.inputs if s is not None]
        return written, {step.index for step in steps if step is not None}

    def _rows(self, x: TensorSpec) -> tuple[int, ...] | None:
        """The shape that a loop variable begins with, where it is a constant, so that nothing resizes it."""
        if x.index not in self.body.inputs:
            return None
        first = self.node.inputs[self.body.inputs.index(x.index)]
        return None if first is None or first.data is None or not first.data.ndim else first.data.shape

    def _counts_below(self, row_index: TensorSpec, rows: int) -> bool:
        """Whether a loop variable counts up from 0 or more and the condition holds only while it is below rows."""
        if row_index.index not in self.body.inputs:
            return False
        position = self.body.inputs.index(row_index.index)
        first = self.node.inputs[position]
        makers = {spec.index: node for node in self.body.nodes for spec in node.outputs}
        counted = makers.get(self.body.outputs[position])
        if first is None or first.data is None or first.data.dtype != np.int32 or first.data.size != 1:
            return False
        step = _added(counted, row_index) if counted is not None else None
        if first.data.item() < 0 or step is None or not 0 < step <= MOST_STEP:
            return False
        return any(limit <= rows for limit in self._limits(self.cond.outputs[0], self.cond.inputs[position]))

    def _limits(self, condition: int, counter: int) -> Iterator[int]:
        """What the counter is below where the condition holds."""
        node = next((node for node in self.cond.nodes for spec in node.outputs if spec.index == condition), None)
        if node is not None and node.op == "LOGICAL_AND":
            for spec in node.inputs:
                yield from self._limits(spec.index, counter) if spec is not None else ()
        elif node is not None and node.op == "LESS" and node.input(0).index == counter:
            limit = node.input(1).data
            if limit is not None and limit.size == 1:
                yield int(limit.item())


def _added(node: Node, to: TensorSpec) -> int | None:
    """The one constant that an ADD without activation adds to a tensor."""
    if node.op != "ADD" or node.options.fused_activation_function != "NONE" or len(node.inputs) != 2:
        return None
    x, y = node.input(0), node.input(1)
    x, y = (x, y) if x.index == to.index else (y, x)
    plain = x.index == to.index and y.data is not None and y.data.size == 1 and y.data.dtype == np.int32
    return int(y.data.item()) if plain and y.data is not None else None


def _first_of(vector: TensorSpec, others: int, rank: int, makers: Mapping[int, Node]) -> TensorSpec | None:
    """The scalar in front of a vector made by CONCATENATION whose other elements are `others`."""
    joined = makers.get(vector.index)
    if joined is None or joined.op not in ("CONCATENATION", "PACK"):
        return None
    first, rest = joined.inputs[0], joined.inputs[1:]
    values = [s.data.reshape(-1) for s in rest if s is not None and s.data is not None]
    known = np.concatenate(values) if values and len(values) == len(rest) else np.empty(0, np.int32)
    if first is None or vector.type != "INT32" or known.size != rank - 1 or (known != others).any():
        return None
    reshaped = makers.get(first.index)
    return reshaped.input(0) if reshaped is not None and reshaped.op in ("RESHAPE", "EXPAND_DIMS") else first


def _all(spec: TensorSpec, value: int, rank: int) -> bool:
    data: Array | None = spec.data
    return data is not None and data.size == rank and bool((data == value).all())


def _has_shape(node: Node, shape: tuple[int, ...]) -> bool:
    """Whether a RESHAPE by constants gives this shape, whatever it is given."""
    wanted = node.inputs[1].data if node.op == "RESHAPE" and len(node.inputs) > 1 and node.inputs[1] else None
    return wanted is not None and tuple(wanted.reshape(-1).tolist()) == shape


def _without_unread(nodes: list[Node], candidates: set[int], outputs: tuple[int, ...]) -> list[Node]:
    read, live = set(outputs), []
    for node in reversed(nodes):
        if node.index in candidates and not read & {spec.index for spec in node.outputs}:
            continue
        read.update(spec.index for spec in node.inputs if spec is not None)
        live.append(node)
    return live[::-1]
