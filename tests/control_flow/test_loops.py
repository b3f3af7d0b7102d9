"""WHILE and IF that a delegate takes with their graphs, beside the CPU executor; and loops that fill a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from devices import cuda, cuda_in_blocks, intel, opencl
from loop_models import FLOATS, NONE, Variables, counted, dense, filling, loop, nested
from oracle import assert_same, litert, tflgpu_run

import tflgpu
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.loader import load
from tflgpu.runtime.list_writes import with_list_writes


@pytest.fixture(scope="module", params=[intel, cuda, cuda_in_blocks], ids=lambda make: make.__name__)
def delegate(request: pytest.FixtureRequest) -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield request.param(monkeypatch) if request.param is cuda_in_blocks else request.param()


def swap(g: Any, v: list[Any]) -> Sequence[Any]:
    """(a, b) -> (b, a); c stays."""
    return counted(g, v[0]), v[2], v[1], v[3]


def rotate_and_add(g: Any, v: list[Any]) -> Sequence[Any]:
    """(a, b, c) -> (b, c, a + b)."""
    total = g.tensor("total", v[1].type if hasattr(v[1], "type") else "FLOAT32", [3, 7])
    g.node("ADD", [v[1], v[2]], [total], **NONE)
    return counted(g, v[0]), v[2], v[3], total


def twice_the_same(g: Any, v: list[Any]) -> Sequence[Any]:
    """(a, b) -> (-a, -a), and c a constant."""
    out = g.tensor("negative", "FLOAT32", [3, 7])
    g.node("NEG", [v[1]], [out])
    return counted(g, v[0]), out, out, g.constant("three", np.full((3, 7), 3, np.float32))


INTEGERS: Variables = [("INT32", []), *[("INT32", [3, 7])] * 3]


def values(variables: Variables, start: int, seed: int = 1) -> list[Any]:
    rng = np.random.default_rng(seed)
    made = [rng.integers(-9, 9, shape) if kind == "INT32" else rng.normal(size=shape) for kind, shape in variables[1:]]
    kinds = [np.int32 if kind == "INT32" else np.float32 for kind, _ in variables[1:]]
    return [np.int32(start), *(a.astype(k) for a, k in zip(made, kinds, strict=True))]


@pytest.mark.parametrize("start", [0, 4, 5, 9])
@pytest.mark.parametrize("body", [swap, rotate_and_add, twice_the_same, dense], ids=lambda body: body.__name__)
def test_a_loop_runs_on_the_device_as_on_the_cpu(body: Any, start: int, delegate: Any) -> None:
    model, inputs = loop(FLOATS, body), values(FLOATS, start)
    want = tflgpu_run(model, inputs)
    assert_same(tflgpu_run(model, inputs, [delegate]), want, rtol=1e-5, atol=1e-6)


def test_a_loop_over_integers_equals_litert(delegate: Any) -> None:
    def body(g: Any, v: list[Any]) -> Sequence[Any]:
        total = g.tensor("total", "INT32", [3, 7])
        g.node("ADD", [v[1], v[2]], [total], **NONE)
        return counted(g, v[0]), v[2], v[3], total

    model, inputs = loop(INTEGERS, body), values(INTEGERS, 0)
    assert_same(tflgpu_run(model, inputs, [delegate]), litert(model, inputs))


@pytest.mark.parametrize("start", [0, 3, 7])
def test_loops_in_loops_and_branches_in_them(start: int, delegate: Any) -> None:
    inputs = [np.int32(start), np.linspace(-1, 1, 5, dtype=np.float32)]
    want = tflgpu_run(nested(), inputs)
    assert_same(want, litert(nested(), inputs))
    assert_same(tflgpu_run(nested(), inputs, [delegate]), want)


@pytest.mark.parametrize("yes", [True, False])
def test_a_branch_alone_is_taken_whole(yes: bool, delegate: Any) -> None:
    m = ModelBuilder()
    main, then, other = (m.graph(name) for name in ("main", "then", "other"))
    condition, x = main.input("condition", "BOOL", [1]), main.input("x", "FLOAT32", [33])
    out = main.tensor("out", "FLOAT32", [33])
    main.node("IF", [condition, x], [out], then_subgraph_index=then.index, else_subgraph_index=other.index)
    main.outputs(out)
    for g, op in ((then, "NEG"), (other, "EXP")):
        taken, made = g.input("x", "FLOAT32", [33]), g.tensor("made", "FLOAT32", [33])
        g.node(op, [taken], [made])
        g.outputs(made)
    inputs = [np.array([yes]), np.linspace(-1, 1, 33, dtype=np.float32)]
    assert_same(tflgpu_run(m.build(), inputs, [delegate]), tflgpu_run(m.build(), inputs), rtol=2e-6)


@pytest.mark.parametrize("inside, after", [("INT32", "FLOAT32"), ("COMPLEX64", "FLOAT32"), ("FLOAT32", "INT32")])
def test_a_branch_whose_tensors_have_other_types_is_refused(inside: str, after: str) -> None:
    m = ModelBuilder()
    main, branch = m.graph("main"), m.graph("branch")
    condition, x = main.input("condition", "BOOL", [1]), main.input("x", "FLOAT32", [4])
    out = main.tensor("out", after, [4])
    main.node("IF", [condition, x], [out], then_subgraph_index=branch.index, else_subgraph_index=branch.index)
    main.outputs(out)
    branch.outputs(branch.input("taken", inside, [4]))
    with pytest.raises(RuntimeError, match=r"of node 0 IF is tensor 0 'taken'.* in subgraph 1: their types differ"):
        tflgpu_run(m.build(), [np.array([True]), np.ones(4, np.float32)])


ROW = [np.arange(6, dtype=np.float32).reshape(2, 3)]


@pytest.mark.parametrize("start, limit", [(0, 6), (2, 5), (6, 6), (0, 3)])
def test_a_loop_that_fills_a_list_has_a_constant_shape(start: int, limit: int, delegate: Any) -> None:
    model = filling(start, limit)
    written = with_list_writes(load(path=None, content=model)).graphs[2]
    assert "DYNAMIC_UPDATE_SLICE" in [n.op for n in written.nodes] and "SLICE" not in [n.op for n in written.nodes]
    rows = np.zeros((6, 2, 3), np.float32)
    rows[start:limit] = ROW[0] + np.arange(start, limit, dtype=np.float32).reshape(-1, 1, 1)
    want = [np.int32(limit), rows, *ROW]
    assert_same(tflgpu_run(model, ROW), want)
    assert_same(tflgpu_run(model, ROW, [delegate]), want)


@pytest.mark.parametrize("start, limit", [(-1, 3), (0, 7)])
def test_a_list_that_may_grow_is_left_as_it_is(start: int, limit: int) -> None:
    loaded = load(path=None, content=filling(start, limit))
    assert [n.op for n in with_list_writes(loaded).graphs[2].nodes] == [n.op for n in loaded.graphs[2].nodes]


def test_a_device_without_barriers_in_loops_leaves_them_to_the_host() -> None:
    delegate = opencl()
    delegate.device.limits = replace(delegate.device.limits, inner_barriers=False)
    with pytest.raises(RuntimeError, match="a loop that ends by a test"):
        tflgpu_run(nested(), [np.int32(0), np.zeros(5, np.float32)], [delegate])


def test_the_report_says_which_graphs_run_with_a_node(delegate: Any) -> None:
    interpreter = tflgpu.Interpreter(model_content=loop(FLOATS, dense), experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    report = interpreter.delegation_report()
    assert "1 nodes delegated out of 1 with 1 partition" in report
    assert f"node 0 WHILE runs on {delegate.name} with its graphs 1, 2" in report


def test_an_iteration_of_much_work_stays_on_the_host(delegate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tflgpu.delegates.lowering.recurrent import sequence
    from tflgpu.delegation.delegate import Unsupported

    monkeypatch.setattr(sequence, "SMALL_STEP", 100)
    monkeypatch.setattr(sequence, "SMALL_STEP_OF_A_GPU", 1)
    interpreter = tflgpu.Interpreter(model_content=loop(FLOATS, dense))
    interpreter.allocate_tensors()
    (partition,) = interpreter._graphs[0].partitions
    with pytest.raises(Unsupported, match="an iteration of [0-9,]+ operations"):
        delegate.attach(interpreter._model, 1).check(partition.nodes[0])


def test_an_iteration_of_more_launches_than_compilers_support_stays_on_the_host(
    delegate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tflgpu.delegates.control_flow import control
    from tflgpu.delegation.delegate import Unsupported

    most = "MOST_BARRIERS" if delegate.device.limits.cpu else "MOST_LAUNCHES"
    monkeypatch.setattr(control, most, 2)
    interpreter = tflgpu.Interpreter(model_content=loop(FLOATS, dense))
    interpreter.allocate_tensors()
    (partition,) = interpreter._graphs[0].partitions
    with pytest.raises(Unsupported, match="an iteration of [0-9]+ launches, where 2 are the most"):
        delegate.attach(interpreter._model, 1).check(partition.nodes[0])
