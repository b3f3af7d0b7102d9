import sys

import numpy as np
import pytest

from tflgpu.interpreter import InterpreterWithCustomOps
from tflgpu.model.builder import ModelBuilder
from tflgpu.ops.custom.custom import custom_op
from tflgpu.runtime import threads
from tflgpu.runtime.threads import BlasLimit, blas_threads


@pytest.fixture
def two_threads():
    """BLAS on two threads; skipped where threadpoolctl does not steer it."""
    if blas_threads() is None:
        pytest.skip("threadpoolctl does not know NumPy's BLAS here")
    with BlasLimit(2):
        if blas_threads() != 2:
            pytest.skip("NumPy's BLAS has one thread here")
        yield


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


@pytest.mark.parametrize(("num_threads", "during"), [(1, 1), (2, 2), (None, 2)])
def test_num_threads_limits_blas_while_the_model_runs(two_threads, num_threads, during):
    seen = []
    interpreter = interpreter_that_tells(num_threads, seen)
    interpreter.allocate_tensors()
    seen.clear()
    interpreter.invoke()
    assert (seen, blas_threads()) == ([during], 2)


def test_of_overlapping_limits_the_last_one_still_entered_holds(two_threads):
    one, other = BlasLimit(1), BlasLimit(2)
    seen = []
    for act in (one.__enter__, other.__enter__, one.__exit__, one.__enter__, other.__exit__, one.__exit__):
        act()
        seen.append(blas_threads())
    assert seen == [1, 2, 2, 1, 1, 2]


def test_without_threadpoolctl_num_threads_does_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    threads._blas.cache_clear()
    try:
        seen = []
        interpreter = interpreter_that_tells(1, seen)
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, np.ones(1, np.float32))
        interpreter.invoke()
        assert seen[-1] is None
    finally:
        threads._blas.cache_clear()
