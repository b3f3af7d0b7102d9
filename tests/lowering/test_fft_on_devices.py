"""Fourier transforms on devices, of lengths of all kinds of factors, against NumPy's in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from devices import TestedDevice, open_device
from ops.audio.fft_models import model, transformed, values
from oracle import assert_same

ONE = {"FlexRFFT": (2, 5, 240), "FlexIRFFT": (3, 34), "FlexFFT": (12,), "FlexIFFT": (97,)}
TYPES = {"FlexRFFT": "FLOAT32", "FlexRFFT2D": "FLOAT32"}
SINGLE = ("float32", "complex64")


def agree(device: TestedDevice, op: str, type: str, shape: Sequence[int], lengths: Sequence[int]) -> None:
    """Of float32 off by no more than a rounding of the result, whose magnitude is that of the largest element."""
    x = values(type, shape)
    (got,), want = device.run(model(op, type, shape, lengths), [x]), transformed(op, x, lengths)
    eps = float(np.finfo(np.float32).eps)
    narrow = {"rtol": eps, "atol": eps / 8 * float(np.abs(want).max())} if want.dtype.name in SINGLE else {}
    assert_same([got], [want], **narrow)


ROWS = [(op, n) for op, lengths in ONE.items() for n in lengths]


@pytest.mark.parametrize("op, n", ROWS)
def test_rows_of_any_length(device: TestedDevice, op: str, n: int) -> None:
    agree(device, op, TYPES.get(op, "COMPLEX64"), (11, n // 2 + 1 if op == "FlexIRFFT" else n), (n,))


def test_frames_of_rfft2d(device: TestedDevice) -> None:
    agree(device, "RFFT2D", "FLOAT32", (1, 3, 1, 512), (1, 512))


@pytest.mark.parametrize("op", ["FlexRFFT2D", "FlexIRFFT2D", "FlexFFT2D", "FlexIFFT2D"])
def test_planes_are_cropped_and_padded(device: TestedDevice, op: str) -> None:
    shapes = [(2, 3, 4), (2, 9, 20)] if "R" in op else [(2, 6, 10)]
    for shape in shapes:
        agree(device, op, TYPES.get(op, "COMPLEX64"), shape, (6, 10))


def test_long_rows_which_local_memory_does_not_hold(device: TestedDevice) -> None:
    agree(device, "FlexFFT", "COMPLEX64", (9, 1009), (1009,))


def test_float64(device: TestedDevice) -> None:
    agree(device, "FlexRFFT", "FLOAT64", (3, 30), (30,))


@pytest.mark.parametrize("n", [97, 240])
def test_a_device_without_double_precision_sums_in_float32(n: int) -> None:
    device = open_device("Intel")
    device.delegate.device.limits = replace(device.delegate.device.limits, double=False)
    x = values("FLOAT32", (40, n))
    (got,) = device.run(model("FlexRFFT", "FLOAT32", x.shape, (n,)), [x])
    want = transformed("FlexRFFT", x, (n,))
    assert np.abs(got - want).max() < 1e-6 * np.abs(want).max()
