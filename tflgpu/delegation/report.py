"""Which node runs where, why not elsewhere, and the bytes that cross each boundary, as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tflgpu.delegation.cost import estimate
from tflgpu.delegation.delegate import Delegate, HasNotes, Partition
from tflgpu.memory import nbytes
from tflgpu.model.graph import graphs_named
from tflgpu.optional import offers


class DelegationReport(str):
    """The report as a string, which a session of Python or a notebook shows as it would be printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def delegation_report(partitions: Sequence[Partition], delegates: Sequence[Delegate]) -> DelegationReport:
    """One line a delegate, then one a partition with what it reads and writes, then one a node left to the CPU,
    or that runs whole graphs.
    """
    nodes = sum(len(partition.nodes) for partition in partitions)
    lines = [_summary(delegate, partitions, nodes) for delegate in delegates]
    for delegate in delegates:
        lines.extend(f"{delegate.name} delegate: {note}" for note in _notes(delegate))
    for number, partition in enumerate(partitions):
        owner, estimated = "CPU", ""
        if partition.owner is not None:
            owner = partition.owner.name
            model = estimate(partition.nodes, partition.inputs | partition.outputs)
            estimated = f"; by the cost model {model.delegate_us:,.0f} us, {model.cpu_us:,.0f} on the CPU"
        indices = ", ".join(f"{node.index} {node.op}" for node in partition.nodes)
        lines.append(
            f"partition {number} on {owner}: reads {_bytes(partition, partition.inputs)} bytes, "
            f"writes {_bytes(partition, partition.outputs)} bytes{estimated}; nodes {indices}"
        )
    for partition in partitions:
        for node in partition.nodes:
            named = graphs_named(node)
            if partition.owner is not None and named:
                lines.append(f"{node} runs on {partition.owner.name} with its graphs {', '.join(map(str, named))}")
            lines.extend(f"{node} stays on the CPU: {reason}" for reason in partition.why.get(node.index, ()))
    return DelegationReport("\n".join(lines))


def _notes(delegate: Delegate) -> Sequence[str]:
    return delegate.notes if offers(delegate, HasNotes) else ()


def _summary(delegate: Delegate, partitions: Iterable[Partition], nodes: int) -> str:
    mine = [partition for partition in partitions if partition.owner is delegate]
    taken = sum(len(partition.nodes) for partition in mine)
    plural = "" if len(mine) == 1 else "s"
    return f"{delegate.name} delegate: {taken} nodes delegated out of {nodes} with {len(mine)} partition{plural}"


def _bytes(partition: Partition, indices: Iterable[int]) -> int:
    specs = {s.index: s for node in partition.nodes for s in (*node.inputs, *node.outputs) if s is not None}
    return sum(nbytes(specs[index]) for index in indices if specs[index].data is None)
