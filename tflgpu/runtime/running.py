"""Which graphs of a model run by themselves."""

from __future__ import annotations

from collections.abc import Sequence

from tflgpu.runtime.graph_runner import GraphRunner


def running(graphs: Sequence[GraphRunner]) -> list[GraphRunner]:
    """Those that are prepared and run by themselves: not the graphs that only delegated nodes name."""
    found = {graph.graph.index: graph for graph in graphs if graph.ready and not graph.called}
    callers = list(found.values())
    while callers:
        called = callers.pop().callees - found.keys()
        named = {graph.graph.index: graph for graph in graphs if graph.ready and graph.graph.index in called}
        found |= named
        callers += named.values()
    return [graph for _, graph in sorted(found.items())]
