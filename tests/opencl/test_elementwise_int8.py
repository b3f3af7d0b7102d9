"""Quantized element-wise operators on OpenCL CPUs, computed by rows of vectors: equal to the CPU's to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, one_op, tflgpu_run

from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder

pytest.importorskip("pyopencl")

F = np.float32
few = settings(max_examples=12, derandomize=True, deadline=None, database=None)


def same(data: bytes, inputs: list[np.ndarray], runtime: str) -> None:
    delegate = load_delegate("opencl", {"device": runtime, "require_full": "1"})
    assert_same(tflgpu_run(data, inputs, [delegate]), tflgpu_run(data, inputs))


def quantized(kind: str, shape: tuple[int, ...], scale: float, zero: int) -> dict[str, Any]:
    return {"type": kind, "shape": shape, "scale": F(scale), "zero_point": 0 if kind == "INT16" else zero}


def integers(kind: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    ends = np.iinfo(kind.lower())
    return np.random.default_rng(seed).integers(ends.min, ends.max + 1, shape).astype(kind.lower())


SHAPES = [
    ((3, 5, 21), (3, 5, 21)),
    ((3, 5, 21), (21,)),
    ((3, 5, 21), (3, 5, 1)),
    ((3, 1, 21), (3, 5, 1)),
    ((2, 7, 3, 8), (3, 8)),
    ((2, 70, 90), (1,)),
    ((1, 19), (1, 19)),
    ((3, 1, 24), (1, 5, 24)),
]


@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
@few
@given(
    kind=st.sampled_from(["INT8", "UINT8", "INT16"]),
    shapes=st.sampled_from(SHAPES),
    swapped=st.booleans(),
    activation=st.sampled_from(["NONE", "RELU"]),
    scale=st.sampled_from([0.003, 0.1, 1.7]),
)
def test_rescaled_operators_are_equal_to_the_cpus(op, runtime, kind, shapes, swapped, activation, scale):
    shapes = shapes[::-1] if swapped else shapes
    x, y = quantized(kind, shapes[0], 0.02, 7), quantized(kind, shapes[1], 0.05, 100)
    out = quantized(kind, np.broadcast_shapes(*shapes), scale, 33)
    model = one_op(op, [x, y], [out], version=2, fused_activation_function=activation)
    same(model, [integers(kind, shapes[0], 1), integers(kind, shapes[1], 2)], runtime)


@pytest.mark.parametrize("shape", [(5, 7, 11), (300, 40), (3,)])
def test_lookups_are_right_for_every_8_bit_value(shape: tuple[int, ...], runtime: str) -> None:
    for kind in ("INT8", "UINT8"):
        x, out = quantized(kind, shape, 0.04, 12), quantized(kind, shape, 1 / 256, -128 if kind == "INT8" else 0)
        same(one_op("LOGISTIC", [x], [out], version=2), [integers(kind, shape, 3)], runtime)
    x, out = quantized("INT8", shape, 0.04, 12), quantized("UINT8", shape, 0.04, 140)
    same(one_op("QUANTIZE", [x], [out], version=2), [integers("INT8", shape, 3)], runtime)


def silu(kind: str, channels: int) -> bytes:
    """A convolution, times its own logistic function, times a gate for each channel, plus a number, plus the input."""
    rng = np.random.default_rng(channels)
    m = ModelBuilder()
    g = m.graph()
    shape, zero = [1, 6, 5, channels], {"INT8": 3, "UINT8": 131}[kind]

    def tensor(name: str, scale: float) -> int:
        return g.tensor(name, kind, shape, scale=scale, zero_point=zero)

    x = g.input("x", kind, shape, scale=0.05, zero_point=zero)
    gate = g.input("gate", kind, [1, 1, 1, channels], scale=1 / 256, zero_point=zero - 131)
    y, probability = tensor("y", 0.05), g.tensor("p", kind, shape, scale=1 / 256, zero_point=zero - 131)
    swish, gated, more, out = tensor("swish", 0.04), tensor("gated", 0.03), tensor("more", 0.04), tensor("out", 0.06)
    ends = (-127, 128) if kind == "INT8" else (0, 256)
    weights = rng.integers(*ends, (channels, 1, 1, channels)).astype(kind.lower())
    w = g.constant("w", weights, type=kind, scale=0.01, zero_point=0 if kind == "INT8" else 120)
    b = g.constant("b", rng.integers(-500, 500, channels, np.int32), type="INT32", scale=0.0005, zero_point=0)
    one = g.constant("one", np.full((), 77, kind.lower()), type=kind, scale=0.02, zero_point=zero)
    none = {"fused_activation_function": "NONE"}
    g.node("CONV_2D", [x, w, b], [y], version=3, padding="SAME", stride_w=1, stride_h=1, **none)
    g.node("LOGISTIC", [y], [probability], version=2)
    g.node("MUL", [y, probability], [swish], version=2, **none)
    g.node("MUL", [swish, gate], [gated], version=2, **none)
    g.node("SUB", [gated, one], [more], version=2, **none)
    g.node("ADD", [x, more], [out], version=2, **none)
    g.outputs(out)
    return m.build()


@pytest.mark.parametrize("kind, channels", [("INT8", 24), ("INT8", 5), ("UINT8", 40)])
def test_operators_after_a_convolution_run_in_its_kernel(kind: str, channels: int, runtime: str) -> None:
    model, inputs = (
        silu(kind, channels),
        [integers(kind, (1, 6, 5, channels), 3), integers(kind, (1, 1, 1, channels), 4)],
    )
    same(model, inputs, runtime)
    delegate: Any = load_delegate("opencl", {"device": runtime, "profile": "1", "require_full": "1"})
    tflgpu_run(model, inputs, [delegate])
    assert sum(runs for runs, _ in delegate.device.times().values()) <= (2 if channels > 16 else 3)


def test_quantized_values_that_a_lookup_reads_too_are_stored_before_an_epilogue(runtime: str) -> None:
    """A sum that another sum and, through a table into temporary memory, a concatenation read."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "UINT8", [20], scale=0.0144, zero_point=255)
    number = g.constant("number", np.uint8(125), scale=0.0099, zero_point=128)
    others = g.constant("others", integers("UINT8", (20,), 1), scale=0.0209, zero_point=149)
    y, z = (g.tensor(n, "UINT8", [20], scale=s, zero_point=128) for n, s in (("y", 0.0413), ("z", 0.0257)))
    joined = g.tensor("joined", "UINT8", [40], scale=0.0144, zero_point=255)
    g.node("ADD", [x, number], [y], fused_activation_function="RELU6")
    g.node("ADD", [others, y], [z], fused_activation_function="NONE")
    g.node("CONCATENATION", [x, y], [joined], axis=0, fused_activation_function="NONE")
    g.outputs(z, joined)
    same(m.build(), [integers("UINT8", (20,), 2)], runtime)
