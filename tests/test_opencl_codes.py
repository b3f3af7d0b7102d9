"""Element-wise operators on codes on OpenCL CPUs, which go by rows of vectors: equal to the CPU's to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opencl_runtimes import require_intel
from oracle import assert_same, one_op, tflgpu_run

from tflgpu.delegate import load_delegate

pytest.importorskip("pyopencl")

F = np.float32
few = settings(max_examples=12, derandomize=True, deadline=None, database=None)


@pytest.fixture(scope="module", params=["PoCL", "Intel"])
def runtime(request: pytest.FixtureRequest) -> str:
    """The `device` option of each implementation that is installed."""
    return require_intel() if request.param == "Intel" else "portable"


def same(data: bytes, inputs: list[np.ndarray], runtime: str) -> None:
    delegate = load_delegate("opencl", {"device": runtime, "require_full": "1"})
    assert_same(tflgpu_run(data, inputs, [delegate]), tflgpu_run(data, inputs))


def quantized(kind: str, shape: tuple[int, ...], scale: float, zero: int) -> dict[str, Any]:
    return {"type": kind, "shape": shape, "scale": F(scale), "zero_point": 0 if kind == "INT16" else zero}


def codes(kind: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
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
    same(model, [codes(kind, shapes[0], 1), codes(kind, shapes[1], 2)], runtime)


@pytest.mark.parametrize("shape", [(5, 7, 11), (300, 40), (3,)])
def test_tables_are_looked_up_for_every_code(shape: tuple[int, ...], runtime: str) -> None:
    for kind in ("INT8", "UINT8"):
        x, out = quantized(kind, shape, 0.04, 12), quantized(kind, shape, 1 / 256, -128 if kind == "INT8" else 0)
        same(one_op("LOGISTIC", [x], [out], version=2), [codes(kind, shape, 3)], runtime)
    x, out = quantized("INT8", shape, 0.04, 12), quantized("UINT8", shape, 0.04, 140)
    same(one_op("QUANTIZE", [x], [out], version=2), [codes("INT8", shape, 3)], runtime)
