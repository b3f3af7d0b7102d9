"""LOG_SOFTMAX along the last axis: float, and 8-bit in fixed point."""

from __future__ import annotations

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm, quantize_multiplier, rdbp
from tflgpu.arithmetic.fixed_point_functions import log_x
from tflgpu.model.graph import Array, Node
from tflgpu.ops.normalization.softmax import as_rows, differences, exponentials, greatest, rescaling
from tflgpu.ops.registry import Step, kernel, require
from tflgpu.ops.shape_rules import elements, same_as_input


def _check_log_softmax(node: Node) -> None:
    x, out = node.input(0), node.outputs[0]
    require(len(x.shape) >= 1, "NumDimensions(input) >= 1 was not true.")
    require(x.type == out.type, f"{out} must be of the input's type. ")
    if x.type != "FLOAT32" and elements(x.shape):
        most = np.iinfo(out.dtype).max
        require(out.scale == 16 / 256, f"{out}: the scale of LOG_SOFTMAX's output must be 16/256. ")
        require(out.zero_point == most, f"{out}: the zero point of LOG_SOFTMAX's output must be {most}. ")
        require(rescaling(1.0, float(x.scale))[0] > 0, f"{x} has a scale of {x.scale}. ")


@kernel("LOG_SOFTMAX", inputs=1, version=2, types="FLOAT32 INT8 UINT8", shape=same_as_input, check=_check_log_softmax)
def log_softmax(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """x less the logarithm of the sum of exp(x), along the last axis."""
    x, y = as_rows(node, inputs[0]), as_rows(node, outputs[0])
    if x.size == 0:
        return lambda: None
    return _log_softmax_float(x, y) if x.dtype == np.float32 else _log_softmax_8_bits(node, x, y)


def _log_softmax_float(x: Array, y: Array) -> Step:
    sums, e = np.empty((len(x), 1), np.float32), np.empty(x.shape, np.float32)

    def step() -> None:
        with np.errstate(all="ignore"):
            greatest(x, sums)
            np.subtract(x, sums, out=y)
            np.exp(y, out=e)
            np.add.reduce(e, axis=1, keepdims=True, out=sums)
            np.log(sums, out=sums)
            np.subtract(y, sums, out=y)

    return step


def _log_softmax_8_bits(node: Node, x: Array, y: Array) -> Step:
    limits = np.iinfo(y.dtype)
    m, shift, least = rescaling(1.0, float(node.input(0).scale))
    rm, re = quantize_multiplier(2.0 ** (31 - shift) / m)
    share = exponentials(m, shift, least)[1]
    scaled = mbqm(-np.arange(256, dtype=np.int64), m, shift).astype(np.int64)
    largest, below = np.empty((len(x), 1), x.dtype), np.empty(x.shape, np.uint8)

    def step() -> None:
        d = differences(x, largest, below)
        log_sum = log_x(np.add.reduce(share[d], axis=1, keepdims=True, dtype=np.int32))
        negligible = np.maximum(least - 1, mbqm(log_sum.astype(np.int64) - 2**31, rm, re))
        value = rdbp((scaled[d] - log_sum).astype(np.int32), 22).astype(np.int64) + limits.max
        value[-d.astype(np.int64) <= negligible] = limits.min
        np.copyto(y, np.clip(value, limits.min, limits.max), casting="unsafe")

    return step
