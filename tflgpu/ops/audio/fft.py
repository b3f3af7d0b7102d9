"""RFFT2D, REAL, IMAG and COMPLEX_ABS."""

from __future__ import annotations

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.registry import function, require, value
from tflgpu.ops.shape_rules import same_as_input


def _spectrum_shape(node: Node) -> list[Shape]:
    x, length = node.input(0), node.input(1)
    require(len(x.shape) >= 2, f"{x}: RFFT2D needs two dimensions or more. ")
    require(length.type == "INT32" and length.shape == (2,), f"{length}: the FFT's size must be two INT32. ")
    h, w = (int(d) for d in value(length))
    powers = all(d > 0 and d & (d - 1) == 0 for d in (h, w))
    require(powers, f"the FFT's size [{h}, {w}] is not of powers of two. ")
    return [(*x.shape[:-2], h, w // 2 + 1)]


@function("RFFT2D", inputs=2, types="FLOAT32", shape=_spectrum_shape, output_type="COMPLEX64")
def rfft2d(node: Node, x: Array, length: Array) -> Array:
    """The spectrum (..., h, w/2 + 1) of the last two dimensions, cropped or padded with zeros to (h, w): complex64."""
    h, w = (int(d) for d in length)
    crop = x[..., :h, :w].astype(np.float64)
    with np.errstate(all="ignore"):
        return np.fft.rfft2(crop, (h, w), axes=(-2, -1)).astype(np.complex64)


COMPLEX = "COMPLEX64 COMPLEX128"


def _real_shape(node: Node) -> list[Shape]:
    x, y = node.input(0), node.outputs[0]
    wanted = {"COMPLEX64": "FLOAT32", "COMPLEX128": "FLOAT64"}[x.type]
    require(y.type == wanted, f"{y} must be {wanted} for {x.type}. ")
    return same_as_input(node)


@function("REAL", inputs=1, types=COMPLEX, shape=_real_shape)
def real(node: Node, x: Array) -> Array:
    """The real part."""
    return x.real


@function("IMAG", inputs=1, types=COMPLEX, shape=_real_shape)
def imag(node: Node, x: Array) -> Array:
    """The imaginary part."""
    return x.imag


@function("COMPLEX_ABS", inputs=1, types=COMPLEX, shape=_real_shape)
def complex_abs(node: Node, x: Array) -> Array:
    """The magnitude."""
    with np.errstate(all="ignore"):
        return np.abs(x)
