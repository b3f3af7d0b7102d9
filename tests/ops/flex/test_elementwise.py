"""Element-wise Flex operators, against the C library or NumPy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from flex_models import model, run
from oracle import tflgpu_run

from tflgpu.ops.flex.elementwise import BINARY, GRADIENTS, GRADIENTS_OF_RESULTS, UNARY, erf

RNG = np.random.default_rng(0)


def test_erf_is_within_six_ulp():
    x = np.concatenate([np.linspace(-5, 5, 20001), [1e-30, -1e-30, np.inf, -np.inf, 0.0]]).astype(np.float32)
    want = np.array([math.erf(float(v)) for v in x])
    got = erf(x)
    assert np.max(np.abs(got - want) / np.spacing(np.abs(want).astype(np.float32))) < 6
    assert np.isnan(erf(np.array([np.nan], np.float32)))[0]
    np.testing.assert_array_equal(erf(x.astype(np.float64)), [math.erf(float(v)) for v in x])


@pytest.mark.parametrize("op", UNARY)
def test_functions_of_one_input(op):
    compute, types = UNARY[op]
    for type in types.split():
        dtype = np.dtype(type.lower())
        x = np.arange(1, 5).astype(dtype) if dtype.kind in "iu" else RNG.uniform(0.1, 2, 7).astype(dtype)
        (got,) = run(op, [x], type)
        assert got.dtype == dtype
        want = x if dtype.kind in "iu" or op == "Erf" else x.astype(np.result_type(x, np.float64))
        np.testing.assert_allclose(got, compute(want), 3e-3 if type == "FLOAT16" else 1e-6)


@pytest.mark.parametrize("op", BINARY)
def test_functions_of_two_inputs_broadcast(op):
    compute, types = BINARY[op]
    for type in types.split():
        dtype = np.dtype(type.lower())
        x, y = (np.arange(first, 6 + first).astype(dtype) for first in (2, 1))
        (got,) = run(op, [x.reshape(6, 1), y], type)
        assert got.shape == (6, 6) and got.dtype == dtype
        with np.errstate(over="ignore"):
            want = compute(x.reshape(6, 1), y)
        np.testing.assert_allclose(got, want, 1e-3 if type == "FLOAT16" else 1e-6)


def test_integers_are_divided_and_shifted_as_tensorflow_does():
    x, y = np.array([7, -7, 7, -7], np.int32), np.array([2, 2, -2, -2], np.int32)
    assert run("TruncateDiv", [x, y], "INT32")[0].tolist() == [3, -3, -3, 3]
    assert run("FloorDiv", [x, y], "INT32")[0].tolist() == [3, -4, -4, 3]
    assert run("FloorMod", [x, y], "INT32")[0].tolist() == [1, 1, -1, -1]
    assert run("LeftShift", [x, np.array([1, 0, -5, 99], np.int32)], "INT32")[0].tolist() == [14, -7, 7, -(2**31)]
    for op in ("TruncateDiv", "FloorDiv", "FloorMod"):
        with pytest.raises(RuntimeError, match="Integer division by zero"):
            run(op, [x, y - y], "INT32")


ACTIVATIONS = {
    "EluGrad": lambda x: np.where(x < 0, np.expm1(x), x),
    "Relu6Grad": lambda x: np.clip(x, 0, 6),
    "ReluGrad": lambda x: np.maximum(x, 0),
    "SeluGrad": lambda x: 1.0507009873554805 * np.where(x < 0, 1.6732632423543772 * np.expm1(x), x),
    "SoftplusGrad": lambda x: np.log1p(np.exp(x)),
    "SoftsignGrad": lambda x: x / (1 + np.abs(x)),
    "InvGrad": lambda x: 1 / x,
    "ReciprocalGrad": lambda x: 1 / x,
    "RsqrtGrad": lambda x: 1 / np.sqrt(np.abs(x)),
    "SigmoidGrad": lambda x: 1 / (1 + np.exp(-x)),
    "SqrtGrad": lambda x: np.sqrt(np.abs(x)),
    "TanhGrad": np.tanh,
}


@pytest.mark.parametrize("op", [*GRADIENTS, *GRADIENTS_OF_RESULTS])
def test_gradients_are_the_slopes(op):
    x = np.linspace(0.1, 7, 9) if op in ("RsqrtGrad", "SqrtGrad") else np.linspace(-2.9, 6.7, 9)
    g, activation, step = RNG.normal(size=9), ACTIVATIONS[op], 1e-6
    slope = (activation(x + step) - activation(x - step)) / (2 * step)
    of_output = op in ("EluGrad", "SeluGrad") or op in GRADIENTS_OF_RESULTS
    given = activation(x) if of_output else x
    inputs = [given, g] if op in GRADIENTS_OF_RESULTS else [g, given]
    np.testing.assert_allclose(run(op, inputs, "FLOAT64")[0], g * slope, 1e-6, 1e-7)


def test_complex_numbers_and_leaky_gradients():
    x, y = RNG.normal(size=(2, 5)).astype(np.float32)
    (got,) = run("Complex", [x, y], "COMPLEX64")
    np.testing.assert_array_equal(got, x + 1j * y)
    (got,) = run("LeakyReluGrad", [x, y], "FLOAT32", alpha=0.25)
    np.testing.assert_array_equal(got, np.where(y > 0, x, x / 4))


def test_slices_are_those_of_numpy():
    x = RNG.normal(size=(3, 4, 5)).astype(np.complex64)
    i4 = lambda *v: (np.array(v, np.int32),)  # noqa: E731
    (got,) = run("StridedSlice", [x, i4(1, 0, 3), i4(9, 0, 0), i4(1, 1, -2)], "COMPLEX64", end_mask=6, begin_mask=2)
    np.testing.assert_array_equal(got, x[1:9, :, 3::-2])
    (got,) = run(
        "StridedSlice",
        [x, i4(0, 0, -1), i4(0, 0, 0), i4(1, 1, 1)],
        "COMPLEX64",
        ellipsis_mask=1,
        new_axis_mask=2,
        shrink_axis_mask=4,
    )
    np.testing.assert_array_equal(got, x[..., None, -1])
    bounds = [np.array(v, np.int32) for v in ([1, 2], [3, 4], [1, 1])]
    (got,) = tflgpu_run(model("StridedSlice", [x, *bounds], "COMPLEX64"), [x, *bounds])
    np.testing.assert_array_equal(got, x[1:3, 2:4])
    with pytest.raises(RuntimeError, match="out of bounds"):
        run("StridedSlice", [x, i4(3), i4(4), i4(1)], "COMPLEX64", shrink_axis_mask=1)
