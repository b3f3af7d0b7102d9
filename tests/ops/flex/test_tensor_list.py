"""Lists of tensors: written and read in a loop, as Keras's recurrent layers with an open batch do it."""

from __future__ import annotations

import numpy as np
import pytest
from flex_models import options
from loop_models import NONE, counted

import tflgpu
from tflgpu import Limits
from tflgpu.conformance.reference import answer
from tflgpu.model.builder import ModelBuilder
from tflgpu.ops.flex.node_def import DataType

FLOATS = {"element_dtype": DataType("FLOAT32")}


class Lists:
    """A graph of operators on lists."""

    def __init__(self):
        self.m = ModelBuilder()
        self.g = self.m.graph()
        self.count = 0

    def add(self, op, inputs, type="VARIANT", **attributes):
        self.count += 1
        y = self.g.tensor(f"t{self.count}", type, [])
        ins = [x if isinstance(x, int) else self.constant(x) for x in inputs]
        self.g.custom(f"Flex{op}", ins, [y], options=options(op, FLOATS | attributes))
        return y

    def constant(self, x):
        self.count += 1
        x = np.asarray(x)
        return self.g.constant(f"c{self.count}", x.astype(np.float32) if x.dtype.kind == "f" else x)

    def run(self, *outputs, limits=None):
        self.g.outputs(*outputs)
        interpreter = tflgpu.Interpreter(model_content=self.m.build(), limits=limits)
        interpreter.allocate_tensors()
        interpreter.invoke()
        return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def reserved(lists, count, shape=(-1,)):
    return lists.add("TensorListReserve", [np.array(shape, np.int32), np.int32(count)])


def test_elements_that_were_never_written_are_zeros_of_the_others_shape():
    lists = Lists()
    one = lists.add("TensorListSetItem", [reserved(lists, 3), np.int32(1), np.array([1.0, 2.0])])
    both = [
        lists.add("TensorListStack", [one, np.array([-1], np.int32)], "FLOAT32", num_elements=3),
        lists.add("TensorListGetItem", [one, np.int32(0), np.array([2], np.int32)], "FLOAT32"),
        lists.add("TensorListGetItem", [one, np.int32(1), np.array([-1], np.int32)], "FLOAT32"),
        lists.add("TensorListLength", [one], "INT32"),
    ]
    stacked, unwritten, written, length = lists.run(*both)
    np.testing.assert_array_equal(stacked, [[0, 0], [1, 2], [0, 0]])
    np.testing.assert_array_equal(unwritten, [0, 0])
    np.testing.assert_array_equal(written, [1, 2])
    assert length == 3


def test_a_list_is_a_value_that_later_writes_do_not_change():
    lists = Lists()
    first = lists.add("TensorListFromTensor", [np.array([[1.0], [2.0]]), np.array([1], np.int32)])
    second = lists.add("TensorListSetItem", [first, np.int32(0), np.array([9.0])])
    stacks = [lists.add("TensorListStack", [one, np.array([1], np.int32)], "FLOAT32") for one in (first, second)]
    before, after = lists.run(*stacks)
    np.testing.assert_array_equal(before, [[1], [2]])
    np.testing.assert_array_equal(after, [[9], [2]])


def filling(rows):
    """x is doubled `rows` times; every value is kept in a list, which is stacked at the end."""
    m = ModelBuilder()
    main, cond, body = m.graph(), m.graph("cond"), m.graph("body")
    variables = {"i": ("INT32", []), "list": ("VARIANT", []), "x": ("FLOAT32", [1, 2])}
    i = cond.input("i", *variables["i"])
    for name in ("list", "x"):
        cond.input(name, *variables[name])
    go = cond.tensor("go", "BOOL", [])
    cond.node("LESS", [i, cond.constant("rows", np.int32(rows))], [go])
    cond.outputs(go)
    i, held, x = (body.input(name, *kind) for name, kind in variables.items())
    twice, written = body.tensor("twice", "FLOAT32", [1, 2]), body.tensor("written", "VARIANT", [])
    body.node("ADD", [x, x], [twice], **NONE)
    body.custom("FlexTensorListSetItem", [held, i, twice], [written], options=options("TensorListSetItem", FLOATS))
    body.outputs(counted(body, i), written, twice)
    x = main.input("x", *variables["x"])
    shape = main.constant("shape", np.array([-1, 2], np.int32))
    first, filled = main.tensor("first", "VARIANT", []), main.tensor("filled", "VARIANT", [])
    reserve = [shape, main.constant("count", np.int32(rows))]
    main.custom("FlexTensorListReserve", reserve, [first], options=options("TensorListReserve", FLOATS))
    after = [main.tensor("n", "INT32", []), filled, main.tensor("last", "FLOAT32", [1, 2])]
    start = main.constant("start", np.int32(0))
    main.node("WHILE", [start, first, x], after, cond_subgraph_index=cond.index, body_subgraph_index=body.index)
    y = main.tensor("y", "FLOAT32", [rows, 1, 2])
    main.custom("FlexTensorListStack", [filled, shape], [y], options=options("TensorListStack", FLOATS))
    main.outputs(y)
    return m.build()


def test_a_loop_fills_a_list_of_any_batch():
    interpreter = tflgpu.Interpreter(model_content=filling(4))
    for batch in (3, 1, 3):
        x = np.arange(2 * batch, dtype=np.float32).reshape(batch, 2)
        (got,) = answer(interpreter, [x])
        np.testing.assert_array_equal(got, np.stack([x * 2 ** (i + 1) for i in range(4)]))


def test_a_loop_that_keeps_much_in_a_list_ends_at_the_limit():
    interpreter = tflgpu.Interpreter(model_content=filling(1000), limits=Limits(memory_bytes=1_000_000))
    with pytest.raises(
        RuntimeError, match=r"an element of .*FlexTensorListSetItem needs 4,000 bytes.*limits.memory_bytes"
    ):
        answer(interpreter, [np.zeros((500, 2), np.float32)])


@pytest.mark.parametrize(
    "index, item, text",
    [
        (3, [1.0], "Trying to modify element 3 in a list with 3 elements"),
        (-1, [1.0], "Trying to modify element -1 in a list with 3 elements"),
        (0, [[1.0]], r"tried to merge the shapes \[-1\] and \[1, 1\]"),
    ],
)
def test_what_does_not_fit_into_a_list_is_refused(index, item, text):
    lists = Lists()
    with pytest.raises(RuntimeError, match=rf"{text}.*FlexTensorListSetItem"):
        lists.run(lists.add("TensorListSetItem", [reserved(lists, 3), np.int32(index), np.array(item)]))


def test_a_list_grows_where_the_attribute_says_so():
    lists = Lists()
    inputs = [reserved(lists, 0), np.int32(1), np.array([5.0])]
    one = lists.add("TensorListSetItem", inputs, resize_if_index_out_of_bounds=True)
    (stacked,) = lists.run(lists.add("TensorListStack", [one, np.array([1], np.int32)], "FLOAT32"))
    np.testing.assert_array_equal(stacked, [[0], [5]])


def test_what_is_no_list_is_refused():
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "VARIANT", []), g.tensor("y", "INT32", [])
    g.custom("FlexTensorListLength", [x], [y], options=options("TensorListLength", {}))
    g.outputs(y)
    interpreter = tflgpu.Interpreter(model_content=m.build())
    interpreter.allocate_tensors()
    with pytest.raises(RuntimeError, match="holds no list of tensors"):
        interpreter.invoke()


@pytest.mark.parametrize("count, shape", [(2**31 - 1, [1]), (1000, [1000, 1000])])
def test_memory_is_limited_before_it_is_taken(count, shape):
    lists = Lists()
    stack = lists.add("TensorListStack", [reserved(lists, count, shape), np.array(shape, np.int32)], "FLOAT32")
    with pytest.raises(RuntimeError, match=r"limits.memory_bytes = 1,000,000"):
        lists.run(stack, limits=Limits(memory_bytes=1_000_000))
