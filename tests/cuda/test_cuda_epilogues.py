"""What follows a GEMM or a convolution and is made by its kernel: residual sums and look-ups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_delegates import DEVICE, Always, emulated
from oracle import tflgpu_run

from tflgpu.conformance.cases.case import OneOp, T
from tflgpu.conformance.cases.tiles import conv, depthwise
from tflgpu.conformance.cases.values import drawn
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder


def constants_of(layer: OneOp, g: Any) -> list[int]:
    """Weights and bias of a model of one operator, in another graph."""
    rng = np.random.default_rng(3)
    tensors = [t for t in layer.inputs[1:] if isinstance(t, T)]
    drawings = [drawn(t.values, t.type, t.shape, rng) for t in tensors]
    return [
        g.constant(f"c{k}", value, type=t.type, **t.quantization())
        for k, (t, value) in enumerate(zip(tensors, drawings, strict=True))
    ]


RESIDUAL_SHAPES = {"gemm": (1, 9, 9, 8), "pointwise": (1, 9, 9, 8), "split": (1, 2, 2, 160), "depthwise": (1, 9, 9, 8)}


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
@pytest.mark.parametrize("maker", RESIDUAL_SHAPES)
def test_a_residual_sum_is_made_by_the_kernel_before_it(maker: str, kind: str) -> None:
    shape, k = RESIDUAL_SHAPES[maker], 1 if maker == "pointwise" else 3
    layer = depthwise(kind, shape) if maker == "depthwise" else conv(kind, shape, shape[-1], k)
    m = ModelBuilder()
    g = m.graph()
    fields = {} if kind == "FLOAT32" else {"scale": 0.07, "zero_point": -11}
    x = g.input("x", kind, list(shape), **fields)
    constants = constants_of(layer, g)
    y, z = (g.tensor(name, kind, list(shape), **fields) for name in "yz")
    g.node(layer.op, [x, *constants], [y], version=3, **layer.options)
    g.node("ADD", [y, x], [z], version=2, fused_activation_function="NONE")
    g.outputs(z)
    values = [np.rint(np.random.default_rng(1).uniform(-9, 9, shape)).astype(kind.lower())]
    want = tflgpu_run(m.build(), values)
    np.testing.assert_array_equal(tflgpu_run(m.build(), values, [emulated(check=True)]), want)
    profiled = load_delegate("cuda", {"device": DEVICE, "profile": True})
    np.testing.assert_array_equal(tflgpu_run(m.build(), values, [profiled]), want)
    names = set(profiled.device.times())
    assert not names & {"elementwise", "sum"}, f"the sum is a kernel of its own: {names}"
    tuned = load_delegate("cuda", {"device": DEVICE, "autotune": True})
    for number in range(1, 6):
        tuned.device.tuner = Always(number)
        np.testing.assert_array_equal(tflgpu_run(m.build(), values, [tuned]), want)


@pytest.mark.parametrize("maker", ["gemm", "pointwise", "depthwise"])
@pytest.mark.parametrize("plain_first", [True, False])
def test_quantized_swish_is_a_lookup_in_the_kernel_before_it(maker: str, plain_first: bool) -> None:
    shape = (1, 9, 9, 8)
    k = 1 if maker == "pointwise" else 3
    layer = depthwise("INT8", shape) if maker == "depthwise" else conv("INT8", shape, 8, k)
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "INT8", list(shape), scale=0.07, zero_point=-11)
    constants = constants_of(layer, g)
    y = g.tensor("y", "INT8", list(shape), scale=0.04, zero_point=-3)
    z = g.tensor("z", "INT8", list(shape), scale=1 / 256, zero_point=-128)
    out = g.tensor("out", "INT8", list(shape), scale=0.03, zero_point=-100)
    g.node(layer.op, [x, *constants], [y], version=3, **layer.options)
    g.node("LOGISTIC", [y], [z], version=2)
    g.node("MUL", [y, z] if plain_first else [z, y], [out], version=2, fused_activation_function="NONE")
    g.outputs(out)
    values = [np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)]
    want = tflgpu_run(m.build(), values)
    np.testing.assert_array_equal(tflgpu_run(m.build(), values, [emulated(check=True)]), want)
    profiled = load_delegate("cuda", {"device": DEVICE, "profile": True})
    np.testing.assert_array_equal(tflgpu_run(m.build(), values, [profiled]), want)
    assert not set(profiled.device.times()) & {"lut", "product"}
