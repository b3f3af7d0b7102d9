"""Reading and writing at indices, held to LiteRT; every index that lies outside is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, litert, one_op, tflgpu_run
from single_op import FIXED_SIZE, example, refused_by_both, same_as_litert

derandomized = settings(max_examples=30, derandomize=True, deadline=None)
sizes = st.sampled_from([1, 2, 3, 5])
GATHERED = ["FLOAT32", "FLOAT16", "BFLOAT16", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL"]
INDICES = {"INT16": np.int16, "INT32": np.int32, "INT64": np.int64}


def spec(type, shape, **more):
    return {"type": type, "shape": shape, **more}


def gather(x, type, indices_spec, axis=0, batch_dims=0, op="GATHER", version=5):
    options = {"axis": axis, "batch_dims": batch_dims} if op == "GATHER" else {}
    return one_op(op, [spec(type, x.shape), indices_spec], [spec(type, ())], version=version, **options)


@pytest.mark.parametrize("type", [*GATHERED, "INT4"])
@pytest.mark.parametrize("indices", INDICES)
def test_gather_of_every_type(type, indices):
    # Of INT4, TensorFlow Lite moves whole bytes: right for rows of an even length.
    x, at = example(type, (4, 6)), np.array([[3, 0], [1, 1]], INDICES[indices])
    same_as_litert(gather(x, type, spec(indices, at.shape), version=6), x, at)


def test_gather_of_strings():
    x, at = example("STRING", (4,)), np.array([3, 0, 0], np.int32)
    same_as_litert(gather(x, "STRING", spec("INT32", at.shape)), x, at)
    same_as_litert(gather(x, "STRING", spec("INT32", (), value=np.int32(2))), x)


@settings(derandomized, max_examples=60)
@given(st.data())
def test_gather_along_any_axis_and_batch(data):
    shape = data.draw(st.lists(sizes, min_size=1, max_size=4))
    axis = data.draw(st.integers(0, len(shape) - 1))
    batch_dims = data.draw(st.integers(0, axis))
    picked = shape[:batch_dims] + data.draw(st.lists(sizes, max_size=2))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    at = rng.integers(0, shape[axis], picked).astype(np.int32)
    x = example("INT32", tuple(shape))
    signed = axis - len(shape) if data.draw(st.booleans()) else axis
    constant = data.draw(st.booleans())
    indices = spec("INT32", at.shape, value=at) if constant else spec("INT32", at.shape)
    same_as_litert(gather(x, "INT32", indices, signed, batch_dims), x, *([] if constant else [at]))


@pytest.mark.parametrize("op", ["GATHER", "GATHER_ND"])
@pytest.mark.parametrize("index", [-1, 3, 2**31 - 1])
@pytest.mark.parametrize("constant", [True, False])
def test_gather_outside_of_the_input_is_refused(op, index, constant):
    x, at = example("FLOAT32", (3, 2)), np.array([[0], [index]], np.int32)
    data = gather(x, "FLOAT32", spec("INT32", at.shape, value=at) if constant else spec("INT32", at.shape), op=op)
    refused_by_both(data, x, *([] if constant else [at]), match=f"{op.lower()} index out of bounds")


def test_a_negative_int16_index_is_refused_where_it_would_fit_as_an_unsigned_one():
    x, at = example("INT8", (70000,)), np.array([-1], np.int16)
    refused_by_both(gather(x, "INT8", spec("INT16", at.shape), version=6), x, at, match="out of bounds")


def test_gather_from_nothing_is_refused():
    x, at = np.zeros((2, 0, 3), np.float32), np.zeros((2, 1), np.int32)
    refused_by_both(gather(x, "FLOAT32", spec("INT32", at.shape), 1, 1), x, at, match="out of bounds")


def test_an_output_declared_of_another_type_takes_the_input_s():
    x, at = example("INT64", (3,)), np.array([1], np.int32)
    inputs = [spec("INT64", (3,)), spec("INT32", (1,))]
    model = one_op("GATHER", inputs, [spec("INT32", (1,))])
    assert_same(tflgpu_run(model, [x, at]), litert(model, [x, at]))
    assert_same(tflgpu_run(model, [x, at]), [x[1:2]])


def test_gather_of_no_indices_is_empty():
    x, at = example("FLOAT32", (3, 2)), np.zeros((0,), np.int32)
    same_as_litert(gather(x, "FLOAT32", spec("INT32", (1,))), x, at)


@pytest.mark.parametrize(("axis", "batch_dims"), [(2, 0), (0, 1), (1, 2)])
def test_gather_along_what_is_not_there_is_refused(axis, batch_dims):
    x, at = example("FLOAT32", (3, 2)), np.zeros((3,), np.int32)
    refused_by_both(gather(x, "FLOAT32", spec("INT32", at.shape), axis, batch_dims), x, at)


@pytest.mark.parametrize("type", [*GATHERED, "STRING"])
@pytest.mark.parametrize("indices", INDICES)
def test_gather_nd_of_every_type(type, indices):
    x, at = example(type, (4, 3)), np.array([[3, 0], [1, 2], [0, 0]], INDICES[indices])
    same_as_litert(gather(x, type, spec(indices, at.shape), op="GATHER_ND", version=5), x, at)


@derandomized
@given(st.data())
def test_gather_nd_by_any_length_of_index(data):
    shape = data.draw(st.lists(sizes, min_size=1, max_size=4))
    length = data.draw(st.integers(1, len(shape)))
    outer = data.draw(st.lists(sizes, max_size=2))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    at = rng.integers(0, shape[:length], (*outer, length)).astype(np.int64)
    x = example("FLOAT32", tuple(shape))
    same_as_litert(gather(x, "FLOAT32", spec("INT64", at.shape), op="GATHER_ND", version=4), x, at)


def scatter(at, updates, type, shape):
    inputs = [spec("INT32", at.shape), spec(type, updates.shape), np.array(shape, np.int32)]
    return one_op("SCATTER_ND", inputs, [spec(type, ())])


@pytest.mark.parametrize("type", ["FLOAT32", "INT8", "UINT8", "INT32", "INT64", "BOOL"])
@pytest.mark.parametrize("at", [[[1], [3], [0]], [[1], [3], [1]]])
def test_scatter_nd_of_every_type_adds_at_the_same_index(type, at):
    at, updates = np.array(at, np.int32), example(type, (3, 2))
    same_as_litert(scatter(at, updates, type, (4, 2)), at, updates)


@derandomized
@given(st.data())
def test_scatter_nd_by_any_length_of_index(data):
    shape = data.draw(st.lists(sizes, min_size=1, max_size=4))
    length = data.draw(st.integers(1, len(shape)))
    outer = data.draw(st.lists(sizes, min_size=1, max_size=2))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    at = rng.integers(0, shape[:length], (*outer, length)).astype(np.int32)
    updates = example("INT32", (*outer, *shape[length:]))
    same_as_litert(scatter(at, updates, "INT32", shape), at, updates)


def test_scatter_nd_into_a_shape_that_is_an_input():
    at, updates, shape = np.array([[1], [3]], np.int32), example("FLOAT32", (2,)), np.array([5], np.int32)
    inputs = [spec("INT32", at.shape), spec("FLOAT32", updates.shape), spec("INT32", (1,))]
    same_as_litert(one_op("SCATTER_ND", inputs, [spec("FLOAT32", ())]), at, updates, shape)


@pytest.mark.parametrize("index", [-1, 4])
def test_scatter_nd_outside_is_refused(index):
    at, updates = np.array([[0], [index]], np.int32), example("FLOAT32", (2,))
    refused_by_both(scatter(at, updates, "FLOAT32", (4,)), at, updates, match="scatter_nd index out of bounds")


def sparse_to_dense(at, type, values, shape, index_type="INT32"):
    dense = np.array(shape, INDICES[index_type])
    default = spec(type, (), value=np.array(1, values.dtype))
    return one_op(
        "SPARSE_TO_DENSE",
        [spec(index_type, at.shape), dense, spec(type, values.shape), default],
        [spec(type, ())],
        version=3,
    )


@pytest.mark.parametrize("type", ["FLOAT32", "INT8", "UINT8", "INT32", "INT64"])
@pytest.mark.parametrize("index_type", ["INT32", "INT64"])
@pytest.mark.parametrize(
    ("at", "shape"), [(2, [4]), ([1, 3, 1], [4]), ([[0, 1], [2, 3], [0, 1]], [3, 4]), ([[0, 1, 0, 2]], [1, 2, 1, 3])]
)
@pytest.mark.parametrize("scalar", [True, False])
def test_sparse_to_dense_of_every_type(type, index_type, at, shape, scalar):
    at = np.array(at, INDICES[index_type])
    values = example(type, () if scalar else (at.shape[0] if at.ndim else 1,))
    same_as_litert(sparse_to_dense(at, type, values, shape, index_type), at, values)


@pytest.mark.parametrize("at", [[-1], [4]])
def test_sparse_to_dense_outside_is_refused(at):
    at, values = np.array(at, np.int32), example("FLOAT32", (1,))
    refused_by_both(sparse_to_dense(at, "FLOAT32", values, [4]), at, values)


def one_hot(at, type, depth, axis, index_type="INT32", on=3, off=1):
    values = [
        spec(type, (), value=np.array(v, np.dtype("bool" if type == "BOOL" else type.lower()))) for v in (on, off)
    ]
    inputs = [spec(index_type, at.shape), np.array(depth, np.int32), *values]
    return one_op("ONE_HOT", inputs, [spec(type, ())], axis=axis)


@pytest.mark.parametrize("type", ["FLOAT32", "INT8", "UINT8", "INT32", "INT64", "BOOL"])
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("index_type", ["INT32", "INT64"])
def test_one_hot_of_every_type(type, axis, index_type):
    at = np.array([[0, 2, -1], [4, 5, 3]], INDICES[index_type])
    same_as_litert(one_hot(at, type, 5, axis, index_type, on=1, off=0), at)


def test_one_hot_of_a_scalar_and_of_a_depth_of_zero():
    at = np.array(2, np.int32)
    same_as_litert(one_hot(at, "FLOAT32", 4, -1), at)
    same_as_litert(one_hot(at[None], "FLOAT32", 0, -1), at[None])


def test_one_hot_of_a_depth_that_is_an_input():
    at, depth = np.array([0, 2], np.int32), np.array(3, np.int32)
    inputs = [spec("INT32", (2,)), spec("INT32", ()), np.float32(1), np.float32(0)]
    same_as_litert(one_op("ONE_HOT", inputs, [spec("FLOAT32", ())], axis=-1), at, depth)


@pytest.mark.parametrize(("depth", "axis"), [(-1, -1), (3, 2), (3, -2)])
def test_one_hot_that_does_not_fit_is_refused(depth, axis):
    at = np.array([0, 2], np.int32)
    refused_by_both(one_hot(at, "FLOAT32", depth, axis), at)


def update_slice(x, update, type, start_type="INT32"):
    inputs = [spec(type, x.shape), spec(type, update.shape), spec(start_type, (x.ndim,))]
    return one_op("DYNAMIC_UPDATE_SLICE", inputs, [spec(type, ())], version=2)


@pytest.mark.parametrize("type", [*FIXED_SIZE, "INT4"])
@pytest.mark.parametrize("start_type", ["INT32", "INT64"])
@pytest.mark.parametrize("start", [(0, 0), (1, 2), (9, -3)])
def test_dynamic_update_slice_of_every_type(type, start_type, start):
    x, update = example(type, (3, 5)), example(type, (2, 3), 1)
    same_as_litert(update_slice(x, update, type, start_type), x, update, np.array(start, INDICES[start_type]))


def test_dynamic_update_of_everything_and_of_nothing():
    x = example("FLOAT32", (3, 5))
    for shape in ((3, 5), (0, 2)):
        update, start = example("FLOAT32", shape, 1), np.array([1, 1], np.int32)
        same_as_litert(update_slice(x, update, "FLOAT32"), x, update, start)


@pytest.mark.parametrize("shape", [(4, 1), (2,)])
def test_an_update_that_does_not_fit_is_refused(shape):
    x, update = example("FLOAT32", (3, 5)), example("FLOAT32", shape, 1)
    refused_by_both(update_slice(x, update, "FLOAT32"), x, update, np.array([0, 0], np.int32), match="does not fit")


@pytest.mark.parametrize("type", ["FLOAT32", "UINT8", "INT16", "INT32", "INT64"])
@pytest.mark.parametrize("lengths_type", ["INT32", "INT64"])
@pytest.mark.parametrize(("seq", "batch"), [(1, 0), (0, 1), (2, 0), (0, 2), (1, 2)])
def test_reverse_sequence_of_every_type(type, lengths_type, seq, batch):
    x = example(type, (4, 3, 5))
    lengths = (np.arange(x.shape[batch]) % (x.shape[seq] + 1)).astype(INDICES[lengths_type])
    inputs = [spec(type, x.shape), spec(lengths_type, lengths.shape)]
    data = one_op("REVERSE_SEQUENCE", inputs, [spec(type, ())], seq_dim=seq, batch_dim=batch)
    same_as_litert(data, x, lengths)


def test_reverse_sequence_beyond_the_input_is_refused():
    x = example("FLOAT32", (2, 3))
    inputs = [spec("FLOAT32", x.shape), spec("INT32", (2,))]
    data = one_op("REVERSE_SEQUENCE", inputs, [spec("FLOAT32", ())], seq_dim=1, batch_dim=0)
    refused_by_both(data, x, np.array([4, 0], np.int32), match="seq_lengths")
    with pytest.raises(RuntimeError, match="seq_lengths"):  # LiteRT only looks at the first
        tflgpu_run(data, [x, np.array([0, 4], np.int32)])
