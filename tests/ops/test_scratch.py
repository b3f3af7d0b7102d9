"""What the steps of one interpreter share is never mistaken for something else."""

import numpy as np

import tflgpu
from tflgpu.model.builder import ModelBuilder
from tflgpu.ops.scratch import copied, scratch, sharing


def test_a_constant_is_copied_once_and_what_may_change_each_time():
    constant = np.arange(6, dtype=np.int8).reshape(2, 3)
    with sharing({}):
        assert copied(constant, np.float32) is not copied(constant, np.float32)
        constant.flags.writeable = False
        first = copied(constant, np.float32)
        assert copied(constant, np.float32) is first
        assert copied(constant.view(np.uint8), np.float32) is not first
        assert copied(constant[:1], np.float32) is not first
        assert copied(constant, np.float64).dtype == np.float64
    assert copied(constant, np.float32) is not first
    np.testing.assert_array_equal(first, constant)


def test_scratch_of_one_slot_is_one_memory():
    with sharing({}):
        a, b = scratch("a", 8, np.float32), scratch("a", (2, 2), np.int64)
        assert np.shares_memory(a, b) and not np.shares_memory(a, scratch("b", 8, np.float32))


def test_weights_that_only_running_gives_are_read_at_every_run():
    m = ModelBuilder()
    g = m.graph()
    quantization = {"scale": 0.5, "zero_point": 0}
    x, w = g.input("x", "INT8", [1, 4], **quantization), g.input("w", "INT8", [3, 4], **quantization)
    n = g.input("n", "INT32", [1])
    cut, y = (
        g.tensor("cut", "INT8", [3, 4], **quantization, shape_signature=[3, -1]),
        g.tensor("y", "INT8", [1, 3], **quantization),
    )
    zeros, three = g.constant("zeros", np.zeros(2, np.int32)), g.constant("three", np.array([3], np.int32))
    size = g.tensor("size", "INT32", [2])
    g.node("CONCATENATION", [three, n], [size], axis=0)
    g.node("SLICE", [w, zeros, size], [cut])
    g.node("FULLY_CONNECTED", [x, cut], [y])
    g.outputs(y)
    it = tflgpu.Interpreter(model_content=m.build())
    it.allocate_tensors()
    for sign in (1, -1, 2):
        for index, value in enumerate((np.full((1, 4), 2, np.int8), np.full((3, 4), sign, np.int8))):
            it.set_tensor(index, value)
        it.set_tensor(2, np.array([4], np.int32))
        it.invoke()
        np.testing.assert_array_equal(it.get_tensor(it.get_output_details()[0]["index"]), np.full((1, 3), 4 * sign))
