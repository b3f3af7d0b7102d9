"""AudioSpectrogram, Mfcc, RFFT2D and the real and imaginary part of complex numbers against LiteRT."""

from __future__ import annotations

import numpy as np
import pytest
from flatbuffers import flexbuffers
from ops.audio.fft_models import SIZES, model, transformed, values
from oracle import assert_same, litert, one_op, tflgpu_run

import tflgpu
from tflgpu.conformance.reference import answer


def agree(data, inputs, **tolerance):
    assert_same(tflgpu_run(data, inputs), litert(data, inputs), **tolerance)


def spec(type, *shape):
    return {"type": type, "shape": list(shape)}


def custom(op, inputs, output, options):
    return one_op(op, inputs, [spec("FLOAT32", *output)], custom=bytes(flexbuffers.Dumps(options)))


@pytest.mark.parametrize("size, stride, samples", [(4, 1, 20), (64, 16, 300), (100, 33, 500), (10, 3, 5), (2, 1, 2)])
@pytest.mark.parametrize("squared", [False, True])
def test_spectrogram(size, stride, samples, squared):
    x = np.random.default_rng(0).normal(size=(samples, 2)).astype("f4")
    options = {"window_size": size, "stride": stride, "magnitude_squared": squared}
    # The error of a sum of up to 100 products, relative to its greatest, not to what cancels.
    agree(custom("AudioSpectrogram", [spec("FLOAT32", samples, 2)], (2, 1, 1), options), [x], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size, stride", [(1, 1), (4, 0), (2**40, 1)])
def test_windows_out_of_range_are_refused(size, stride):
    options = {"window_size": size, "stride": stride, "magnitude_squared": False}
    with pytest.raises(RuntimeError, match="out of range"):
        tflgpu_run(custom("AudioSpectrogram", [spec("FLOAT32", 9, 1)], (1, 1, 1), options), [np.zeros((9, 1), "f4")])


@pytest.mark.parametrize(
    "bins, rate, upper, lower, channels, coefficients",
    [
        (257, 16000, 4000, 20, 40, 13),
        (513, 44100, 8000, 0, 20, 5),
        (65, 8000, 3000, 100, 30, 30),
        (33, 16000, 7999, 20, 40, 13),
    ],
)
def test_mfcc(bins, rate, upper, lower, channels, coefficients):
    x = np.abs(np.random.default_rng(0).normal(size=(2, 3, bins))).astype("f4")
    options = {
        "upper_frequency_limit": upper,
        "lower_frequency_limit": lower,
        "filterbank_channel_count": channels,
        "dct_coefficient_count": coefficients,
    }
    data = custom("Mfcc", [spec("FLOAT32", *x.shape), np.array(rate, "i4")], (2, 3, coefficients), options)
    agree(data, [x], rtol=1e-5, atol=1e-5)


def test_mfcc_of_frequencies_beyond_the_spectrum_is_zero():
    options = {"upper_frequency_limit": 9000, "filterbank_channel_count": 4, "dct_coefficient_count": 4}
    data = custom("Mfcc", [spec("FLOAT32", 1, 1, 33), np.array(16000, "i4")], (1, 1, 4), options)
    agree(data, [np.ones((1, 1, 33), "f4")])


@pytest.mark.parametrize(
    "changes", [{"upper_frequency_limit": 0}, {"dct_coefficient_count": 5}, {"dct_coefficient_count": 0}]
)
def test_mfcc_of_options_that_make_no_sense_is_refused(changes):
    options = {"upper_frequency_limit": 900, "filterbank_channel_count": 4, "dct_coefficient_count": 4} | changes
    data = custom("Mfcc", [spec("FLOAT32", 1, 1, 33), np.array(16000, "i4")], (1, 1, 4), options)
    with pytest.raises(RuntimeError, match="Mfcc"):
        tflgpu_run(data, [np.ones((1, 1, 33), "f4")])


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (16, 4), (1, 4), (8, 32)])
def test_rfft2d_crops_and_pads(size):
    x = np.random.default_rng(0).normal(size=(2, 7, 9)).astype("f4")
    h, w = size
    data = one_op("RFFT2D", [spec("FLOAT32", *x.shape), np.array(size, "i4")], [spec("COMPLEX64", 2, h, w // 2 + 1)])
    agree(data, [x], atol=1e-5)
    dynamic = one_op("RFFT2D", [spec("FLOAT32", *x.shape), spec("INT32", 2)], [spec("COMPLEX64", 2, h, w // 2 + 1)])
    agree(dynamic, [x, np.array(size, "i4")], atol=1e-5)


def test_rfft2d_of_other_sizes_than_powers_of_two_is_refused():
    data = one_op("RFFT2D", [spec("FLOAT32", 4, 4), np.array([4, 6], "i4")], [spec("COMPLEX64", 4, 4)])
    with pytest.raises(RuntimeError, match="not of powers of two"):
        tflgpu_run(data, [np.zeros((4, 4), "f4")])


ONE = {"FlexRFFT": "FLOAT32", "FlexIRFFT": "COMPLEX64", "FlexFFT": "COMPLEX64", "FlexIFFT": "COMPLEX64"}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("op", ONE)
def test_tensorflows_transforms_of_any_length(op, n):
    shape = (3, n // 2 + 1 if op == "FlexIRFFT" else n)
    x = values(ONE[op], shape)
    assert_same(tflgpu_run(model(op, ONE[op], shape, (n,)), [x]), [transformed(op, x, (n,))])


@pytest.mark.parametrize("op", ["FlexRFFT2D", "FlexIRFFT2D", "FlexFFT2D", "FlexIFFT2D"])
@pytest.mark.parametrize("shape", [(2, 6, 10), (2, 3, 4), (2, 9, 20), (1, 1, 20)])
def test_tensorflows_transforms_of_planes(op, shape):
    type, lengths = "FLOAT32" if op == "FlexRFFT2D" else "COMPLEX64", (6, 10) if "R" in op else shape[1:]
    x = values(type, shape)
    assert_same(tflgpu_run(model(op, type, shape, lengths), [x]), [transformed(op, x, lengths)])


def test_a_length_known_only_at_run_time_may_change_where_the_spectrums_shape_does_not():
    interpreter = tflgpu.Interpreter(model_content=model("FlexRFFT", "FLOAT32", (2, 5), (4,), constant=False))
    interpreter.allocate_tensors()
    x = values("FLOAT32", (2, 5))
    for n in (4, 5, 4):
        assert_same(answer(interpreter, [x, np.array([n], "i4")]), [transformed("FlexRFFT", x, (n,))])


@pytest.mark.parametrize("lengths, text", [((0,), "not positive"), ((4, 4), "must be one INT32")])
def test_tensorflows_transforms_of_lengths_that_are_none_are_refused(lengths, text):
    data = one_op(
        "FlexRFFT",
        [spec("FLOAT32", 2, 4), np.array(lengths, "i4")],
        [spec("COMPLEX64", 2, 3)],
        custom=b"",
    )
    with pytest.raises(RuntimeError, match=text):
        tflgpu_run(data, [np.zeros((2, 4), "f4")])


@pytest.mark.parametrize("op", ["REAL", "IMAG", "COMPLEX_ABS"])
@pytest.mark.parametrize("type, real", [("COMPLEX64", "FLOAT32"), ("COMPLEX128", "FLOAT64")])
def test_real_and_imaginary_part_of_complex_numbers(op, type, real):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(3, 5)) + 1j * rng.normal(size=(3, 5))).astype(type.lower())
    agree(one_op(op, [spec(type, 3, 5)], [spec(real, 3, 5)]), [x])
