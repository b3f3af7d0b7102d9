"""What a shape is, the same bytes under another shape, tensors of a shape; and strings: held to LiteRT."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, one_op, tflgpu_run
from single_op import FIXED_SIZE, example, model_of, refused_by_both, same_as_litert

from tflgpu import Interpreter
from tflgpu.model.builder import ModelBuilder

derandomized = settings(max_examples=30, derandomize=True, deadline=None)
sizes = st.sampled_from([0, 1, 2, 3, 5])
ANY = [*FIXED_SIZE, "INT4", "STRING"]


def spec(type, shape, **more):
    return {"type": type, "shape": shape, **more}


def ints(*values, dtype=np.int32):
    return np.array(values, dtype)


@pytest.mark.parametrize("type", ANY)
@pytest.mark.parametrize("out_type", ["INT32", "INT64"])
def test_shape_of_every_type(type, out_type):
    x = example(type, (2, 3, 1))
    same_as_litert(one_op("SHAPE", [spec(type, x.shape)], [spec(out_type, (3,))], out_type=out_type), x)


@pytest.mark.parametrize("shape", [(1,), (2, 0, 3)])
def test_shape_and_rank_of_any_shape(shape):
    x = example("FLOAT32", shape)
    same_as_litert(one_op("SHAPE", [spec("FLOAT32", shape)], [spec("INT32", (len(shape),))], out_type="INT32"), x)
    same_as_litert(one_op("RANK", [spec("FLOAT32", shape)], [spec("INT32", ())]), x)


@pytest.mark.parametrize("type", ANY)
def test_reshape_of_every_type(type):
    x = example(type, (2, 3, 2))
    same_as_litert(model_of("RESHAPE", x, type, ints(4, -1), new_shape=[4, 3]), x)


@derandomized
@given(st.data())
def test_reshape_with_one_size_left_open(data):
    shape = data.draw(st.lists(sizes, max_size=4))
    wanted = data.draw(st.permutations(shape))
    if wanted and data.draw(st.booleans()):
        # With another 0 besides, TensorFlow Lite leaves the zeros out of its division.
        at = data.draw(st.integers(0, len(wanted) - 1))
        wanted[at] = -1
    x = example("INT32", tuple(shape))
    data = model_of("RESHAPE", x, "INT32", ints(*wanted))
    try:
        got = tflgpu_run(data, [x])
    except RuntimeError:
        refused_by_both(data, x)
    else:
        assert_same(got, same_as_litert(data, x))


def test_reshape_by_the_option_and_by_an_old_converter_s_scalar():
    x = example("FLOAT32", (2, 3))
    same_as_litert(one_op("RESHAPE", [spec("FLOAT32", (2, 3))], [spec("FLOAT32", ())], new_shape=[3, -1]), x)
    one = example("FLOAT32", (1, 1))
    same_as_litert(one_op("RESHAPE", [spec("FLOAT32", (1, 1))], [spec("FLOAT32", ())], new_shape=[0]), one)


def test_reshape_to_a_shape_that_is_an_input():
    x, shape = example("FLOAT32", (2, 3)), ints(-1, 2)
    same_as_litert(model_of("RESHAPE", x, "FLOAT32", spec("INT32", (2,))), x, shape)


@pytest.mark.parametrize("wanted", [(-1, -1), (4, -1), (7,), (-2, -3), (2**31 - 1, 2**31 - 1)])
def test_reshape_to_other_elements_is_refused(wanted):
    x = example("FLOAT32", (2, 3))
    refused_by_both(model_of("RESHAPE", x, "FLOAT32", ints(*wanted)), x)


@pytest.mark.parametrize("type", ANY)
@pytest.mark.parametrize("dims", [[], [0], [2, -1], [0, 0]])
def test_squeeze_of_every_type(type, dims):
    x = example(type, (1, 3, 1, 1))
    same_as_litert(model_of("SQUEEZE", x, type, squeeze_dims=dims), x)


@pytest.mark.parametrize("dims", [[1], [4], [-5]])
def test_squeeze_of_what_is_not_one_is_refused(dims):
    x = example("FLOAT32", (1, 3, 1, 1))
    refused_by_both(model_of("SQUEEZE", x, "FLOAT32", squeeze_dims=dims), x)


@pytest.mark.parametrize("type", ANY)
@pytest.mark.parametrize("axis", [0, 2, -1])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_expand_dims_of_every_type(type, axis, dtype):
    x = example(type, (2, 3))
    same_as_litert(model_of("EXPAND_DIMS", x, type, np.array(axis, dtype)), x)


def test_expand_dims_along_an_axis_that_is_an_input():
    x = example("INT8", (2, 3))
    same_as_litert(model_of("EXPAND_DIMS", x, "INT8", spec("INT32", ())), x, np.array(1, np.int32))


@pytest.mark.parametrize("axis", [3, -4])
def test_expand_dims_out_of_range_is_refused(axis):
    x = example("FLOAT32", (2, 3))
    refused_by_both(model_of("EXPAND_DIMS", x, "FLOAT32", np.array(axis, np.int32)), x)


@pytest.mark.parametrize("type", [*FIXED_SIZE, "STRING"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_fill_of_every_type(type, dtype):
    value = example(type, (1,))[0]
    value = np.bytes_(value) if type == "STRING" else value
    same_as_litert(one_op("FILL", [ints(2, 3, dtype=dtype), spec(type, ())], [spec(type, ())], version=3), value)


def test_fill_of_a_shape_that_is_an_input():
    inputs = [spec("INT32", (2,)), np.float32(7)]
    same_as_litert(one_op("FILL", inputs, [spec("FLOAT32", ())]), ints(2, 3))


def test_fill_of_a_negative_or_huge_shape_is_refused():
    with pytest.raises(RuntimeError, match="must be >= 0"):
        tflgpu_run(one_op("FILL", [ints(2, -3), np.float32(7)], [spec("FLOAT32", ())]), [])
    with pytest.raises(RuntimeError, match="overflowed"):
        tflgpu_run(one_op("FILL", [ints(2**20, 2**20), np.float32(7)], [spec("FLOAT32", ())]), [])


RANGES = [(0, 5, 1), (5, 0, -2), (-2, 9, 4), (0, 1, 3)]


@pytest.mark.parametrize(("start", "limit", "delta"), [*RANGES, (0, 1, 0.1), (1, 0, -0.3), (0.5, 7.25, 0.7)])
@pytest.mark.parametrize("type", ["FLOAT32", "INT32", "INT64"])
@pytest.mark.parametrize("constant", [True, False])
def test_range_of_every_type(type, start, limit, delta, constant):
    if type != "FLOAT32" and delta != int(delta):
        delta = 2 if delta > 0 else -2
        start, limit = int(start), int(limit)
    values = [np.array(v, type.lower()) for v in (start, limit, delta)]
    inputs = [spec(type, (), value=v) if constant else spec(type, ()) for v in values]
    data = one_op("RANGE", inputs, [spec(type, ())], version=2 if type == "INT64" else 1)
    # The reference resolver has no version 2.
    same_as_litert(data, *([] if constant else values), resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES")


@pytest.mark.parametrize("constant", [True, False])
def test_range_of_nothing_is_empty(constant):
    values = [np.array(v, np.int32) for v in (3, 3, 1)]
    inputs = [spec("INT32", (), value=v) if constant else spec("INT32", ()) for v in values]
    got = tflgpu_run(one_op("RANGE", inputs, [spec("INT32", ())]), [] if constant else values)
    assert_same(got, [np.zeros((0,), np.int32)])  # of which LiteRT refuses to give the value


@pytest.mark.parametrize("values", [(0, 5, 0), (0, 5, -1), (5, 0, 1)])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_range_that_never_ends_is_refused(values, dtype):
    type = np.dtype(dtype).name.upper()
    refused_by_both(one_op("RANGE", [spec(type, ())] * 3, [spec(type, ())]), *(np.array(v, dtype) for v in values))


def test_huge_range_is_refused_before_anything_is_allocated():
    values = [np.array(v, np.float32) for v in (0, 3e38, 1e-38)]
    with pytest.raises(RuntimeError):
        tflgpu_run(one_op("RANGE", [spec("FLOAT32", ())] * 3, [spec("FLOAT32", ())]), values)


@pytest.mark.parametrize("type", ["INT32", "INT64"])
@pytest.mark.parametrize(
    ("a", "b"), [((2, 1, 3), (4, 1)), ((1,), (5, 6)), ((3,), (3,)), ((1, 1), (7, 1)), ((), (2, 3))]
)
def test_broadcast_args(type, a, b):
    arrays = [np.array(v, type.lower()) for v in (a, b)]
    data = one_op("BROADCAST_ARGS", [spec(type, v.shape) for v in arrays], [spec(type, ())])
    same_as_litert(data, *arrays)


def test_shapes_that_do_not_broadcast_are_refused():
    data = one_op("BROADCAST_ARGS", [spec("INT32", (1,))] * 2, [spec("INT32", ())])
    with pytest.raises(RuntimeError, match="not broadcastable"):  # where LiteRT aborts
        tflgpu_run(data, [ints(2), ints(3)])


def test_a_chain_that_only_computes_a_shape_is_folded_away():
    model = ModelBuilder()
    g = model.graph()
    x = g.input("x", "FLOAT32", (2, 3, 5), shape_signature=(-1, 3, 5))
    shape, batch, packed, y = (g.tensor(n, "INT32", s) for n, s in (("s", (3,)), ("b", ()), ("p", (2,)), ("y", ())))
    y = g.tensor("y", "FLOAT32", (2, 15))
    g.node("SHAPE", [x], [shape], out_type="INT32")
    ends = [g.constant(f"c{i}", ints(i)) for i in (0, 1)]
    g.node("STRIDED_SLICE", [shape, *ends, ends[1]], [batch], shrink_axis_mask=1)
    g.node("PACK", [batch, g.constant("rest", np.int32(-1))], [packed], values_count=2)
    g.node("RESHAPE", [x, packed], [y])
    g.outputs(y)
    interpreter = Interpreter(model_content=model.build())
    for n in (2, 7):
        interpreter.resize_tensor_input(0, (n, 3, 5))
        interpreter.allocate_tensors()
        assert interpreter.get_output_details()[0]["shape"].tolist() == [n, 15]
    same_as_litert(model.build(), example("FLOAT32", (4, 3, 5)))


SENTENCES = [
    "the quick  brown fox",
    " leading is lost",
    "  two spaces",
    "one",
    "",
    "tab\tand\nnewline end ",
    "a b c d e",
]


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize(("size", "skip", "all_sizes"), [(2, 0, False), (3, 1, True), (2, 2, False), (1, 0, False)])
def test_skip_gram(sentence, size, skip, all_sizes):
    x = np.array([sentence.encode()], object)
    options = {"ngram_size": size, "max_skip_size": skip, "include_all_ngrams": all_sizes}
    data = one_op("SKIP_GRAM", [spec("STRING", (1,))], [spec("STRING", (1,))], **options)
    if sentence and not (size > len(sentence.split())):
        same_as_litert(data, x)
    else:
        assert tflgpu_run(data, [x])[0].shape in ((0,), (1,))


def test_skip_gram_of_too_many_is_refused():
    x = np.array([b"a " * 200], object)
    options = {"ngram_size": 100, "max_skip_size": 9, "include_all_ngrams": False}
    data = one_op("SKIP_GRAM", [spec("STRING", (1,))], [spec("STRING", (1,))], **options)
    with pytest.raises(RuntimeError, match="n-grams"):
        tflgpu_run(data, [x])
