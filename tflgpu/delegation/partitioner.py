"""Which delegate runs what: the graph cut into partitions that run one after another.

A partition is taken from the CPU only where that pays. The cost model, in microseconds: a node costs the CPU 10, and
one for each 1000 elements it touches or operations it does; a partition costs a delegate 60 to enter and leave, 5 a
node, and one for each 4000 bytes that cross its boundary. A partition that does not pay stays on the CPU, but for the
one of the main graph that saves most. Stating min_nodes, only_ops, only_nodes or require_full replaces the model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from tflgpu.delegation.boundary import boundary
from tflgpu.delegation.cost import Estimate, estimate
from tflgpu.delegation.delegate import ClaimsNodes, Delegate, KeepsVariables, Partition, Unsupported
from tflgpu.model.graph import Graph, Node, Options, TensorSpec, graphs_named
from tflgpu.ops.registry import OPS
from tflgpu.optional import offering, offers
from tflgpu.shapes import failed

Owner = Delegate | None


def partition(graph: Graph, delegates: Sequence[Delegate], preserve_all: bool = False) -> list[Partition]:
    """The graph's nodes as partitions, in an order that keeps every node after what it reads.

    The first delegate that takes a node has it. Nodes with side effects keep their order among themselves.
    preserve_all: all that a node makes is an output of its partition, and nodes with graphs of their own, whose tensors
    would be inside, stay on the CPU; a delegate that claims its nodes by itself does as it does. Raises RuntimeError
    where a delegate with require_full does not get every node.
    """
    if not delegates:  # nothing crosses, and nobody asks what would
        return [Partition(None, graph.nodes, frozenset(), frozenset())] if graph.nodes else []
    if offering(delegates, ClaimsNodes):
        return _one_delegate_after_another(graph, delegates, preserve_all)
    takers, why = _takers(graph, delegates, preserve_all)
    before = _order(graph)
    while True:
        owners = {index: next(iter(candidates), None) for index, candidates in takers.items()}
        cuts = _cut(graph, owners, before)
        dropped = _dropped(graph, cuts, delegates)
        if not dropped:
            break
        for cut, reason in dropped:
            assert cut.owner is not None
            for node in cut.nodes:
                takers[node.index].remove(cut.owner)
                why[node.index].append(f"{cut.owner.name}: {reason}")
    _require_full(cuts, delegates, why)
    return [_finished(graph, cut.owner, cut.nodes, why, preserve_all) for cut in cuts]


@dataclass(frozen=True, eq=False)
class _Taken:
    """Nodes that a delegate has taken: one node in the graph that the next delegate sees."""

    owner: Delegate
    nodes: tuple[Node, ...]


def _one_delegate_after_another(graph: Graph, delegates: Sequence[Delegate], preserve_all: bool) -> list[Partition]:
    """The partitions where some delegate claims its nodes by itself: each sees the graph that those before it left."""
    left = graph
    taken: dict[int, _Taken] = {}
    why: dict[int, list[str]] = {node.index: [] for node in graph.nodes}
    for claims, run in groupby(delegates, lambda delegate: offers(delegate, ClaimsNodes)):
        for group in [[delegate] for delegate in run] if claims else [list(run)]:
            left = _without_taken(left, group, claims, taken, why, preserve_all)
    owners: dict[int, Any] = {node.index: taken.get(node.index) for node in left.nodes}
    partitions = []
    for cut in _cut(left, owners, _order(left)):
        found: Any = cut.owner  # one of taken, where it is not the CPU
        owner, nodes = (found.owner, found.nodes) if found else (None, cut.nodes)
        shown = preserve_all and owner is not None and not offers(owner, ClaimsNodes)
        partitions.append(_finished(graph, owner, nodes, why, shown))
    return partitions


def _without_taken(
    graph: Graph,
    delegates: Sequence[Any],
    claims: bool,
    taken: dict[int, _Taken],
    why: Mapping[int, list[str]],
    preserve_all: bool,
) -> Graph:
    """The graph with one node for each partition that the delegates take; adds to taken and why."""
    if claims:
        (delegate,) = delegates
        groups = [_Taken(delegate, tuple(nodes)) for nodes in delegate.claim(graph)]
        reasons = {node.index: [f"{delegate.name}: not claimed by the library"] for node in graph.nodes}
    else:
        partitions = partition(graph, delegates, preserve_all)
        groups = [_Taken(one.owner, one.nodes) for one in partitions if one.owner is not None]
        reasons = {index: list(texts) for one in partitions for index, texts in one.why.items()}
    for index in why.keys() & reasons.keys():
        why[index].extend(reasons[index])
    graph, standing = contracted(graph, [group.nodes for group in groups])
    taken.update(zip(standing, groups, strict=True))
    return graph


def contracted(graph: Graph, groups: Sequence[Sequence[Node]]) -> tuple[Graph, list[int]]:
    """The graph with one node DELEGATE for each group, in an order in which it can run; and those nodes' numbers."""
    first = max((node.index for node in graph.nodes), default=-1) + 1
    numbers = list(range(first, first + len(groups)))
    specs = {s.index: s for node in graph.nodes for s in (*node.inputs, *node.outputs) if s is not None}
    unit_of: dict[int, tuple[Node, tuple[Node, ...]]] = {}
    for number, group in zip(numbers, groups, strict=True):
        reads, writes = (tuple(specs[i] for i in sorted(indices)) for indices in boundary(graph, group))
        node = Node(number, "DELEGATE", 1, Options(), reads, writes)
        unit_of.update(dict.fromkeys((member.index for member in group), (node, tuple(group))))
    remaining = list(dict.fromkeys(unit_of.get(node.index, (node, (node,))) for node in graph.nodes))
    before, done, ordered = _order(graph), set[int](), list[Node]()
    while remaining:
        left = []
        for node, members in remaining:
            inside = {member.index for member in members}
            if all(before[index] <= done | inside for index in inside):
                done |= inside
                ordered.append(node)
            else:
                left.append((node, members))
        if len(left) == len(remaining):
            raise RuntimeError(f"{left[0][0]} cannot run as one: it depends on what depends on it")
        remaining = left
    return replace(graph, nodes=tuple(ordered)), numbers


def groups_of(graph: Graph, chosen: Collection[int]) -> list[tuple[Node, ...]]:
    """The nodes of these numbers in as few groups as can run one after another, each as one."""
    ours: Any = object()
    owners = {node.index: ours if node.index in chosen else None for node in graph.nodes}
    return [cut.nodes for cut in _cut(graph, owners, _order(graph)) if cut.owner is ours]


def _takers(
    graph: Graph, delegates: Sequence[Delegate], preserve_all: bool
) -> tuple[dict[int, list[Delegate]], dict[int, list[str]]]:
    """For each node the delegates that can run it, and the reasons of those that cannot."""
    takers: dict[int, list[Delegate]] = {node.index: [] for node in graph.nodes}
    why: dict[int, list[str]] = {node.index: [] for node in graph.nodes}
    for node in graph.nodes:
        for delegate in delegates:
            try:
                delegate.limits.check(node)
                if _on_variable(node) and not _keeps_variables(delegate):
                    raise Unsupported("it does not keep resource variables")
                if preserve_all and graphs_named(node):
                    raise Unsupported("its graphs run on the CPU, where each of their tensors is preserved")
                delegate.check(node)
                takers[node.index].append(delegate)
            except Unsupported as reason:
                why[node.index].append(f"{delegate.name}: {reason}")
            except Exception as error:
                raise failed(node, "prepare", error) from error
    return takers, why


def _order(graph: Graph) -> dict[int, set[int]]:
    """For each node the nodes that must run before it: who makes what it reads, and earlier ones with side effects.

    All nodes that read or write the same variable tensor keep their order.
    """
    maker: dict[int, int] = {}
    touched: dict[int, int] = {}
    before: dict[int, set[int]] = {}
    last_effect: int | None = None
    for node in graph.nodes:
        needs = {maker[spec.index] for spec in node.inputs if spec is not None and spec.index in maker}
        for spec in _variables(node):
            if spec.index in touched:
                needs.add(touched[spec.index])
            touched[spec.index] = node.index
        if has_side_effects(node):
            if last_effect is not None:
                needs.add(last_effect)
            last_effect = node.index
        for spec in node.outputs:
            maker[spec.index] = node.index
        before[node.index] = needs - {node.index}
    return before


def _keeps_variables(delegate: Delegate) -> bool:
    return offers(delegate, KeepsVariables) and delegate.keeps_variables


def _on_variable(node: Node) -> bool:
    """Whether the node is one that resource_variables.py gave its variable."""
    return node.op in ("ASSIGN_VARIABLE", "READ_VARIABLE") and node.input(0).is_variable


def _variables(node: Node) -> list[TensorSpec]:
    return [spec for spec in (*node.inputs, *node.outputs) if spec is not None and spec.is_variable]


def has_side_effects(node: Node) -> bool:
    """Whether running the node may do more than write its outputs; an operator that only one interpreter knows may."""
    op = OPS.get(node.op)
    return op is None or op.stateful


@dataclass(frozen=True, eq=False)
class _Cut:
    owner: Owner
    nodes: tuple[Node, ...]


def _cut(graph: Graph, owners: Mapping[int, Owner], before: Mapping[int, set[int]]) -> list[_Cut]:
    """As few partitions as a greedy walk finds: each takes every remaining node of its owner that is ready by then.

    The walk starts with each owner that has a ready node, and the shortest outcome wins.
    """
    ready = [owners[node.index] for node in graph.nodes if not before[node.index]]
    starts = list({id(owner): owner for owner in ready}.values())
    walks = [_walk(graph, owners, before, start) for start in starts]
    return min(walks, key=len) if walks else []


def _walk(graph: Graph, owners: Mapping[int, Owner], before: Mapping[int, set[int]], start: Owner) -> list[_Cut]:
    remaining: list[Node] = list(graph.nodes)
    done: set[int] = set()
    cuts: list[_Cut] = []
    owner = start
    while remaining:
        taken: list[Node] = []
        left: list[Node] = []
        for node in remaining:
            ready = owners[node.index] is owner and before[node.index] <= done
            (taken if ready else left).append(node)
            if ready:
                done.add(node.index)
        cuts.append(_Cut(owner, tuple(taken)))
        remaining = left
        if remaining:
            # The first of them may depend on a later one; some node is always ready.
            owner = next(owners[node.index] for node in remaining if before[node.index] <= done)
    return cuts


def _dropped(graph: Graph, cuts: Sequence[_Cut], delegates: Sequence[Delegate]) -> list[tuple[_Cut, str]]:
    """The partitions of one delegate that its limits or the cost model give back to the CPU, with the reason."""
    for delegate in delegates:
        mine = [(cut, estimated(graph, cut.nodes).saved_us) for cut in cuts if cut.owner is delegate]
        limits, dropped = delegate.limits, []
        for rank, (cut, saved_us) in enumerate(sorted(mine, key=lambda one: -one[1])):
            its = f"its partition of {len(cut.nodes)} nodes"
            if limits.min_nodes is not None and len(cut.nodes) < limits.min_nodes:
                reason = f"{its} has fewer nodes than min_nodes_per_partition, {limits.min_nodes}"
            elif limits.max_partitions and rank >= limits.max_partitions:
                reason = f"{its} is not one of the {limits.max_partitions} that save most (max_partitions)"
            elif (rank or graph.index) and _model_decides(delegate) and saved_us <= 0:
                reason = f"{its} is too little work for the copies and launches it costs"
            else:
                continue
            dropped.append((cut, reason))
        if dropped:
            return dropped
    return []


def _model_decides(delegate: Delegate) -> bool:
    limits = delegate.limits
    return not (limits.require_full or limits.min_nodes is not None or limits.only_nodes or limits.only_ops)


def pays(graph: Graph, nodes: Sequence[Node]) -> bool:
    """Whether the cost model gives the nodes to a delegate."""
    return estimated(graph, nodes).saved_us > 0


def estimated(graph: Graph, nodes: Sequence[Node]) -> Estimate:
    """What the nodes take as one partition of the graph."""
    return estimate(nodes, frozenset().union(*boundary(graph, nodes)))


def _require_full(cuts: Sequence[_Cut], delegates: Sequence[Delegate], why: Mapping[int, Sequence[str]]) -> None:
    for delegate in delegates:
        if not delegate.limits.require_full:
            continue
        left = [node for cut in cuts if cut.owner is not delegate for node in cut.nodes]
        if left:
            reasons = "\n".join(f"{node}: {'; '.join(why[node.index]) or 'another delegate has it'}" for node in left)
            raise RuntimeError(f"{delegate.name} delegate: require_full, but {len(left)} nodes are left:\n{reasons}")


def _finished(
    graph: Graph, owner: Owner, nodes: tuple[Node, ...], why: Mapping[int, Sequence[str]], preserve_all: bool
) -> Partition:
    inputs, outputs = boundary(graph, nodes)
    if preserve_all:
        outputs = frozenset(spec.index for node in nodes for spec in node.outputs)
    reasons = {} if owner is not None else {node.index: tuple(why[node.index]) for node in nodes}
    return Partition(owner, nodes, inputs, outputs, reasons)
