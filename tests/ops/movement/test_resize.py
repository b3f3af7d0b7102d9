"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR against LiteRT."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, litert, one_op, tflgpu_run

from tflgpu.ops.movement.resize import _as_the_reference, _columns_first, float_neighbours

FLAGS = {"": {}, "align": {"align_corners": True}, "half": {"half_pixel_centers": True}}
SIZES = [
    ((3, 5), (7, 4)),
    ((1, 1), (3, 2)),
    ((6, 4), (3, 2)),
    ((5, 7), (1, 1)),
    ((4, 4), (9, 13)),
    ((2, 3), (2, 3)),
    ((13, 11), (5, 29)),
]
BILINEAR_TYPES = ("FLOAT32", "INT8", "UINT8", "INT16")
NEAREST_TYPES = (*BILINEAR_TYPES, "FLOAT16", "INT32", "UINT16", "UINT32", "BOOL")


def image(type, shape, seed=0):
    dtype = np.dtype(type.lower())
    rng = np.random.default_rng(seed)
    if dtype.kind == "f":
        return rng.normal(0, 50, shape).astype(dtype)
    limits = np.iinfo(dtype) if dtype.kind != "b" else None
    return (
        rng.integers(0, 2, shape).astype(bool)
        if limits is None
        else rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    )


def model(op, type, shape, size, dynamic=False, **flags):
    quantization = {"scale": 0.1, "zero_point": 0} if type in ("INT8", "UINT8", "INT16") else {}
    x = {"type": type, "shape": shape, **quantization}
    y = {**x, "shape": [shape[0], *size, shape[3]]}
    size = {"type": "INT32", "shape": [2]} if dynamic else np.array(size, "i4")
    return one_op(op, [x, size], [y], version=3, **flags)


def agree(data, inputs):
    assert_same(tflgpu_run(data, inputs), litert(data, inputs), rtol=0, atol=0)


@pytest.mark.parametrize("type", BILINEAR_TYPES)
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("size, out", SIZES)
def test_bilinear(type, flags, size, out):
    shape = (2, *size, 3)
    near(type, model("RESIZE_BILINEAR", type, shape, out, **FLAGS[flags]), [image(type, shape)])


@pytest.mark.parametrize("type", BILINEAR_TYPES)
@pytest.mark.parametrize("width", [43, 900])
def test_bilinear_in_more_than_one_block(type, width):
    shape = (1, 5, 6, 40)
    near(type, model("RESIZE_BILINEAR", type, shape, (23, width), half_pixel_centers=True), [image(type, shape)])


def near(type, data, inputs):
    # Products are added in another order, so that what cancels leaves errors of the terms, here up to 200.
    tolerance = {"rtol": 1e-6, "atol": 1e-4} if type == "FLOAT32" else {}
    assert_same(tflgpu_run(data, inputs), litert(data, inputs), **tolerance)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(*[st.integers(1, 12)] * 4, st.sampled_from(sorted(FLAGS)))
def test_mixing_columns_first_equals_the_references_order(h, w, oh, ow, flags):
    x, quick, plain = image("FLOAT32", (h, w, 3)), np.empty((oh, ow, 3), "f4"), np.empty((oh, ow, 3), "f4")
    corners, centres = "align" in flags, "half" in flags
    taps = float_neighbours(h, oh, corners, centres), float_neighbours(w, ow, corners, centres)
    _columns_first(x, quick, *taps)()
    _as_the_reference(x, plain, *taps)()
    np.testing.assert_allclose(quick, plain, rtol=1e-6, atol=1e-4)
    shape = (1, h, w, 3)
    [want] = litert(model("RESIZE_BILINEAR", "FLOAT32", shape, (oh, ow), **FLAGS[flags]), [x[None]])
    np.testing.assert_array_equal(plain, want[0])


@pytest.mark.parametrize("type", NEAREST_TYPES)
@pytest.mark.parametrize("size, out", SIZES[:5])
def test_nearest_of_every_type(type, size, out):
    shape = (2, *size, 3)
    for flags in (*FLAGS.values(), FLAGS["align"] | FLAGS["half"]):
        agree(model("RESIZE_NEAREST_NEIGHBOR", type, shape, out, **flags), [image(type, shape)])


@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_a_size_that_is_not_constant_makes_the_output_dynamic(op):
    shape = (1, 3, 4, 2)
    data = model(op, "FLOAT32", shape, (5, 6), dynamic=True)
    for size in ((5, 6), (1, 9)):
        near("FLOAT32", data, [image("FLOAT32", shape), np.array(size, "i4")])


@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_no_channels_and_no_images(op):
    for shape in ((2, 3, 4, 0), (0, 3, 4, 2)):
        data = model(op, "FLOAT32", [max(d, 1) for d in shape], (5, 6))
        [got] = tflgpu_run(data, [np.zeros(shape, "f4")])
        assert got.shape == (shape[0], 5, 6, shape[3])


@pytest.mark.parametrize("size", [(0, 3), (3, -1)])
def test_a_size_that_is_not_positive_is_refused(size):
    data = one_op(
        "RESIZE_BILINEAR",
        [{"type": "FLOAT32", "shape": [1, 2, 2, 1]}, np.array(size, "i4")],
        [{"type": "FLOAT32", "shape": [1, 1, 1, 1]}],
    )
    with pytest.raises(RuntimeError, match="must be positive"):
        tflgpu_run(data, [np.zeros((1, 2, 2, 1), "f4")])


def test_both_flags_are_refused_for_bilinear():
    data = model("RESIZE_BILINEAR", "FLOAT32", (1, 2, 2, 1), (3, 3), align_corners=True, half_pixel_centers=True)
    for run in (tflgpu_run, litert):
        with pytest.raises(RuntimeError, match="align_corners must be False"):
            run(data, [np.zeros((1, 2, 2, 1), "f4")])
