"""Images sampled, coloured and searched for boxes by Flex operators, against the definition of each pixel."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from flex_models import model, run

import tflgpu
from tflgpu import Limits

RNG = np.random.default_rng(0)


def uniform(*shape):
    return RNG.uniform(size=shape).astype(np.float32)


def keys(distance, a):
    """Keys's cubic kernel."""
    d = abs(distance)
    if d <= 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a if d < 2 else 0.0


@pytest.mark.parametrize("mode", ["half_pixel_centers", "align_corners", "neither"])
def test_bicubic_weighs_sixteen_pixels(mode):
    x, (oh, ow) = uniform(1, 5, 6, 2), (8, 4)
    (got,) = run("ResizeBicubic", [x, (np.array([oh, ow], np.int32),)], "FLOAT32", **{mode: True})
    matrices = []
    for n, out in ((5, oh), (6, ow)):
        matrix = np.zeros((out, n))
        for o in range(out):
            at = {
                "half_pixel_centers": (o + 0.5) * n / out - 0.5,
                "align_corners": o * (n - 1) / (out - 1),
                "neither": o * n / out,
            }[mode]
            at = np.floor(at) + np.rint((at - np.floor(at)) * 1024) / 1024  # TensorFlow's table has 1024 steps
            for p in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
                if mode != "half_pixel_centers":
                    matrix[o, min(max(p, 0), n - 1)] += keys(at - p, -0.75)
                elif 0 <= p < n:
                    matrix[o, p] += keys(at - p, -0.5)
        matrices.append(matrix / matrix.sum(axis=1, keepdims=True))
    want = np.einsum("yi,xj,bijc->byxc", *matrices, x)
    np.testing.assert_allclose(got, want, 1e-5, 1e-5)


def between(image, y, x):
    top, left = int(np.floor(y)), int(np.floor(x))
    bottom, right = int(np.ceil(y)), int(np.ceil(x))
    upper = image[top, left] + (image[top, right] - image[top, left]) * (x - left)
    lower = image[bottom, left] + (image[bottom, right] - image[bottom, left]) * (x - left)
    return upper + (lower - upper) * (y - top)


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_boxes_are_cropped_and_resized(method):
    x, boxes = uniform(2, 5, 6, 3), RNG.uniform(-0.3, 1.3, (7, 4)).astype(np.float32)
    of, (oh, ow) = np.array([0, 1, 1, 0, 0, 1, 0], np.int32), (4, 1)
    size = np.array([oh, ow], np.int32)
    inputs = [x, boxes, of, (size,)]
    (got,) = run("CropAndResize", inputs, "FLOAT32", method=method, extrapolation_value=7.0)
    for n, (y1, x1, y2, x2) in enumerate(boxes.astype(float)):
        for row in range(oh):
            y, across = (y1 + (y2 - y1) * row / (oh - 1)) * 4, (x1 + x2) / 2 * 5
            if not (0 <= y <= 4 and 0 <= across <= 5):
                want = 7.0
            elif method == "nearest":
                want = x[of[n], int(np.floor(y + 0.5)), int(np.floor(across + 0.5))]
            else:
                want = between(x[of[n]], y, across)
            np.testing.assert_allclose(got[n, row, 0], want, 1e-4, 1e-5)
    with pytest.raises(RuntimeError, match="box_index has values outside"):
        run("CropAndResize", [x, boxes, of + 1, (size,)], "FLOAT32")


WRAPS = {
    "CONSTANT": [9, 9, 9, 9, 0, 1, 2, 3, 9, 9, 9, 9],
    "REFLECT": [3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0],
    "WRAP": [3, 3, 2, 3, 0, 1, 2, 3, 0, 1, 0, 0],  # as TensorFlow, which counts the periods by one pixel less
    "NEAREST": [0, 0, 0, 0, 0, 1, 2, 3, 3, 3, 3, 3],
}


@pytest.mark.parametrize("mode", WRAPS)
def test_what_lies_outside_of_a_transformed_image(mode):
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 4, 1)
    shift = np.array([[1, 0, -4, 0, 1, 0, 0, 0]], np.float32)
    size, fill = (np.array([1, 12], np.int32),), (np.array(9, np.float32),)
    for interpolation in ("NEAREST", "BILINEAR"):
        attributes = {"interpolation": interpolation, "fill_mode": mode}
        (got,) = run("ImageProjectiveTransformV3", [x, shift, size, fill], "FLOAT32", **attributes)
        np.testing.assert_array_equal(got.ravel(), WRAPS[mode])


def test_a_transformed_image_is_blended_in_perspective():
    x, a = uniform(2, 5, 6, 2), np.array([1.1, 0.2, -0.5, -0.1, 0.9, 0.3, 0.02, -0.01], np.float32)
    inputs = [x, a[None], (np.array([3, 4], np.int32),), (np.array(0, np.float32),)]
    (got,) = run("ImageProjectiveTransformV3", inputs, "FLOAT32", interpolation="BILINEAR", fill_mode="NEAREST")
    for row, column in np.ndindex(3, 4):
        scale = a[6] * column + a[7] * row + 1
        across, y = (np.clip((a[i] * column + a[i + 1] * row + a[i + 2]) / scale, 0, n) for i, n in ((0, 5), (3, 4)))
        np.testing.assert_allclose(got[:, row, column], [between(image, y, across) for image in x], 1e-5, 1e-5)


def test_colours():
    x = uniform(4, 5, 3)
    x[0, 0], x[0, 1] = 0, 0.5
    (hsv,) = run("RGBToHSV", [x], "FLOAT32")
    want = [colorsys.rgb_to_hsv(*pixel) for pixel in x.reshape(-1, 3).astype(float)]
    np.testing.assert_allclose(hsv.reshape(-1, 3), want, 1e-5, 1e-6)
    (rgb,) = run("HSVToRGB", [hsv], "FLOAT32")
    np.testing.assert_allclose(rgb, x, 1e-5, 1e-6)
    (contrast,) = run("AdjustContrastv2", [x, (np.array(2, np.float32),)], "FLOAT32")
    mean = x.mean(axis=(0, 1), keepdims=True)
    np.testing.assert_allclose(contrast, (x - mean) * 2 + mean, 1e-5, 1e-6)
    for op, axis, change in (
        ("AdjustHue", 0, lambda hue: (hue + 0.3) % 1),
        ("AdjustSaturation", 1, lambda saturation: min(saturation * 1.5, 1)),
    ):
        (got,) = run(op, [x, (np.array(0.3 if axis == 0 else 1.5, np.float32),)], "FLOAT32")
        for pixel, one in zip(x.reshape(-1, 3).astype(float), got.reshape(-1, 3), strict=True):
            channels = list(colorsys.rgb_to_hsv(*pixel))
            channels[axis] = change(channels[axis])
            np.testing.assert_allclose(one, colorsys.hsv_to_rgb(*channels), 1e-4, 1e-5)


def test_the_best_boxes_of_all_classes():
    boxes = np.array([[[[0, 0, 1, 1]], [[0, 0, 1, 0.9]], [[0.5, 0.5, 1.5, 1.5]], [[0, 0, 0.1, 0.1]]]], np.float32)
    scores = np.array([[[0.9, 0.1], [0.8, 0.6], [0.7, 0.5], [0.2, 0.3]]], np.float32)
    most, iou, least = (np.array(2, np.int32),), (np.array(0.5, np.float32),), (np.array(0.25, np.float32),)
    inputs = [boxes, scores, most, (np.array(5, np.int32),), iou, least]
    found, score, cls, count = run("CombinedNonMaxSuppression", inputs, "FLOAT32 FLOAT32 FLOAT32 INT32")
    assert count == [4]
    np.testing.assert_array_equal(score, np.array([[0.9, 0.7, 0.6, 0.5, 0]], np.float32))
    np.testing.assert_array_equal(cls, [[0, 0, 1, 1, 0]])
    clipped = np.minimum(boxes[0, [0, 2, 1, 2], 0], 1)
    np.testing.assert_array_equal(found[0], [*clipped, [0, 0, 0, 0]])


def test_an_image_that_would_be_too_large_is_not_made():
    x, size = uniform(1, 2, 2, 1), (np.array([30000, 30000], np.int32),)
    interpreter = tflgpu.Interpreter(
        model_content=model("ResizeBicubic", [x, size], "FLOAT32"), limits=Limits(memory_bytes=1 << 20)
    )
    with pytest.raises(RuntimeError, match="limits.memory_bytes"):
        interpreter.allocate_tensors()
