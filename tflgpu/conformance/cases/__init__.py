"""Every case, one module a family: operators, element types, shapes, parameters and values as tables."""

from __future__ import annotations

from functools import cache

from tflgpu.conformance.cases import (
    audio,
    comparison,
    control_graphs,
    conv,
    custom,
    elementwise,
    flex,
    fused_graphs,
    graph_case,
    graphs,
    indexing,
    matmul,
    movement,
    normalization,
    padded_graphs,
    quantize,
    recurrent,
    reduce,
    refusals,
    scatter,
    special,
    stateful_graphs,
    tiles,
    windows,
)
from tflgpu.conformance.cases.case import Case

GRAPH_MODULES = (graphs, stateful_graphs, fused_graphs, padded_graphs, control_graphs)
GRAPHS = graph_case.GRAPHS
"""Every case of graphs by name: what GRAPH_MODULES have registered."""

FAMILIES = (
    *(elementwise, comparison, movement, indexing, quantize, reduce, windows, conv, matmul, normalization, recurrent),
    *(scatter, audio, custom, flex, special, tiles, refusals),
)


@cache
def every() -> dict[str, Case]:
    """All cases by name, in the order of their tables."""
    found: dict[str, Case] = {}
    for family in FAMILIES:
        for case in family.cases():
            found.setdefault(case.name, case)
    return found
