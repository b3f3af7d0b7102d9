"""Custom operators that come with us (MediaPipe's on landmarks and images, detection), and suppression of boxes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flatbuffers import flexbuffers  # type: ignore[import-untyped]

from tflgpu.conformance.cases.case import Case, OneOp, T, one, q, row, scalar, shaped

FAMILY = "custom"
F = "FLOAT32"
MATRIX = T(F, (1, 4, 4), "unit")
DETECTION: dict[str, Any] = {"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0, "max_detections": 4}
DETECTION |= {"max_classes_per_detection": 1, "nms_score_threshold": 0.0, "nms_iou_threshold": 0.5}


def cases() -> Iterator[Case]:
    for count, dimensions, scale in ((5, 2, 1.0), (7, 3, 1.0), (67, 3, 192.0), (1, 3, 0.5)):
        old, new = (1, 1, 1, count * dimensions), (1, count, dimensions)
        options: dict[str, Any] = {"dimensions": dimensions, "scale": scale}
        name = f"dimensions={dimensions}"
        yield _one("TransformLandmarks", [T(F, old), MATRIX], [T(F)], options, 1, shaped(old), name, f"scale={scale:g}")
        yield _one("TransformLandmarks", [T(F, new), MATRIX], [T(F)], {}, 2, shaped(new), name)
    for shape, size in (((1, 7, 5, 3), (4, 6)), ((1, 3, 3, 1), (5, 2)), ((1, 16, 16, 4), (8, 8))):
        options = {"output_height": size[0], "output_width": size[1], "mode": "bilinear"}
        inputs = [T(F, shape), MATRIX]
        yield _one("TransformTensorBilinear", inputs, [T(F)], options, 2, shaped(shape, size))
    for count in (5, 68):
        frame = {
            "subset_idxs": [0, 1, 3],
            "left_rotation_idx": 0,
            "right_rotation_idx": 2,
            "scale_x": 1.5,
            "scale_y": 2.0,
        }
        options = {**frame, "output_height": 8, "output_width": 6, "target_rotation_radians": 0.5}
        landmarks = (1, count, 3)
        yield _one("Landmarks2TransformMatrix", [T(F, landmarks)], [T(F)], options, 2, shaped(landmarks))
    yield from _images()
    yield from _values()
    yield from _boxes()
    for boxes, classes, regular in ((10, 3, False), (10, 3, True), (37, 1, False)):
        inputs = [T(F, (1, boxes, 4)), T(F, (1, boxes, classes + 1), "unit"), T(F, (boxes, 4), "positive", True)]
        detail = [shaped((boxes, classes)), "regular" if regular else "fast"]
        options = {**DETECTION, "num_classes": classes, "use_regular_nms": regular}
        yield _one("TFLite_Detection_PostProcess", inputs, [T(F)] * 4, options, 1, *detail)


def _images() -> Iterator[Case]:
    x, small = T(F, (2, 6, 4, 3)), T(F, (2, 3, 2, 3))
    positions = T("INT32", (2, 3, 2, 3))
    yield row(FAMILY, "MaxPoolingWithArgmax2D", [x], [small, small], custom=window_of(3))
    yield row(FAMILY, "MaxPoolWithArgmax", [x], [small, positions], custom=_flexible_window())
    at = T(
        F, (2, 3, 2, 3), np.floor(np.random.default_rng(2).uniform(0, 4, (2, 3, 2, 3))).astype("f4") + np.float32(0.1)
    )
    yield row(FAMILY, "MaxUnpooling2D", [small, at], [x], custom=window_of(2))
    yield row(FAMILY, "MaxUnpooling2D", [small, at], [T(F, (2, 9, 4, 3))], "strides 3 x 2", custom=window_of(2, 3))
    within = np.arange(36, dtype=np.int32).reshape(1, 3, 2, 6).repeat(2, 0)[..., :3] * 2 % 72
    yield row(
        FAMILY, "MaxUnpooling2D", [small, T("INT32", within.shape, within)], [x], "positions", custom=window_of(2)
    )
    yield row(FAMILY, "DenseImageWarp", [x, T(F, (2, 6, 4, 2))], [x], custom=b"")
    for padding, out in ((1, (1, 8, 10, 2)), (2, (1, 9, 10, 2))):
        inputs = [T(F, (1, 4, 5, 3)), T(F, (2, 3, 2, 3), constant=True), T(F, (2,), constant=True)]
        content = struct.pack("<5i", padding, 2, 2, 0, 0)
        yield row(FAMILY, "Convolution2DTransposeBias", inputs, [T(F, out)], f"padding={padding}", custom=content)
    content = options_of(mode="bilinear", output_size=[6, 4])
    yield row(FAMILY, "TransformTensor", [T(F, (1, 7, 5, 3)), MATRIX], [T(F, (1, 6, 4, 3))], "v1", custom=content)
    crop = {"input_hw": [96, 80], "output_hw": [16, 12], "dimensions": 3, "landmarks_range": 192}
    crop |= {"left_rotation_idx": 0, "right_rotation_idx": 1, "bbox_size_multiplier": 1.5, "subset": [2, 3, 4, 5]}
    points = T(F, (1, 1, 1, 27), "within:10:40")
    yield row(FAMILY, "Landmarks2TransformMatrix", [points], [T(F, (1, 4, 4))], "v1", custom=options_of(**crop))


def window_of(size: int, stride_h: int = 2) -> bytes:
    """TfLitePoolParams: padding SAME, strides of 2 across, no activation."""
    return struct.pack("<6i", 1, 2, stride_h, size, size, 0)


def _flexible_window() -> bytes:
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Key("ksize")
        builder.TypedVectorFromElements([1, 3, 2, 1])
        builder.Key("strides")
        builder.TypedVectorFromElements([1, 2, 2, 1])
        builder.String("padding", "SAME")
        builder.Bool("include_batch_in_index", False)
    return bytes(builder.Finish())


def _values() -> Iterator[Case]:
    rotated = options_of(hadamard_size=4)
    yield row(FAMILY, "aeq.hadamard_rotation", [T(F, (2, 3, 11))], [T(F, (2, 3, 11))], custom=rotated)
    near = T(F, (4,), np.array([0, 0.4, 50, -1], np.float32))
    for kind, values in (("INT8", [3, 4, 100, 0]), ("UINT8", [120, 121, 220, 117]), ("INT16", [0, 1, 100, -2])):
        for raises in (False, True):
            quantized = q(kind, 4, scale=0.5, values=np.array(values, kind.lower()))
            content = options_of(tolerance=5.0, log_if_failed=raises)
            note = "raises" if raises else "differences"
            yield row(FAMILY, "NumericVerify", [quantized, near], [T(F, (4,))], note, custom=content)
    half = T("FLOAT16", (4,), np.array([0, 0.4, 50, -1], np.float16))
    content = options_of(tolerance=5.0, log_if_failed=False)
    yield row(FAMILY, "NumericVerify", [half, near], [T(F, (4,))], custom=content)


def _boxes() -> Iterator[Case]:
    """Scores with ties and at the threshold, and boxes without area among others."""
    rng = np.random.default_rng(3)
    for n in (19, 1):
        corners = T(F, (n, 4), np.round(rng.uniform(0, 6, (n, 4))).astype("f4"))
        scores = T(F, (n,), (np.floor(rng.random(n) * 4) / 4).astype("f4"))
        inputs = [corners, scores, scalar(7), np.float32(0.3), np.float32(0.25)]
        inputs = [np.asarray(x) if isinstance(x, np.float32) else x for x in inputs]
        yield row(FAMILY, "NON_MAX_SUPPRESSION_V4", inputs, [T("INT32", (7,)), T("INT32")])
        for sigma in (0.0, 0.5):
            outputs = [T("INT32", (7,)), T(F, (7,)), T("INT32")]
            inputs5 = [*inputs, np.array(sigma, np.float32)]
            yield row(FAMILY, "NON_MAX_SUPPRESSION_V5", inputs5, outputs, f"sigma={sigma:g}")
    corners = T(F, (3, 4), np.array([[0, 0, 2, 2], [0, 0, 2, 1], [4, 4, 5, 5]], np.float32))
    inputs = [corners, T(F, (3,), "unit"), scalar(3), np.array(0.5, np.float32), np.array(-2, np.float32)]
    outputs = [T("INT32", (3,)), T("INT32")]
    yield row(FAMILY, "NON_MAX_SUPPRESSION_V4", inputs, outputs, "an overlap at the threshold")
    tied = (np.floor(rng.random((1, 67, 4)) * 5) / 5).astype("f4")
    for note, more in (("ties", {"max_classes_per_detection": 2}), ("ties,regular", {"use_regular_nms": True})):
        options = {**DETECTION, "num_classes": 3, "detections_per_class": 3, **more}
        inputs = [T(F, (1, 67, 4)), T(F, (1, 67, 4), tied), T(F, (67, 4), "within:0.1:1", True)]
        yield row(FAMILY, "TFLite_Detection_PostProcess", inputs, [T(F)] * 4, note, custom=options_of(**options))
    half = np.array(
        [[1, 1, 2, 2], [1, 0.5, 2, 1], [9, 9, 2, 2], [1, 1, 1, 1]], np.float32
    )  # overlaps of one half, a quarter
    for regular in (False, True):
        inputs = [T(F, (1, 4, 4), np.zeros((1, 4, 4), np.float32)), T(F, (1, 4, 3), "unit"), T(F, (4, 4), half, True)]
        content = options_of(**DETECTION, num_classes=2, use_regular_nms=regular)
        note = f"an overlap at the threshold,{'regular' if regular else 'fast'}"
        yield row(FAMILY, "TFLite_Detection_PostProcess", inputs, [T(F)] * 4, note, custom=content)
    boxes = T("UINT8", (1, 20, 4), scale=0.03, zero_point=100)
    scores = T("UINT8", (1, 20, 4), scale=1 / 256, zero_point=3)
    inputs = [boxes, scores, T("UINT8", (20, 4), "within:20:255", True, 0.004)]
    content = options_of(**DETECTION, num_classes=3)
    yield row(FAMILY, "TFLite_Detection_PostProcess", inputs, [T(F)] * 4, "uint8", custom=content)


def options_of(**given: Any) -> bytes:
    return bytes(flexbuffers.Dumps(given))


def _one(op: str, inputs: list[T], outputs: list[T], options: Mapping[str, Any], version: int, *detail: str) -> Case:
    content = options_of(**options)
    return one(FAMILY, F, [f"v{version}", *detail], OneOp(op, inputs, outputs, version=version, custom=content))
