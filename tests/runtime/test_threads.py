import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tflgpu import Interpreter, InterpreterWithCustomOps
from tflgpu.model.builder import ModelBuilder
from tflgpu.ops.custom.custom import custom_op
from tflgpu.runtime.threads import BlasLimit, _blas, blas_threads, usable_processors


@pytest.fixture
def two_threads():
    """BLAS on two threads; skipped where threadpoolctl does not steer it."""
    if blas_threads() is None:
        pytest.skip("threadpoolctl does not know NumPy's BLAS here")
    before = blas_threads()
    _blas().set_num_threads(2)
    try:
        if blas_threads() != 2:
            pytest.skip("NumPy's BLAS has one thread here")
        yield
    finally:
        _blas().set_num_threads(before)


def interpreter_that_tells(num_threads, seen):
    def tell(node, x):
        seen.append(blas_threads())
        return x

    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "FLOAT32", [1]), g.tensor("y", "FLOAT32", [1])
    g.custom("Tell", [x], [y])
    g.outputs(y)
    op = custom_op("Tell", tell, lambda node: [(1,)], register=False)
    return InterpreterWithCustomOps([op], model_content=m.build(), num_threads=num_threads)


@pytest.mark.parametrize("num_threads", [1, 2, None, 1000])
def test_blas_has_one_thread_however_many_are_asked_for(two_threads, num_threads):
    seen = []
    interpreter = interpreter_that_tells(num_threads, seen)
    interpreter.allocate_tensors()
    seen.clear()
    interpreter.invoke()
    assert (seen, blas_threads()) == ([1], 2)


def test_the_limit_holds_in_a_thread_that_was_not_the_first_to_set_it(two_threads):
    seen = []
    interpreter = interpreter_that_tells(None, seen)
    interpreter.allocate_tensors()
    seen.clear()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(interpreter.invoke).result()
    assert (seen, blas_threads()) == ([1], 2)


@pytest.mark.parametrize(
    ("files", "usable"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"pod/cpu.max": "50000 100000\n", "cpu.max": "400000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/pod/cpu.cfs_quota_us": "200000\n", "cpu/pod/cpu.cfs_period_us": "100000\n"}, 2),
    ],
)
def test_processors_are_counted_by_affinity_and_by_the_quota_of_each_cgroup(tmp_path, monkeypatch, files, usable):
    (tmp_path / "proc/self").mkdir(parents=True)
    first = any("cfs" in name for name in files)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/m\n" + ("3:cpu,cpuacct:/pod\n" if first else "0::/pod\n"))
    for name, text in files.items():
        (tmp_path / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/fs/cgroup" / name).write_text(text)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 8, raising=False)
    assert usable_processors(tmp_path) == usable


def test_processors_are_those_that_the_process_may_use():
    asked = "from tflgpu.runtime.threads import usable_processors; print(usable_processors())"
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no affinity to set on this system")
    bound = f"import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); {asked}"
    assert subprocess.run([sys.executable, "-c", bound], capture_output=True, check=True).stdout == b"1\n"


def test_of_overlapping_limits_the_first_sets_one_thread_and_the_last_restores_the_number(two_threads):
    limit, seen = BlasLimit(), []
    for act, owner in (
        *((limit.enter, "a"), (limit.enter, "b"), (limit.leave, "a")),
        *((limit.enter, "c"), (limit.leave, "b"), (limit.leave, "c"), (limit.leave, "c")),
    ):
        act(owner)
        seen.append(blas_threads())
    assert seen == [1, 1, 1, 1, 1, 2, 2]


def interrupted_at(number, call, error=KeyboardInterrupt):
    """Calls, with an error at that line of tflgpu's that runs; whether there was such a line."""
    lines = itertools.count(1)

    def trace(frame, event, arg):
        if not frame.f_globals.get("__name__", "").startswith("tflgpu"):
            return None
        if event == "line" and next(lines) == number:
            sys.settrace(None)
            raise error
        return trace

    sys.settrace(trace)
    try:
        call()
    except (error, RuntimeError):
        pass
    finally:
        sys.settrace(None)
    return next(lines) > number


@pytest.mark.parametrize("method", ["invoke", "allocate_tensors", "reset_all_variables"])
def test_an_interrupt_at_any_line_leaves_nothing_locked_and_no_limit_or_silence_in_force(two_threads, method):
    interpreter = abs_model()
    for number in itertools.count(1):
        was_interrupted = interrupted_at(number, getattr(interpreter, method))
        assert (blas_threads(), np.geterr()["over"], len(BlasLimit._in_force)) == (2, "warn", 0)
        interpreter.set_tensor(0, np.float32([-1]))
        interpreter.invoke()
        assert interpreter.get_tensor(1) == 1
        if not was_interrupted:
            assert number > 10
            break


def abs_model():
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "FLOAT32", [1]), g.tensor("y", "FLOAT32", [1])
    g.node("ABS", [x], [y])
    g.outputs(y)
    interpreter = Interpreter(model_content=m.build())
    interpreter.allocate_tensors()
    return interpreter
