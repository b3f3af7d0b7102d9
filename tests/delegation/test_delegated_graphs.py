"""Delegates in whole graphs: fewest partitions, control flow, dynamic shapes, resizing, and what inspect shows."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from delegation.test_partition import Taker, random_graph
from elsewhere import Elsewhere
from oracle import answers, assert_same

import tflgpu
from tflgpu.delegation.partitioner import partition
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import Graph


def fewest_partitions(graph: Graph, mine: set[str]) -> int:
    """By trying all orders: the fewest runs of nodes of one owner in an order that keeps makers before readers."""
    maker = {s.index: n.index for n in graph.nodes for s in n.outputs}
    before = {n.index: {maker[s.index] for s in n.inputs if s is not None and s.index in maker} for n in graph.nodes}
    owner = {n.index: n.op in mine for n in graph.nodes}
    states = {(frozenset[int](), None)}
    everything, count = frozenset(before), 0
    while not any(done == everything for done, _ in states):
        reached = set()
        for done, last in states:
            for next_owner in {True, False} - {last}:
                grown = done
                while True:
                    ready = {i for i in before if owner[i] is next_owner and i not in grown and before[i] <= grown}
                    if not ready:
                        break
                    # One at a time or all that are ready: what is done early never has to be done later.
                    grown |= ready
                if grown != done:
                    reached.add((grown, next_owner))
        states, count = reached, count + 1
    return count


@pytest.mark.parametrize("seed", range(120))
def test_there_are_no_fewer_partitions_in_any_order(seed: int) -> None:
    graph = random_graph(random.Random(seed))
    partitions = partition(graph, [Taker("a", "ABS EXP")])
    assert len(partitions) == fewest_partitions(graph, {"ABS", "EXP"})


def loop(limit: int = 5, kind: str = "FLOAT32") -> bytes:
    """WHILE i < limit: x = max(-x, x * 0.3) + 1, then IF i > 3: |x| else -x."""
    m, dtype = ModelBuilder(), np.dtype(kind.lower()).type
    main, condition, body = m.graph("main"), m.graph("condition"), m.graph("body")
    then, otherwise = m.graph("then"), m.graph("otherwise")
    i, x = main.input("i", "INT32", []), main.input("x", kind, [8, 8])
    last, looped = main.tensor("last", "INT32", []), main.tensor("looped", kind, [8, 8])
    late, out = main.tensor("late", "BOOL", []), main.tensor("out", kind, [8, 8])
    main.node("WHILE", [i, x], [last, looped], cond_subgraph_index=condition.index, body_subgraph_index=body.index)
    main.node("GREATER", [last, main.constant("three", np.int32(3))], [late])
    options = {"then_subgraph_index": then.index, "else_subgraph_index": otherwise.index}
    main.node("IF", [late, looped], [out], **options)
    main.outputs(last, out)

    ci, _ = condition.input("i", "INT32", []), condition.input("x", kind, [8, 8])
    go = condition.tensor("go", "BOOL", [])
    condition.node("LESS", [ci, condition.constant("limit", np.int32(limit))], [go])
    condition.outputs(go)

    bi, bx = body.input("i", "INT32", []), body.input("x", kind, [8, 8])
    after = body.tensor("after", "INT32", [])
    negative, half, most, more = (body.tensor(n, kind, [8, 8]) for n in ("negative", "half", "most", "more"))
    none = {"fused_activation_function": "NONE"}
    body.node("ADD", [bi, body.constant("one", np.int32(1))], [after], **none)
    body.node("NEG", [bx], [negative])
    body.node("MUL", [bx, body.constant("a half", dtype(0.3))], [half], **none)
    body.node("MAXIMUM", [negative, half], [most])
    body.node("ADD", [most, body.constant("one.0", dtype(1))], [more], **none)
    body.outputs(after, more)

    for graph, op in ((then, "ABS"), (otherwise, "NEG")):
        y, z = graph.input("y", kind, [8, 8]), graph.tensor("z", kind, [8, 8])
        graph.node(op, [y], [z])
        graph.outputs(z)
    return m.build()


def run(model: bytes, inputs: list[Any], delegates: list[Any]) -> tuple[list[Any], Any]:
    interpreter = tflgpu.Interpreter(model_content=model, experimental_delegates=delegates)
    return answers(interpreter, inputs), interpreter


def test_partitions_inside_bodies_and_branches_run_on_the_delegate() -> None:
    x = np.random.default_rng(2).normal(size=(8, 8)).astype(np.float32)
    inputs = [[np.int32(0), x], [np.int32(9), -x], [np.int32(2), x]]
    delegate = Elsewhere(range(1, 5))  # the nodes of those numbers in every graph: of floats, in the body
    got, _ = run(loop(), inputs, [delegate])
    assert_same(got, run(loop(), inputs, [])[0])
    inside = [p for p in delegate.compiled if {"NEG", "MAXIMUM"} <= {node.op for node in p.nodes}]
    assert len(inside) == 1 and [node.index for node in inside[0].nodes] == [1, 2, 3, 4]
    assert delegate.up and delegate.down


@pytest.mark.parametrize("kind", ["FLOAT32", "FLOAT16"])
def test_loops_give_the_cpus_results_whatever_their_floats(kind: str) -> None:
    pytest.importorskip("pyopencl")
    x = np.random.default_rng(2).normal(size=(8, 8)).astype(kind.lower())
    inputs = [[np.int32(0), x], [np.int32(9), -x], [np.int32(2), x]]
    delegate = tflgpu.load_delegate("opencl", {"min_nodes_per_partition": 1})
    assert_same(run(loop(kind=kind), inputs, [delegate])[0], run(loop(kind=kind), inputs, [])[0], rtol=0, atol=0)


def test_control_flow_left_to_the_cpu_says_why_and_its_graphs_have_partitions() -> None:
    pytest.importorskip("pyopencl")
    delegate = tflgpu.load_delegate("opencl", {"min_nodes_per_partition": 1, "skip_ops": "WHILE,IF"})
    inputs = [[np.int32(0), np.ones((8, 8), np.float32)]]
    got, interpreter = run(loop(), inputs, [delegate])
    assert_same(got, run(loop(), inputs, [])[0])
    report = interpreter.delegation_report()
    assert "WHILE stays on the CPU: opencl: " in report and "IF stays on the CPU: opencl: " in report
    assert "on opencl" in report


def dynamic() -> bytes:
    """|x| reshaped to a shape that an input gives, then negated and squared: nodes on both sides of a dynamic one."""
    m = ModelBuilder()
    g = m.graph()
    x, shape = g.input("x", "FLOAT32", [24]), g.input("shape", "INT32", [2])
    a, b, c, d = (
        g.tensor("a", "FLOAT32", [24]),
        *(g.tensor(n, "FLOAT32", [1, 1], shape_signature=[-1, -1]) for n in "bcd"),
    )
    g.node("ABS", [x], [a])
    g.node("RESHAPE", [a, shape], [b])
    g.node("NEG", [b], [c])
    g.node("SQUARE", [c], [d])
    g.outputs(a, d)
    return m.build()


def test_a_node_of_a_shape_known_only_at_run_time_bounds_partitions_whose_plans_are_cached() -> None:
    x = np.arange(24, dtype=np.float32) - 12
    shapes = [[4, 6], [6, 4], [4, 6], [4, 6], [24, 1], [6, 4]]
    inputs = [[x + i, np.array(shape, np.int32)] for i, shape in enumerate(shapes)]
    delegate = Elsewhere(range(4))
    got, _ = run(dynamic(), inputs, [delegate])
    assert_same(got, run(dynamic(), inputs, [])[0])
    after = [p.nodes[-1].outputs[0].shape for p in delegate.compiled if p.nodes[0].op == "NEG"]
    assert after == [(4, 6), (6, 4), (24, 1)]


def test_what_the_cpu_makes_before_such_a_node_reaches_a_partition_after_it_every_time() -> None:
    m = ModelBuilder()
    g = m.graph()
    x, shape = g.input("x", "FLOAT32", [24]), g.input("shape", "INT32", [2])
    a, c = (g.tensor(n, "FLOAT32", [24]) for n in "ac")
    b = g.tensor("b", "FLOAT32", [1, 1], shape_signature=[-1, -1])
    g.node("ABS", [x], [a])
    g.node("RESHAPE", [x, shape], [b])
    g.node("NEG", [a], [c])
    g.outputs(b, c)
    inputs = [[np.full(24, -k, np.float32), np.int32([4, 6])] for k in range(4)]
    delegate = Elsewhere({2})
    got, _ = run(m.build(), inputs, [delegate])
    assert_same(got, run(m.build(), inputs, [])[0])
    assert [[node.op for node in p.nodes] for p in delegate.compiled] == [["NEG"]]


def batches() -> bytes:
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [1, 5], shape_signature=[-1, 5])
    y, z, out = (g.tensor(n, "FLOAT32", [1, 5], shape_signature=[-1, 5]) for n in ("y", "z", "out"))
    g.node("ABS", [x], [y])
    g.node("NEG", [y], [z])
    g.node("ADD", [y, z], [out], fused_activation_function="NONE")
    g.outputs(y, out)
    return m.build()


@pytest.mark.parametrize("taken", [{0, 1, 2}, {0}, {1}, {0, 2}])
def test_resizing_with_a_delegate_attached_works_and_plans_are_cached_by_shape(taken: set[int]) -> None:
    delegate = Elsewhere(taken)
    interpreter = tflgpu.Interpreter(model_content=batches(), experimental_delegates=[delegate])
    made = []
    for batch in (1, 3, 1, 2, 3, 1):
        interpreter.resize_tensor_input(0, [batch, 5])
        interpreter.allocate_tensors()
        x = np.random.default_rng(batch).normal(size=(batch, 5)).astype(np.float32)
        interpreter.set_tensor(0, x)
        interpreter.invoke()
        y, out = (interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details())
        np.testing.assert_array_equal(y, np.abs(x))
        np.testing.assert_array_equal(out, np.zeros_like(x))
        made.append(len(delegate.compiled))
    first = made[0]
    assert made == [first, 2 * first, 2 * first, 3 * first, 3 * first, 3 * first]


def test_assignments_and_reads_of_resources_keep_their_order() -> None:
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [4])
    handle, before, after = g.tensor("handle", "RESOURCE", []), *(g.tensor(n, "FLOAT32", [4]) for n in ("b", "a"))
    twice, out, kept = (g.tensor(n, "FLOAT32", [4]) for n in ("twice", "out", "kept"))
    none = {"fused_activation_function": "NONE"}
    g.node("VAR_HANDLE", [], [handle], shared_name="v", container="")
    g.node("ASSIGN_VARIABLE", [handle, x], [])
    g.node("READ_VARIABLE", [handle], [before])
    g.node("ADD", [before, x], [twice], **none)
    g.node("ASSIGN_VARIABLE", [handle, twice], [])
    g.node("READ_VARIABLE", [handle], [after])
    g.node("NEG", [after], [out])
    g.node("NEG", [before], [kept])
    g.outputs(out, kept)
    x_value = np.float32([1, -2, 3, 4])
    got, _ = run(m.build(), [[x_value], [x_value * 3]], [Elsewhere({3, 6, 7})])
    assert_same(got, [-2 * x_value, -x_value, -6 * x_value, -3 * x_value])


def test_inspect_shows_where_each_node_runs_its_reason_and_the_bytes_that_cross(tmp_path: Any) -> None:
    pytest.importorskip("pyopencl")
    typer = pytest.importorskip("typer.testing")
    from tflgpu.cli.app import app

    path = tmp_path / "loop.tflite"
    path.write_bytes(loop())
    result = typer.CliRunner().invoke(app, ["inspect", str(path), "--delegate", "opencl"])
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "│ opencl │ 1 WHILE, 1 GREATER, 1 IF │" in text
    assert "partition 0 on opencl: 3 nodes, reads 260 B, writes 260 B" in text
