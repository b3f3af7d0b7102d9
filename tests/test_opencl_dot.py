"""The OpenCL kernels that multiply 8-bit codes, on the runtimes that are installed: equal to the CPU's to the bit."""

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


def same(data: bytes, inputs: list[np.ndarray], runtime: str, **tolerance: float) -> None:
    delegate = load_delegate("opencl", {"device": runtime, "require_full": "1"})
    assert_same(tflgpu_run(data, inputs, [delegate]), tflgpu_run(data, inputs), **tolerance)


def codes(random: np.random.Generator, kind: str, shape: Any, low: int | None = None) -> np.ndarray:
    ends = np.iinfo(kind.lower())
    return random.integers(ends.min if low is None else low, ends.max + 1, shape).astype(kind.lower())


def convolution(op: str, kind: str, sizes: tuple[int, ...], padding: str, zero: int, seed: int = 3) -> Any:
    """A model of CONV_2D or TRANSPOSE_CONV, and its input. zero: the zero point of unsigned weights."""
    random = np.random.default_rng(seed)
    h, w, kh, kw, sh, sw, c, oc = sizes
    signed = kind == "INT8"
    scale = (random.random(oc if signed else 1) * 0.02 + 0.004).astype(F)
    weights = {
        "type": kind,
        "value": codes(random, kind, (oc, kh, kw, c), -127 if signed else None),
        "scale": scale,
        "zero_point": [0 if signed else zero] * scale.size,
        "axis": 0,
    }
    x = {"type": kind, "shape": (2, h, w, c), "scale": F(0.05), "zero_point": 5 if signed else 130}
    bias = {"type": "INT32", "value": random.integers(-3000, 3000, oc).astype("i4"), "scale": F(0.05) * scale}
    options = {"padding": padding, "stride_h": sh, "stride_w": sw, "fused_activation_function": "RELU"}
    if op == "CONV_2D":
        oh, ow = (-(-(n - (k - 1) * (padding == "VALID")) // s) for n, k, s in ((h, kh, sh), (w, kw, sw)))
        inputs: list[Any] = [x, weights, bias]
    else:
        oh, ow = ((n * s if padding == "SAME" else (n - 1) * s + k) for n, k, s in ((h, kh, sh), (w, kw, sw)))
        inputs = [np.array((2, oh, ow, oc), np.int32), weights, x, bias]
    out = {"type": kind, "shape": (2, oh, ow, oc), "scale": F(0.3), "zero_point": -3 if signed else 120}
    return one_op(op, inputs, [out], version=4 if op != "CONV_2D" else 3, **options), [codes(random, kind, x["shape"])]


SIZES = st.tuples(
    *[st.integers(4, 19)] * 2, *[st.integers(1, 4)] * 2, *[st.integers(1, 3)] * 2, *[st.integers(1, 21)] * 2
)


@pytest.mark.parametrize("op", ["CONV_2D", "TRANSPOSE_CONV"])
@few
@given(
    kind=st.sampled_from(["INT8", "UINT8"]),
    sizes=SIZES,
    padding=st.sampled_from(["SAME", "VALID"]),
    zero=st.sampled_from([0, 117, 128, 255]),
)
def test_convolutions_of_codes_are_equal_to_the_cpus(op, runtime, kind, sizes, padding, zero):
    same(*convolution(op, kind, sizes, padding, zero), runtime)


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
@pytest.mark.parametrize("op", ["CONV_2D", "TRANSPOSE_CONV"])
def test_rows_inside_the_image_are_multiplied_where_they_are(op: str, kind: str, runtime: str) -> None:
    same(*convolution(op, kind, (11, 37, 3, 3, 2, 2, 8, 70), "SAME", 90), runtime)
    same(*convolution(op, kind, (6, 37, 3, 2, 1, 1, 16, 20), "VALID", 90), runtime)
