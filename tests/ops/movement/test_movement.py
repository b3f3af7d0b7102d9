"""Operators that are views of their input, and SPACE_TO_BATCH_ND and its inverse, held to LiteRT."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, litert, one_op, tflgpu_run
from single_op import FIXED_SIZE, example, model_of, refused_by_both, same_as_litert

derandomized = settings(max_examples=30, derandomize=True, deadline=None)
sizes = st.sampled_from([1, 2, 3, 5])


def ints(*values, dtype=np.int32):
    return np.array(values, dtype)


@pytest.mark.parametrize("type", [*FIXED_SIZE, "INT4"])
def test_transpose_moves_every_type(type):
    x = example(type, (2, 3, 4))
    same_as_litert(model_of("TRANSPOSE", x, type, ints(2, 0, 1)), x)


@derandomized
@given(st.lists(sizes, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_transpose_of_any_rank(shape, random):
    perm = random.sample(range(len(shape)), len(shape))
    perm = [p - len(shape) if random.random() < 0.3 else p for p in perm]
    x = example("FLOAT32", tuple(shape))
    same_as_litert(model_of("TRANSPOSE", x, "FLOAT32", ints(*perm)), x)


def test_transpose_by_a_permutation_that_is_an_input():
    x, perm = example("INT8", (2, 3, 5)), ints(1, -1, 0)
    same_as_litert(model_of("TRANSPOSE", x, "INT8", {"type": "INT32", "shape": (3,)}), x, perm)


def test_transpose_refuses_what_is_no_permutation():
    x = example("FLOAT32", (2, 3))
    refused_by_both(model_of("TRANSPOSE", x, "FLOAT32", ints(0, 2)), x, match="out of bounds")
    refused_by_both(model_of("TRANSPOSE", x, "FLOAT32", ints(0, 1, 2)), x, match="as many entries of perm")
    with pytest.raises(RuntimeError, match="twice"):
        tflgpu_run(model_of("TRANSPOSE", x, "FLOAT32", ints(1, 1)), [x])


@pytest.mark.parametrize("type", [*FIXED_SIZE, "INT4", "STRING"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_slice_of_every_type(type, dtype):
    x = example(type, (3, 4, 5))
    same_as_litert(model_of("SLICE", x, type, ints(1, 0, 2, dtype=dtype), ints(2, -1, 3, dtype=dtype), version=5), x)


@pytest.mark.parametrize("declared", [(), (2, 1), (2, 2)])
def test_slice_from_a_begin_that_is_an_input(declared):
    x, begin, size = example("FLOAT32", (3, 4)), ints(1, 2), ints(2, 1)
    data = one_op(
        "SLICE",
        [
            {"type": "FLOAT32", "shape": (3, 4)},
            {"type": "INT32", "shape": (2,)},
            size if declared == (2, 1) else {"type": "INT32", "shape": (2,)},
        ],
        [{"type": "FLOAT32", "shape": declared, "shape_signature": (-1, -1) if declared == (2, 2) else declared}],
    )
    same_as_litert(data, x, begin, *([] if declared == (2, 1) else [size]))


@pytest.mark.parametrize(("begin", "size"), [((0, 3), (1, 3)), ((1, 0), (-2, 1)), ((0, 5), (1, 0))])
def test_slice_outside_of_the_input_is_refused(begin, size):
    x = example("FLOAT32", (3, 4))
    refused_by_both(model_of("SLICE", x, "FLOAT32", ints(*begin), ints(*size)), x, match="Invalid")


def test_slice_before_the_input_is_refused():
    x = example("FLOAT32", (3, 4))
    with pytest.raises(RuntimeError, match="Invalid begin and size"):
        tflgpu_run(model_of("SLICE", x, "FLOAT32", ints(-1, 0), ints(1, 1)), [x])


def strided_slice(x, type, begin, end, strides, masks=(0, 0, 0, 0, 0), version=4, offset=False):
    names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    options = dict(zip(names, map(int, masks), strict=True)) | {"offset": offset}
    return model_of("STRIDED_SLICE", x, type, begin, end, strides, version=version, **options)


@pytest.mark.parametrize("type", [*FIXED_SIZE, "STRING"])
def test_strided_slice_of_every_type(type):
    x = example(type, (3, 4, 5))
    same_as_litert(strided_slice(x, type, ints(0, 3, -1), ints(3, 0, 5), ints(2, -1, 1), (1, 0, 0, 0, 4)), x)


@settings(derandomized, max_examples=150)
@given(st.data())
def test_strided_slice_by_any_masks(data):
    shape = data.draw(st.lists(sizes, min_size=1, max_size=4))
    count = data.draw(st.integers(1, len(shape)))
    entries = [
        data.draw(st.tuples(*[st.integers(-6, 6)] * 2, st.sampled_from([1, 1, 2, -1, -2]))) for _ in range(count)
    ]
    begin, end, ellipsis, new = (data.draw(st.integers(0, 2**count - 1)) for _ in range(4))
    ellipsis = data.draw(st.sampled_from([0, *(1 << i for i in range(count))]))
    new = data.draw(st.sampled_from([0, 0, new])) & ~ellipsis
    shrink = 0
    for i, (b, _, stride) in enumerate(entries):
        # An index past the end makes TensorFlow Lite read past the end.
        if stride == 1 and not (ellipsis or new) and b < shape[i] and data.draw(st.booleans()):
            shrink |= 1 << i
    x = example("INT32", tuple(shape))
    columns = [ints(*column) for column in zip(*entries, strict=True)]
    same_as_litert(strided_slice(x, "INT32", *columns, (begin, end, ellipsis, new, shrink)), x)


def test_strided_slice_between_inputs():
    x, begin, end = example("FLOAT32", (5, 6)), ints(1, 2), ints(3, 4)
    bounds = {"type": "INT32", "shape": (2,)}
    same_as_litert(strided_slice(x, "FLOAT32", bounds, bounds, ints(1, 1)), x, begin, end)


def test_strided_slice_of_a_size_from_an_input():
    x, begin = example("FLOAT32", (5, 6)), ints(1, -5)
    data = strided_slice(x, "FLOAT32", {"type": "INT32", "shape": (2,)}, ints(3, 4), ints(1, 2), version=8, offset=True)
    same_as_litert(data, x, begin, resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES")


def test_strided_slice_at_an_index_that_is_an_input_has_a_known_shape():
    from tflgpu import Interpreter

    x = example("FLOAT32", (5, 6))
    bounds = {"type": "INT32", "shape": (2,)}
    data = strided_slice(x, "FLOAT32", bounds, bounds, ints(1, 1), (2, 2, 0, 0, 1))
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    assert interpreter.get_output_details()[0]["shape"].tolist() == [6]
    for row in (3, -1):
        assert_same(tflgpu_run(data, [x, ints(row, 0), ints(0, 0)]), [x[row]])


def test_a_slice_that_waits_for_its_strides_is_left_to_the_cpu():
    from tflgpu.delegates.device import DeviceLimits
    from tflgpu.delegates.lowering import lower
    from tflgpu.delegation.delegate import Unsupported
    from tflgpu.model.loader import load

    bounds = {"type": "INT32", "shape": (1,)}
    data = strided_slice(example("FLOAT32", (5, 6)), "FLOAT32", bounds, bounds, bounds, (0, 0, 0, 0, 1))
    (node,) = load(content=data).graphs[0].nodes
    with pytest.raises(Unsupported, match="strides that is not constant"):
        lower(node, DeviceLimits())


def test_strided_slice_refuses_a_stride_of_zero_and_an_index_past_the_end():
    x = example("FLOAT32", (5,))
    refused_by_both(strided_slice(x, "FLOAT32", ints(0), ints(5), ints(0)), x, match="has to be non-zero")
    with pytest.raises(RuntimeError, match="out of bounds"):
        tflgpu_run(strided_slice(x, "FLOAT32", ints(7), ints(8), ints(1), (0, 0, 0, 0, 1)), [x])


@pytest.mark.parametrize("type", ["FLOAT32", "FLOAT16", "BFLOAT16", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL"])
@pytest.mark.parametrize("axes", [(1,), (-1, 1), (0, 1, 2)])
def test_reverse_v2(type, axes):
    x = example(type, (2, 3, 5))
    same_as_litert(model_of("REVERSE_V2", x, type, ints(*axes), version=4), x)


def test_reverse_v2_of_no_dimension_changes_nothing():
    x = example("INT32", (2, 3))  # where LiteRT crashes
    assert_same(tflgpu_run(model_of("REVERSE_V2", x, "INT32", ints()), [x]), [x])


def test_reverse_v2_by_axes_that_are_an_input():
    x, axes = example("INT8", (2, 3, 5)), ints(1, 2)
    same_as_litert(model_of("REVERSE_V2", x, "INT8", {"type": "INT32", "shape": (2,)}), x, axes)


@pytest.mark.parametrize("axes", [(0, 2), (1, 1), (3,)])
def test_reverse_v2_refuses_axes_apart_and_twice(axes):
    x = example("FLOAT32", (2, 3, 5))
    refused_by_both(model_of("REVERSE_V2", x, "FLOAT32", ints(*axes)), x)


@pytest.mark.parametrize("type", FIXED_SIZE)
@pytest.mark.parametrize("new", [(3, 4), (2, 3, 4), (5, 1, 3, 4)])
def test_broadcast_to(type, new):
    x = example(type, (3, 1))
    same_as_litert(model_of("BROADCAST_TO", x, type, ints(*new), version=2), x)


def test_broadcast_to_refuses_what_does_not_fit():
    x = example("FLOAT32", (3, 2))
    for new in ((3,), (3, 4), (2, 2)):
        refused_by_both(model_of("BROADCAST_TO", x, "FLOAT32", ints(*new), version=2), x, match="broadcastable")


@pytest.mark.parametrize("type", [*FIXED_SIZE, "STRING"])
def test_tile_of_every_type(type):
    x = example(type, (2, 3))
    same_as_litert(model_of("TILE", x, type, ints(3, 2), version=2), x)


@derandomized
@given(st.lists(st.tuples(sizes, st.integers(0, 3)), max_size=5))
def test_tile_of_any_rank(pairs):
    x = example("FLOAT32", tuple(d for d, _ in pairs))
    same_as_litert(model_of("TILE", x, "FLOAT32", ints(*(m for _, m in pairs), dtype=np.int64)), x)


def test_tile_by_multiples_that_are_an_input():
    x, multiples = example("INT8", (2, 3)), ints(2, 2)
    got = same_as_litert(
        model_of("TILE", x, "INT8", {"type": "INT32", "shape": (2,)}, version=3),
        x,
        multiples,
        resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    )
    assert_same(got, [np.tile(x, (2, 2))])


@pytest.mark.parametrize(
    ("op", "size"), [("TILE", (-1, 1)), ("TILE", (2**30, 2**30)), ("BROADCAST_TO", (2**20, 2**20, 1, 1))]
)
def test_a_huge_or_negative_size_is_refused_before_anything_is_allocated(op, size):
    x = example("FLOAT32", (1, 1))
    with pytest.raises(RuntimeError):
        tflgpu_run(model_of(op, x, "FLOAT32", ints(*size), version=2), [x])


def test_a_string_is_not_transposed():
    x = example("STRING", (2, 3))
    with pytest.raises(ValueError, match="STRING is not supported; supported: BFLOAT16"):
        tflgpu_run(model_of("TRANSPOSE", x, "STRING", ints(1, 0)), [x])
    with pytest.raises(RuntimeError):
        litert(model_of("TRANSPOSE", x, "STRING", ints(1, 0)), [x])
