"""Small networks whose launches become one persistent kernel: of vectors, of rows and of others mixed."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import Array

NONE = {"fused_activation_function": "NONE"}
ONE_BY_ONE = {"padding": "SAME", "stride_w": 1, "stride_h": 1, **NONE}


def network(seed: int, kind: str) -> tuple[bytes, list[Array]]:
    """A network of 4 to 12 operators on images of 16 or 24 channels, and its input. kind: "FLOAT32" or "INT8"."""
    chosen, rng = random.Random(seed), np.random.default_rng(seed)
    m = ModelBuilder()
    g = m.graph()
    c, h, w = chosen.choice([16, 24]), chosen.choice([5, 12, 33]), chosen.choice([3, 8])
    shape = [1, h, w, c]
    scaled: dict[str, Any] = {} if kind == "FLOAT32" else {"scale": 0.05, "zero_point": 3}
    known = [g.input("x", kind, shape, **scaled)]

    def weights(name: str, dims: tuple[int, ...], axis: int) -> tuple[Any, Any]:
        values = rng.normal(size=dims).astype(np.float32)
        if kind == "FLOAT32":
            return g.constant(name, values), g.constant(f"{name}b", rng.normal(size=c).astype(np.float32))
        by = {"scale": np.full(c, 0.01, np.float32), "zero_point": np.zeros(c, np.int64), "axis": axis}
        quantized = (values * 30).clip(-127, 127).astype(np.int8)
        bias = g.constant(f"{name}b", rng.integers(-500, 500, c, np.int32), type="INT32")
        return g.constant(name, quantized, type="INT8", **by), bias

    for k in range(chosen.randint(4, 12)):
        out, a, b = g.tensor(f"t{k}", kind, shape, **scaled), chosen.choice(known), chosen.choice(known)
        what = chosen.randrange(6)
        if what == 0:
            g.node("CONV_2D", [a, *weights(f"w{k}", (c, 3, 3, c), 0)], [out], version=3, **ONE_BY_ONE)
        elif what == 1:
            by = weights(f"w{k}", (1, 3, 3, c), 3)
            g.node("DEPTHWISE_CONV_2D", [a, *by], [out], version=3, depth_multiplier=1, **ONE_BY_ONE)
        elif what == 2:
            window = {"filter_width": 3, "filter_height": 2, **ONE_BY_ONE}
            g.node("MAX_POOL_2D", [a], [out], version=2, **window)
        elif what == 3:
            g.node("ADD", [a, b], [out], version=2, **NONE)
        elif what == 4:
            twice = g.tensor(f"twice{k}", kind, [1, h, w, 2 * c], **scaled)
            g.node("CONCATENATION", [a, b], [twice], version=2, axis=3, **NONE)
            ends = [
                g.constant(f"{name}{k}", np.array(v, np.int32)) for name, v in (("at", [0, 0, 0, 8]), ("of", shape))
            ]
            g.node("SLICE", [twice, *ends], [out], version=2)
        else:
            g.node("RELU" if kind == "FLOAT32" else "MAXIMUM", [a] if kind == "FLOAT32" else [a, b], [out], version=2)
        known.append(out)
    g.outputs(*known[-2:])
    x = rng.uniform(-1, 1, shape).astype(np.float32) if kind == "FLOAT32" else rng.integers(-128, 128, shape, np.int8)
    return m.build(), [x]
