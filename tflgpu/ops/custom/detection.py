"""Suppression of overlapping boxes: NON_MAX_SUPPRESSION_V4 and V5, and the custom TFLite_Detection_PostProcess."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops import custom_options
from tflgpu.ops.custom.custom import custom_op
from tflgpu.ops.custom.heap_order import partial_sort, pop_heap, push_heap
from tflgpu.ops.registry import OpError, function, require, value

LIMIT = 2**31 - 1


def corners(boxes: Array) -> Array:
    """Boxes (n, 4) by any two opposite corners, as (ymin, xmin, ymax, xmax)."""
    first, second = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)


def overlap(box: Array, boxes: Array) -> Array:
    """Intersection over union of a box (4,) with each of boxes (n, 4), in float32; 0 where either is empty."""
    with np.errstate(all="ignore"):
        area = (box[2] - box[0]) * (box[3] - box[1])
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
        np.maximum(sides, np.float32(0), out=sides)
        common = sides[:, 0] * sides[:, 1]
        return np.where((area <= 0) | (areas <= 0), np.float32(0), common / (area + areas - common))


def _nms_shapes(node: Node) -> list[Shape]:
    boxes, scores, count = node.input(0), node.input(1), node.input(2)
    require(len(boxes.shape) == 2 and boxes.shape[1] == 4, f"{boxes}: the boxes must be (n, 4). ")
    require(scores.type == "FLOAT32" and scores.shape == boxes.shape[:1], f"{scores}: a FLOAT32 score for every box. ")
    _require_scalar(count, "INT32")
    for i in range(3, 6 if node.op == "NON_MAX_SUPPRESSION_V5" else 5):
        _require_scalar(node.input(i), "FLOAT32")
    n = int(value(count))
    require(n >= 0, "max_output_size_value >= 0 was not true.")
    return [(n,), ()] if node.op == "NON_MAX_SUPPRESSION_V4" else [(n,), (n,), ()]


def _require_scalar(spec: TensorSpec, type_name: str) -> None:
    require(spec.type == type_name and spec.shape == (), f"{spec} must be a scalar {type_name}. ")


@function("NON_MAX_SUPPRESSION_V4", inputs=5, outputs=2, types="FLOAT32", shape=_nms_shapes, output_type="INT32 INT32")
def non_max_suppression_v4(
    node: Node, boxes: Array, scores: Array, count: Array, iou_threshold: Array, score_threshold: Array
) -> tuple[Array, Array]:
    """The indices of at most `count` boxes that do not overlap, best first, then zeros; and how many there are."""
    limits = Thresholds(int(count), np.float32(iou_threshold), np.float32(score_threshold), np.float32(0))
    indices, _, n = non_max_suppression(boxes, scores, limits)
    return indices, n


@function(
    "NON_MAX_SUPPRESSION_V5", inputs=6, outputs=3, types="FLOAT32", shape=_nms_shapes, output_type="INT32 FLOAT32 INT32"
)
def non_max_suppression_v5(
    node: Node, boxes: Array, scores: Array, count: Array, iou_threshold: Array, score_threshold: Array, sigma: Array
) -> tuple[Array, Array, Array]:
    """As V4, with their scores between: overlapping boxes lose score instead of being dropped, where sigma > 0."""
    require(float(sigma) >= 0, f"Invalid sigma value for soft NMS: {float(sigma):f}")
    limits = Thresholds(int(count), np.float32(iou_threshold), np.float32(score_threshold), np.float32(sigma))
    return non_max_suppression(boxes, scores, limits)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many boxes to select, from which overlap two are one, and the decay of overlapping scores (sigma 0: none)."""

    count: int
    iou: np.float32
    score: np.float32
    sigma: np.float32


def non_max_suppression(boxes: Array, scores: Array, limits: Thresholds) -> tuple[Array, Array, Array]:
    """(indices int32, scores float32, number) of the selected boxes, followed by zeros.

    A queue by score, in the heap's order where scores tie. A selected box goes back into the queue, as in the
    reference: an empty box, which does not overlap even itself, is selected again and again.
    """
    boxes = corners(boxes)
    heap: list[tuple[np.float32, int, int]] = []
    for i in np.flatnonzero(scores > limits.score):
        push_heap(heap, (scores[i], int(i), 0), _lower_score)
    wanted = min(limits.count, len(heap))
    indices, selected_scores = np.zeros(limits.count, np.int32), np.zeros(limits.count, np.float32)
    selected = np.empty((wanted, 4), np.float32)
    n = 0
    while n < wanted and heap:
        original, index, begin = pop_heap(heap, _lower_score)
        score = _decayed(original, overlap(boxes[index], selected[begin:n])[::-1], limits)
        if score is None:
            continue
        if score == original:
            indices[n], selected_scores[n], selected[n] = index, score, boxes[index]
            n += 1
            begin = n - 1
        else:
            begin = n
        if score > limits.score:
            push_heap(heap, (score, index, begin), _lower_score)
    return indices, selected_scores, np.array(n, np.int32)


def _lower_score(a: tuple[np.float32, int, int], b: tuple[np.float32, int, int]) -> bool:
    return bool(a[0] < b[0])


def _decayed(score: np.float32, overlaps: Array, limits: Thresholds) -> np.float32 | None:
    """The score after its box met the selected ones, newest first; None where it overlaps one too much."""
    if limits.sigma <= 0:
        return None if (overlaps >= limits.iou).any() else score
    scale = np.float32(-0.5 / float(limits.sigma))
    for iou in overlaps:
        if iou >= limits.iou:
            return None
        score = np.float32(score * np.exp(np.float32(scale * iou * iou)))
        if score <= limits.score:
            break
    return score


@dataclass(frozen=True, slots=True)
class PostProcess:
    """The options of TFLite_Detection_PostProcess. scales: of y, x, h, w in the box encodings."""

    max_detections: int
    max_classes_per_detection: int
    detections_per_class: int
    use_regular_nms: bool
    score_threshold: np.float32
    iou_threshold: np.float32
    num_classes: int
    scales: tuple[float, float, float, float]


def post_process_options(node: Node) -> PostProcess:
    """What the node's options say. Raises OpError where one is out of range."""
    given = custom_options.read(node)

    def integer(key: str, default: int = 0) -> int:
        number = custom_options.integer(given, key, default)
        require(abs(number) <= LIMIT, f"the option {key} is {number}. ")
        return number

    def real(key: str) -> float:
        with np.errstate(over="ignore"):
            return float(np.float32(custom_options.real(given, key)))

    return PostProcess(
        integer("max_detections"),
        integer("max_classes_per_detection"),
        integer("detections_per_class", 100),
        bool(integer("use_regular_nms")),
        np.float32(real("nms_score_threshold")),
        np.float32(real("nms_iou_threshold")),
        integer("num_classes"),
        (real("y_scale"), real("x_scale"), real("h_scale"), real("w_scale")),
    )


def _post_process_shapes(node: Node) -> list[Shape]:
    boxes, classes, anchors = node.input(0), node.input(1), node.input(2)
    require(len(boxes.shape) == 3 and boxes.shape[0] == 1 and boxes.shape[2] >= 4, f"{boxes}: not (1, n, 4 or more). ")
    n = boxes.shape[1]
    require(len(classes.shape) == 3 and classes.shape[:2] == (1, n), f"{classes}: not (1, {n}, classes). ")
    require(classes.type in ("FLOAT32", "UINT8"), f"{classes}: must be FLOAT32 or UINT8. ")
    require(anchors.shape == (n, 4) and anchors.type == boxes.type, f"{anchors}: not ({n}, 4) of {boxes.type}. ")
    o = post_process_options(node)
    extra = classes.shape[2] - o.num_classes
    require(o.num_classes > 0 and extra in (0, 1), f"{classes} for {o.num_classes} classes and perhaps a background. ")
    require(o.max_detections >= 0 and o.max_classes_per_detection > 0, "max_categories_per_anchor > 0 was not true.")
    require(0 < o.iou_threshold <= 1, f"the threshold of overlap, {o.iou_threshold}, must be above 0 and at most 1. ")
    for spec in node.outputs:
        require(spec.type == "FLOAT32", f"{spec} must be FLOAT32. ")
    slots = o.max_detections * o.max_classes_per_detection
    return [(1, slots, 4), (1, slots), (1, slots), (1,)]


def detection_post_process(
    node: Node, encodings: Array, predictions: Array, anchors: Array
) -> tuple[Array, Array, Array, Array]:
    """Boxes (1, d, 4), classes (1, d), scores (1, d) and their number (1), followed by zeros."""
    o = post_process_options(node)
    boxes = decoded(_real(node.input(0), encodings)[0, :, :4], _real(node.input(2), anchors), o.scales)
    if (boxes[:, :2] > boxes[:, 2:]).any():
        raise OpError("ValidateBoxes(decoded_boxes, num_boxes) was not true.")
    scores = _real(node.input(1), predictions)[0, :, predictions.shape[2] - o.num_classes :]
    found = _regular(boxes, scores, o) if o.use_regular_nms else _fast(boxes, scores, o)
    slots = o.max_detections * o.max_classes_per_detection
    out = (np.zeros((1, slots, 4), np.float32), *np.zeros((2, 1, slots), np.float32))
    anchor_of, class_of, slot_of = found.anchors, found.classes, found.slots_of
    out[0][0, slot_of], out[1][0, slot_of], out[2][0, slot_of] = boxes[anchor_of], class_of, scores[anchor_of, class_of]
    return (*out, np.array([found.count], np.float32))


custom_op("TFLite_Detection_PostProcess", detection_post_process, _post_process_shapes, types="FLOAT32 UINT8")


def _real(spec: TensorSpec, x: Array) -> Array:
    if x.dtype == np.float32:
        return x
    return (x.astype(np.float32) - np.float32(spec.zero_point)) * spec.scale


def decoded(encodings: Array, anchors: Array, scales: tuple[float, float, float, float]) -> Array:
    """Boxes (n, 4) as (ymin, xmin, ymax, xmax) from (y, x, h, w) relative to anchors (y, x, h, w), by float64."""
    with np.errstate(all="ignore"):
        relative, anchor = encodings.astype(np.float64) / np.array(scales), anchors.astype(np.float64)
        centre = (relative[:, :2] * anchor[:, 2:] + anchor[:, :2]).astype(np.float32)
        half = (0.5 * np.exp(relative[:, 2:]) * anchor[:, 2:]).astype(np.float32)
        return np.concatenate([centre - half, centre + half], axis=1)


@dataclass(frozen=True, eq=False, slots=True)
class Detections:
    """For each detection its anchor, its class (without the background) and its slot in the output."""

    anchors: Array
    classes: Array
    slots_of: Array
    count: int


def select(boxes: Array, scores: Array, o: PostProcess, most: int) -> list[int]:
    """The indices of at most `most` boxes that do not overlap, best first; of equal scores the first."""
    candidates = np.flatnonzero(scores >= o.score_threshold)
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
    selected: list[int] = []
    while candidates.size and len(selected) < most:
        best, candidates = candidates[0], candidates[1:]
        selected.append(int(best))
        candidates = candidates[~(overlap(boxes[best], boxes[candidates]) > o.iou_threshold)]
    return selected


def _fast(boxes: Array, scores: Array, o: PostProcess) -> Detections:
    """Suppression on every anchor's best score; each selected anchor gives its best classes."""
    k = min(o.max_classes_per_detection, o.num_classes)
    chosen = select(boxes, scores.max(axis=1), o, o.max_detections)
    best = [_best_classes(scores[anchor], k) for anchor in chosen]
    slots_of = np.arange(len(chosen))[:, None] * o.max_classes_per_detection + np.arange(k)
    anchors, classes = np.repeat(np.array(chosen, np.intp), k), np.array(best, np.intp)
    return Detections(anchors, classes.reshape(-1), slots_of.reshape(-1), len(chosen))


def _best_classes(scores: Array, k: int) -> list[int]:
    if k == 1:
        return [int(np.argmax(scores))]
    row = scores.tolist()
    return partial_sort(range(len(row)), k, lambda a, b: row[a] > row[b])


def _regular(boxes: Array, scores: Array, o: PostProcess) -> Detections:
    """Suppression class by class, then the best of all classes; of equal scores the earlier class."""
    most = min(o.detections_per_class, o.max_detections)
    require(most > 0, "num_detections_per_class > 0 was not true.")
    anchors, classes = np.zeros((2, 0), np.intp)
    for c in range(o.num_classes):
        chosen = np.array(select(boxes, scores[:, c], o, most), np.intp)
        anchors, classes = np.append(anchors, chosen), np.append(classes, np.full(len(chosen), c))
        order = np.argsort(-scores[anchors, classes], kind="stable")[: o.max_detections]
        anchors, classes = anchors[order], classes[order]
    return Detections(anchors, classes, np.arange(len(anchors)), len(anchors))
