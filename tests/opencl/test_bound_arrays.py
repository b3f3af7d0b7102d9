"""Arrays that callers have on the OpenCL device, read and written where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from opencl_runtimes import RUNTIMES, require

import tflgpu
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder

cl = pytest.importorskip("pyopencl")
arrays = pytest.importorskip("pyopencl.array")

SHAPE = (64, 6)


def chain() -> bytes:
    """-exp(|x|) of x, by three operators."""
    m = ModelBuilder()
    g = m.graph()
    last = g.input("x", "FLOAT32", list(SHAPE))
    for op in ("ABS", "EXP", "NEG"):
        last, before = g.tensor(op, "FLOAT32", list(SHAPE)), last
        g.node(op, [before], [last])
    g.outputs(last)
    return m.build()


class Bound:
    """A model with its interpreter on a device."""

    def __init__(self, device: str, **options: Any):
        self.delegate = load_delegate("opencl", {"device": device, "min_nodes_per_partition": 1, **options})
        self.context = self.delegate.device.context
        self.queue = cl.CommandQueue(self.context)
        self.interpreter = tflgpu.Interpreter(model_content=chain(), experimental_delegates=[self.delegate])
        self.interpreter.allocate_tensors()
        self.x = self.interpreter.get_input_details()[0]["index"]
        self.y = self.interpreter.get_output_details()[0]["index"]


@pytest.fixture(params=RUNTIMES)
def bound(request: pytest.FixtureRequest) -> Bound:
    return Bound(require(request.param))


def expected(x: Any) -> Any:
    return -np.exp(np.abs(x))


def test_arrays_of_pyopencl_are_read_and_written_where_they_are(bound: Bound) -> None:
    x, y = arrays.zeros(bound.queue, SHAPE, np.float32), arrays.zeros(bound.queue, SHAPE, np.float32)
    bound.interpreter.bind_input(bound.x, x, stream=bound.queue.int_ptr)
    bound.interpreter.bind_output(bound.y, y, stream=bound.queue.int_ptr)
    for value in (1.0, -2.0):
        # Enqueued: invoke runs after it.
        cl.enqueue_fill_buffer(bound.queue, x.data, np.float32(value), 0, x.nbytes)
        bound.interpreter.invoke()
        np.testing.assert_allclose(y.get(), expected(np.full(SHAPE, value, np.float32)), rtol=1e-6)
        np.testing.assert_array_equal(bound.interpreter.get_tensor(bound.y), y.get())
    bound.interpreter.bind_input(bound.x, None)
    bound.interpreter.bind_output(bound.y, None)
    bound.interpreter.set_tensor(bound.x, np.zeros(SHAPE, np.float32))
    bound.interpreter.invoke()
    np.testing.assert_array_equal(bound.interpreter.get_tensor(bound.y), np.full(SHAPE, -1, np.float32))
    np.testing.assert_allclose(y.get(), -np.exp(np.float32(2)), rtol=1e-6)


@pytest.mark.parametrize("left_out", ["0", "1", "2"])
def test_nodes_on_the_cpu_read_and_write_them_too(left_out: str) -> None:
    bound = Bound(require("Intel"), skip_nodes=left_out)
    x, y = arrays.to_device(bound.queue, np.full(SHAPE, 3, np.float32)), arrays.zeros(bound.queue, SHAPE, np.float32)
    bound.interpreter.bind_input(bound.x, x, stream=bound.queue.int_ptr)
    bound.interpreter.bind_output(bound.y, y)
    bound.interpreter.invoke()
    np.testing.assert_allclose(y.get(), expected(np.full(SHAPE, 3, np.float32)), rtol=1e-6)


def test_buffers_and_shared_virtual_memory_are_bound(bound: Bound) -> None:
    value = np.linspace(-1, 1, 384, dtype=np.float32).reshape(SHAPE)
    x = cl.Buffer(bound.context, cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR, hostbuf=value)
    y = cl.svm_empty(bound.context, cl.svm_mem_flags.READ_WRITE, SHAPE, np.float32)
    bound.interpreter.bind_input(bound.x, x)
    bound.interpreter.bind_output(bound.y, y)
    bound.interpreter.invoke()
    with y.base.map_ro(bound.queue) as seen:
        np.testing.assert_allclose(seen.view(np.float32).reshape(SHAPE), expected(value), rtol=1e-6)


def test_what_does_not_fit_is_not_bound(bound: Bound) -> None:
    def refused(array: Any, why: str) -> None:
        with pytest.raises(ValueError, match=why):
            bound.interpreter.bind_input(bound.x, array)

    other = cl.Context(bound.context.devices)
    refused(arrays.zeros(bound.queue, (6, 64), np.float32), r"the array is float32 \[6, 64\]")
    refused(arrays.zeros(bound.queue, SHAPE, np.int32), "the array is int32")
    refused(arrays.zeros(bound.queue, (6, 64), np.float32).T, "must be C-contiguous")
    refused(arrays.zeros(bound.queue, (65, 6), np.float32)[1:], "the array begins at byte 24 of its buffer")
    refused(arrays.zeros(cl.CommandQueue(other), SHAPE, np.float32), "of another context")
    refused(cl.Buffer(bound.context, cl.mem_flags.READ_WRITE, 1532), "the buffer has 1532 bytes, not 1536")
    refused(np.zeros(SHAPE, np.float32), "ndarray is no pyopencl")
    bound.interpreter.invoke()
