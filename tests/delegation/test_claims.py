"""Delegates that claim nodes of the whole graph by themselves, alone and among others."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from tflgpu.delegation.delegate import Limits, Partition, Unsupported
from tflgpu.delegation.partitioner import contracted, groups_of, partition
from tflgpu.model.graph import Graph, Node, TensorSpec


class Claimer:
    """Claims all nodes of some operators, in as few groups as run one after another."""

    limits = Limits()

    def __init__(self, name: str, ops: str):
        self.name, self.ops = name, ops.split()
        self.saw: list[str] = []

    def claim(self, graph: Graph) -> list[tuple[Node, ...]]:
        self.saw = [node.op for node in graph.nodes]
        return groups_of(graph, {node.index for node in graph.nodes if node.op in self.ops})


class Taker:
    """Is asked node by node."""

    limits = Limits(min_nodes=1)

    def __init__(self, name: str, ops: str):
        self.name, self.ops = name, ops.split()

    def check(self, node: Node) -> None:
        if node.op not in self.ops:
            raise Unsupported(f"no kernel for {node.op}")


def graph_of(edges: list[tuple[str, list[int]]]) -> Graph:
    """Node i reads the tensors of the nodes named by numbers (-1: the graph's input) and makes tensor i + 1."""
    specs = [TensorSpec(i, f"t{i}", "FLOAT32", (4,)) for i in range(len(edges) + 1)]
    nodes = [
        Node(i, op, 1, SimpleNamespace(), tuple(specs[j + 1] for j in reads), (specs[i + 1],))
        for i, (op, reads) in enumerate(edges)
    ]
    return Graph(0, "main", tuple(specs), tuple(nodes), (0,), (len(edges),))


def line(ops: str) -> Graph:
    return graph_of([(op, [i - 1]) for i, op in enumerate(ops.split())])


def owners(cut: list[Partition]) -> list[tuple[str, list[int]]]:
    return [(p.owner.name if p.owner else "cpu", [n.index for n in p.nodes]) for p in cut]


def test_a_claimed_group_is_a_partition_and_other_nodes_say_who_refused_them() -> None:
    delegates: list[Any] = [Claimer("native", "NEG")]
    cut = partition(line("ABS NEG NEG ABS"), delegates)
    assert owners(cut) == [("cpu", [0]), ("native", [1, 2]), ("cpu", [3])]
    assert (cut[1].inputs, cut[1].outputs) == ({1}, {3})
    assert cut[0].why == {0: ("native: not claimed by the library",)}


def test_the_next_delegate_sees_one_node_for_what_is_taken() -> None:
    delegates: list[Any] = [Claimer("first", "ABS"), Claimer("second", "NEG")]
    cut = partition(line("ABS ABS NEG COS"), delegates)
    assert delegates[1].saw == ["DELEGATE", "NEG", "COS"]
    assert owners(cut) == [("first", [0, 1]), ("second", [2]), ("cpu", [3])]


@pytest.mark.parametrize("claimer_first", [True, False])
def test_claims_and_checks_alternate_in_the_order_of_the_delegates(claimer_first: bool) -> None:
    claimer, taker = Claimer("native", "ABS NEG"), Taker("python", "NEG COS")
    delegates: list[Any] = [claimer, taker] if claimer_first else [taker, claimer]
    cut = partition(line("ABS NEG COS"), delegates)
    wanted = [("native", [0, 1]), ("python", [2])] if claimer_first else [("native", [0]), ("python", [1, 2])]
    assert owners(cut) == wanted


def test_two_groups_of_one_delegate_stay_two_partitions() -> None:
    class OneByOne(Claimer):
        def claim(self, graph: Graph) -> list[tuple[Node, ...]]:
            return [(node,) for node in graph.nodes if node.op in self.ops]

    delegates: list[Any] = [OneByOne("native", "ABS")]
    assert owners(partition(line("ABS ABS"), delegates)) == [("native", [0]), ("native", [1])]


def test_a_group_that_waits_for_what_waits_for_it_is_refused() -> None:
    graph = line("ABS NEG ABS")
    with pytest.raises(RuntimeError, match="node 3 DELEGATE cannot run as one"):
        contracted(graph, [(graph.nodes[0], graph.nodes[2])])


@pytest.mark.parametrize("seed", range(30))
def test_any_mix_has_every_node_once_and_after_what_it_reads(seed: int) -> None:
    rng = random.Random(seed)
    edges = [(rng.choice(["ABS", "NEG", "COS", "SIN"]), [rng.randrange(-1, i) for _ in range(2)]) for i in range(25)]
    delegates: list[Any] = [Claimer("a", "ABS"), Taker("b", "NEG COS"), Claimer("c", "COS SIN")]
    rng.shuffle(delegates)
    graph = graph_of(edges)
    done: set[int] = set()
    for one in partition(graph, delegates[: rng.randint(1, 3)]):
        made = {0} | {i + 1 for i in done}
        assert one.inputs <= made
        done |= {node.index for node in one.nodes}
    assert done == set(range(25))
