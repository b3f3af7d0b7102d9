"""Custom operators that come with us: MediaPipe's on landmarks and images, and the detection's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flatbuffers import flexbuffers  # type: ignore[import-untyped]

from tflgpu.conformance.cases.case import Case, OneOp, T, one, shaped

FAMILY = "custom"
F = "FLOAT32"
MATRIX = T(F, (1, 4, 4), "unit")


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
    for boxes, classes, regular in ((10, 3, False), (10, 3, True), (37, 1, False)):
        scales = {"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0}
        limits = {
            "max_detections": 4,
            "max_classes_per_detection": 1,
            "num_classes": classes,
            "use_regular_nms": regular,
        }
        thresholds = {"nms_score_threshold": 0.0, "nms_iou_threshold": 0.5}
        inputs = [T(F, (1, boxes, 4)), T(F, (1, boxes, classes + 1), "unit"), T(F, (boxes, 4), "positive", True)]
        detail = [shaped((boxes, classes)), "regular" if regular else "fast"]
        options = {**scales, **limits, **thresholds}
        yield _one("TFLite_Detection_PostProcess", inputs, [T(F)] * 4, options, 1, *detail)


def _one(op: str, inputs: list[T], outputs: list[T], options: Mapping[str, Any], version: int, *detail: str) -> Case:
    content = bytes(flexbuffers.Dumps(dict(options)))
    return one(FAMILY, F, [f"v{version}", *detail], OneOp(op, inputs, outputs, version=version, custom=content))
