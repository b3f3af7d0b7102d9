"""Trains detector.tflite with NumPy: where are digits in a picture, and which? Takes a minute.

    examples/run.sh detection/train.py

The network sees windows of 8 x 8 pixels, each second one across and down: a layer of 96 units with ReLU, then
eleven scores (no digit, or which) and how far the digit's centre is from the window's. As convolutions that is one
model for a whole picture; TFLite_Detection_PostProcess makes boxes of it, as in the detectors that TensorFlow's
converter writes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flatbuffers import flexbuffers
from scenes import DIGIT, SIDE, Digit, digits, scene

from tflgpu.edit.describe import put_labels
from tflgpu.edit.document import Document
from tflgpu.model.builder import ModelBuilder

MODEL = Path(__file__).parent / "detector.tflite"
STRIDE = 2
GRID = (SIDE - DIGIT) // STRIDE + 1
UNITS = 96
SCENES, EPOCHS, BATCH = 1200, 25, 256
OFFSET_SCALE = 10.0
"""An offset of 1 is a tenth of a window's side."""


def windows(pixels: np.ndarray, found: list[Digit]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each window of a scene: pixels (n, 64), class (n,), 0 for none or 1 + digit, offset (n, 2) down and across."""
    views = np.lib.stride_tricks.sliding_window_view(pixels, (DIGIT, DIGIT))[::STRIDE, ::STRIDE]
    classes = np.zeros((GRID, GRID), int)
    offsets = np.zeros((GRID, GRID, 2), np.float32)
    for row in range(GRID):
        for column in range(GRID):
            for d in found:
                off = np.array([d.top - row * STRIDE, d.left - column * STRIDE])
                if np.abs(off).max() <= 1:
                    classes[row, column] = 1 + d.label
                    offsets[row, column] = off / DIGIT * OFFSET_SCALE
    return views.reshape(-1, DIGIT * DIGIT), classes.ravel(), offsets.reshape(-1, 2)


def training_windows(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows of many scenes: all with a digit, and of the others some, those with something in them first."""
    images, labels = digits(held_out=False)
    kept = []
    for _ in range(SCENES):
        pixels, classes, offsets = windows(*scene(rng, images, labels, 20))
        # Half a digit is what is hardest to tell from a whole one; an empty window is easy.
        empty = np.flatnonzero(classes == 0)
        weight = pixels[empty].sum(1) + 0.5
        some = rng.choice(empty, 60, replace=False, p=weight / weight.sum())
        chosen = np.concatenate([np.flatnonzero(classes), some])
        kept.append((pixels[chosen], classes[chosen], offsets[chosen]))
    pixels, classes, offsets = (np.concatenate(column) for column in zip(*kept, strict=True))
    return pixels, classes, offsets


def trained(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The weights, by Adam on cross entropy and, for windows with a digit, the squared error of the offset."""
    pixels, classes, offsets = training_windows(rng)
    weights = {
        "w1": rng.normal(0, 0.15, (DIGIT * DIGIT, UNITS)), "b1": np.zeros(UNITS),
        "w2": rng.normal(0, 0.1, (UNITS, 13)), "b2": np.zeros(13),
    }  # fmt: skip
    weights = {name: w.astype(np.float32) for name, w in weights.items()}
    moments = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in weights.items()}
    step = 0
    for epoch in range(EPOCHS):
        order = rng.permutation(len(pixels))
        rate = 2e-3 * (1 - epoch / EPOCHS)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            step += 1
            for name, slope in gradients(weights, pixels[rows], classes[rows], offsets[rows]).items():
                first, second = moments[name]
                first += 0.1 * (slope - first)
                second += 0.001 * (slope**2 - second)
                corrected = first / (1 - 0.9**step), second / (1 - 0.999**step)
                weights[name] -= rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    return weights


def gradients(
    weights: dict[str, np.ndarray], pixels: np.ndarray, classes: np.ndarray, offsets: np.ndarray
) -> dict[str, np.ndarray]:
    """Of the mean loss of some windows."""
    hidden = np.maximum(pixels @ weights["w1"] + weights["b1"], 0)
    out = hidden @ weights["w2"] + weights["b2"]
    scores = np.exp(out[:, :11] - out[:, :11].max(1, keepdims=True))
    scores /= scores.sum(1, keepdims=True)
    slope = np.empty_like(out)
    slope[:, :11] = scores
    slope[np.arange(len(out)), classes] -= 1
    slope[:, 11:] = (out[:, 11:] - offsets) * (classes > 0)[:, None]
    slope /= len(out)
    below = slope @ weights["w2"].T * (hidden > 0)
    return {"w1": pixels.T @ below, "b1": below.sum(0), "w2": hidden.T @ slope, "b2": slope.sum(0)}


def model(weights: dict[str, np.ndarray]) -> bytes:
    """A picture [1, 64, 64, 1] in [0, 1] to at most 20 boxes, classes, scores, and how many there are."""
    m = ModelBuilder("finds handwritten digits")
    g = m.graph()
    count = GRID * GRID
    image = g.input("image", "FLOAT32", [1, SIDE, SIDE, 1])
    hidden = g.tensor("hidden", "FLOAT32", [1, GRID, GRID, UNITS])
    first = np.ascontiguousarray(weights["w1"].T.reshape(UNITS, DIGIT, DIGIT, 1))
    convolution = {"padding": "VALID", "stride_h": STRIDE, "stride_w": STRIDE, "fused_activation_function": "RELU"}
    g.node("CONV_2D", [image, g.constant("w1", first), g.constant("b1", weights["b1"])], [hidden], **convolution)
    rows = {}
    sizes = np.zeros((UNITS, 2), np.float32)  # every box is as large as its window
    second = {
        "scores": (weights["w2"][:, :11], weights["b2"][:11]),
        "boxes": (np.hstack([weights["w2"][:, 11:], sizes]), np.append(weights["b2"][11:], [0, 0]).astype(np.float32)),
    }
    for name, (w, b) in second.items():
        wide = b.size
        grid, rows[name] = (
            g.tensor(f"{name}{i}", "FLOAT32", s) for i, s in enumerate(([1, GRID, GRID, wide], [1, count, wide]))
        )
        w = np.ascontiguousarray(w.T.reshape(wide, 1, 1, UNITS))
        options = {"padding": "VALID", "stride_h": 1, "stride_w": 1}
        g.node("CONV_2D", [hidden, g.constant(f"{name}/w", w), g.constant(f"{name}/b", b)], [grid], **options)
        shape = np.array([1, count, wide], np.int32)
        g.node("RESHAPE", [grid, g.constant(f"{name}/shape", shape)], [rows[name]], new_shape=shape.tolist())
    likely = g.tensor("likely", "FLOAT32", [1, count, 11])
    g.node("SOFTMAX", [rows["scores"]], [likely], beta=1.0)
    outputs = [g.tensor(n, "FLOAT32", s) for n, s in DETECTIONS.items()]
    inputs = [rows["boxes"], likely, g.constant("anchors", anchors())]
    g.custom("TFLite_Detection_PostProcess", inputs, outputs, options=bytes(flexbuffers.Dumps(POST_PROCESS)))
    g.outputs(*outputs)
    document = Document(m.build())
    put_labels(document, "labels.txt", b"zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine", output=1)
    return document.build()


DETECTIONS = {"boxes": [1, 20, 4], "classes": [1, 20], "scores": [1, 20], "count": [1]}
POST_PROCESS = {
    "max_detections": 20, "max_classes_per_detection": 1, "use_regular_nms": False, "num_classes": 10,
    "nms_score_threshold": 0.6, "nms_iou_threshold": 0.2,
    "y_scale": OFFSET_SCALE, "x_scale": OFFSET_SCALE, "h_scale": 5.0, "w_scale": 5.0,
}  # fmt: skip


def anchors() -> np.ndarray:
    """Of each window (count, 4): centre and size, down and across, as fractions of the picture's side."""
    centres = (np.arange(GRID) * STRIDE + DIGIT / 2) / SIDE
    y, x = np.meshgrid(centres, centres, indexing="ij")
    side = np.full(y.shape, DIGIT / SIDE)
    return np.stack([y, x, side, side], axis=-1).reshape(-1, 4).astype(np.float32)


def main() -> None:
    MODEL.write_bytes(model(trained(np.random.default_rng(7))))
    print(f"{MODEL.name}: {MODEL.stat().st_size:,} bytes")
    from boxes import judged

    print(judged(MODEL))


if __name__ == "__main__":
    main()
