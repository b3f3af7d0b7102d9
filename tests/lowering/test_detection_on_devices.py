"""Suppression and detection on devices: equal to the CPU's, ties and empty boxes included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import cuda, opencl
from ops.custom.test_detection import post_process, spec, suppression
from oracle import assert_same, tflgpu_run

Model = tuple[bytes, list[Any]]


def gpu_like() -> Any:
    """OpenCL's kernels for GPUs, where a block of work-items shares a class."""
    from dataclasses import replace

    made = opencl()
    made.device.limits = replace(made.device.limits, cpu=False, max_block=64)
    return made


@pytest.fixture(scope="module", params=[opencl, gpu_like, cuda], ids=lambda make: make.__name__)
def delegate(request: pytest.FixtureRequest) -> Any:
    return request.param()


def agree(model: Model, delegate: Any) -> None:
    assert_same(tflgpu_run(*model, [delegate]), tflgpu_run(*model), rtol=2e-6, atol=2e-6)
    if hasattr(delegate.device, "check_guards"):
        delegate.device.check_guards()


@pytest.mark.parametrize("seed", range(6))
def test_suppression(seed: int, delegate: Any) -> None:
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 25)), int(rng.integers(1, 12))
    # Whole coordinates make boxes without area, and few scores make the heap's order matter.
    boxes = np.round(rng.uniform(0, 6, (n, 4)), 0 if seed % 2 else 3).astype("f4")
    scores = (np.floor(rng.random(n) * 4) / 4 if seed % 2 else rng.random(n)).astype("f4")
    limits = np.array(k, "i4"), 0.3, float(rng.choice([0, 0.2]))
    for sigma in (None, 0.0, 0.5):
        agree((suppression(n, *limits, sigma), [boxes, scores]), delegate)


def test_a_negative_sigma_is_refused(delegate: Any) -> None:
    boxes, scores = np.zeros((1, 4), "f4"), np.zeros(1, "f4")
    with pytest.raises(RuntimeError, match="Invalid sigma value for soft NMS"):
        tflgpu_run(suppression(1, np.array(1, "i4"), 0.5, 0.1, -1.0), [boxes, scores], [delegate])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("changes", [{"k": 1}, {"k": 2}, {"k": 4}, {"per_class": 3}, {"per_class": 100}], ids=str)
def test_detections_of_tied_scores(seed: int, changes: dict[str, int], delegate: Any) -> None:
    rng = np.random.default_rng(seed)
    n, background = int(rng.integers(1, 130)), seed % 2
    boxes, anchors = rng.normal(size=(1, n, 4 + background)).astype("f4"), rng.uniform(0.1, 1, (n, 4)).astype("f4")
    scores = (np.floor(rng.random((1, n, 3 + background)) * 5) / 5).astype("f4")
    options: dict[str, Any] = {"max_classes_per_detection": changes.get("k", 1)}
    if "per_class" in changes:
        options |= {"use_regular_nms": True, "detections_per_class": changes["per_class"]}
    model = post_process(spec("FLOAT32", *boxes.shape), spec("FLOAT32", *scores.shape), anchors, **options)
    agree((model, [boxes, scores]), delegate)


@pytest.mark.parametrize("regular", [False, True])
def test_detections_of_uint8(regular: bool, delegate: Any) -> None:
    rng = np.random.default_rng(0)
    boxes, scores = rng.integers(0, 256, (1, 20, 4)).astype("u1"), rng.integers(0, 256, (1, 20, 4)).astype("u1")
    anchors = {"value": rng.integers(20, 256, (20, 4)).astype("u1"), "type": "UINT8", "scale": 0.004, "zero_point": 0}
    x = spec("UINT8", 1, 20, 4, scale=0.03, zero_point=100)
    s = spec("UINT8", 1, 20, 4, scale=1 / 256, zero_point=3)
    agree((post_process(x, s, anchors, use_regular_nms=regular), [boxes, scores]), delegate)


def test_boxes_inside_out_are_refused(delegate: Any) -> None:
    model = post_process(spec("FLOAT32", 1, 1, 4), spec("FLOAT32", 1, 1, 4), np.full((1, 4), -1, "f4"))
    with pytest.raises(RuntimeError, match="ValidateBoxes"):
        tflgpu_run(model, [np.zeros((1, 1, 4), "f4"), np.ones((1, 1, 4), "f4")], [delegate])
