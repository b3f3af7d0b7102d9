"""SPACE_TO_DEPTH, SPACE_TO_BATCH_ND and what undoes them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, one_op, tflgpu_run
from single_op import FIXED_SIZE, example, model_of, refused_by_both, same_as_litert

derandomized = settings(max_examples=30, derandomize=True, deadline=None)
sizes = st.sampled_from([1, 2, 3, 5])


def ints(*values, dtype=np.int32):
    return np.array(values, dtype)


@pytest.mark.parametrize("type", ["FLOAT32", "INT8", "UINT8", "INT32", "INT64"])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_space_to_depth_and_back(type, block):
    x = example(type, (2, 6, 12, 3))
    deep = same_as_litert(model_of("SPACE_TO_DEPTH", x, type, block_size=block), x)[0]
    (back,) = same_as_litert(model_of("DEPTH_TO_SPACE", deep, type, block_size=block), deep)
    assert_same([back], [x])


@pytest.mark.parametrize("op", ["SPACE_TO_DEPTH", "DEPTH_TO_SPACE"])
@pytest.mark.parametrize("block", [0, -2, 4])
def test_blocks_that_do_not_fit_are_refused(op, block):
    x = example("FLOAT32", (1, 6, 6, 9))
    refused_by_both(model_of(op, x, "FLOAT32", block_size=block), x)


@derandomized
@given(st.lists(sizes, min_size=2, max_size=2), st.lists(st.tuples(*[st.integers(0, 3)] * 2), min_size=2, max_size=2))
@pytest.mark.parametrize("spatial", [1, 2])
def test_space_to_batch_nd_and_back(spatial, block, paddings):
    block, paddings = block[:spatial], [list(p) for p in paddings[:spatial]]
    shape = (*(2, 5, 7)[: 1 + spatial], 3)
    for i, b in enumerate(block):
        paddings[i][1] += -(shape[1 + i] + sum(paddings[i])) % b
    x = example("INT16", shape)
    rest = ints(*block), np.array(paddings, np.int32)
    batches = same_as_litert(model_of("SPACE_TO_BATCH_ND", x, "INT16", *rest, version=4), x)[0]
    (back,) = same_as_litert(model_of("BATCH_TO_SPACE_ND", batches, "INT16", *rest, version=4), batches)
    assert_same([back], [x])


@pytest.mark.parametrize("type", FIXED_SIZE)
def test_space_to_batch_nd_of_every_type(type):
    x = example(type, (1, 3, 4, 2))
    rest = ints(2, 2), np.array([[1, 0], [1, 1]], np.int32)
    batches = same_as_litert(model_of("SPACE_TO_BATCH_ND", x, type, *rest, version=4), x)[0]
    same_as_litert(model_of("BATCH_TO_SPACE_ND", batches, type, *rest, version=4), batches)


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
def test_space_to_batch_nd_pads_with_the_zero_point(type):
    x = example(type, (1, 3, 3, 2))
    quantized = {"type": type, "shape": x.shape, "scale": 0.5, "zero_point": 7}
    rest = ints(2, 2), np.array([[1, 0], [0, 1]], np.int32)
    same_as_litert(one_op("SPACE_TO_BATCH_ND", [quantized, *rest], [quantized | {"shape": ()}]), x)


@pytest.mark.parametrize(("op", "rest"), [("SPACE_TO_BATCH_ND", 0), ("BATCH_TO_SPACE_ND", 0), ("EXPAND_DIMS", None)])
@pytest.mark.parametrize(("type", "zero_points"), [("INT8", (1, 2)), ("UINT8", (1, 2)), ("INT16", (1, 1))])
def test_movement_into_another_quantization_is_refused(op, rest, type, zero_points):
    x = example(type, (4, 4, 4, 1))
    quantized = [{"type": type, "shape": x.shape, "scale": 0.5, "zero_point": z} for z in zero_points]
    sizes_of_blocks = [ints(1, 1), np.zeros((2, 2), np.int32)] if rest == 0 else [np.int32(0)]
    refused_by_both(one_op(op, [quantized[0], *sizes_of_blocks], [quantized[1]]), x)


def test_space_to_batch_nd_by_sizes_that_are_inputs():
    x, block, paddings = example("FLOAT32", (1, 4, 4, 1)), ints(2, 2), np.zeros((2, 2), np.int32)
    given_later = {"type": "INT32", "shape": (2,)}, {"type": "INT32", "shape": (2, 2)}
    same_as_litert(model_of("SPACE_TO_BATCH_ND", x, "FLOAT32", *given_later), x, block, paddings)


@pytest.mark.parametrize("block", [(0, 2), (2, 3)])
def test_space_to_batch_nd_refuses_blocks_that_do_not_fit(block):
    x = example("FLOAT32", (1, 4, 4, 1))
    if 0 not in block:  # TensorFlow Lite aborts on a division by zero in some builds
        refused_by_both(model_of("SPACE_TO_BATCH_ND", x, "FLOAT32", ints(*block), np.zeros((2, 2), np.int32)), x)
    with pytest.raises(RuntimeError):
        tflgpu_run(model_of("SPACE_TO_BATCH_ND", x, "FLOAT32", ints(*block), np.zeros((2, 2), np.int32)), [x])
