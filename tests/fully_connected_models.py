"""Layers of FULLY_CONNECTED over quantized values, and their comparison with LiteRT."""

from __future__ import annotations

from typing import Any

import numpy as np
from oracle import assert_same, litert, one_op, tflgpu_run

from tflgpu.model.builder import ModelBuilder

F = np.float32
LIMITS = {"INT8": (-128, 128), "UINT8": (0, 256), "INT16": (-32768, 32768), "INT4": (-7, 8), "INT2": (-1, 2)}
DTYPE = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "INT4": np.int8, "INT2": np.int8}
UNITS, DEPTH = 5, 12


def values(random: np.random.Generator, type: str, shape: tuple[int, ...]) -> np.ndarray:
    return random.integers(*LIMITS[type], shape).astype(DTYPE[type])


def quantized(
    x_type: str,
    weight_type: str,
    y_type: str,
    bias: str | None = "INT32",
    per_channel: bool = False,
    zeros: tuple[int, int, int] = (3, 0, -5),
    shape: tuple[int, ...] = (7, DEPTH),
    y_scale: float | None = None,
    **options: Any,
) -> tuple[bytes, np.ndarray]:
    """A model of one quantized layer, and an input for it."""
    random = np.random.default_rng(11)
    x_scale = F(0.0004 if x_type == "INT16" else 0.05)
    weight_scale = (random.random(UNITS if per_channel else 1) * 0.02 + 0.004).astype(F)
    bias_scale = x_scale * weight_scale
    span = 10**5 if x_type == "INT16" else 3000
    weights = {"type": weight_type, "value": values(random, weight_type, (UNITS, DEPTH)), "scale": weight_scale}
    inputs: list[Any] = [
        {"type": x_type, "shape": shape, "scale": x_scale, "zero_point": zeros[0]},
        {**weights, "zero_point": zeros[1]},
    ]
    if bias:
        value = random.integers(-span, span, UNITS).astype(bias.lower())
        inputs.append({"type": bias, "value": value, "scale": bias_scale})
    lead = shape[:-1] if options.get("keep_num_dims") else (int(np.prod(shape)) // DEPTH,)
    scale = y_scale or (0.0009 if y_type == "INT16" else 0.11)
    output = {"type": y_type, "shape": (*lead, UNITS), "scale": F(scale), "zero_point": zeros[2]}
    return one_op("FULLY_CONNECTED", inputs, [output], version=14, **options), values(random, x_type, shape)


def same(data: bytes, *inputs: np.ndarray, resolver: str = "BUILTIN_REF", **tolerance: float) -> None:
    assert_same(tflgpu_run(data, inputs), litert(data, inputs, resolver), **tolerance)


def blockwise(bias: bool, rows: int = 3, units: int = 6, depth: int = 64, size: int = 32) -> bytes:
    random = np.random.default_rng(8)
    model = ModelBuilder()
    graph = model.graph()
    x = graph.input("x", "FLOAT32", [rows, depth])
    scale = graph.constant("scale", (random.random((units, depth // size)) * 0.1).astype(np.float16))
    details = ("BlockwiseQuantization", {"scales": scale, "zero_points": -1, "block_size": size})
    matrix = values(random, "INT4", (units, depth))
    w = graph.constant("w", matrix, type="INT4", quantization={"details": details})
    b = graph.constant("b", random.standard_normal(units).astype(F)) if bias else None
    y = graph.tensor("y", "FLOAT32", [rows, units])
    graph.node("FULLY_CONNECTED", [x, w, b], [y], version=12)
    graph.outputs(y)
    return model.build()
