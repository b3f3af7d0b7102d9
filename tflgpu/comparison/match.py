"""Which tensor of one model is which of another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from tflgpu.model.graph import Graph, Node, Shape

BETWEEN = ("QUANTIZE", "DEQUANTIZE")
"""Operators that a converter puts between others: no model's own."""

_COUNTS = ("INT32", "INT64", "BOOL", "VARIANT", "RESOURCE", "STRING")


@dataclass(frozen=True)
class Pair:
    """A node of one model and the node of the other that computes the same. a, b: the outputs that are compared."""

    node_a: Node
    node_b: Node
    a: int
    b: int


def matched(a: Graph, b: Graph, shapes_a: Sequence[Shape], shapes_b: Sequence[Shape]) -> list[Pair]:
    """The nodes that match, in order: by their output's name and shape; between those, by operator and shape.

    shapes_a, shapes_b: of all tensors, as inferred. Nodes without a partner are left out.
    """
    nodes = [[n for n in g.nodes if n.op not in BETWEEN and n.outputs and not _by_constants(n)] for g in (a, b)]
    names = [_unique(side) for side in nodes]
    anchors = [(names[0][name], names[1][name]) for name in names[0].keys() & names[1].keys()]
    anchors = [(i, j) for i, j in anchors if _shape(nodes[0][i], shapes_a) == _shape(nodes[1][j], shapes_b)]
    found: list[tuple[int, int]] = []
    last = (-1, -1)
    for i, j in [*_rising(anchors), (len(nodes[0]), len(nodes[1]))]:
        first, second = (
            [(n.op, _shape(n, shapes)) for n in side[start + 1 : end]]
            for side, shapes, start, end in zip(nodes, (shapes_a, shapes_b), last, (i, j), strict=True)
        )
        blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
        found += [(last[0] + 1 + m.a + k, last[1] + 1 + m.b + k) for m in blocks for k in range(m.size)]
        found.append((i, j))
        last = i, j
    pairs = ((nodes[0][i], nodes[1][j]) for i, j in found[:-1])
    return [Pair(x, y, *_compared(x, y)) for x, y in pairs]


def _compared(x: Node, y: Node) -> tuple[int, int]:
    """The last outputs of real values, by index: the first of a loop is its counter."""
    both = list(zip(x.outputs, y.outputs, strict=False))
    real = [pair for pair in both if not any(spec.type in _COUNTS for spec in pair)]
    a, b = (real or both)[-1]
    return a.index, b.index


def _by_constants(node: Node) -> bool:
    return all(spec is None or spec.data is not None for spec in node.inputs)


def _shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    return shapes[node.outputs[0].index]


def _unique(nodes: Sequence[Node]) -> dict[str, int]:
    """Position by the first output's name, of names that only one node has."""
    found: dict[str, list[int]] = {}
    for position, node in enumerate(nodes):
        found.setdefault(node.outputs[0].name, []).append(position)
    return {name: positions[0] for name, positions in found.items() if name and len(positions) == 1}


def _rising(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest run of pairs in which both positions rise: a name that is used otherwise does not break the order."""
    ordered = sorted(pairs)
    best: list[tuple[int, int]] = []  # (length, position before) of the longest run that ends at each pair
    for i, (_, b) in enumerate(ordered):
        before = max(((best[k][0], k) for k in range(i) if ordered[k][1] < b), default=(0, -1))
        best.append((before[0] + 1, before[1]))
    position = max(range(len(best)), key=lambda i: best[i][0], default=-1)
    run = []
    while position >= 0:
        run.append(ordered[position])
        position = best[position][1]
    return run[::-1]
