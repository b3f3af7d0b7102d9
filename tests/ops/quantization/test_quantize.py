"""QUANTIZE, DEQUANTIZE, FAKE_QUANT, CAST, BITCAST, NumericVerify and the Hadamard rotation, held to LiteRT."""

import itertools

import numpy as np
import pytest
from flatbuffers import flexbuffers
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import litert, one_op, tflgpu_run
from single_op import example, refused_by_both, same_as_litert

derandomized = settings(max_examples=20, derandomize=True, deadline=None)
OPTIMIZED = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
CODES = ["INT8", "UINT8", "INT16"]


def spec(type, shape, **quantization):
    return {"type": type, "shape": shape, **quantization}


def ties(scale):
    """Multiples of half the scale, and their neighbours."""
    x = np.arange(-300, 301, dtype=np.float32) * np.float32(scale / 2)
    return np.concatenate([x, np.nextafter(x, np.float32(9e9)), np.nextafter(x, np.float32(-9e9))])


@pytest.mark.parametrize("type", CODES)
@pytest.mark.parametrize(("scale", "zero_point"), [(0.5, 0), (0.1, 7), (0.0123, 100)])
def test_floats_to_quantized_values_round_ties_away_from_zero(type, scale, zero_point):
    x = np.concatenate([ties(scale), np.array([1e6, -1e6, 0.0, -0.0], np.float32)])
    data = one_op("QUANTIZE", [spec("FLOAT32", x.shape)], [spec(type, (), scale=scale, zero_point=zero_point)])
    same_as_litert(data, x)


@pytest.mark.parametrize(("type", "zero_point", "version"), [("INT4", 1, 4), ("UINT4", 7, 5)])
def test_reals_to_4_bits(type, zero_point, version):
    x = np.linspace(-9, 9, 37, dtype=np.float32)
    output = spec(type, (), scale=0.75, zero_point=zero_point)
    [got] = tflgpu_run(one_op("QUANTIZE", [spec("FLOAT32", x.shape)], [output], version=version), [x])
    low, high = (-8, 7) if type == "INT4" else (0, 15)
    away = np.sign(x) * np.floor(np.abs(x / np.float32(0.75)) + 0.5)
    np.testing.assert_array_equal(got, np.clip(away + zero_point, low, high))


@pytest.mark.parametrize("type", CODES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_floats_to_quantized_values_by_channel(type, axis):
    x = example("FLOAT32", (3, 3, 3)) * 9
    output = spec(type, x.shape, scale=[0.5, 0.01, 0.3], zero_point=[0, 3, 5], axis=axis)
    same_as_litert(one_op("QUANTIZE", [spec("FLOAT32", x.shape)], [output], version=3), x)


PAIRS = [p for p in itertools.product(CODES, CODES) if p != ("INT16", "UINT8")]


@pytest.mark.parametrize(("source", "target"), [*PAIRS, ("INT16", "INT32"), ("INT32", "INT8"), ("INT32", "INT16")])
@pytest.mark.parametrize("scales", [(0.5, 0.5), (0.05, 0.3), (0.3, 0.05), (2.0, 0.001)])
def test_quantized_values_to_quantized_values(source, target, scales):
    def zero(type):
        return {"INT8": -7, "UINT8": 121}.get(type, 0)

    x = example(source, (2000,))
    if source == "INT32":
        x = x >> 12
    ins = [spec(source, x.shape, scale=scales[0], zero_point=zero(source))]
    same_as_litert(one_op("QUANTIZE", ins, [spec(target, (), scale=scales[1], zero_point=zero(target))], version=2), x)


def test_sign_bit_flip_between_signed_and_unsigned():
    x = np.arange(256, dtype=np.uint8)
    ins, out = spec("UINT8", (256,), scale=0.5, zero_point=128), spec("INT8", (256,), scale=0.5, zero_point=0)
    [got] = same_as_litert(one_op("QUANTIZE", [ins], [out], version=2), x)
    np.testing.assert_array_equal(got, (x ^ 0x80).view(np.int8))


def test_requantizations_that_upstream_does_not_do_are_refused():
    ins, out = spec("INT16", (3,), scale=0.5, zero_point=0), spec("UINT8", (3,), scale=0.5, zero_point=0)
    refused_by_both(one_op("QUANTIZE", [ins], [out], version=2), np.ones(3, np.int16), match="not currently supported")


@pytest.mark.parametrize("type", CODES)
@pytest.mark.parametrize("scale", [0.5, 0.1, 1e-7])
def test_quantized_values_to_floats(type, scale):
    x = example(type, (3001,))
    zero_point = 0 if type == "INT16" else 17
    ins = [spec(type, x.shape, scale=scale, zero_point=zero_point)]
    [got] = tflgpu_run(one_op("DEQUANTIZE", ins, [spec("FLOAT32", ())], version=3), [x])
    [want] = litert(one_op("DEQUANTIZE", ins, [spec("FLOAT32", ())], version=3), [x])
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
@pytest.mark.parametrize("axis", [0, 1])
def test_quantized_values_to_floats_by_channel(type, axis):
    x = example(type, (3, 3, 5))
    ins = [spec(type, x.shape, scale=[0.5, 0.01, 0.3], zero_point=[0, 3, 5], axis=axis)]
    same_as_litert(one_op("DEQUANTIZE", ins, [spec("FLOAT32", x.shape)], version=5), x)


@pytest.mark.parametrize(
    ("type", "low", "high", "version"), [("INT4", -8, 7, 6), ("INT2", -2, 1, 7), ("UINT4", 0, 15, 8)]
)
def test_packed_values_to_floats(type, low, high, version):
    x = np.random.default_rng(0).integers(low, high + 1, (5, 7)).astype(np.int8 if low else np.uint8)
    constant = {"value": x, "type": type, "scale": 0.25, "zero_point": 1}
    data = one_op("DEQUANTIZE", [constant], [spec("FLOAT32", x.shape)], version=version)
    [got] = tflgpu_run(data, [])
    np.testing.assert_array_equal(got, (x.astype(np.float32) - 1) / 4)


def test_float16_to_float32():
    x = np.arange(65536, dtype=np.uint16).view(np.float16)
    x = x[~np.isnan(x)]
    same_as_litert(one_op("DEQUANTIZE", [spec("FLOAT16", x.shape)], [spec("FLOAT32", x.shape)], version=3), x)


@derandomized
@given(st.floats(-20, 0), st.floats(0.01, 20), st.integers(2, 16))
def test_fake_quantization(low, high, num_bits):
    x = np.concatenate([example("FLOAT32", (200,)) * 10, np.linspace(low, high, 57, dtype=np.float32)])
    io = spec("FLOAT32", x.shape)
    same_as_litert(one_op("FAKE_QUANT", [io], [io], min=low, max=high, num_bits=num_bits, version=2), x)


def test_fake_quantization_of_a_narrow_range_is_refused():
    io = spec("FLOAT32", (2,))
    data = one_op("FAKE_QUANT", [io], [io], min=-1.0, max=1.0, num_bits=8, narrow_range=True, version=2)
    refused_by_both(data, np.zeros(2, np.float32), match="narrow_range")


FLOATS = ["FLOAT32", "FLOAT16", "BFLOAT16", "FLOAT64"]
INTEGERS = ["INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64"]
CAST = [*FLOATS, *INTEGERS, "BOOL", "COMPLEX64"]


def castable(type):
    x = example(type, (40,))
    if type in FLOATS:
        limits = [0.0, -0.0, 0.5, -0.5, 1.5, -1.9, 127.9, 128, -128.9, -129, 255.5, 256, 32768, 65535, 65504, -32769]
        with np.errstate(over="ignore"):
            return np.concatenate([x, np.array(limits).astype(x.dtype)])
    return x


@pytest.mark.parametrize("source", CAST)
@pytest.mark.parametrize("target", CAST)
def test_cast_between_all_types(source, target):
    x = castable(source)
    data = one_op("CAST", [spec(source, x.shape)], [spec(target, x.shape)], version=7)
    same_as_litert(data, x)


@pytest.mark.parametrize("source", FLOATS)
@pytest.mark.parametrize("target", [*INTEGERS, "BOOL"])
def test_cast_of_nan_and_infinities_saturates(source, target):
    x = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38])
    with np.errstate(over="ignore"):
        x = x.astype(example(source, ()).dtype)
    same_as_litert(one_op("CAST", [spec(source, x.shape)], [spec(target, x.shape)], version=7), x)


@pytest.mark.parametrize(("type", "low", "high"), [("INT4", -8, 7), ("INT2", -2, 1), ("UINT4", 0, 15)])
def test_cast_to_and_from_packed_integers(type, low, high):
    x = np.array([-99, -8.5, -2, -1.5, 0, 0.9, 1, 1.9, 7.7, 15.9, 99], np.float32)
    packed, real = spec(type, x.shape), spec("FLOAT32", x.shape)
    [got] = tflgpu_run(one_op("CAST", [real], [packed], version=8), [x])
    np.testing.assert_array_equal(got, np.trunc(np.clip(x, low, high)))
    [back] = tflgpu_run(one_op("CAST", [packed], [real], version=8), [got])
    np.testing.assert_array_equal(back, got.astype(np.float32))


@pytest.mark.parametrize(("source", "target"), [("INT4", "INT32"), ("INT32", "INT4"), ("STRING", "FLOAT32")])
def test_cast_that_upstream_lacks_is_refused(source, target):
    with pytest.raises(RuntimeError, match="not supported"):
        data = one_op("CAST", [spec(source, (2,))], [spec(target, (2,))], version=8)
        tflgpu_run(data, [example(source if source != "INT4" else "INT8", (2,))])


@pytest.mark.parametrize(
    ("source", "target", "shape"),
    [
        ("FLOAT32", "INT32", (3, 5)),
        ("FLOAT32", "UINT8", (3, 5)),
        ("UINT8", "FLOAT32", (3, 4)),
        ("INT16", "INT64", (3, 4)),
        ("FLOAT64", "INT16", (3,)),
        ("INT32", "UINT32", ()),
        ("INT64", "COMPLEX64", (5,)),
    ],
)
def test_same_bytes_as_another_type(source, target, shape):
    x = example(source, shape)
    if target == "FLOAT32":
        x &= 0x3F
    same_as_litert(one_op("BITCAST", [spec(source, shape)], [spec(target, ())]), x)


def test_bytes_that_do_not_fill_an_element_are_refused():
    data = one_op("BITCAST", [spec("UINT8", (3, 3))], [spec("FLOAT32", ())])
    refused_by_both(data, example("UINT8", (3, 3)), match="output_type_size")


def verifier(type, scale, **options):
    ins = [spec(type, (4,), scale=scale, zero_point=3), spec("FLOAT32", (4,))]
    return one_op("NumericVerify", ins, [spec("FLOAT32", (4,))], custom=bytes(flexbuffers.Dumps(options)))


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
def test_numeric_verification_is_the_difference(type):
    values, reals = np.array([3, 4, 100, 0], type.lower()), np.array([0.0, 0.4, 50, -1], np.float32)
    same_as_litert(verifier(type, 0.5, tolerance=5.0, log_if_failed=False), values, reals)
    same_as_litert(verifier(type, 0.5, tolerance=5.0, log_if_failed=True), values, reals)


def test_numeric_verification_refuses_what_is_too_far():
    values, reals = np.array([3, 4, 100, 0], np.int8), np.array([0.0, 0.4, 40, -1], np.float32)
    refused_by_both(verifier("INT8", 0.5, tolerance=5.0, log_if_failed=True), values, reals, match="Mismatch")


@pytest.mark.parametrize(
    ("shape", "size"), [((2, 8), 4), ((3, 2, 128), 128), ((2, 3, 12), 4), ((1, 64), 64), ((2, 2), 1)]
)
def test_hadamard_rotation(shape, size):
    options = bytes(flexbuffers.Dumps({"hadamard_size": size, "random_binary_vector": [1] * size}))
    x = example("FLOAT32", shape)
    data = one_op("aeq.hadamard_rotation", [spec("FLOAT32", shape)], [spec("FLOAT32", shape)], custom=options)
    same_as_litert(data, x, resolver=OPTIMIZED)
