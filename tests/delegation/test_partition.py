"""Cutting graphs into partitions: order, limits, reasons, the cost model, the report."""

from __future__ import annotations

import random
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from tflgpu.delegation.delegate import Limits, Partition, Unsupported
from tflgpu.delegation.partitioner import partition
from tflgpu.delegation.report import delegation_report
from tflgpu.model.graph import Graph, Node, TensorSpec


class Taker:
    """A delegate that takes the operators named in `ops`."""

    def __init__(self, name: str, ops: str, **limits: Any):
        self.name, self.ops, self.limits = name, ops.split(), Limits(**{"min_nodes": 1, **limits})

    def check(self, node: Node) -> None:
        if node.op not in self.ops:
            raise Unsupported(f"no kernel for {node.op}")

    def compile(self, partition: Partition, tensors: Any) -> Any:
        raise AssertionError("nothing runs here")


def spec(index: int, size: int = 4, **fields: Any) -> TensorSpec:
    return TensorSpec(index, f"t{index}", "FLOAT32", (size,), **fields)


def node(index: int, op: str, inputs: list[TensorSpec], output: TensorSpec) -> Node:
    return Node(index, op, 1, SimpleNamespace(), tuple(inputs), (output,))


def line(ops: str, size: int = 4, **sizes: int) -> Graph:
    """A chain: node i reads tensor i and makes tensor i + 1. sizes: those of some tensors, as in t3=100."""
    names = ops.split()
    specs = [spec(i, sizes.get(f"t{i}", size)) for i in range(len(names) + 1)]
    nodes = [node(i, op, [specs[i]], specs[i + 1]) for i, op in enumerate(names)]
    return Graph(0, "main", tuple(specs), tuple(nodes), (0,), (len(names),))


def owners(cut: list[Partition]) -> list[tuple[str, list[int]]]:
    return [(p.owner.name if p.owner else "cpu", [n.index for n in p.nodes]) for p in cut]


def test_a_chain_is_cut_where_the_owner_changes() -> None:
    cut = partition(line("ABS ABS NEG ABS"), [Taker("a", "ABS")])
    assert owners(cut) == [("a", [0, 1]), ("cpu", [2]), ("a", [3])]
    assert (cut[0].inputs, cut[0].outputs) == ({0}, {2})
    assert cut[1].why == {2: ("a: no kernel for NEG",)}


def test_the_first_delegate_in_the_list_has_precedence() -> None:
    cut = partition(line("ABS NEG"), [Taker("a", "ABS"), Taker("b", "ABS NEG")])
    assert owners(cut) == [("a", [0]), ("b", [1])]


def random_graph(r: random.Random) -> Graph:
    count = r.randint(1, 25)
    specs = [spec(i) for i in range(count + 1)]
    nodes = [
        node(i, r.choice(["ABS", "NEG", "EXP"]), r.sample(specs[: i + 1], r.randint(1, min(3, i + 1))), specs[i + 1])
        for i in range(count)
    ]
    return Graph(0, "main", tuple(specs), tuple(nodes), (0,), (count, r.randint(0, count)))


@pytest.mark.parametrize("seed", range(60))
def test_partitions_have_an_order_in_which_every_node_follows_what_it_reads(seed: int) -> None:
    graph = random_graph(random.Random(seed))
    cut = partition(graph, [Taker("a", "ABS"), Taker("b", "NEG")])
    made, seen = {0}, []
    for one in cut:
        inside = {s.index for n in one.nodes for s in n.outputs}
        for n in one.nodes:
            assert {s.index for s in n.inputs if s is not None} <= made
            made |= {s.index for s in n.outputs}
            seen.append(n.index)
        outside = {s.index for n in graph.nodes if n not in one.nodes for s in n.inputs if s is not None}
        read = outside | {s.index for n in one.nodes for s in n.inputs if s is not None}  # what none reads is shown
        assert one.outputs == inside & (outside | set(graph.outputs) | (inside - read))
        assert one.inputs == {s.index for n in one.nodes for s in n.inputs if s is not None} - inside
    assert sorted(seen) == [n.index for n in graph.nodes]
    assert all(one.owner is not two.owner for one, two in pairwise(cut))


def test_nodes_with_side_effects_keep_their_order() -> None:
    specs = [spec(i) for i in range(5)]
    nodes = [
        node(0, "VAR_HANDLE", [specs[0]], specs[1]),
        node(1, "ABS", [specs[0]], specs[2]),
        node(2, "READ_VARIABLE", [specs[0]], specs[3]),
        node(3, "ASSIGN_VARIABLE", [specs[0]], specs[4]),
    ]
    graph = Graph(0, "main", tuple(specs), tuple(nodes), (0,), (2, 3, 4))
    cut = partition(graph, [Taker("a", "ABS READ_VARIABLE")])
    order = [n.index for p in cut for n in p.nodes]
    assert [i for i in order if i != 1] == [0, 2, 3]


def test_nodes_that_touch_a_variable_keep_their_order() -> None:
    state = spec(3, is_variable=True)
    x, y, z = spec(0), spec(1), spec(2)
    nodes = (node(0, "NEG", [x, state], y), node(1, "ABS", [x, state], z))
    cut = partition(Graph(0, "main", (x, y, z, state), nodes, (0,), (1, 2)), [Taker("a", "ABS")])
    assert [n.index for p in cut for n in p.nodes] == [0, 1]


def test_the_largest_partitions_are_taken_and_the_others_say_why_not() -> None:
    cut = partition(line("ABS NEG ABS ABS NEG ABS"), [Taker("a", "ABS", max_partitions=1)])
    assert owners(cut) == [("cpu", [0, 1]), ("a", [2, 3]), ("cpu", [4, 5])]
    assert "max_partitions" in cut[0].why[0][0]


def test_of_two_partitions_the_one_is_taken_that_saves_more_though_it_has_fewer_nodes() -> None:
    cut = partition(line("ABS ABS ABS NEG ABS ABS", t5=10**6), [Taker("a", "ABS", max_partitions=1)])
    assert owners(cut) == [("cpu", [0, 1, 2, 3]), ("a", [4, 5])]
    assert "is not one of the 1 that save most (max_partitions)" in cut[0].why[0][0]


def test_a_partition_below_min_nodes_is_offered_to_the_next_delegate() -> None:
    first = Taker("a", "ABS", min_nodes=2)
    cut = partition(line("ABS NEG ABS ABS"), [first, Taker("b", "ABS")])
    assert owners(cut) == [("b", [0]), ("cpu", [1]), ("a", [2, 3])]


def test_a_partition_that_does_not_pay_stays_on_the_cpu_unless_it_is_the_largest() -> None:
    model = {"min_nodes": None}
    assert owners(partition(line("ABS NEG ABS ABS"), [Taker("a", "ABS", **model)])) == [("cpu", [0, 1]), ("a", [2, 3])]
    large = partition(line("ABS ABS NEG ABS ABS ABS", size=10**6), [Taker("a", "ABS", **model)])
    assert owners(large) == [("a", [0, 1]), ("cpu", [2]), ("a", [3, 4, 5])]


def test_operators_and_nodes_can_be_chosen() -> None:
    graph = line("ABS NEG ABS NEG")
    both = "ABS NEG"
    for limits, taken in (
        ({"only_ops": frozenset({"NEG"})}, [1, 3]),
        ({"skip_ops": frozenset({"NEG"})}, [0, 2]),
        ({"only_nodes": frozenset({2, 3})}, [2, 3]),
        ({"skip_nodes": frozenset({0})}, [1, 2, 3]),
    ):
        cut = partition(graph, [Taker("a", both, **limits)])
        assert [n.index for p in cut if p.owner for n in p.nodes] == taken


def test_require_full_names_what_is_left_and_why() -> None:
    with pytest.raises(RuntimeError, match="1 nodes are left:\nnode 1 NEG: a: no kernel for NEG"):
        partition(line("ABS NEG"), [Taker("a", "ABS", require_full=True)])


def test_the_report_counts_nodes_partitions_and_bytes() -> None:
    delegate = Taker("a", "ABS")
    report = delegation_report(partition(line("ABS NEG ABS"), [delegate]), [delegate])
    text = report.splitlines()
    first = report.partitions[0]
    assert (first.runs_on, first.nodes, first.bytes_read, first.bytes_written) == ("a", (0,), 16, 16)
    assert [(row.op, row.runs_on, row.reasons) for row in report.rows[:2]] == [
        ("ABS", "a", ()),
        ("NEG", "CPU", ("a: no kernel for NEG",)),
    ]
    assert text[0] == "a delegate: 2 nodes delegated out of 3 with 2 partitions"
    costs = "by the cost model 65 us, 10 on the CPU"
    assert text[1] == f"partition 0 on a: reads 16 bytes, writes 16 bytes; {costs}; nodes 0 ABS"
    assert text[-1] == "node 1 NEG stays on the CPU: a: no kernel for NEG"
