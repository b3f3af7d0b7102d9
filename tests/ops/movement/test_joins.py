"""CONCATENATION, PACK, UNPACK, SPLIT and SPLIT_V, held to LiteRT."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, one_op, tflgpu_run
from single_op import example, refused_by_both, same_as_litert

derandomized = settings(max_examples=30, derandomize=True, deadline=None)
sizes = st.sampled_from([1, 2, 3, 5])
CONCATENATED = ["FLOAT32", "FLOAT16", "BFLOAT16", "INT4", "INT8", "UINT8", "INT16", "INT32", "UINT32", "INT64", "BOOL"]
PACKED = ["FLOAT32", "INT8", "UINT8", "INT16", "INT32", "UINT32", "INT64"]
UNPACKED = ["FLOAT32", "FLOAT16", "BFLOAT16", "INT8", "UINT8", "INT16", "INT32", "BOOL"]
SPLIT = ["FLOAT32", "INT8", "UINT8", "INT16", "INT32", "INT64"]


def spec(type, shape, **quantization):
    return {"type": type, "shape": shape, **quantization}


def joined(op, type, arrays, quantization=(), output=None, **options):
    each = quantization or [{}] * len(arrays)
    inputs = [spec(type, a.shape, **q) for a, q in zip(arrays, each, strict=True)]
    return one_op(op, inputs, [spec(type, (), **(output or {}))], **options)


@pytest.mark.parametrize("type", CONCATENATED)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concatenation_of_every_type(type, axis):
    shapes = {0: [(2, 3, 4), (1, 3, 4)], 1: [(2, 3, 4), (2, 5, 4)], -1: [(2, 3, 4), (2, 3, 1)]}[axis]
    arrays = [example(type, shape, seed) for seed, shape in enumerate(shapes)]
    same_as_litert(joined("CONCATENATION", type, arrays, axis=axis, version=5), *arrays)


@derandomized
@given(st.data())
def test_concatenation_of_any_number_of_any_rank(data):
    shape = data.draw(st.lists(sizes, min_size=1, max_size=5))
    axis = data.draw(st.integers(0, len(shape) - 1))
    arrays = []
    for seed in range(data.draw(st.integers(1, 6))):
        shape[axis] = data.draw(sizes)
        arrays.append(example("FLOAT32", tuple(shape), seed))
    same_as_litert(joined("CONCATENATION", "FLOAT32", arrays, axis=axis), *arrays)


def test_concatenation_with_an_empty_input():
    arrays = [example("INT32", shape) for shape in ((2, 3), (0, 3), (1, 3))]
    same_as_litert(joined("CONCATENATION", "INT32", arrays, axis=0), *arrays)


@pytest.mark.parametrize(("scale", "zero_point"), [(0.5, 3), (0.25, 128), (0.1, 0), (2.0, 255), (0.0123, 77)])
def test_concatenation_rescales_every_uint8_value(scale, zero_point):
    values = np.arange(256, dtype=np.uint8).reshape(1, 256)
    quantization = [{"scale": 0.25, "zero_point": 128}, {"scale": scale, "zero_point": zero_point}]
    output = {"scale": 0.25, "zero_point": 128}
    same_as_litert(joined("CONCATENATION", "UINT8", [values, values], quantization, output, axis=0), values, values)


@pytest.mark.parametrize(("type", "zero_point"), [("INT8", 4), ("INT16", 4)])
def test_concatenation_refuses_to_rescale_others(type, zero_point):
    arrays = [example(type, (2, 3))] * 2
    quantization = [{"scale": 0.5, "zero_point": 0}, {"scale": 0.5, "zero_point": zero_point}]
    data = joined("CONCATENATION", type, arrays, quantization, {"scale": 0.5, "zero_point": 0}, axis=0)
    refused_by_both(data, *arrays, match="zero point")


@pytest.mark.parametrize("shapes", [[(2, 3), (2, 3, 1)], [(2, 3), (2, 4)], [(), ()]])
def test_concatenation_of_what_does_not_fit_is_refused(shapes):
    arrays = [example("FLOAT32", shape) for shape in shapes]
    refused_by_both(joined("CONCATENATION", "FLOAT32", arrays, axis=0), *arrays)


def test_concatenation_of_constant_scalars_is_a_vector():
    data = one_op("CONCATENATION", [np.float32(1), np.float32(2)], [spec("FLOAT32", ())], axis=0)
    same_as_litert(data)


@pytest.mark.parametrize("type", PACKED)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_pack_of_every_type(type, axis):
    arrays = [example(type, (2, 3), seed) for seed in range(3)]
    same_as_litert(joined("PACK", type, arrays, axis=axis, values_count=3, version=4), *arrays)


def test_pack_of_scalars():
    arrays = [np.array(v, np.int32) for v in (4, 5)]
    same_as_litert(joined("PACK", "INT32", arrays, axis=0, values_count=2), *arrays)


@pytest.mark.parametrize(("shapes", "options"), [([(2,), (3,)], (0, 2)), ([(2,), (2,)], (2, 2)), ([(2,)], (0, 2))])
def test_pack_of_what_does_not_fit_is_refused(shapes, options):
    arrays = [example("FLOAT32", shape) for shape in shapes]
    data = joined("PACK", "FLOAT32", arrays, axis=options[0], values_count=options[1])
    refused_by_both(data, *arrays)


def parted(op, type, inputs, count, **options):
    return one_op(op, inputs, [spec(type, ())] * count, **options)


@pytest.mark.parametrize("type", UNPACKED)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_unpack_of_every_type(type, axis):
    x = example(type, (2, 3, 5))
    count = x.shape[axis]
    same_as_litert(parted("UNPACK", type, [spec(type, x.shape)], count, num=count, axis=axis, version=5), x)


def test_unpack_of_a_vector_gives_scalars():
    x = example("FLOAT32", (3,))
    same_as_litert(parted("UNPACK", "FLOAT32", [spec("FLOAT32", (3,))], 3, num=3, axis=0), x)


@pytest.mark.parametrize(("shape", "num", "axis"), [((2, 3), 2, 1), ((0, 3), 3, 1), ((2, 3), 2, 2)])
def test_unpack_that_does_not_fit_is_refused(shape, num, axis):
    x = example("FLOAT32", shape)
    refused_by_both(parted("UNPACK", "FLOAT32", [spec("FLOAT32", shape)], num, num=num, axis=axis), x)


@pytest.mark.parametrize("type", SPLIT)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_split_of_every_type(type, axis):
    x = example(type, (6, 3, 9))
    inputs = [np.array(axis, np.int32), spec(type, x.shape)]
    same_as_litert(parted("SPLIT", type, inputs, 3, num_splits=3, version=4), x)


def test_split_along_an_axis_that_is_an_input():
    x, axis = example("FLOAT32", (4, 6)), np.array(1, np.int32)
    data = parted("SPLIT", "FLOAT32", [spec("INT32", ()), spec("FLOAT32", x.shape)], 2, num_splits=2)
    same_as_litert(data, axis, x)


@pytest.mark.parametrize(("axis", "count"), [(0, 3), (2, 2)])
def test_uneven_split_is_refused(axis, count):
    x = example("FLOAT32", (4, 6))
    inputs = [np.array(axis, np.int32), spec("FLOAT32", x.shape)]
    refused_by_both(parted("SPLIT", "FLOAT32", inputs, count, num_splits=count), x)


@pytest.mark.parametrize("type", SPLIT)
@pytest.mark.parametrize("sizes_type", [np.int32, np.int64])
@pytest.mark.parametrize("sizes", [(1, 4, 2), (2, -1, 0), (7, 0, 0)])
def test_split_v_of_every_type(type, sizes_type, sizes):
    x = example(type, (2, 7, 3))
    inputs = [spec(type, x.shape), np.array(sizes, sizes_type), np.array(1, np.int32)]
    same_as_litert(parted("SPLIT_V", type, inputs, 3, num_splits=3, version=2), x)


@pytest.mark.parametrize("sizes", [(1, 4), (-1, -1), (8, -1)])
def test_split_v_that_does_not_add_up_is_refused(sizes):
    x = example("FLOAT32", (7,))
    inputs = [spec("FLOAT32", x.shape), np.array(sizes, np.int32), np.array(0, np.int32)]
    refused_by_both(parted("SPLIT_V", "FLOAT32", inputs, 2, num_splits=2), x, match="size_splits")


def test_split_v_into_a_negative_size_is_refused():
    x = example("FLOAT32", (7,))
    inputs = [spec("FLOAT32", x.shape), np.array((9, -2), np.int32), np.array(0, np.int32)]
    with pytest.raises(RuntimeError, match="negative"):
        tflgpu_run(parted("SPLIT_V", "FLOAT32", inputs, 2, num_splits=2), [x])


def test_split_v_by_sizes_that_are_an_input():
    x, sizes = example("FLOAT32", (7, 2)), np.array([3, 4], np.int32)
    inputs = [spec("FLOAT32", x.shape), spec("INT32", (2,)), np.array(0, np.int32)]
    got = same_as_litert(parted("SPLIT_V", "FLOAT32", inputs, 2, num_splits=2), x, sizes)
    assert_same(got, [x[:3], x[3:]])
