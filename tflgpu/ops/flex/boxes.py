"""CombinedNonMaxSuppression: suppression of overlapping boxes in every class, and the best of all classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.custom.detection import corners, overlap
from tflgpu.ops.custom.heap_order import pop_heap, push_heap
from tflgpu.ops.flex.inputs import one_integer, one_number
from tflgpu.ops.flex.node_def import attribute
from tflgpu.ops.registry import function, require, value
from tflgpu.ops.shape_rules import sized


class _Most(NamedTuple):
    """Boxes at most: of one class, of an image, and rows of the output."""

    of_class: int
    of_image: int
    rows: int


def _most(node: Node) -> _Most:
    of_class, of_image = sized(one_integer(node, i, value(node.input(i))) for i in (2, 3))
    require(of_class > 0 and of_image > 0, f"{node.op}: at most {of_class} boxes a class and {of_image} an image. ")
    by_class = of_class * node.input(1).shape[2]
    return _Most(of_class, of_image, min(of_image, by_class) if attribute(node, "pad_per_class", False) else of_image)


def _shapes(node: Node) -> list[Shape]:
    boxes, scores = node.input(0), node.input(1)
    fits = len(boxes.shape) == 4 and len(scores.shape) == 3 and boxes.shape[3] == 4 and scores.type == "FLOAT32"
    require(fits and boxes.shape[:2] == scores.shape[:2], f"{boxes} do not fit {scores}. ")
    require(boxes.shape[2] in (1, scores.shape[2]), f"{boxes}: one box, or one for each class of {scores}. ")
    b, rows = boxes.shape[0], _most(node).rows
    return [(b, rows, 4), (b, rows), (b, rows), (b,)]


class _Candidate(NamedTuple):
    score: np.float32
    box: int


class _Found(NamedTuple):
    score: np.float32
    cls: int
    box: Array


@function("FlexCombinedNonMaxSuppression", inputs=6, outputs=4, types="FLOAT32", shape=_shapes, custom=True)
def combined_non_max_suppression(
    node: Node, boxes: Array, scores: Array, of_class: Array, of_image: Array, iou: Array, least: Array
) -> tuple[Array, Array, Array, Array]:
    """Boxes (b, m, 4), scores (b, m), classes (b, m) and numbers (b,), from boxes (b, n, classes or 1, 4)."""
    most = _most(node)
    require(0 <= one_number(node, 4, iou) <= 1, f"iou_threshold must be in [0, 1], not {iou}. ")
    one_number(node, 5, least)
    out = tuple(np.zeros(spec.shape, spec.dtype) for spec in node.outputs)
    for image in range(len(boxes)):
        found: list[_Found] = []
        for cls in range(scores.shape[2]):
            own = boxes[image, :, cls if boxes.shape[2] > 1 else 0]
            kept = _selected(own, scores[image, :, cls], most.of_class, (iou, least))
            found += [_Found(candidate.score, cls, own[candidate.box]) for candidate in kept]
        found = sorted(found, key=lambda one: -one.score)[: most.rows]
        for row, one in enumerate(found):
            clipped = np.clip(one.box, 0, 1) if attribute(node, "clip_boxes", True) else one.box
            out[0][image, row], out[1][image, row], out[2][image, row] = clipped, one.score, one.cls
        out[3][image] = len(found)
    return out  # type: ignore[return-value]


def _selected(boxes: Array, scores: Array, most: int, thresholds: tuple[Array, Array]) -> list[_Candidate]:
    """The best of boxes (n, 4) by scores (n,), without those that overlap a better one by more than a threshold."""
    iou, least = thresholds
    heap: list[_Candidate] = []
    for i in np.flatnonzero(scores > least):
        push_heap(heap, _Candidate(scores[i], int(i)), _lower_score)
    found, sides = list[_Candidate](), corners(boxes)
    while heap and len(found) < most:
        candidate = pop_heap(heap, _lower_score)
        kept = sides[[one.box for one in found]]
        if not (overlap(sides[candidate.box], kept) > iou).any():
            found.append(candidate)
    return found


def _lower_score(a: _Candidate, b: _Candidate) -> bool:
    return bool(a.score < b.score)
