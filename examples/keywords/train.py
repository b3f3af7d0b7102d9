"""Trains keywords.tflite with NumPy: which of four words does a second of sound hold? Takes a minute.

    examples/run.sh keywords/train.py

The model begins with AudioSpectrogram and Mfcc, as those of TensorFlow's speech commands do, so that it takes
samples; then a convolution over time, the greatest of each of its channels, and a dense layer. Its first two
operators are run here as a model of their own, for the features to train on are then the very same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flatbuffers import flexbuffers
from sounds import LABELS, RATE, one_second

import tflgpu
from tflgpu.edit.describe import put_labels
from tflgpu.edit.document import Document
from tflgpu.model.builder import GraphBuilder, ModelBuilder

MODEL = Path(__file__).parent / "keywords.tflite"
WINDOW, STRIDE, COEFFICIENTS = 256, 160, 12
FRAMES = 1 + (RATE - WINDOW) // STRIDE
SPAN, UNITS = 16, 32
"""The convolution sees SPAN frames, a third of a second, and has UNITS channels."""

STEPS = (FRAMES - SPAN) // 2 + 1
EXAMPLES, EPOCHS, BATCH = 2400, 40, 64


def front(g: GraphBuilder) -> int:
    """Samples to cepstral coefficients [1, FRAMES, COEFFICIENTS]."""
    samples = g.input("samples", "FLOAT32", [RATE, 1])
    spectra = g.tensor("spectra", "FLOAT32", [1, FRAMES, WINDOW // 2 + 1])
    options = {"window_size": WINDOW, "stride": STRIDE, "magnitude_squared": True}
    g.custom("AudioSpectrogram", [samples], [spectra], options=bytes(flexbuffers.Dumps(options)))
    cepstra = g.tensor("cepstra", "FLOAT32", [1, FRAMES, COEFFICIENTS])
    limits = {"lower_frequency_limit": 60, "upper_frequency_limit": 3800}
    options = limits | {"filterbank_channel_count": 24, "dct_coefficient_count": COEFFICIENTS}
    g.custom(
        "Mfcc",
        [spectra, g.constant("rate", np.array(RATE, np.int32))],
        [cepstra],
        options=bytes(flexbuffers.Dumps(options)),
    )
    return cepstra


def features(sounds: list[np.ndarray]) -> np.ndarray:
    """Cepstral coefficients (n, FRAMES, COEFFICIENTS) of seconds of sound, by the model's own first operators."""
    m = ModelBuilder()
    g = m.graph()
    g.outputs(front(g))
    interpreter = tflgpu.Interpreter(model_content=m.build())
    interpreter.allocate_tensors()
    found = []
    for sound in sounds:
        interpreter.set_tensor(0, sound[:, None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.array(found)


def examples(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(features, classes) of seconds of sound; every third is of an unknown word, the hardest to tell."""
    classes = rng.choice(len(LABELS), count, p=[0.1, 0.34, 0.14, 0.14, 0.14, 0.14])
    return features([one_second(LABELS[c], rng) for c in classes]), classes


def forward(weights: dict[str, np.ndarray], x: np.ndarray) -> tuple[np.ndarray, ...]:
    """(spans of frames (n, STEPS, SPAN * COEFFICIENTS), channels over time, their greatest, scores) of features."""
    spans = np.lib.stride_tricks.sliding_window_view(x, SPAN, axis=1)[:, ::2].swapaxes(2, 3)
    spans = spans.reshape(len(x), STEPS, SPAN * COEFFICIENTS)
    channels = np.maximum(spans @ weights["w1"] + weights["b1"], 0)
    greatest = channels.max(1)
    return spans, channels, greatest, greatest @ weights["w2"] + weights["b2"]


def gradients(weights: dict[str, np.ndarray], x: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Of the mean cross entropy of some examples."""
    spans, channels, greatest, scores = forward(weights, x)
    slope = np.exp(scores - scores.max(1, keepdims=True))
    slope /= slope.sum(1, keepdims=True)
    slope[np.arange(len(x)), classes] -= 1
    slope /= len(x)
    below = slope @ weights["w2"].T * (greatest > 0)
    at = spans[np.arange(len(x))[:, None], channels.argmax(1)]  # (n, UNITS, SPAN * COEFFICIENTS)
    return {"w1": np.einsum("nus,nu->su", at, below), "b1": below.sum(0), "w2": greatest.T @ slope, "b2": slope.sum(0)}


def trained(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The weights, by Adam; those of the convolution take coefficients as Mfcc gives them."""
    x, classes = examples(rng, EXAMPLES)
    mean, std = x.mean((0, 1)), x.std((0, 1))
    x = (x - mean) / std
    weights = {
        "w1": rng.normal(0, 0.07, (SPAN * COEFFICIENTS, UNITS)), "b1": np.zeros(UNITS),
        "w2": rng.normal(0, 0.2, (UNITS, len(LABELS))), "b2": np.zeros(len(LABELS)),
    }  # fmt: skip
    moments = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in weights.items()}
    step = 0
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x))
        for rows in np.split(order, range(BATCH, len(order), BATCH)):
            step += 1
            noisy = x[rows] + rng.normal(0, 0.15, x[rows].shape)
            for name, slope in gradients(weights, noisy, classes[rows]).items():
                first, second = moments[name]
                first += 0.1 * (slope - first)
                second += 0.001 * (slope**2 - second)
                corrected = first / (1 - 0.9**step), second / (1 - 0.999**step)
                weights[name] -= 3e-3 * (1 - epoch / EPOCHS) * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    # (x - mean) / std is folded into the convolution, whose padding is VALID.
    scaled = weights["w1"].reshape(SPAN, COEFFICIENTS, UNITS) / std[:, None]
    weights["b1"] = weights["b1"] - np.einsum("scu,c->u", scaled, mean)
    weights["w1"] = scaled.reshape(SPAN * COEFFICIENTS, UNITS)
    return {name: w.astype(np.float32) for name, w in weights.items()}


def model(weights: dict[str, np.ndarray]) -> bytes:
    """Samples [8000, 1] to the likelihoods [1, 6] of LABELS."""
    m = ModelBuilder("spots four words")
    g = m.graph()
    value = front(g)

    def then(op: str, constants: list[int], shape: list[int], **options: object) -> None:
        nonlocal value
        out = g.tensor(f"{op.lower()}{len(g.nodes)}", "FLOAT32", shape)
        g.node(op, [value, *constants], [out], **options)
        value = out

    def reshape(shape: list[int]) -> None:
        then("RESHAPE", [g.constant(f"shape{len(g.nodes)}", np.array(shape, np.int32))], shape, new_shape=shape)

    reshape([1, FRAMES, 1, COEFFICIENTS])
    w1 = np.ascontiguousarray(weights["w1"].T.reshape(UNITS, SPAN, 1, COEFFICIENTS))
    strides = {"padding": "VALID", "stride_h": 2, "stride_w": 1, "fused_activation_function": "RELU"}
    then(
        "CONV_2D",
        [g.constant("w1", w1), g.constant("b1", weights["b1"])],
        [1, STEPS, 1, UNITS],
        fused_activation_function="RELU",
        **strides,
    )
    then(
        "MAX_POOL_2D",
        [],
        [1, 1, 1, UNITS],
        filter_height=STEPS,
        filter_width=1,
        padding="VALID",
        stride_h=1,
        stride_w=1,
    )
    reshape([1, UNITS])
    w2 = np.ascontiguousarray(weights["w2"].T)
    then("FULLY_CONNECTED", [g.constant("w2", w2), g.constant("b2", weights["b2"])], [1, len(LABELS)])
    then("SOFTMAX", [], [1, len(LABELS)], beta=1.0)
    g.outputs(value)
    document = Document(m.build())
    put_labels(document, "labels.txt", "\n".join(LABELS).encode())
    return document.build()


def main() -> None:
    weights = trained(np.random.default_rng(7))
    x, classes = examples(np.random.default_rng(8), 600)
    right = (forward(weights, x)[3].argmax(1) == classes).mean()
    MODEL.write_bytes(model(weights))
    print(f"{MODEL.name}: {MODEL.stat().st_size:,} bytes; right on {right:.1%} of 600 seconds of other voices")


if __name__ == "__main__":
    main()
