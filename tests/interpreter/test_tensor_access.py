"""Tensors of an interpreter: values, views, shapes. Each test runs on LiteRT's Interpreter as well as on ours."""

import gc
import pickle

import numpy as np
import pytest
from add_model import ONES, add_model, allocated

import tflgpu
from tflgpu.model.builder import ModelBuilder


@pytest.mark.parametrize(
    "value, text",
    [
        (
            np.ones((2, 3)),
            "Cannot set tensor: Got value of type FLOAT64 but expected type FLOAT32 for input 0, name: x ",
        ),
        ([[1, 2, 3], [4, 5, 6]], "Got value of type INT64 but expected type FLOAT32"),
        (np.array(["a"]), "Got value of type STRING but expected type FLOAT32"),
        (np.ones((2, 3), np.longdouble), "Got value of type NOTYPE but expected type FLOAT32"),
        (np.ones(3, np.float32), "Cannot set tensor: Dimension mismatch. Got 1 but expected 2 for input 0."),
        (np.ones((2, 4), np.float32), "Dimension mismatch. Got 4 but expected 3 for dimension 1 of input 0."),
    ],
)
def test_set_tensor_refuses(api, value, text):
    it = allocated(api)
    with pytest.raises(ValueError) as caught:
        it.set_tensor(0, value)
    assert text in str(caught.value)


@pytest.mark.parametrize(("type", "value"), [("INT4", -9), ("INT4", 8), ("UINT4", 16)])
def test_values_beyond_4_bits_are_refused(api, type, value):
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", type, [3], scale=1.0, zero_point=0)
    y = g.tensor("y", type, [3], scale=1.0, zero_point=0)
    g.node("RESHAPE", [x], [y], new_shape=[3])
    g.outputs(y)
    it = allocated(api, m.build())
    values = np.array([1, value, 2], np.uint8 if type == "UINT4" else np.int8)
    low, high = (0, 15) if type == "UINT4" else (-8, 7)
    with pytest.raises(ValueError, match=f"Values for {type} input must be between {low} and {high}."):
        it.set_tensor(x, values)


@pytest.mark.parametrize("index", [99, -1])
def test_tensor_index_out_of_range(api, index):
    it = allocated(api)
    for call in (lambda: it.get_tensor(index), lambda: it.set_tensor(index, ONES)):
        with pytest.raises(ValueError, match=f"Invalid tensor index {index} exceeds max tensor index"):
            call()


@pytest.mark.parametrize("index", [0.0, "0", None, "x"])
def test_an_index_is_an_integer(api, index):
    it = allocated(api)
    for call in (it.get_tensor, lambda i: it.set_tensor(i, ONES), lambda i: it.resize_tensor_input(i, [2, 3])):
        with pytest.raises(TypeError):
            call(index)


def test_subgraph_index_out_of_range(api):
    it = allocated(api)
    with pytest.raises(ValueError, match="Invalid subgraph index 5 exceeds max subgraph index 1"):
        it.get_tensor(0, 5)
    with pytest.raises(ValueError, match="subgraph_index is out of range: 5 for the model, which has 1 subgraphs"):
        it.get_tensor_details(5)


def test_before_allocation(api):
    it = api.Interpreter(model_content=add_model())
    with pytest.raises(RuntimeError, match="Invoke called on model that is not ready."):
        it.invoke()
    with pytest.raises(ValueError, match="Tensor data is null. Run allocate_tensors"):
        it.get_tensor(0)
    with pytest.raises(ValueError, match="Tensor is unallocated. Try calling allocate_tensors"):
        it.set_tensor(0, ONES)


def test_input_is_unchanged_by_invoke_and_non_contiguous_arrays_are_taken(api):
    it = allocated(api)
    wide = np.arange(12, dtype=np.float32).reshape(2, 6)
    it.set_tensor(0, wide[:, ::2])
    it.set_tensor(1, ONES)
    it.invoke()
    np.testing.assert_array_equal(it.get_tensor(0), wide[:, ::2])


def test_get_tensor_is_a_copy(api):
    it = allocated(api)
    it.set_tensor(0, ONES)
    first = it.get_tensor(0)
    first[...] = 7
    np.testing.assert_array_equal(it.get_tensor(0), ONES)


def test_what_is_handed_out_belongs_to_the_caller(api):
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "INT8", [3], scale=0.5, zero_point=1)
    y = g.tensor("y", "INT8", [3], scale=0.5, zero_point=1)
    g.node("ABS", [x], [y])
    g.outputs(y)
    it = allocated(api, m.build())
    assert it.get_tensor(0).flags.owndata
    quantization = it.get_input_details()[0]["quantization_parameters"]
    quantization["scales"] *= 2
    quantization["zero_points"] += 1
    assert it.get_input_details()[0]["quantization"] == (0.5, 1)


def test_view_shows_and_writes_the_memory(api):
    it = allocated(api)
    it.tensor(0)()[...] = 4
    it.tensor(1)()[...] = 1
    it.invoke()
    np.testing.assert_array_equal(it.tensor(it.get_output_details()[0]["index"])(), ONES * 20)


@pytest.mark.parametrize("call", ["invoke", "allocate_tensors", "resize"])
def test_live_view_refuses(api, call):
    it = allocated(api)
    view = it.tensor(0)()[1:]
    with pytest.raises(RuntimeError, match="There is at least 1 reference to internal data"):
        it.resize_tensor_input(0, [5, 3]) if call == "resize" else getattr(it, call)()
    del view
    gc.collect()
    it.allocate_tensors()
    it.invoke()


def test_variables_may_be_reset_beside_a_live_view(api):
    it = allocated(api)
    view = it.tensor(0)()
    it.reset_all_variables()
    it.set_tensor(0, ONES)
    np.testing.assert_array_equal(view, ONES)


def test_an_interpreter_is_not_pickled(api):
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(allocated(api))


def test_numbers_of_the_other_byte_order_are_swapped():  # LiteRT does not swap them
    it = allocated(tflgpu)
    it.set_tensor(0, np.arange(6, dtype=np.float32).reshape(2, 3).astype(">f4"))
    assert it.get_tensor(0).ravel().tolist() == [0, 1, 2, 3, 4, 5]


def test_a_bad_file_is_named(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a model")
    with pytest.raises(ValueError, match=r"identifier at byte 4 must be b'TFL3', found .*notes\.txt"):
        tflgpu.Interpreter(path)


def test_resize_shows_at_once_and_needs_allocation(api):
    it = allocated(api)
    for index in (0, 1):
        it.resize_tensor_input(index, [5, 3])
    assert it.get_input_details()[0]["shape"].tolist() == [5, 3]
    for read in (it.get_tensor, lambda i: it.tensor(i)()):
        with pytest.raises(ValueError, match="Tensor data is null. Run allocate_tensors"):
            read(0)
    with pytest.raises(RuntimeError, match="Invoke called on model that is not ready."):
        it.invoke()
    it.allocate_tensors()
    assert it.get_output_details()[0]["shape"].tolist() == [5, 3]


def test_failed_allocation_can_be_mended(api):
    it = allocated(api)
    it.resize_tensor_input(0, [5, 7])
    with pytest.raises(RuntimeError):
        it.allocate_tensors()
    it.resize_tensor_input(0, [2, 3])
    it.allocate_tensors()
    it.set_tensor(0, ONES)
    it.set_tensor(1, ONES)
    it.invoke()
    np.testing.assert_array_equal(it.get_tensor(it.get_output_details()[0]["index"]), ONES * 2)


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        ((0, [[1, 2]]), ValueError, "Shape should be 1D instead of 2."),
        ((0, [-4]), RuntimeError, "BytesRequired number of elements overflowed."),
        ((0, [2**31 - 1, 2**31 - 1, 8]), RuntimeError, "BytesRequired number of elements overflowed."),
        ((99, [1]), RuntimeError, "was not true"),
        ((0, [2, 4], True), RuntimeError, "Attempting to resize dimension 1 of tensor 0 with value 3 to 4."),
        ((0, [2], True), RuntimeError, "(2 != 1)"),
    ],
)
def test_resize_refuses(api, arguments, error, text):
    it = allocated(api)
    with pytest.raises(error) as caught:
        it.resize_tensor_input(*arguments)
        it.allocate_tensors()
    assert text in str(caught.value)


def test_strict_resize_follows_the_signature(api):
    it = allocated(api, add_model(shape_signature=(-1, 3)))
    assert it.get_input_details()[0]["shape_signature"].tolist() == [-1, 3]
    it.resize_tensor_input(0, [4, 3], strict=True)
    with pytest.raises(RuntimeError, match="ResizeInputTensorStrict only allows mutating unknown dimensions"):
        it.resize_tensor_input(0, [4, 5], strict=True)
