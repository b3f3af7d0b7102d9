"""What precision=fp16 brings to GEMMs on an OpenCL device: the same layers at fp32 and at fp16, alternating.

    python benchmarks/precision.py [--device intel] [--seconds 12]

The least time of each counts. Layers of few rows wait for their weights' way from memory; the others for arithmetic.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import tflgpu
from tflgpu.model.builder import ModelBuilder

NONE = {"fused_activation_function": "NONE"}


def dense(rows: int, depth: int, units: int) -> bytes:
    """A matrix multiply."""
    rng, m = np.random.default_rng(0), ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "FLOAT32", [rows, depth]), g.tensor("y", "FLOAT32", [rows, units])
    weights = g.constant("w", rng.normal(size=(units, depth)).astype(np.float32))
    g.node("FULLY_CONNECTED", [x, weights, g.constant("b", np.zeros(units, np.float32))], [y], **NONE)
    g.outputs(y)
    return m.build()


def convolution(side: int, channels: int, size: int) -> bytes:
    """As many channels out as in."""
    rng, m = np.random.default_rng(0), ModelBuilder()
    g = m.graph()
    shape = [1, side, side, channels]
    x, y = g.input("x", "FLOAT32", shape), g.tensor("y", "FLOAT32", shape)
    weights = g.constant("w", rng.normal(size=(channels, size, size, channels)).astype(np.float32))
    inputs = [x, weights, g.constant("b", np.zeros(channels, np.float32))]
    g.node("CONV_2D", inputs, [y], padding="SAME", stride_w=1, stride_h=1, **NONE)
    g.outputs(y)
    return m.build()


LAYERS = {
    "1 x 4096 times 4096 x 4096": lambda: dense(1, 4096, 4096),
    "16 x 2048 times 2048 x 2048": lambda: dense(16, 2048, 2048),
    "3x3 convolution of 28 x 28 x 128": lambda: convolution(28, 128, 3),
    "3x3 convolution of 7 x 7 x 512": lambda: convolution(7, 512, 3),
}


def prepared(model: bytes, device: str, precision: str) -> Any:
    """An interpreter that has run once."""
    delegate = tflgpu.load_delegate("opencl", {"device": device, "precision": precision, "require_full": True})
    interpreter = tflgpu.Interpreter(model_content=model, experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    (x,) = interpreter.get_input_details()
    interpreter.set_tensor(x["index"], np.random.default_rng(1).normal(size=x["shape"]).astype(np.float32))
    interpreter.invoke()
    return interpreter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="intel")
    parser.add_argument("--seconds", type=float, default=12.0)
    given = parser.parse_args()
    made = {(name, p): prepared(make(), given.device, p) for name, make in LAYERS.items() for p in ("fp32", "fp16")}
    best = dict.fromkeys(made, float("inf"))
    end = time.perf_counter() + given.seconds
    while time.perf_counter() < end:
        for key, interpreter in made.items():
            start = time.perf_counter()
            interpreter.invoke()
            best[key] = min(best[key], time.perf_counter() - start)
    for name in LAYERS:
        plain, float16 = best[name, "fp32"] * 1e3, best[name, "fp16"] * 1e3
        print(f"{name}: fp32 {plain:.3f} ms, fp16 {float16:.3f} ms, ratio {float16 / plain:.2f}")


if __name__ == "__main__":
    main()
