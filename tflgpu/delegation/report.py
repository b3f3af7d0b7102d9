"""Which node runs where, why not elsewhere, and the bytes that cross each boundary, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tflgpu.delegation.cost import estimate
from tflgpu.delegation.delegate import Delegate, HasNotes, Partition
from tflgpu.memory import nbytes
from tflgpu.model.graph import graphs_named
from tflgpu.optional import offers


@dataclass(frozen=True)
class NodeRow:
    """Where a node runs: on a delegate, by its name, or on "CPU"; reasons: why no delegate has it, one a delegate."""

    node: int
    op: str
    runs_on: str
    partition: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class PartitionRow:
    """Nodes that run together, and the bytes that they read and write across the partition's boundary.

    delegate_us, cpu_us: of an invoke by the cost model, in microseconds; None on the CPU.
    """

    partition: int
    runs_on: str
    nodes: tuple[int, ...]
    bytes_read: int
    bytes_written: int
    delegate_us: float | None = None
    cpu_us: float | None = None


class DelegationReport(str):
    """The report as text, which a session of Python shows as it would be printed and a notebook as a table.

    rows: one a node, in the order of partitions. partitions: one a partition.
    """

    __slots__ = ("partitions", "rows")
    rows: tuple[NodeRow, ...]
    partitions: tuple[PartitionRow, ...]

    def __new__(
        cls, text: str, rows: Sequence[NodeRow] = (), partitions: Sequence[PartitionRow] = ()
    ) -> DelegationReport:
        made = super().__new__(cls, text)
        made.rows, made.partitions = tuple(rows), tuple(partitions)
        return made

    def __repr__(self) -> str:
        return str(self)

    def grouped(self) -> list[tuple[str, tuple[str, ...], dict[str, int]]]:
        """(where, why not on a delegate, operators with their counts) of the nodes for which both are the same."""
        groups: dict[tuple[str, tuple[str, ...]], Counter[str]] = {}
        for row in self.rows:
            groups.setdefault((row.runs_on, row.reasons), Counter())[row.op] += 1
        return [(where, why, dict(ops.most_common())) for (where, why), ops in groups.items()]

    def _repr_html_(self) -> str:
        from html import escape  # takes 20 ms, which `import tflgpu` shall not

        summary = "<br>".join(escape(line) for line in self.splitlines() if "delegate: " in line)
        cells = [(f"{r.node} {r.op}", r.runs_on, str(r.partition), "; ".join(r.reasons)) for r in self.rows]
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in cells)
        head = "".join(f"<th>{name}</th>" for name in ("node", "runs on", "partition", "why not on a delegate"))
        return f"<p>{summary}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def delegation_report(partitions: Sequence[Partition], delegates: Sequence[Delegate]) -> DelegationReport:
    """One line a delegate, then one a partition with what it reads and writes, then one a node left to the CPU,
    or that runs whole graphs.
    """
    nodes = sum(len(partition.nodes) for partition in partitions)
    lines = [_summary(delegate, partitions, nodes) for delegate in delegates]
    for delegate in delegates:
        lines.extend(f"{delegate.name} delegate: {note}" for note in _notes(delegate))
    shown = [_partition_row(number, partition) for number, partition in enumerate(partitions)]
    for row, partition in zip(shown, partitions, strict=True):
        estimated = (
            f"; by the cost model {row.delegate_us:,.0f} us, {row.cpu_us:,.0f} on the CPU"
            if row.cpu_us is not None
            else ""
        )
        indices = ", ".join(f"{node.index} {node.op}" for node in partition.nodes)
        lines.append(
            f"partition {row.partition} on {row.runs_on}: reads {row.bytes_read} bytes, "
            f"writes {row.bytes_written} bytes{estimated}; nodes {indices}"
        )
    for partition in partitions:
        for node in partition.nodes:
            named = graphs_named(node)
            if partition.owner is not None and named:
                lines.append(f"{node} runs on {partition.owner.name} with its graphs {', '.join(map(str, named))}")
            lines.extend(f"{node} stays on the CPU: {reason}" for reason in partition.why.get(node.index, ()))
    rows = [
        NodeRow(node.index, node.op, row.runs_on, row.partition, tuple(partition.why.get(node.index, ())))
        for row, partition in zip(shown, partitions, strict=True)
        for node in partition.nodes
    ]
    return DelegationReport("\n".join(lines), rows, shown)


def _partition_row(number: int, partition: Partition) -> PartitionRow:
    nodes = tuple(node.index for node in partition.nodes)
    read, written = (_bytes(partition, side) for side in (partition.inputs, partition.outputs))
    if partition.owner is None:
        return PartitionRow(number, "CPU", nodes, read, written)
    model = estimate(partition.nodes, partition.inputs | partition.outputs)
    return PartitionRow(number, partition.owner.name, nodes, read, written, model.delegate_us, model.cpu_us)


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
