"""Composites inlined: what callers see stays as it is, results too, and a delegate gets one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from devices import cuda, intel
from loop_models import NONE, counted, loop
from oracle import assert_same, litert, tflgpu_run

import tflgpu
from tflgpu.conformance.reference import answer
from tflgpu.model.builder import GraphBuilder, ModelBuilder
from tflgpu.model.loader import load
from tflgpu.rewrites.inline_composites import MOST_NODES, inline_composites

Q = {"scale": 0.05, "zero_point": 3}


def composite(g: GraphBuilder, of: GraphBuilder, ins: Sequence[int], outs: Sequence[int], name: str = "odml.f") -> None:
    options = {"decomposition_subgraph_index": of.index, "composite_attributes": b"\0"}
    g.node("STABLEHLO_COMPOSITE", list(ins), list(outs), name=name, **options)


def ends(g: GraphBuilder, *names: str) -> list[int]:
    """An input x, and tensors of these names like it."""
    return [g.input("x", "FLOAT32", [2, 3]), *(g.tensor(name, "FLOAT32", [2, 3]) for name in names)]


def body(g: GraphBuilder, op: str, kind: str = "FLOAT32", shape: Sequence[int] = (2, 3), **spec: Any) -> GraphBuilder:
    """A graph of one node, whose tensors are called as those of main are."""
    x, y = g.input("x", kind, list(shape), **spec), g.tensor("y", kind, list(shape), **spec)
    g.node(op, [x], [y])
    g.outputs(y)
    return g


def two_levels() -> bytes:
    """y = f(x), z = f(y) + x; f(x) = h(exp(x)) where h negates: shared, nested, all names the same."""
    m = ModelBuilder()
    main, f, h = m.graph(), m.graph("f"), m.graph("h")
    body(h, "NEG")
    x, inner, y = (
        f.input("x", "FLOAT32", [2, 3]),
        f.tensor("inner", "FLOAT32", [2, 3]),
        f.tensor("y", "FLOAT32", [2, 3]),
    )
    f.node("TANH", [x], [inner])
    composite(f, h, [inner], [y], "odml.h")
    f.outputs(y)
    x = main.input("x", "FLOAT32", [2, 3])
    y, w, z = (main.tensor(name, "FLOAT32", [2, 3]) for name in ("y", "w", "z"))
    composite(main, f, [x], [y])
    composite(main, f, [y], [w])
    main.node("ADD", [w, x], [z], **NONE)
    main.outputs(z, y)
    return m.build()


def quantized(inner: dict[str, Any]) -> bytes:
    """abs(f(x)) of int8, where f is a LEAKY_RELU whose output has the quantization `inner` in its own graph."""
    m = ModelBuilder()
    main, f = m.graph(), m.graph("f")
    x, y = f.input("x", "INT8", [4, 5], **Q), f.tensor("y", "INT8", [4, 5], **inner)
    f.node("LEAKY_RELU", [x], [y], alpha=0.3)
    f.outputs(y)
    x, y, z = main.input("x", "INT8", [4, 5], **Q), *(main.tensor(n, "INT8", [4, 5], **Q) for n in "yz")
    composite(main, f, [x], [y])
    main.node("ABS", [y], [z])
    main.outputs(z)
    return m.build()


FLOATS = [np.linspace(-2, 2, 6, dtype=np.float32).reshape(2, 3)]
CODES = [np.arange(-128, 128, 13, dtype=np.int8).reshape(4, 5)]


def ops(data: bytes, graph: int = 0) -> list[str]:
    return [node.op for node in inline_composites(load(content=data))[graph].nodes]


def whole(data: bytes, inputs: Sequence[Any]) -> list[Any]:
    """The outputs with every composite run as a graph of its own, as with all tensors preserved."""
    interpreter = tflgpu.Interpreter(model_content=data, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def test_shared_and_nested_decompositions_take_the_place_of_their_composites() -> None:
    graph = inline_composites(load(content=two_levels()))[0]
    assert [node.op for node in graph.nodes] == ["TANH", "NEG", "TANH", "NEG", "ADD"]
    assert [node.composite and (node.composite.name, node.composite.node) for node in graph.nodes] == [
        ("odml.f", 0),
        ("odml.h", 0),
        ("odml.f", 1),
        ("odml.h", 1),
        None,
    ]
    assert len({node.index for node in graph.nodes}) == 5
    assert len({spec.index for node in graph.nodes for spec in node.outputs}) == 5


@pytest.mark.parametrize("data, inputs", [(two_levels(), FLOATS), (quantized(Q), CODES)], ids=["floats", "int8"])
def test_inlined_and_run_as_graphs_of_their_own_composites_give_the_same(data: bytes, inputs: list[Any]) -> None:
    assert "STABLEHLO_COMPOSITE" not in ops(data)
    got = tflgpu_run(data, inputs)
    for one, other in zip(got, whole(data, inputs), strict=True):
        np.testing.assert_array_equal(one, other)
    assert_same(got, litert(data, inputs))


def test_a_composite_whose_tensors_are_quantized_otherwise_inside_runs_as_its_graph() -> None:
    data = quantized({"scale": 0.1, "zero_point": -7})
    assert ops(data) == ["STABLEHLO_COMPOSITE", "ABS"]
    assert_same(tflgpu_run(data, CODES), litert(data, CODES))


def test_callers_see_the_tensors_and_nodes_of_the_model() -> None:
    interpreter = tflgpu.Interpreter(model_content=two_levels())
    before = [d["name"] for d in interpreter.get_tensor_details()]
    interpreter.allocate_tensors()
    assert [d["name"] for d in interpreter.get_tensor_details()] == before == ["x", "y", "w", "z"]
    assert [d["op_name"] for d in interpreter._get_ops_details()] == ["STABLEHLO_COMPOSITE"] * 2 + ["ADD"]
    with pytest.raises(ValueError, match="Invalid tensor index 4"):
        interpreter.get_tensor(4)


def test_preserved_tensors_of_a_composite_can_be_read() -> None:
    interpreter = tflgpu.Interpreter(model_content=two_levels(), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, FLOATS[0])
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(1), -np.tanh(FLOATS[0]), rtol=1e-6)
    np.testing.assert_allclose(interpreter.get_tensor(2), np.tanh(np.tanh(FLOATS[0])), rtol=1e-6)
    np.testing.assert_allclose(interpreter.get_tensor(0, subgraph_index=2), -interpreter.get_tensor(2), rtol=1e-6)


def test_a_resized_input_changes_the_shapes_inside() -> None:
    x = np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)
    got = tflgpu_run(two_levels(), [x])
    assert_same(got, litert(two_levels(), [x]))
    assert got[0].shape == (4, 5)


def passed_through(g: GraphBuilder, other: GraphBuilder) -> None:
    g.outputs(g.input("x", "FLOAT32", [2, 3]))


def with_variable(g: GraphBuilder, other: GraphBuilder) -> None:
    """x plus an SVDF of it, whose state is a variable."""
    x = g.input("x", "FLOAT32", [2, 3])
    feature, time = g.constant("f", np.ones((1, 3), np.float32)), g.constant("t", np.ones((1, 4), np.float32))
    state, y = g.tensor("state", "FLOAT32", [2, 4], is_variable=True), g.tensor("sum", "FLOAT32", [2, 1])
    z = g.tensor("z", "FLOAT32", [2, 3])
    g.node("SVDF", [x, feature, time, None, state], [y], rank=1, **NONE)
    g.node("ADD", [x, y], [z], **NONE)
    g.outputs(z)


def with_random_numbers(g: GraphBuilder, other: GraphBuilder) -> None:
    x, drawn, y = g.input("x", "FLOAT32", [2, 3]), *(g.tensor(n, "FLOAT32", [2, 3]) for n in ("drawn", "y"))
    g.node("RANDOM_UNIFORM", [g.constant("shape", np.array([2, 3], np.int32))], [drawn], seed=3, seed2=4)
    g.node("ADD", [x, drawn], [y], **NONE)
    g.outputs(y)


def with_a_branch(g: GraphBuilder, other: GraphBuilder) -> None:
    """abs(x) where its sum is above 0, else x negated."""
    x, y = g.input("x", "FLOAT32", [2, 3]), g.tensor("y", "FLOAT32", [2, 3])
    total, above = g.tensor("total", "FLOAT32", []), g.tensor("above", "BOOL", [])
    g.node("SUM", [x, g.constant("axes", np.array([0, 1], np.int32))], [total], keep_dims=False)
    g.node("GREATER", [total, g.constant("zero", np.float32(0))], [above])
    body(other, "ABS")
    third = body(g.model.graph("third"), "NEG")
    g.node("IF", [above, x], [y], then_subgraph_index=other.index, else_subgraph_index=third.index)
    g.outputs(y)


def with_a_shape_known_late(g: GraphBuilder, other: GraphBuilder) -> None:
    """x plus the number of its elements that are not 0."""
    x, y = g.input("x", "FLOAT32", [2, 3]), g.tensor("y", "FLOAT32", [2, 3])
    some, indices = g.tensor("some", "BOOL", [2, 3]), g.tensor("indices", "INT64", [0, 2])
    shape, count, number = g.tensor("s", "INT32", [2]), g.tensor("c", "INT32", []), g.tensor("n", "FLOAT32", [])
    g.node("NOT_EQUAL", [x, g.constant("zero", np.float32(0))], [some])
    g.node("WHERE", [some], [indices])
    g.node("SHAPE", [indices], [shape], out_type="INT32")
    g.node("GATHER", [shape, g.constant("first", np.int32(0))], [count], axis=0)
    g.node("CAST", [count], [number])
    g.node("ADD", [x, number], [y], **NONE)
    g.outputs(y)


def called_twice(fill: Callable[[GraphBuilder, GraphBuilder], None]) -> bytes:
    """f(f(x)), where fill makes f."""
    m = ModelBuilder()
    main, f, other = m.graph(), m.graph("f"), m.graph("other")
    fill(f, other)
    if not other.tensors:
        body(other, "NEG")
    x, y, z = (
        main.input("x", "FLOAT32", [2, 3]),
        main.tensor("y", "FLOAT32", [2, 3]),
        main.tensor("z", "FLOAT32", [2, 3]),
    )
    composite(main, f, [x], [y])
    composite(main, f, [y], [z])
    main.outputs(z)
    return m.build()


@pytest.mark.parametrize("fill", [passed_through, with_variable, with_random_numbers])
def test_what_nodes_alone_would_not_do_runs_as_its_graph(fill: Any) -> None:
    data = called_twice(fill)
    assert ops(data) == ["STABLEHLO_COMPOSITE"] * 2
    want = litert(data, FLOATS, "BUILTIN_WITHOUT_DEFAULT_DELEGATES")
    interpreter = tflgpu.Interpreter(model_content=data)
    for _ in range(2):
        assert_same(answer(interpreter, FLOATS), want)


@pytest.mark.parametrize("fill", [with_a_branch, with_a_shape_known_late])
def test_composites_of_control_flow_and_of_late_shapes_are_inlined(fill: Any) -> None:
    data = called_twice(fill)
    assert "STABLEHLO_COMPOSITE" not in ops(data)
    for x in (FLOATS[0], FLOATS[0] - 1, np.zeros((2, 3), np.float32)):
        assert_same(tflgpu_run(data, [x]), litert(data, [x]))


def test_a_delegate_gets_one_partition() -> None:
    pytest.importorskip("pyopencl")
    for data, inputs in ((two_levels(), FLOATS), (quantized(Q), CODES)):
        delegate = tflgpu.load_delegate("opencl", {"device": "cpu", "require_full": True})
        interpreter = tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate])
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, inputs[0])
        interpreter.invoke()
        assert "with 1 partition" in interpreter.delegation_report().splitlines()[0]
        out = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
        assert_same(out, tflgpu_run(data, inputs))


def test_the_options_of_a_delegate_name_composites_as_they_are_in_the_model() -> None:
    pytest.importorskip("pyopencl")
    for option in ({"skip_nodes": "0"}, {"skip_ops": "STABLEHLO_COMPOSITE"}):
        delegate = tflgpu.load_delegate("opencl", {"device": "cpu", "min_nodes_per_partition": 1, **option})
        interpreter = tflgpu.Interpreter(model_content=two_levels(), experimental_delegates=[delegate])
        interpreter.allocate_tensors()
        left = [node for p in interpreter._graphs[0].partitions if p.owner is None for node in p.nodes]
        left = {node.composite.node for node in left if node.composite}
        assert left == ({0} if "skip_nodes" in option else {0, 1})


@pytest.mark.parametrize("make", [intel, cuda])
def test_a_composite_in_the_body_of_a_loop_runs_on_the_device(make: Any) -> None:
    m = ModelBuilder()

    def turn(g: Any, v: list[Any]) -> Sequence[Any]:
        made = g.tensor("made", "FLOAT32", [2, 3])
        composite(g, body(m.graph("f"), "TANH"), [v[1]], [made])
        return counted(g, v[0]), made

    data = loop([("INT32", []), ("FLOAT32", [2, 3])], turn, m=m)
    inputs = [np.int32(0), FLOATS[0]]
    assert_same(tflgpu_run(data, inputs, [make()]), litert(data, inputs))


def test_a_node_that_fails_inside_is_named_with_its_composite() -> None:
    m = ModelBuilder()
    main, f = m.graph(), m.graph("f")
    x, y = f.input("x", "FLOAT32", [2, 3]), f.tensor("y", "FLOAT32", [3, 3])
    f.node("RESHAPE", [x, f.constant("shape", np.array([3, 3], np.int32))], [y])
    f.outputs(y)
    x, y, z = (
        main.input("x", "FLOAT32", [2, 3]),
        main.tensor("y", "FLOAT32", [2, 3]),
        main.tensor("z", "FLOAT32", [3, 3]),
    )
    main.node("ABS", [x], [y])
    composite(main, f, [y], [z])
    main.outputs(z)
    with pytest.raises(
        RuntimeError,
        match=r"Node number 0 \(RESHAPE\) failed to prepare.\nNode number 1 \(STABLEHLO_COMPOSITE\) failed",
    ):
        tflgpu.Interpreter(model_content=m.build()).allocate_tensors()


def test_composites_that_double_at_every_level_do_not_fill_the_memory() -> None:
    m = ModelBuilder()
    graphs = [m.graph(f"level {k}") for k in range(41)]
    for g, below in pairwise(graphs):
        x, y, z = ends(g, "y", "z")
        composite(g, below, [x], [y])
        composite(g, below, [y], [z])
        g.outputs(z)
    body(graphs[-1], "NEG")
    assert sum(len(graph.nodes) for graph in inline_composites(load(content=m.build()))) <= MOST_NODES + 3 * 41
