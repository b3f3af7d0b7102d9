"""MediaPipe's landmark operators, which LiteRT does not have, against the loops that define them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from flatbuffers import flexbuffers
from oracle import one_op, tflgpu_run


def run(op, inputs, shape, version, options=None):
    ins = [{"type": "FLOAT32", "shape": list(x.shape)} for x in inputs]
    content = b"" if options is None else bytes(flexbuffers.Dumps(options))
    data = one_op(op, ins, [{"type": "FLOAT32", "shape": list(shape)}], version=version, custom=content)
    return tflgpu_run(data, inputs)[0]


def sampled(image, matrix, oh, ow, centred):
    """Each output pixel by itself: through the matrix, then between the four pixels around."""
    _, h, w, c = image.shape
    m = matrix.reshape(4, 4).astype("f8")
    out = np.zeros((1, oh, ow, c))
    half = 0.5 if centred else 0.0
    for y in range(oh):
        for x in range(ow):
            px, py = (m[i, 0] * (x + half) + m[i, 1] * (y + half) + m[i, 3] - half for i in (0, 1))
            if not (0 <= px <= w - 1 and 0 <= py <= h - 1):
                continue
            left, upper = math.floor(px), math.floor(py)
            for dy in (0, 1):
                for dx in (0, 1):
                    if upper + dy < h and left + dx < w:
                        share = (1 - abs(py - upper - dy)) * (1 - abs(px - left - dx))
                        out[0, y, x] += share * image[0, upper + dy, left + dx]
    return out


def some_matrix():
    matrix = np.eye(4, dtype="f4")
    matrix[:2, :2], matrix[:2, 3] = [[0.8, -0.3], [0.4, 0.9]], [1.25, -0.5]
    return matrix.reshape(1, 4, 4)


@pytest.mark.parametrize("op, version", [("TransformTensor", 1), ("TransformTensorBilinear", 2)])
def test_an_image_is_sampled_through_a_matrix(op, version):
    image = np.random.default_rng(0).normal(size=(1, 7, 5, 3)).astype("f4")
    options = {"mode": "bilinear", "output_size": [6, 4]} if version == 1 else {"output_height": 6, "output_width": 4}
    got = run(op, [image, some_matrix()], (1, 6, 4, 3), version, options)
    np.testing.assert_allclose(got, sampled(image, some_matrix(), 6, 4, version == 2), rtol=1e-5, atol=1e-5)


def test_the_identity_copies_the_image_to_its_last_pixel():
    image = np.random.default_rng(0).normal(size=(1, 3, 5, 2)).astype("f4")
    got = run("TransformTensor", [image, np.eye(4, dtype="f4")[None]], image.shape, 1, {"output_size": [3, 5]})
    np.testing.assert_array_equal(got, image)


@pytest.mark.parametrize("matrix", [np.nan, np.inf, 1e30])
def test_pixels_outside_the_image_are_zero(matrix):
    image = np.ones((1, 3, 5, 2), "f4")
    got = run("TransformTensor", [image, np.full((1, 4, 4), matrix, "f4")], (1, 2, 2, 2), 1, {"output_size": [2, 2]})
    assert not got[0, 1:, 1:].any()


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("version", [1, 2])
def test_landmarks_are_moved_by_a_matrix(dimensions, version):
    points = np.random.default_rng(0).normal(size=(6, dimensions)).astype("f4")
    scale = 4.0 if version == 1 else 1.0
    x = points.reshape(1, 1, 1, -1) if version == 1 else points[None]
    options = {"dimensions": dimensions, "scale": scale} if version == 1 else None
    got = run("TransformLandmarks", [x, some_matrix()], x.shape, version, options).reshape(points.shape)
    m = some_matrix()[0]
    want = points.copy()
    want[:, :2] = points[:, :2] @ m[:2, :2].T + m[:2, 3] * scale
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def centre_of_crop(matrix, width, height):
    return matrix[0, :2] @ np.array([width / 2, height / 2, 0, 1])


def test_the_matrix_of_version_2_frames_the_landmarks():
    rng = np.random.default_rng(0)
    points = rng.uniform(10, 40, (9, 3)).astype("f4")
    options = {
        "left_rotation_idx": 0,
        "right_rotation_idx": 1,
        "subset_idxs": [2, 3, 4, 5, 6],
        "target_rotation_radians": 0.25,
        "output_height": 16,
        "output_width": 8,
        "scale_x": 1.5,
        "scale_y": 1.25,
    }
    got = run("Landmarks2TransformMatrix", [points[None]], (1, 4, 4), 2, options)
    across = points[1] - points[0]
    r = 0.25 - math.atan2(across[1], across[0])
    turn = np.array([[math.cos(r), -math.sin(r)], [math.sin(r), math.cos(r)]])
    turned = points[2:7, :2] @ turn.T
    low, high = turned.min(0), turned.max(0)
    np.testing.assert_allclose(centre_of_crop(got, 8, 16), turn.T @ ((low + high) / 2), rtol=1e-5)
    # A step of one pixel in the crop is this far in the image, turned back.
    steps = turn @ got[0, :2, :2]
    np.testing.assert_allclose(steps, np.diag((high - low) * [1.5, 1.25] / [8, 16]), atol=1e-5)
    np.testing.assert_array_equal(got[0, 2:], np.eye(4)[2:])


def test_the_matrix_of_version_1_frames_the_landmarks():
    rng = np.random.default_rng(0)
    points = rng.uniform(20, 170, (9, 3)).astype("f4")
    options = {
        "input_hw": [96, 96],
        "output_hw": [16, 16],
        "dimensions": 3,
        "landmarks_range": 192,
        "bbox_size_multiplier": 1.5,
        "left_rotation_idx": 0,
        "right_rotation_idx": 1,
        "subset": [2, 3, 4, 5],
    }
    got = run("Landmarks2TransformMatrix", [points.reshape(1, 1, 1, -1)], (1, 4, 4), 1, options)
    across = points[1] - points[0]
    a = -math.atan(across[1] / across[0])
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    turned = points[2:6, :2] @ turn.T
    low, high = turned.min(0), turned.max(0)
    middle = turn.T @ ((low + high) / 2) / 192 * 2 - 1
    np.testing.assert_allclose(centre_of_crop(got, 15, 15), (middle + 1) * 95 / 2, rtol=1e-4)
    steps = turn @ got[0, :2, :2]
    np.testing.assert_allclose(steps, np.diag((high - low) * 1.5 / 192 * 95 / 2 * 2 / 15), atol=1e-4)


@pytest.mark.parametrize(
    "changes", [{"subset_idxs": []}, {"subset_idxs": [9]}, {"left_rotation_idx": -1}, {"scale_x": 0}]
)
def test_options_out_of_range_are_refused(changes):
    options = {
        "left_rotation_idx": 0,
        "right_rotation_idx": 1,
        "subset_idxs": [2, 3],
        "target_rotation_radians": 0.0,
        "output_height": 16,
        "output_width": 16,
        "scale_x": 1.5,
        "scale_y": 1.5,
    }
    with pytest.raises(RuntimeError, match="Landmarks2TransformMatrix"):
        run("Landmarks2TransformMatrix", [np.zeros((1, 9, 3), "f4")], (1, 4, 4), 2, options | changes)
