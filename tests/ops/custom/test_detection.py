"""NON_MAX_SUPPRESSION_V4 and V5 and TFLite_Detection_PostProcess against LiteRT, ties and empty boxes included."""

from __future__ import annotations

import numpy as np
import pytest
from flatbuffers import flexbuffers
from oracle import assert_same, litert, one_op, tflgpu_run

from tflgpu.ops.custom.heap_order import partial_sort, pop_heap, push_heap


def agree(data, inputs, **tolerance):
    assert_same(tflgpu_run(data, inputs), litert(data, inputs), **tolerance)


def spec(type, *shape, **quantization):
    return {"type": type, "shape": list(shape), **quantization}


def scalar(value):
    return np.array(value, "f4")


def suppression(n, count, iou, score, sigma=None):
    ins = [spec("FLOAT32", n, 4), spec("FLOAT32", n), count, scalar(iou), scalar(score)]
    k = 1 if isinstance(count, dict) else int(count)
    if sigma is None:
        return one_op("NON_MAX_SUPPRESSION_V4", ins, [spec("INT32", k), spec("INT32")])
    outs = [spec("INT32", k), spec("FLOAT32", k), spec("INT32")]
    return one_op("NON_MAX_SUPPRESSION_V5", [*ins, scalar(sigma)], outs)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("ties", [False, True])
def test_suppression_with_and_without_ties(seed, ties):
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 25)), int(rng.integers(0, 12))
    # Whole coordinates make boxes without area, and few scores make the heap's order matter.
    boxes = np.round(rng.uniform(0, 6, (n, 4)), 0 if ties else 3).astype("f4")
    scores = (np.floor(rng.random(n) * 4) / 4 if ties else rng.random(n)).astype("f4")
    for iou in (0.0, 0.3, 0.7, 1.0):
        limits = np.array(k, "i4"), iou, float(rng.choice([0, 0.2]))
        agree(suppression(n, *limits), [boxes, scores])
        for sigma in (0.0, 0.5):
            agree(suppression(n, *limits, sigma), [boxes, scores])


def test_five_equal_scores_come_in_the_order_of_a_binary_heap():
    boxes = np.array([[i, i, i + 0.5, i + 0.5] for i in range(5)], "f4")
    data = suppression(5, np.array(5, "i4"), 0.5, 0.0)
    [indices, count] = tflgpu_run(data, [boxes, np.ones(5, "f4")])
    assert indices.tolist() == [0, 2, 4, 1, 3] and count == 5
    agree(data, [boxes, np.ones(5, "f4")])


def test_a_count_known_at_run_time_and_no_boxes():
    data = suppression(4, spec("INT32"), 0.5, 0.1, 0.5)
    rng = np.random.default_rng(0)
    for n in (4, 0):
        for count in (1, 3):
            agree(data, [rng.random((n, 4)).astype("f4"), rng.random(n).astype("f4"), np.array(count, "i4")])


def test_a_negative_count_or_sigma_is_refused():
    boxes, scores = np.zeros((1, 4), "f4"), np.zeros(1, "f4")
    with pytest.raises(RuntimeError, match="max_output_size_value >= 0"):
        tflgpu_run(suppression(1, spec("INT32"), 0.5, 0.1), [boxes, scores, np.array(-1, "i4")])
    with pytest.raises(RuntimeError, match="Invalid sigma value for soft NMS"):
        tflgpu_run(suppression(1, np.array(1, "i4"), 0.5, 0.1, -1.0), [boxes, scores])


def test_heap_gives_what_it_was_given_in_falling_order():
    numbers = np.random.default_rng(0).integers(0, 9, 50).tolist()
    heap: list[int] = []
    for number in numbers:
        push_heap(heap, number, int.__lt__)
    assert [pop_heap(heap, int.__lt__) for _ in numbers] == sorted(numbers, reverse=True)
    for k in (1, 2, 7, 50):
        assert partial_sort(numbers, k, int.__lt__) == sorted(numbers)[:k]


OPTIONS = {
    "max_detections": 5,
    "max_classes_per_detection": 1,
    "use_regular_nms": False,
    "nms_score_threshold": 0.1,
    "nms_iou_threshold": 0.4,
    "num_classes": 3,
    "y_scale": 10.0,
    "x_scale": 10.0,
    "h_scale": 5.0,
    "w_scale": 5.0,
}


def post_process(boxes, scores, anchors, **changes):
    options = OPTIONS | changes
    slots = options["max_detections"] * options["max_classes_per_detection"]
    outs = [spec("FLOAT32", 1, slots, 4), spec("FLOAT32", 1, slots), spec("FLOAT32", 1, slots), spec("FLOAT32", 1)]
    ins = [boxes, scores, anchors]
    return one_op("TFLite_Detection_PostProcess", ins, outs, custom=bytes(flexbuffers.Dumps(options)))


def same_detections(data, inputs, per_anchor=1, classes=1):
    """Equal as far as there are detections: TensorFlow Lite leaves the rest of its memory as it was."""
    got, want = tflgpu_run(data, inputs), litert(data, inputs)
    n = int(want[3][0]) * per_anchor
    used = [i for i in range(n) if i % per_anchor < classes]
    assert_same([g[:, used] for g in got[:3]] + got[3:], [w[:, used] for w in want[:3]] + want[3:])
    assert not got[2][:, n:].any()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("background", [0, 1])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_fast_post_process_of_tied_scores(seed, background, k):
    rng = np.random.default_rng(seed)
    n, c = int(rng.integers(1, 30)), 3
    boxes, anchors = rng.normal(size=(1, n, 4)).astype("f4"), rng.uniform(0.1, 1, (n, 4)).astype("f4")
    scores = (np.floor(rng.random((1, n, c + background)) * 5) / 5).astype("f4")
    data = post_process(
        spec("FLOAT32", *boxes.shape), spec("FLOAT32", *scores.shape), anchors, max_classes_per_detection=k
    )
    same_detections(data, [boxes, scores], k, min(k, c))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("per_class", [1, 3, 100])
def test_regular_post_process_of_tied_scores(seed, per_class):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    boxes, anchors = rng.normal(size=(1, n, 6)).astype("f4"), rng.uniform(0.1, 1, (n, 4)).astype("f4")
    scores = (np.floor(rng.random((1, n, 4)) * 5) / 5).astype("f4")
    x, s = spec("FLOAT32", *boxes.shape), spec("FLOAT32", *scores.shape)
    data = post_process(x, s, anchors, use_regular_nms=True, detections_per_class=per_class)
    agree(data, [boxes, scores])


@pytest.mark.parametrize("regular", [False, True])
def test_post_process_of_uint8(regular):
    rng = np.random.default_rng(0)
    boxes, scores = rng.integers(0, 256, (1, 20, 4)).astype("u1"), rng.integers(0, 256, (1, 20, 4)).astype("u1")
    anchors = {"value": rng.integers(20, 256, (20, 4)).astype("u1"), "type": "UINT8", "scale": 0.004, "zero_point": 0}
    x = spec("UINT8", 1, 20, 4, scale=0.03, zero_point=100)
    s = spec("UINT8", 1, 20, 4, scale=1 / 256, zero_point=3)
    same_detections(post_process(x, s, anchors, use_regular_nms=regular), [boxes, scores])


def test_boxes_inside_out_are_refused():
    x, s = spec("FLOAT32", 1, 1, 4), spec("FLOAT32", 1, 1, 4)
    data = post_process(x, s, np.full((1, 4), -1, "f4"))
    with pytest.raises(RuntimeError, match="ValidateBoxes"):
        tflgpu_run(data, [np.zeros((1, 1, 4), "f4"), np.ones((1, 1, 4), "f4")])


@pytest.mark.parametrize(
    "changes",
    [
        {"num_classes": 9},
        {"nms_iou_threshold": 0.0},
        {"max_classes_per_detection": 0},
        {"max_detections": 2**40},
        {"y_scale": "ten"},
        {"num_classes": float("inf")},
    ],
)
def test_options_out_of_range_are_refused(changes):
    x, s = spec("FLOAT32", 1, 2, 4), spec("FLOAT32", 1, 2, 4)
    options = OPTIONS | changes
    outs = [spec("FLOAT32", 1, 5, 4), spec("FLOAT32", 1, 5), spec("FLOAT32", 1, 5), spec("FLOAT32", 1)]
    content = bytes(flexbuffers.Dumps(options))
    data = one_op("TFLite_Detection_PostProcess", [x, s, np.ones((2, 4), "f4")], outs, custom=content)
    with pytest.raises(RuntimeError, match=r"TFLite_Detection_PostProcess\) failed to prepare"):
        tflgpu_run(data, [np.zeros((1, 2, 4), "f4"), np.ones((1, 2, 4), "f4")])
