"""What a plan keeps and shares shows in nothing but time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import litert, tflgpu_run

import tflgpu
from tflgpu.model.builder import ModelBuilder


def slices_in_a_loop() -> bytes:
    """i from 0 to 4: a vector of 9 is doubled, and its elements [i, i + 2) and those from i + 2 on are exchanged."""
    m = ModelBuilder()
    main, cond, body = m.graph("main"), m.graph("cond"), m.graph("body")

    def variables(g, make):
        return make("i", "INT32", [1]), make("v", "FLOAT32", [9])

    i, v = variables(main, main.input)
    outs = variables(main, main.tensor)
    main.node("WHILE", [i, v], list(outs), cond_subgraph_index=1, body_subgraph_index=2)
    main.outputs(*outs)
    i, v = variables(cond, cond.input)
    less = cond.tensor("less", "BOOL", [1])
    cond.node("LESS", [i, cond.constant("four", np.array([4], np.int32))], [less])
    cond.outputs(less)
    i, v = variables(body, body.input)
    two, one, rest = (body.constant(str(n), np.array([n], np.int32)) for n in (2, 1, -1))
    zero = body.constant("zero", np.array([0], np.int32))
    end, following, doubled = (
        body.tensor("end", "INT32", [1]),
        body.tensor("j", "INT32", [1]),
        body.tensor("d", "FLOAT32", [9]),
    )
    head, middle, tail = (
        body.tensor(name, "FLOAT32", [1], shape_signature=[-1]) for name in ("head", "middle", "tail")
    )
    joined = body.tensor("joined", "FLOAT32", [9])
    body.node("ADD", [i, two], [end])
    body.node("ADD", [i, one], [following])
    body.node("ADD", [v, v], [doubled])
    body.node("SLICE", [doubled, zero, i], [head])
    body.node("SLICE", [doubled, i, two], [middle])
    body.node("SLICE", [doubled, end, rest], [tail])
    body.node("CONCATENATION", [head, tail, middle], [joined], axis=0)
    body.outputs(following, joined)
    return m.build()


@pytest.mark.parametrize("start", [0, 2])
def test_a_loop_of_dynamic_slices_equals_litert_at_every_iteration(start: int) -> None:
    inputs = [np.array([start], np.int32), np.arange(9, dtype=np.float32)]
    data = slices_in_a_loop()
    for got, want in zip(tflgpu_run(data, inputs), litert(data, inputs), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_loop_run_again_takes_the_values_of_then() -> None:
    it = tflgpu.Interpreter(model_content=slices_in_a_loop())
    it.allocate_tensors()
    found = []
    for start in (0, 2, 0, 3, 2):
        it.set_tensor(0, np.array([start], np.int32))
        it.set_tensor(1, np.arange(9, dtype=np.float32))
        it.invoke()
        found.append(it.get_tensor(it.get_output_details()[1]["index"]))
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[4])
    np.testing.assert_array_equal(np.sort(found[3]), 2 * np.arange(9))


def reshapes() -> bytes:
    """x, negated and reshaped twice; what each gives is used afterwards, and the last is an output too."""
    m = ModelBuilder()
    g = m.graph()
    x, a = g.input("x", "FLOAT32", [2, 6]), g.tensor("a", "FLOAT32", [2, 6])
    b, c, e = g.tensor("b", "FLOAT32", [3, 4]), g.tensor("c", "FLOAT32", [12]), g.tensor("e", "FLOAT32", [12])
    d, f = g.tensor("d", "FLOAT32", [3, 4]), g.tensor("f", "FLOAT32", [2, 6])
    g.node("NEG", [x], [a])
    g.node("RESHAPE", [a, g.constant("s", np.array([3, 4], np.int32))], [b])
    g.node("EXP", [b], [d])
    g.node("RESHAPE", [b, g.constant("t", np.array([12], np.int32))], [c])
    g.node("ABS", [c], [e])
    g.node("MUL", [a, a], [f])
    g.outputs(d, e, f, c)
    return m.build()


@pytest.mark.parametrize("preserve", [True, False])
def test_aliases_in_one_storage_keep_their_values(preserve: bool) -> None:
    it = tflgpu.Interpreter(model_content=reshapes(), experimental_preserve_all_tensors=preserve)
    it.allocate_tensors()
    x = np.linspace(-2, 2, 12, dtype=np.float32).reshape(2, 6)
    want = litert(reshapes(), [x])
    for _ in range(2):
        it.set_tensor(0, x)
        it.invoke()
        for detail, value in zip(it.get_output_details(), want, strict=True):
            np.testing.assert_allclose(it.get_tensor(detail["index"]), value, rtol=1e-6)


# The operator, and which of the values known so far it takes.
Line = tuple[str, int, int]
LINES = st.tuples(st.sampled_from(["DYNAMIC_UPDATE_SLICE"] * 3 + ["NEG", "ADD", "RESHAPE"]), *[st.integers(0, 9)] * 2)


def written_to(g: Any, lines: Sequence[Line], given: Sequence[Any], results: Sequence[int]) -> list[Any]:
    """A graph of such lines over tensors [3, 2], and which of all values it gives."""
    known = list(given)
    for n, (op, first, second) in enumerate(lines):
        x, other = known[first % len(known)], known[second % len(known)]
        y = g.tensor(f"t{n}", "FLOAT32", [3, 2])
        if op == "DYNAMIC_UPDATE_SLICE":
            row = g.constant(f"row{n}", np.full((1, 2), n + 2, np.float32))
            g.node(op, [x, row, g.constant(f"at{n}", np.array([second % 3, 0], np.int32))], [y])
        elif op == "ADD":
            g.node(op, [x, other], [y], fused_activation_function="NONE")
        elif op == "RESHAPE":
            g.node(op, [x, g.constant(f"shape{n}", np.array([3, 2], np.int32))], [y], new_shape=[3, 2])
        else:
            g.node(op, [x], [y])
        known.append(y)
    return [known[r % len(known)] for r in results]


def of_lines(lines: Sequence[Line], results: Sequence[int], looped: bool) -> bytes:
    m = ModelBuilder()
    main = m.graph("main")
    x = [main.input(f"x{k}", "FLOAT32", [3, 2]) for k in range(2)]
    if not looped:
        main.outputs(*written_to(main, lines, x, results))
        return m.build()
    cond, body = m.graph("cond"), m.graph("body")
    y = [main.tensor(f"y{k}", "FLOAT32", [3, 2]) for k in range(2)]
    count, end = main.input("i", "INT32", []), main.tensor("end", "INT32", [])
    main.node("WHILE", [count, *x], [end, *y], cond_subgraph_index=cond.index, body_subgraph_index=body.index)
    main.outputs(end, *y)
    i = [g.input("i", "INT32", []) for g in (cond, body)]
    _, held = ([g.input(f"v{k}", "FLOAT32", [3, 2]) for k in range(2)] for g in (cond, body))
    go, after = cond.tensor("go", "BOOL", []), body.tensor("after", "INT32", [])
    cond.node("LESS", [i[0], cond.constant("limit", np.int32(3))], [go])
    cond.outputs(go)
    body.node("ADD", [i[1], body.constant("one", np.int32(1))], [after], fused_activation_function="NONE")
    body.outputs(after, *written_to(body, lines, held, results))
    return m.build()


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=6), st.lists(st.integers(0, 9), min_size=2, max_size=2), st.booleans())
def test_what_is_overwritten_was_needed_no_more(lines: list[Line], results: list[int], looped: bool) -> None:
    data = of_lines(lines, results, looped)
    x = [np.arange(6, dtype=np.float32).reshape(3, 2) + 10 * k for k in range(2)]
    inputs = [*x, np.int32(0)] if looped else x
    answers = []
    for apart in (True, False):
        it = tflgpu.Interpreter(model_content=data, experimental_preserve_all_tensors=apart)
        it.allocate_tensors()
        for detail, value in zip(it.get_input_details(), inputs, strict=True):
            it.set_tensor(detail["index"], value)
        for _ in range(2):
            it.invoke()
            answers.append([it.get_tensor(d["index"]) for d in it.get_output_details()])
    for again in answers[1:]:
        for got, want in zip(again, answers[0], strict=True):
            np.testing.assert_array_equal(got, want)


def test_a_list_that_a_loop_fills_is_filled_in_place() -> None:
    data = of_lines([("DYNAMIC_UPDATE_SLICE", 0, 1)], [2, 1], looped=True)
    it = tflgpu.Interpreter(model_content=data)
    it.allocate_tensors()
    body = it._graphs[2]
    (segment,) = body.segments
    assert segment.outputs is not None
    assert segment.outputs[1] is segment.storage[body.graph.inputs[1]].host


def test_preparation_stops_at_a_shape_known_only_at_run_time_and_resumes_after_it() -> None:
    m = ModelBuilder()
    g = m.graph()
    x, n = g.input("x", "FLOAT32", [4]), g.input("n", "INT32", [1])
    a = g.tensor("a", "FLOAT32", [4])
    cut, y = (g.tensor(name, "FLOAT32", [1], shape_signature=[-1]) for name in ("cut", "y"))
    g.node("ABS", [x], [a])
    g.node("SLICE", [a, g.constant("zero", np.array([0], np.int32)), n], [cut])
    g.node("NEG", [cut], [y])
    g.outputs(y)
    it = tflgpu.Interpreter(model_content=m.build())
    it.allocate_tensors()
    runner = it._graphs[0]
    (first,) = runner.segments
    assert [node.op for node in first.made_by] == ["ABS"] and [node.op for node in first.dynamic] == ["SLICE", "NEG"]
    for count in (2, 3, 2):
        it.set_tensor(0, -np.arange(4, dtype=np.float32))
        it.set_tensor(1, np.array([count], np.int32))
        it.invoke()
        np.testing.assert_array_equal(it.get_tensor(y), -np.arange(count, dtype=np.float32))
        assert runner.segments[0] is first and [node.op for node in runner.segments[1].made_by] == ["NEG"]
