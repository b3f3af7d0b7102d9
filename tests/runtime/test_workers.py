"""Several threads: what they compute, what interrupts and errors leave, and what a fork and the end do to them."""

from __future__ import annotations

import gc
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tflgpu import Interpreter, arguments
from tflgpu.conformance.cases import every
from tflgpu.conformance.reference import answer
from tflgpu.model.builder import ModelBuilder
from tflgpu.ops import shares
from tflgpu.runtime.workers import Workers


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps each run of several threads had; nodes of any size are divided, whatever the machine has."""
    seen: list[int] = []
    run = Workers.run

    def watched(self: Workers, steps: Any) -> None:
        seen.append(len(steps))
        run(self, steps)

    monkeypatch.setattr(shares, "LEAST_WORK", 1)
    monkeypatch.setattr(arguments, "usable_processors", lambda: 3)
    monkeypatch.setattr(Workers, "run", watched)
    return seen


@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL"])
def test_three_threads_give_the_integers_of_one_and_floats_that_differ_by_rounding(runs: list[int], op: str) -> None:
    shared = 0
    for case in every().values():
        if case.op != op:
            continue
        sample = case.sample()
        alone, together = (Interpreter(model_content=sample.model, num_threads=threads) for threads in (1, 8))
        for draw in (0, 1):
            values = sample.values(draw)
            wanted = answer(alone, values)
            runs.clear()
            for got, want in zip(answer(together, values), wanted, strict=True):
                if want.dtype.kind == "f":
                    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5, err_msg=case.name)
                else:
                    np.testing.assert_array_equal(got, want, case.name)
        shared += bool(runs)
        assert set(runs) <= {2, 3}, case.name
    assert shared > 1, f"{shared} cases of {op} were divided"


def model(rows: int = 64, width: int = 64) -> bytes:
    """rows x width floats through eight multiplies by the identity."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [rows, width])
    for number in range(8):
        weights, y = (
            g.constant(f"w{number}", np.eye(width, dtype=np.float32)),
            g.tensor(f"y{number}", "FLOAT32", [rows, width]),
        )
        g.node("FULLY_CONNECTED", [x, weights], [y])
        x = y
    g.outputs(x)
    return m.build()


def prepared(threads: int = 3) -> Interpreter:
    interpreter = Interpreter(model_content=model(), num_threads=threads)
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, EXAMPLE)
    interpreter.invoke()
    return interpreter


EXAMPLE = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)


def value(interpreter: Interpreter) -> Any:
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tflgpu worker"]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_small_node_keeps_to_the_thread_that_invokes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "usable_processors", lambda: 3)
    before = len(own_threads())
    kept = prepared()
    assert (value(kept) == EXAMPLE).all()
    assert len(own_threads()) == before


def test_no_more_threads_than_processors_are_started_and_they_end_with_their_interpreter(runs: list[int]) -> None:
    gc.collect()
    wait_until(lambda: not own_threads())
    interpreter = prepared(1000)
    assert len(own_threads()) == 2 and all(thread.daemon for thread in own_threads())
    del interpreter
    gc.collect()
    wait_until(lambda: not own_threads())


def test_steps_run_at_once_and_each_once() -> None:
    both, ran = threading.Barrier(2, timeout=20), []
    workers = Workers(2)
    for _ in range(50):
        workers.run([lambda: ran.append(both.wait())] * 2)
    assert sorted(ran) == [0] * 50 + [1] * 50


def test_one_thread_does_all_where_no_other_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    ran: list[int] = []
    Workers(3).run([lambda n=n: ran.append(n) for n in range(3)])  # type: ignore[misc]
    assert ran == [0, 1, 2]


@pytest.mark.parametrize("at", [0, 1], ids=["in the thread that invokes", "in another"])
def test_what_a_step_raises_comes_to_the_caller_and_the_next_run_is_whole(at: int) -> None:
    workers, caller = Workers(2), threading.get_ident()
    both = threading.Barrier(2, timeout=20)

    def step() -> None:
        both.wait()
        if (threading.get_ident() != caller) == at:
            raise ValueError("of a step")

    for _ in range(20):
        with pytest.raises(ValueError, match="of a step"):
            workers.run([step, step])
        ran: list[int] = []
        workers.run([lambda ran=ran: ran.append(1)] * 5)  # type: ignore[misc]
        assert len(ran) == 5


def interrupted_lines(call: Callable[[], object]) -> Iterator[int]:
    """Calls again and again, each time with an interrupt at a later line of tflgpu's; after each, its number."""
    for number in itertools.count(1):
        lines = itertools.count(1)

        def trace(frame: Any, event: str, arg: Any, number: int = number, lines: Any = lines) -> Any:
            if not frame.f_globals.get("__name__", "").startswith("tflgpu"):
                return None
            if event == "line" and next(lines) == number:
                sys.settrace(None)
                raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            call()
        except KeyboardInterrupt:
            sys.settrace(None)
            yield number
        else:
            sys.settrace(None)
            return


def test_after_an_interrupt_at_any_line_the_next_invoke_is_right(runs: list[int]) -> None:
    interpreter, numbers = prepared(), []
    for number in interrupted_lines(interpreter.invoke):
        numbers.append(number)
        interpreter.set_tensor(0, EXAMPLE + number)
        interpreter.invoke()
        assert (value(interpreter) == EXAMPLE + number).all(), number
    assert len(numbers) > 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(runs: list[int]) -> None:
    interpreter = prepared()
    child = os.fork()
    if not child:
        right = False
        try:
            interpreter.set_tensor(0, EXAMPLE + 1)
            interpreter.invoke()
            right = (value(interpreter) == EXAMPLE + 1).all() and len(own_threads()) == 2
        finally:
            os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    interpreter.invoke()
    assert (value(interpreter) == EXAMPLE).all()


def test_interpreters_of_several_threads_have_threads_of_their_own(runs: list[int]) -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        interpreter = prepared()
        for _ in range(20):
            interpreter.set_tensor(0, EXAMPLE + number)
            interpreter.invoke()
            wrong.extend([number] * (not (value(interpreter) == EXAMPLE + number).all()))

    threads = [threading.Thread(target=work, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
