"""Constant weights and biases packed for kernels: padded, less their zero points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tflgpu.delegates.lowering.gemm.problem import Gemm
from tflgpu.model.graph import Array

C_NAMES = {"FLOAT32": "float", "INT8": "char", "UINT8": "uchar", "INT16": "short"}
"""OpenCL's names of the element types."""


def padded(array: Array, length: int) -> Array:
    """The array with zeros after it."""
    out = np.zeros(length, array.dtype)
    out[: array.size] = array
    return out


def folded_bias(g: Gemm, columns: int) -> Array:
    """The bias, padded; of quantized values, less what x's zero point adds to the sums."""
    n = g.n
    if g.arithmetic != "quantized":
        bias = None if g.bias is None else g.bias.data
        return padded(np.zeros(n, np.float32) if bias is None else bias.reshape(-1), columns)
    weights = g.y.rows
    sums = weights.astype(np.int64).sum(axis=1)
    sums -= g.y.zero_point * (weights.size // n)
    constant = 0 if g.bias is None or g.bias.data is None else g.bias.data.reshape(-1).astype(np.int64)
    bias = constant - g.x.zero_point * sums
    return padded(bias.astype(np.int64 if g.epilogue.wide else np.int32), columns)


def column_sums(g: Gemm, columns: int) -> Array:
    """The sums of y's columns, padded: the factors of the zero points of hybrid rows."""
    return padded(g.y.rows.sum(axis=1, dtype=np.int32), columns)


def with_x_zero(g: Gemm, zero_point: int) -> Gemm:
    """The problem with another zero point of x."""
    return replace(g, x=replace(g.x, zero_point=zero_point))


def largest_row(g: Gemm) -> int:
    """The largest sum of magnitudes of one output's weights."""
    rows = g.y.rows.astype(np.int32) - g.y.zero_point
    return int(np.abs(rows).sum(axis=1, dtype=np.int64).max(initial=0))
