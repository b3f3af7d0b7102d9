"""Flex operators over windows and their gradients, against loops over every output."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from flex_models import run

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def windows(image, taps, strides, rates, padding):
    """For every output pixel: its index, and the (tap, pixel) pairs that it has inside the image."""
    sizes, before = [], []
    for n, k, s, r in zip(image, taps, strides, rates, strict=True):
        reach = (k - 1) * r + 1
        sizes.append(-(-n // s) if padding == "SAME" else (n - reach) // s + 1)
        before.append(max(0, (sizes[-1] - 1) * s + reach - n) // 2 if padding == "SAME" else 0)
    for out in np.ndindex(*sizes):
        pairs = []
        for tap in np.ndindex(*taps):
            pixel = tuple(o * s + t * r - b for o, s, t, r, b in zip(out, strides, tap, rates, before, strict=True))
            if all(0 <= p < n for p, n in zip(pixel, image, strict=True)):
                pairs.append((tap, pixel))
        yield out, pairs


def shape_of(x, found, channels):
    return (len(x), *(d + 1 for d in found[-1][0]), channels)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("op, combine", [("MaxPool3D", np.max), ("AvgPool3D", np.mean)])
def test_pools_of_volumes(op, combine, padding):
    x, taps, strides = normal(2, 5, 4, 6, 3), (2, 3, 2), (1, 2, 2)
    attributes = {"ksize": [1, *taps, 1], "strides": [1, *strides, 1], "padding": padding}
    (got,) = run(op, [x], "FLOAT32", **attributes)
    found = list(windows(x.shape[1:4], taps, strides, (1, 1, 1), padding))
    want = np.zeros(shape_of(x, found, 3), np.float32)
    for out, pairs in found:
        want[(slice(None), *out)] = combine([x[(slice(None), *pixel)] for _, pixel in pairs], axis=0)
    np.testing.assert_allclose(got, want, 1e-6, 1e-6)


@pytest.mark.parametrize("batch", [False, True])
def test_a_pool_tells_where_its_first_maximum_is(batch):
    x = np.round(normal(2, 5, 6, 3))
    attributes = {"ksize": [1, 3, 2, 1], "strides": [1, 2, 2, 1], "padding": "SAME", "include_batch_in_index": batch}
    got, index = run("MaxPoolWithArgmax", [x], "FLOAT32 INT64", **attributes)
    for out, pairs in windows((5, 6), (3, 2), (2, 2), (1, 1), "SAME"):
        for b, c in itertools.product(range(2), range(3)):
            _, (row, column) = max(pairs, key=lambda pair: x[(b, *pair[1], c)])
            assert got[(b, *out, c)] == x[b, row, column, c]
            assert index[(b, *out, c)] == (((b if batch else 0) * 5 + row) * 6 + column) * 3 + c


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_what_windows_read_and_dilation(padding):
    x, kernel = normal(2, 7, 8, 2), normal(3, 2, 2)
    taps, strides, rates = (3, 2), (2, 1), (1, 3)
    common = {"strides": [1, *strides, 1], "rates": [1, *rates, 1], "padding": padding}
    (read,) = run("ExtractImagePatches", [x], "FLOAT32", ksizes=[1, *taps, 1], **common)
    (dilated,) = run("Dilation2D", [x, kernel], "FLOAT32", **common)
    found = list(windows((7, 8), taps, strides, rates, padding))
    want, largest = np.zeros((*shape_of(x, found, 3)[:3], 3, 2, 2), np.float32), np.zeros(shape_of(x, found, 2))
    for out, pairs in found:
        for tap, pixel in pairs:
            want[(slice(None), *out, *tap)] = x[(slice(None), *pixel)]
        sums = [x[(slice(None), *pixel)] + kernel[tap] for tap, pixel in pairs]
        largest[(slice(None), *out)] = np.max(sums, axis=0)
    np.testing.assert_array_equal(read, want.reshape(read.shape))
    np.testing.assert_array_equal(dilated, largest)


def convolution_gradients(x, taps, g, padding, depthwise):
    """The gradients of x and of the filter, tap by tap."""
    dx, dw = np.zeros(x.shape), np.zeros(taps.shape)
    for out, pairs in windows(x.shape[1:3], taps.shape[:2], (2, 1), (1, 1), padding):
        for tap, pixel in pairs:
            for b in range(len(x)):
                given, read = g[(b, *out)], x[(b, *pixel)]
                if depthwise:
                    given = given.reshape(taps.shape[2:])
                    dx[(b, *pixel)] += (given * taps[tap]).sum(axis=1)
                    dw[tap] += read[:, None] * given
                else:
                    dx[(b, *pixel)] += taps[tap] @ given
                    dw[tap] += np.outer(read, given)
    return dx, dw


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("op, depthwise", [("Conv2DBackprop", False), ("DepthwiseConv2dNativeBackprop", True)])
def test_gradients_of_convolutions(op, depthwise, padding):
    x, taps = normal(2, 6, 5, 3), normal(3, 2, 3, 2)
    oh, ow = (3, 5) if padding == "SAME" else (2, 4)
    g = normal(2, oh, ow, 6 if depthwise else 2)
    dx, dw = convolution_gradients(x, taps, g, padding, depthwise)
    common = {"strides": [1, 2, 1, 1], "padding": padding}
    (of_filter,) = run(f"{op}Filter", [x, (np.array(taps.shape, np.int32),), g], "FLOAT32", **common)
    (of_images,) = run(f"{op}Input", [(np.array(x.shape, np.int32),), taps, g], "FLOAT32", **common)
    np.testing.assert_allclose(of_filter, dw, 1e-5, 1e-5)
    np.testing.assert_allclose(of_images, dx, 1e-5, 1e-5)


def test_gradients_of_pools():
    x = np.round(normal(2, 5, 6, 3))
    common = {"ksize": [1, 3, 2, 1], "strides": [1, 2, 2, 1], "padding": "SAME"}
    g = normal(2, 3, 3, 3)
    (y,) = run("MaxPoolWithArgmax", [x], "FLOAT32 INT32", **common)[:1]
    (of_maxima,) = run("MaxPoolGrad", [x, y, g], "FLOAT32", **common)
    (of_means,) = run("AvgPoolGrad", [(np.array(x.shape, np.int32),), g], "FLOAT32", **common)
    want, shared = np.zeros(x.shape), np.zeros(x.shape)
    for out, pairs in windows((5, 6), (3, 2), (2, 2), (1, 1), "SAME"):
        for b, c in itertools.product(range(2), range(3)):
            _, pixel = max(pairs, key=lambda pair: x[(b, *pair[1], c)])
            want[(b, *pixel, c)] += g[(b, *out, c)]
            for _, pixel in pairs:
                shared[(b, *pixel, c)] += g[(b, *out, c)] / len(pairs)
    np.testing.assert_allclose(of_maxima, want, 1e-6, 1e-6)
    np.testing.assert_allclose(of_means, shared, 1e-6, 1e-6)


def test_gradients_of_losses():
    x, labels = normal(3, 5), np.abs(normal(3, 5))
    labels /= labels.sum(axis=1, keepdims=True)
    softmax = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    losses, gradient = run("SoftmaxCrossEntropyWithLogits", [x, labels], "FLOAT32 FLOAT32")
    np.testing.assert_allclose(losses, -(labels * np.log(softmax)).sum(axis=1), 1e-5)
    np.testing.assert_allclose(gradient, softmax - labels, 1e-5, 1e-6)
    right = np.array([4, 0, 2], np.int64)
    losses, gradient = run("SparseSoftmaxCrossEntropyWithLogits", [x, right], "FLOAT32 FLOAT32")
    np.testing.assert_allclose(losses, -np.log(softmax[np.arange(3), right]), 1e-5)
    np.testing.assert_allclose(gradient, softmax - np.eye(5)[right], 1e-5, 1e-6)
    (bias,) = run("BiasAddGrad", [normal(2, 3, 4)], "FLOAT32")
    assert bias.shape == (4,)
    with pytest.raises(RuntimeError, match=r"outside the valid range of \[0, 5\)"):
        run("SparseSoftmaxCrossEntropyWithLogits", [x, right + 1], "FLOAT32 FLOAT32")


def test_a_window_of_any_size_costs_what_the_image_does():
    x = np.ones((1, 2, 2, 2, 1), np.float32)
    (got,) = run("AvgPool3D", [x], "FLOAT32", ksize=[1, *[32767] * 3, 1], strides=[1] * 5, padding="SAME")
    np.testing.assert_array_equal(got, x)
