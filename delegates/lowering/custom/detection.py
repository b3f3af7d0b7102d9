"""Suppression of overlapping boxes: NON_MAX_SUPPRESSION_V4 and V5, and TFLite_Detection_PostProcess."""

from __future__ import annotations

from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Argument, Fault, Launch, Lowered, Ref, Temp
from tflgpu.delegates.lowering.registry import c_type, f32, i32, lowers, require, size
from tflgpu.model.graph import Node, TensorSpec
from tflgpu.ops.custom.detection import PostProcess, post_process_options


def _quotient(limits: DeviceLimits) -> dict[str, object]:
    """Quotients are rounded as the CPU's, since thresholds decide by them."""
    require(limits.exact_division or limits.double, "a device that does not divide floats exactly")
    return {"QUOTIENT(a, b)": "((a) / (b))" if limits.exact_division else "((f32)((f64)(a) / (f64)(b)))"}


@lowers("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")
def non_max_suppression(node: Node, limits: DeviceLimits) -> Lowered:
    """One work-item, since every choice waits for the last."""
    boxes, scores = node.input(0), node.input(1)
    n, selected, number = size(scores), node.outputs[0], node.outputs[-1]
    soft = node.op == "NON_MAX_SUPPRESSION_V5"
    args: tuple[Any, ...] = (
        Ref(boxes.index),
        Ref(scores.index),
        Ref(node.input(3).index),
        Ref(node.input(4).index),
        Ref(node.input(5).index) if soft else np.zeros(1, np.float32),
        *(Temp(4 * max(n, 1)) for _ in range(3)),
        Ref(selected.index),
        Ref(node.outputs[1].index) if soft else Temp(4 * max(size(selected), 1)),
        Ref(number.index),
        i32(n),
        i32(size(selected)),
        Fault("Invalid sigma value for soft NMS: it is negative"),
    )
    return [Launch("detection.suppress", args, (1,), (1,), _quotient(limits) | {"HEAP": 1})]


@lowers("TFLite_Detection_PostProcess")
def detection_post_process(node: Node, limits: DeviceLimits) -> Lowered:
    """Boxes decoded, chosen class by class or by their best class, and the best put out."""
    o = post_process_options(node)
    require(limits.double, "a device without double precision")
    require(o.max_detections > 0 and min(o.detections_per_class, o.max_detections) > 0, "no detections")
    n, classes = node.input(0).shape[1], o.num_classes
    require(n > 0, "no anchors")
    regular = o.use_regular_nms
    boxes, scores = Temp(16 * n), Temp(4 * n * (classes + 1))
    lists, most = (classes, min(o.detections_per_class, o.max_detections)) if regular else (1, o.max_detections)
    chosen, counts = Temp(4 * lists * most), Temp(4 * lists)
    # What is chosen from: the scores of every class, or behind them the best ones.
    first = 0 if regular else n * classes
    width = 1 if limits.cpu else min(limits.max_block, 256)
    select = Launch(
        "detection.select_boxes",
        (
            boxes,
            scores,
            Temp(lists * n),
            chosen,
            counts,
            *map(i32, (n, most, first)),
            o.score_threshold,
            o.iou_threshold,
        ),
        (lists * width,),
        (width,),
        _quotient(limits) | {"WIDTH": width},
    )
    return [
        _decode(node, o, boxes, scores, limits),
        select,
        _emit(node, o, (boxes, scores, chosen, counts), most, limits),
    ]


def _decode(node: Node, o: PostProcess, boxes: Temp, scores: Temp, limits: DeviceLimits) -> Launch:
    encodings, predictions, anchors = (node.input(i) for i in range(3))
    n = encodings.shape[1]
    sizes = (n, encodings.shape[2], predictions.shape[2], o.num_classes, int(not o.use_regular_nms))
    reals = [f32(v) for spec in (encodings, predictions, anchors) for v in _zero_and_scale(spec)]
    args: tuple[Any, ...] = (
        *(Ref(spec.index) for spec in (encodings, predictions, anchors)),
        boxes,
        scores,
        *map(i32, sizes),
        *reals,
        *map(np.float64, o.scales),
        Fault("ValidateBoxes(decoded_boxes, num_boxes) was not true."),
    )
    types = {"X_T": c_type(encodings, limits), "C_T": c_type(predictions, limits), "A_T": c_type(anchors, limits)}
    return Launch("detection.decode", args, (n,), defines=_quotient(limits) | types | {"DECODE": 1})


def _zero_and_scale(spec: TensorSpec) -> tuple[float, float]:
    return (0.0, 1.0) if spec.type == "FLOAT32" else (float(spec.zero_point), float(spec.scale))


def _emit(node: Node, o: PostProcess, found: tuple[Argument, ...], most: int, limits: DeviceLimits) -> Launch:
    n, classes, per_box = node.input(0).shape[1], o.num_classes, o.max_classes_per_detection
    outputs = [Ref(spec.index) for spec in node.outputs]
    if o.use_regular_nms:
        args: tuple[Any, ...] = (*found, Temp(4 * classes), *outputs)
        args += tuple(map(i32, (n, classes, most, o.max_detections * per_box, o.max_detections)))
        return Launch("detection.emit_sorted", args, (1,), (1,), _quotient(limits))
    args = (*found, Temp(4 * classes * most), *outputs)
    args += tuple(map(i32, (n, classes, min(per_box, classes), per_box, most)))
    return Launch("detection.emit_best", args, (most,), defines=_quotient(limits) | {"BEST": 1})
