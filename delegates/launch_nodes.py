"""Which nodes of a partition each of its launches computes, after the passes have joined them."""

from __future__ import annotations

from collections.abc import Sequence

from tflgpu.delegates.launch import Launch, Ref
from tflgpu.model.graph import Node


def nodes_of(launches: Sequence[Launch], nodes: Sequence[Node]) -> list[tuple[str, ...]]:
    """For each launch, in order of running, number and operator of the nodes that it computes.

    Those are what leads to the tensors that it writes and no launch before has computed.
    """
    producers = {spec.index: node for node in nodes for spec in node.outputs}
    found = []
    for launch in launches:
        own: dict[int, Node] = {}
        for buffer in (b for one in launch.sequence for e in (one, *one.epilogues) for b in e.writes):
            if isinstance(buffer, Ref):
                _take(buffer.tensor, producers, own)
        found.append(tuple(f"{node.index} {node.op}" for _, node in sorted(own.items())))
    return found


def _take(tensor: int, producers: dict[int, Node], own: dict[int, Node]) -> None:
    """Moves the tensor's producer, and those that it needs and nobody has, from producers to own."""
    waiting = [tensor]
    while waiting:
        node = producers.get(waiting.pop())
        if node is None:
            continue
        own[node.index] = node
        for spec in node.outputs:
            producers.pop(spec.index)
        waiting += [spec.index for spec in node.inputs if spec is not None]
