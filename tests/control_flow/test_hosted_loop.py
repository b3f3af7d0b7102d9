"""Loops of more work than one launch takes: the host asks the condition, and nothing else leaves the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from devices import cuda, intel, opencl
from loop_models import NONE, Variables, counted, loop
from oracle import assert_same, litert, tflgpu_run

import tflgpu
from tflgpu.conformance.reference import answer
from tflgpu.delegates.lowering.recurrent import sequence
from tflgpu.model.builder import ModelBuilder

N = 192
VARIABLES: Variables = [("INT32", []), *[("FLOAT32", [2, N])] * 4]


@pytest.fixture(scope="module", params=[intel, opencl, cuda], ids=lambda make: make.__name__)
def delegate(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A delegate that raises where it does not take everything, and runs no loop in one launch."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sequence, "SMALL_STEP", 1)
        monkeypatch.setattr(sequence, "SMALL_STEP_OF_A_GPU", 1)
        yield request.param()


def dense(g: Any, x: int, name: str = "") -> int:
    """tanh(W x)."""
    rng = np.random.default_rng(6)
    weights = g.constant(f"{name}w", (rng.normal(size=(N, N)) * 0.08).astype(np.float32))
    z, h = (g.tensor(f"{name}{suffix}", "FLOAT32", [2, N]) for suffix in ("z", "h"))
    g.node("FULLY_CONNECTED", [x, weights, None], [z], **NONE)
    g.node("TANH", [z], [h])
    return int(h)


def swapped(g: Any, v: list[Any]) -> Sequence[Any]:
    """(a, b, c, d) -> (b, a, tanh(W (a + c)), d)."""
    i, a, b, c, d = v
    total = g.tensor("total", "FLOAT32", [2, N])
    g.node("ADD", [a, c], [total], **NONE)
    return counted(g, i), b, a, dense(g, total), d


def from_one_another(g: Any, v: list[Any]) -> Sequence[Any]:
    """(a, b, c, d) -> (tanh(W a), the same, a, 3 everywhere)."""
    i, a, *_ = v
    h = dense(g, a)
    return counted(g, i), h, h, a, g.constant("threes", np.full((2, N), 3, np.float32))


def values(start: int, seed: int = 1) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [np.int32(start), *(rng.normal(size=(2, N)).astype(np.float32) for _ in range(4))]


@pytest.mark.parametrize("start", [0, 4, 9])
@pytest.mark.parametrize("body", [swapped, from_one_another], ids=lambda body: body.__name__)
def test_variables_change_places_all_at_once(body: Any, start: int, delegate: Any) -> None:
    model = loop(VARIABLES, body)
    want = tflgpu_run(model, values(start))  # LiteRT lets what is passed through overwrite what is read later
    assert_same(tflgpu_run(model, values(start), [delegate]), want, rtol=1e-4, atol=1e-5)


def test_variables_that_begin_as_constants_do_so_in_every_invoke(delegate: Any) -> None:
    model = loop(VARIABLES, swapped, constants=values(1)[:3])
    interpreter = tflgpu.Interpreter(model_content=model, experimental_delegates=[delegate])
    for seed in (1, 2):
        inputs = values(0, seed)[3:]
        assert_same(answer(interpreter, inputs), tflgpu_run(model, inputs), rtol=1e-4, atol=1e-5)


def around() -> bytes:
    """-c', b' of a loop over |x| and others: nodes before it and after it."""
    m = ModelBuilder()
    main, cond, inside = m.graph("main"), m.graph("cond"), m.graph("body")
    i, x = main.input("i", "INT32", []), main.input("x", "FLOAT32", [2, N])
    first, y = main.tensor("first", "FLOAT32", [2, N]), main.tensor("y", "FLOAT32", [2, N])
    last = [main.tensor(f"y{k}", kind, list(shape)) for k, (kind, shape) in enumerate(VARIABLES)]
    main.node("ABS", [x], [first])
    main.node("WHILE", [i, first, x, first, x], last, cond_subgraph_index=1, body_subgraph_index=2)
    main.node("NEG", [last[3]], [y])
    main.outputs(y, last[2])
    counter, *_ = [cond.input(f"c{k}", kind, list(shape)) for k, (kind, shape) in enumerate(VARIABLES)]
    go = cond.tensor("go", "BOOL", [])
    cond.node("LESS", [counter, cond.constant("limit", np.int32(5))], [go])
    cond.outputs(go)
    inside.outputs(*swapped(inside, [inside.input(f"b{k}", t, list(s)) for k, (t, s) in enumerate(VARIABLES)]))
    return m.build()


def test_what_comes_before_and_after_the_loop_is_in_the_same_partition(delegate: Any) -> None:
    interpreter = tflgpu.Interpreter(model_content=around(), experimental_delegates=[delegate])
    inputs = values(2)[:2]
    assert_same(answer(interpreter, inputs), tflgpu_run(around(), inputs), rtol=1e-4, atol=1e-5)
    report = interpreter.delegation_report()
    assert "3 nodes delegated out of 3 with 1 partition" in report
    assert f"node 1 WHILE runs on {delegate.name} with its graphs 1, 2" in report


def rows_picked(limit: int) -> bytes:
    """a = tanh(W (a + table[i])), for a table of 5 rows."""

    def body(g: Any, v: list[Any]) -> Sequence[Any]:
        i, a = v
        table = g.constant("table", np.random.default_rng(2).normal(size=(5, N)).astype(np.float32))
        row, total = g.tensor("row", "FLOAT32", [N]), g.tensor("total", "FLOAT32", [2, N])
        at = g.tensor("at", "INT32", [1])
        one = g.constant("1", np.array([1], np.int32))
        g.node("RESHAPE", [i, one], [at])
        g.node("STRIDED_SLICE", [table, at, at, one], [row], shrink_axis_mask=1)
        g.node("ADD", [a, row], [total], **NONE)
        return counted(g, i), dense(g, total)

    return loop(VARIABLES[:2], body, limit)


def test_an_index_out_of_bounds_ends_the_loop_and_others_run_right(delegate: Any) -> None:
    interpreter = tflgpu.Interpreter(model_content=rows_picked(7), experimental_delegates=[delegate])
    with pytest.raises(RuntimeError, match="slice index is out of bounds"):
        answer(interpreter, values(3)[:2])
    inputs = values(7)[:2]
    assert_same(answer(interpreter, inputs), inputs)
    interpreter = tflgpu.Interpreter(model_content=rows_picked(5), experimental_delegates=[delegate])
    assert_same(answer(interpreter, inputs := values(2)[:2]), litert(rows_picked(5), inputs), rtol=1e-4, atol=1e-5)


def test_a_loop_variable_of_strings_leaves_the_loop_to_the_cpu(delegate: Any) -> None:
    variables: Variables = [*VARIABLES[:2], ("STRING", [2])]
    model = loop(variables, lambda g, v: (counted(g, v[0]), dense(g, v[1]), v[2]))
    inputs = [*values(0)[:2], np.array([b"one", b"two"], object)]
    assert tflgpu_run(model, inputs)[2].tolist() == [b"one", b"two"]
    with pytest.raises(RuntimeError, match="STRING .* as a loop variable"):
        tflgpu_run(model, inputs, [delegate])


def exchanged(g: Any, v: list[Any]) -> Sequence[Any]:
    """(i, j, a) -> (j, i + 1, tanh(W a))."""
    return v[1], counted(g, v[0]), dense(g, v[2])


def ended(g: Any, v: list[Any]) -> Sequence[Any]:
    """(i, j, a) -> (9, i + 1, tanh(W a))."""
    return g.constant("nine", np.int32(9)), counted(g, v[0]), dense(g, v[2])


@pytest.mark.parametrize("body", [exchanged, ended], ids=lambda body: body.__name__)
def test_the_condition_is_asked_of_what_the_body_made(body: Any, delegate: Any) -> None:
    model = loop([*VARIABLES[:1], *VARIABLES[:2]], body)
    inputs = [np.int32(1), np.int32(-2), values(0)[1]]
    assert_same(tflgpu_run(model, inputs, [delegate]), tflgpu_run(model, inputs), rtol=1e-4, atol=1e-5)


def test_an_iteration_copies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "SMALL_STEP", 1)
    delegate: Any = tflgpu.load_delegate("opencl", {"device": "cpu", "profile": "1", "require_full": "1"})

    def body(g: Any, v: list[Any]) -> Sequence[Any]:
        i, fixed, a = v
        total = g.tensor("total", "FLOAT32", [2, N])
        g.node("ADD", [fixed, a], [total], **NONE)
        return counted(g, i), fixed, dense(g, total)

    moved = [0]
    for start in (4, 0):  # one iteration, and five
        *constants, a = values(start)[:3]
        tflgpu_run(loop(VARIABLES[:3], body, constants=constants), [a], [delegate])
        moved.append(delegate.device.times()["move"][0])
    # At the begin what changes, at the end all.
    assert moved[2] - moved[1] == moved[1] - moved[0] == 5
