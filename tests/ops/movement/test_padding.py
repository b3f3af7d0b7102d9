"""PAD, PADV2, MIRROR_PAD and STABLEHLO_PAD, held to LiteRT."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, one_op, tflgpu_run
from single_op import FIXED_SIZE, example, model_of, refused_by_both, same_as_litert

from tflgpu.ops.movement.padding import SMALL_NBYTES, Placement, borders

derandomized = settings(max_examples=30, derandomize=True, deadline=None)
sizes = st.sampled_from([1, 2, 3, 5])
PADDED = ["FLOAT32", "FLOAT16", "BFLOAT16", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL"]


@pytest.mark.parametrize("type", PADDED)
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_pad_of_every_type(type, dtype):
    x = example(type, (2, 3, 4))
    same_as_litert(model_of("PAD", x, type, np.array([[1, 0], [0, 2], [3, 1]], dtype), version=5), x)


@pytest.mark.parametrize("type", PADDED)
def test_padv2_of_every_type(type):
    x, filler = example(type, (2, 3, 4)), example(type, (1,), 1)
    paddings = np.array([[1, 0], [0, 2], [3, 1]], np.int32)
    same_as_litert(model_of("PADV2", x, type, paddings, (filler, type), version=5), x)


@derandomized
@given(st.lists(st.tuples(sizes, st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=5))
def test_pad_of_any_rank(rows):
    x = example("FLOAT32", tuple(d for d, _, _ in rows))
    same_as_litert(model_of("PAD", x, "FLOAT32", np.array([r[1:] for r in rows], np.int32)), x)


@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT16"])
@pytest.mark.parametrize("op", ["PAD", "PADV2"])
def test_quantized_pad_is_with_the_zero_point(op, type):
    x = example(type, (1, 3, 4, 2))
    zero_point = 0 if type == "INT16" else 9
    quantized = {"type": type, "shape": x.shape, "scale": 0.5, "zero_point": zero_point}
    filler = [] if op == "PAD" else [quantized | {"shape": (1,), "value": np.array([5], type.lower())}]
    paddings = np.array([[0, 0], [1, 2], [2, 0], [0, 0]], np.int32)
    same_as_litert(one_op(op, [quantized, paddings, *filler], [quantized | {"shape": ()}], version=3), x)


def test_padv2_with_a_value_of_another_scale_is_refused():
    x = example("INT8", (2,))
    quantized = {"type": "INT8", "shape": x.shape, "scale": 0.5, "zero_point": 9}
    filler = quantized | {"shape": (1,), "value": np.array([5], np.int8), "scale": 0.25}
    data = one_op("PADV2", [quantized, np.array([[1, 0]], np.int32), filler], [quantized | {"shape": ()}], version=2)
    refused_by_both(data, x, match="quantized as the output")


def test_pad_by_paddings_and_a_value_that_are_inputs():
    x, paddings, filler = example("FLOAT32", (2, 3)), np.array([[1, 0], [0, 2]], np.int32), np.float32(7)
    given_later = {"type": "INT32", "shape": (2, 2)}, {"type": "FLOAT32", "shape": ()}
    same_as_litert(model_of("PADV2", x, "FLOAT32", *given_later), x, paddings, filler)
    same_as_litert(model_of("PADV2", x, "FLOAT32", paddings, given_later[1]), x, filler)


@pytest.mark.parametrize("paddings", [[[-1, 0]], [[0, 0], [0, 0]], [[2**31 - 1, 9]]])
def test_paddings_that_do_not_fit_are_refused(paddings):
    x = example("FLOAT32", (3,))
    refused_by_both(model_of("PAD", x, "FLOAT32", np.array(paddings, np.int32)), x)


@pytest.mark.parametrize("shape", [(1, 40, 40, 8), (3, 5000)])
def test_a_large_pad_fills_its_borders_alone(shape):
    x = example("FLOAT32", shape)
    assert x.nbytes > SMALL_NBYTES
    paddings = np.array([[0, 1]] + [[1, 2]] * (len(shape) - 1), np.int32)
    same_as_litert(model_of("PADV2", x, "FLOAT32", paddings, np.float32(3)), x)


@derandomized
@given(st.lists(st.tuples(sizes, st.integers(0, 2), st.integers(0, 2)), max_size=4))
def test_borders_and_interior_cover_every_pixel_once(rows):
    y = np.zeros([d + a + b for d, a, b in rows], np.int32)
    inner = [slice(a, a + d) for d, a, _ in rows]
    for edge in borders(y, inner):
        edge += 1
    y[tuple(inner)] += 1
    assert (y == 1).all()


@pytest.mark.parametrize("type", FIXED_SIZE)
@pytest.mark.parametrize("mode", ["REFLECT", "SYMMETRIC"])
def test_mirror_pad_of_every_type(type, mode):
    x = example(type, (3, 4, 5))
    paddings = np.array([[1, 2], [0, 3], [4, 0]], np.int32)
    same_as_litert(model_of("MIRROR_PAD", x, type, paddings, mode=mode, version=2), x)


@derandomized
@given(st.data())
@pytest.mark.parametrize("mode", ["REFLECT", "SYMMETRIC"])
def test_mirror_pad_of_any_rank(mode, data):
    shape = data.draw(st.lists(sizes, min_size=1, max_size=4))
    most = [d - (mode == "REFLECT") for d in shape]
    paddings = [[data.draw(st.integers(0, m)) for _ in range(2)] for m in most]
    x = example("INT32", tuple(shape))
    same_as_litert(model_of("MIRROR_PAD", x, "INT32", np.array(paddings, np.int64), mode=mode), x)


@pytest.mark.parametrize(("mode", "paddings"), [("REFLECT", [[3, 0]]), ("SYMMETRIC", [[0, 4]]), ("REFLECT", [[-1, 0]])])
def test_mirror_pad_beyond_the_input_is_refused(mode, paddings):
    x = example("FLOAT32", (3,))
    data = model_of("MIRROR_PAD", x, "FLOAT32", np.array(paddings, np.int32), mode=mode)
    refused_by_both(data, x, match="MirrorPad paddings")


def test_mirror_pad_by_paddings_that_are_an_input():
    x, paddings = example("FLOAT32", (3, 2)), np.array([[1, 2], [0, 1]], np.int32)
    data = model_of("MIRROR_PAD", x, "FLOAT32", {"type": "INT32", "shape": (2, 2)}, mode="REFLECT")
    same_as_litert(data, x, paddings)


def test_mirror_pad_into_another_quantization_is_refused():
    x = example("INT8", (3,))
    quantized = {"type": "INT8", "shape": x.shape, "scale": 0.5, "zero_point": 9}
    paddings = np.array([[1, 1]], np.int32)
    refused_by_both(one_op("MIRROR_PAD", [quantized, paddings], [quantized | {"scale": 0.25}], mode="REFLECT"), x)


def stablehlo_pad(x, type, filler, rows):
    low, high, interior = ([int(v) for v in column] for column in zip(*rows, strict=True))
    options = {"edge_padding_low": low, "edge_padding_high": high, "interior_padding": interior}
    return model_of("STABLEHLO_PAD", x, type, (filler, type), **options)


@pytest.mark.parametrize("type", FIXED_SIZE)
def test_stablehlo_pad_of_every_type(type):
    x, filler = example(type, (3, 4)), example(type, (1,), 1)[0]
    same_as_litert(stablehlo_pad(x, type, filler, [(1, 2, 1), (-1, 3, 2)]), x)


@settings(derandomized, max_examples=100)
@given(
    st.lists(
        st.tuples(sizes, st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 3))), min_size=1, max_size=4
    )
)
def test_stablehlo_pad_cuts_off_and_spreads(rows):
    x = example("INT32", tuple(d for d, _ in rows))
    if all(Placement(*p).size(d) > 0 for d, p in rows):
        same_as_litert(stablehlo_pad(x, "INT32", np.int32(7), [p for _, p in rows]), x)


def test_stablehlo_pad_to_nothing_is_empty():
    x = example("INT32", (3, 2))
    got = tflgpu_run(stablehlo_pad(x, "INT32", np.int32(7), [(-2, -1, 0), (0, 0, 0)]), [x])
    assert_same(got, [np.zeros((0, 0), np.int32)])


def test_stablehlo_pad_with_a_negative_interior_is_refused():
    x = example("INT32", (3,))
    refused_by_both(stablehlo_pad(x, "INT32", np.int32(7), [(0, 0, -1)]), x, match="interior padding")
