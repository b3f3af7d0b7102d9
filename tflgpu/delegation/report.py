"""Which node runs where, why not elsewhere, and the bytes that cross each boundary, as text."""

from __future__ import annotations

from collections.abc import Sequence

from tflgpu.delegation.delegate import Delegate
from tflgpu.delegation.partitioner import Part, nbytes
from tflgpu.model.graph import graphs_named


def delegation_report(parts: Sequence[Part], delegates: Sequence[Delegate]) -> str:
    """One line a delegate, then one a part with what it reads and writes, then one a node left to the CPU,
    or that runs whole graphs.
    """
    nodes = sum(len(part.nodes) for part in parts)
    lines = [_summary(delegate, parts, nodes) for delegate in delegates]
    lines.extend(
        f"{delegate.name} delegate: {note}" for delegate in delegates for note in getattr(delegate, "notes", ())
    )
    for number, part in enumerate(parts):
        owner = "CPU" if part.owner is None else part.owner.name
        indices = ", ".join(f"{node.index} {node.op}" for node in part.nodes)
        lines.append(
            f"part {number} on {owner}: reads {_bytes(part, part.inputs)} bytes, writes {_bytes(part, part.outputs)} "
            f"bytes; nodes {indices}"
        )
    for part in parts:
        for node in part.nodes:
            named = graphs_named(node)
            if part.owner is not None and named:
                lines.append(f"{node} runs on {part.owner.name} with its graphs {', '.join(map(str, named))}")
            lines.extend(f"{node} stays on the CPU: {reason}" for reason in part.why.get(node.index, ()))
    return "\n".join(lines)


def _summary(delegate: Delegate, parts: Sequence[Part], nodes: int) -> str:
    mine = [part for part in parts if part.owner is delegate]
    taken = sum(len(part.nodes) for part in mine)
    plural = "" if len(mine) == 1 else "s"
    return f"{delegate.name} delegate: {taken} nodes delegated out of {nodes} with {len(mine)} partition{plural}"


def _bytes(part: Part, indices: frozenset[int]) -> int:
    specs = {s.index: s for node in part.nodes for s in (*node.inputs, *node.outputs) if s is not None}
    return sum(nbytes(specs[index]) for index in indices if specs[index].data is None)
