"""Suppression of overlapping boxes: NON_MAX_SUPPRESSION_V4 and V5, and TFLite_Detection_PostProcess."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Fault, Launch, Lowered, Ref, Temp
from tflgpu.delegates.lowering.registry import c_type, f32, i32, lowers, require, size
from tflgpu.model.graph import Node, TensorSpec
from tflgpu.ops.custom.detection import PostProcess, post_process_options


def _quotient(limits: DeviceLimits) -> dict[str, object]:
    """The macro of a correctly rounded quotient, since thresholds depend on it."""
    require(limits.exact_division or limits.double, "a device that does not divide floats exactly")
    return {"QUOTIENT(a, b)": "((a) / (b))" if limits.exact_division else "((f32)((f64)(a) / (f64)(b)))"}


@lowers("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")
def non_max_suppression(node: Node, limits: DeviceLimits) -> Lowered:
    """One work-item, since every selection depends on the one before."""
    boxes, scores = node.input(0), node.input(1)
    n, selected, number = size(scores), node.outputs[0], node.outputs[-1]
    soft = node.op == "NON_MAX_SUPPRESSION_V5"
    return [
        Launch(
            "detection.suppress",
            (1,),
            (1,),
            inputs={
                "boxes": Ref(boxes.index),
                "scores": Ref(scores.index),
                "iou_threshold": Ref(node.input(3).index),
                "score_threshold": Ref(node.input(4).index),
                "sigma": Ref(node.input(5).index) if soft else np.zeros(1, np.float32),
            },
            outputs={
                **{name: Temp(4 * max(n, 1)) for name in ("heap_scores", "heap_boxes", "heap_begins")},
                "selected": Ref(selected.index),
                "kept": Ref(node.outputs[1].index) if soft else Temp(4 * max(size(selected), 1)),
                "number": Ref(number.index),
            },
            sizes={"n": n, "count": size(selected)},
            fault=Fault("Invalid sigma value for soft NMS: it is negative"),
            defines=_quotient(limits) | {"HEAP": 1},
        )
    ]


@lowers("TFLite_Detection_PostProcess")
def detection_post_process(node: Node, limits: DeviceLimits) -> Lowered:
    """Decodes the boxes, selects them by class or by their best class, and writes the best."""
    o = post_process_options(node)
    require(limits.double, "a device without double precision")
    require(o.max_detections > 0 and min(o.detections_per_class, o.max_detections) > 0, "no detections")
    n, classes = node.input(0).shape[1], o.num_classes
    require(n > 0, "no anchors")
    regular = o.use_regular_nms
    boxes, scores = Temp(16 * n), Temp(4 * n * (classes + 1))
    lists, most = (classes, min(o.detections_per_class, o.max_detections)) if regular else (1, o.max_detections)
    chosen, counts = Temp(4 * lists * most), Temp(4 * lists)
    # The scores to select by: those of every class, or the best ones, which follow them.
    first = 0 if regular else n * classes
    width = 1 if limits.cpu else min(limits.max_block, 256)
    select = Launch(
        "detection.select_boxes",
        (lists * width,),
        (width,),
        inputs={"boxes": boxes, "scores": scores},
        outputs={"alive": Temp(lists * n), "chosen": chosen, "counts": counts},
        sizes={"n": n, "most": most, "first": first},
        scalars={"least": o.score_threshold, "iou": o.iou_threshold},
        defines=_quotient(limits) | {"WIDTH": width},
        stage="items" if width == 1 else "none",
    )
    found: dict[str, Buffer] = {"boxes": boxes, "scores": scores, "chosen": chosen, "counts": counts}
    return [_decode(node, o, boxes, scores, limits), select, _emit(node, o, found, most, limits)]


def _decode(node: Node, o: PostProcess, boxes: Temp, scores: Temp, limits: DeviceLimits) -> Launch:
    encodings, predictions, anchors = (node.input(i) for i in range(3))
    n = encodings.shape[1]
    types = {"X_T": c_type(encodings, limits), "C_T": c_type(predictions, limits), "A_T": c_type(anchors, limits)}
    return Launch(
        "detection.decode",
        (n,),
        inputs={
            "encodings": Ref(encodings.index),
            "predictions": Ref(predictions.index),
            "anchors": Ref(anchors.index),
        },
        outputs={"boxes": boxes, "scores": scores},
        sizes={"n": n, "coordinates": encodings.shape[2], "given": predictions.shape[2], "classes": o.num_classes},
        scalars={
            "best": i32(not o.use_regular_nms),
            **_zero_and_scale("x", encodings),
            **_zero_and_scale("c", predictions),
            **_zero_and_scale("a", anchors),
            **{name: np.float64(scale) for name, scale in zip(("by_y", "by_x", "by_h", "by_w"), o.scales, strict=True)},
        },
        fault=Fault("ValidateBoxes(decoded_boxes, num_boxes) was not true."),
        defines=_quotient(limits) | types | {"DECODE": 1},
    )


def _zero_and_scale(letter: str, spec: TensorSpec) -> dict[str, np.float32]:
    zero, scale = (0.0, 1.0) if spec.type == "FLOAT32" else (float(spec.zero_point), float(spec.scale))
    return {f"{letter}_zero": f32(zero), f"{letter}_scale": f32(scale)}


def _emit(node: Node, o: PostProcess, found: Mapping[str, Buffer], most: int, limits: DeviceLimits) -> Launch:
    n, classes, per_box = node.input(0).shape[1], o.num_classes, o.max_classes_per_detection
    names = ("out_boxes", "out_classes", "out_scores", "out_count")
    outputs = {name: Ref(spec.index) for name, spec in zip(names, node.outputs, strict=True)}
    if o.use_regular_nms:
        return Launch(
            "detection.emit_sorted",
            (1,),
            (1,),
            inputs=found,
            outputs={"heads": Temp(4 * classes), **outputs},
            sizes={"n": n, "classes": classes, "per_class": most, "slots": o.max_detections * per_box}
            | {"most": o.max_detections},
            defines=_quotient(limits),
        )
    return Launch(
        "detection.emit_best",
        (most,),
        inputs=found,
        outputs={"orders": Temp(4 * classes * most), **outputs},
        sizes={"n": n, "classes": classes, "k": min(per_box, classes), "slots": per_box, "most": most},
        defines=_quotient(limits) | {"BEST": 1},
    )
