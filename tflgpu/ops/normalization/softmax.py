"""SOFTMAX along the last axis: of floats, and of integers in the reference kernels' fixed point."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeVar

import numpy as np

from tflgpu.arithmetic.fixed_point import INT32_MAX, clz32, mbqm, quantize_multiplier, rdbp
from tflgpu.arithmetic.fixed_point_functions import exp_on_negative_values
from tflgpu.arithmetic.lookup_tables import lut_int16, lut_int16_lookup
from tflgpu.model.graph import Array, Node
from tflgpu.ops.registry import Step, UnsupportedType, kernel, require
from tflgpu.ops.shape_rules import elements, same_as_input

ACCUMULATOR_BITS = 12
"""Integer bits of the sum of exponentials, in which each counts as 2^19."""

NARROW = 32
"""Depth up to which the greatest of each row is found faster column by column."""

BLOCK = 1 << 15
"""Elements computed at a time, so that the intermediate values stay in the cache."""


def as_rows(node: Node, array: Array) -> Array:
    return array.reshape(-1 if array.size else 0, node.input(0).shape[-1])


def greatest(x: Array, out: Array) -> None:
    """The greatest of each row of x (rows, depth) into out (rows, 1)."""
    if x.shape[1] > NARROW or x.shape[0] < NARROW:
        np.maximum.reduce(x, axis=1, keepdims=True, out=out)
        return
    column = out[:, 0]
    np.copyto(column, x[:, 0])
    for i in range(1, x.shape[1]):
        np.maximum(column, x[:, i], out=column)


_SOFTMAX_TYPES = {
    ("FLOAT32", "FLOAT32"),
    ("FLOAT16", "FLOAT16"),
    ("INT16", "INT16"),
    *((x, y) for x in ("INT8", "UINT8") for y in (x, "INT16")),
}


def _check_softmax(node: Node) -> None:
    x, types = node.input(0), (node.input(0).type, node.outputs[0].type)
    require(len(x.shape) >= 1, "NumDimensions(input) >= 1 was not true.")
    if types not in _SOFTMAX_TYPES:
        raise UnsupportedType(f"SOFTMAX from {types[0]} to {types[1]} is not supported. ")
    if x.dtype.kind != "f" and elements(x.shape):
        _require_output_scale(node)
        if x.type != "INT16":
            rescaling(float(np.float32(node.options.beta)), float(x.scale))


@kernel(
    "SOFTMAX", inputs=1, version=4, types="FLOAT32 FLOAT16 INT8 UINT8 INT16", shape=same_as_input, check=_check_softmax
)
def softmax(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """exp(beta * x) divided by its sum along the last axis."""
    x, y = as_rows(node, inputs[0]), as_rows(node, outputs[0])
    if x.size == 0:
        return lambda: None
    types = (node.input(0).type, node.outputs[0].type)
    if types == ("FLOAT32", "FLOAT32"):
        return _softmax_float(x, y, np.float32(node.options.beta))
    if types == ("FLOAT16", "FLOAT16"):
        return _softmax_float16(x, y, np.float32(node.options.beta))
    return _softmax_16_bits(node, x, y) if types[0] == "INT16" else _softmax_8_bits(node, x, y)


def _require_output_scale(node: Node) -> None:
    y = node.outputs[0]
    zero_points = {("INT8", "INT8"): (-128, 256), ("INT16", "INT16"): (0, 32768)}
    wanted = zero_points.get((node.input(0).type, y.type))
    if wanted is not None:
        require(y.zero_point == wanted[0], f"{y}: the zero point of SOFTMAX's output must be {wanted[0]}. ")
        near = abs(float(y.scale) - 1 / wanted[1]) <= 0.001 / wanted[1]
        require(near, f"{y}: the scale of SOFTMAX's output must be 1/{wanted[1]}. ")
    if node.input(0).type == "INT16":
        require(node.input(0).zero_point == 0, f"{node.input(0)}: the zero point must be 0. ")


def _softmax_float(x: Array, y: Array, beta: np.float32) -> Step:
    height = max(1, BLOCK // x.shape[1])
    sums = np.empty((min(height, len(x)), 1), np.float32)
    ones = np.ones((x.shape[1], 1), np.float32)
    blocks = [
        (x[start : start + height], y[start : start + height], sums[: len(x) - start])
        for start in range(0, len(x), height)
    ]

    def step() -> None:
        with np.errstate(all="ignore"):
            for x, y, sums in blocks:
                greatest(x, sums)
                np.subtract(x, sums, out=y)
                if beta != 1:
                    np.multiply(y, beta, out=y)
                np.exp(y, out=y)
                np.matmul(y, ones, out=sums)
                np.divide(y, sums, out=y)

    return step


def _softmax_float16(x: Array, y: Array, beta: np.float32) -> Step:
    def step() -> None:
        with np.errstate(all="ignore"):
            wide = x.astype(np.float32)
            e = np.exp((wide - np.max(wide, axis=1, keepdims=True)) * beta)
            # The reference stores the exponentials in the output first, so that they are rounded twice.
            np.copyto(y, e.astype(np.float16).astype(np.float32) / np.sum(e, axis=1, keepdims=True), casting="unsafe")

    return step


def rescaling(beta: float, input_scale: float) -> tuple[int, int, int]:
    """(m, shift, least): a difference d of int8 values is mbqm(d, m, shift) in Q5.26, negligible where d < least."""
    m, shift = quantize_multiplier(min(beta * input_scale * 2.0**26, 2.0**31 - 1))
    require(shift >= 0, f"an input scale of {input_scale} is too small. ")
    return m, shift, -math.floor(31 * 2.0**26 / 2.0**shift)


@lru_cache(maxsize=16)
def exponentials(m: int, shift: int, least: int) -> tuple[Array, Array]:
    """For d in 0..255: exp(-d quantized steps) in Q0.31 (int64), and its share of the sum (int32); 0 if negligible."""
    d = -np.arange(256, dtype=np.int64)
    e = np.where(d >= least, exp_on_negative_values(mbqm(d, m, shift)), 0)
    return e.astype(np.int64), rdbp(e, ACCUMULATOR_BITS)


def differences(x: Array, largest: Array, out: Array) -> Array:
    """The greatest of each row less x, in out (uint8). Returns out."""
    greatest(x, largest)
    return np.subtract(largest.view(np.uint8), x.view(np.uint8), out=out)


IntOrArray = TypeVar("IntOrArray", int, Array)


def _reciprocal(mantissa: IntOrArray) -> IntOrArray:
    """fixed_point.one_over_one_plus_x of a Q0.31 in [0, 1), a Python int or an int64 array, before the last saturation.

    Nothing before that saturates or wraps.
    """
    half = (mantissa + 2147483648) >> 1
    x = 1515870810 + ((half * -1010580540 + 1073741824) >> 31)
    for _ in range(3):
        x = x + (((x * (536870912 - ((half * x + 1073741824) >> 31)) + 1073741824) >> 31) << 2)
    return x << 1


FEW = 4
"""Rows up to which Python's own integers are faster than arrays."""


def reciprocals(sums: Array) -> tuple[Array, Array]:
    """fixed_point.get_reciprocal of sums (rows, 1), Q12.19 from 1 on: (r, bits over unit), both int64."""
    if len(sums) <= FEW:
        totals = [int(total) for total in sums[:, 0]]
        headroom = [32 - total.bit_length() for total in totals]
        exact = [_reciprocal((total << h) - (1 << 31)) for total, h in zip(totals, headroom, strict=True)]
        over_unit = [ACCUMULATOR_BITS - h for h in headroom]
        return np.minimum(np.array([exact], np.int64).T, INT32_MAX), np.array([over_unit], np.int64).T
    headrooms = 32 - np.frexp(sums.astype(np.float64))[1].astype(np.int64)
    found = _reciprocal((sums.astype(np.int64) << headrooms) - (1 << 31))
    return np.minimum(found, INT32_MAX), ACCUMULATOR_BITS - headrooms


def _softmax_8_bits(node: Node, x: Array, y: Array) -> Step:
    e, share = exponentials(*rescaling(float(np.float32(node.options.beta)), float(node.input(0).scale)))
    limits = np.iinfo(y.dtype)
    bits = limits.bits
    depth = x.shape[1]
    block = max(1, min(len(x), BLOCK // depth))
    largest, below = np.empty((block, 1), x.dtype), np.empty((block, depth), np.uint8)
    index, shares = np.empty((block, depth), np.intp), np.empty((block, depth), np.int32)
    wide, narrow = np.empty((block, depth), np.int64), np.empty((block, depth), np.int32)

    def rows(start: int) -> None:
        n = min(block, len(x) - start)
        np.copyto(index[:n], differences(x[start : start + n], largest[:n], below[:n]))
        share.take(index[:n], out=shares[:n], mode="clip")
        r, over_unit = reciprocals(_sums(shares[:n]))
        # The two roundings, by 31 and by `exponent`, of numbers that are not negative are one:
        # floor((floor((a + 2^30) / 2^31) + 2^(exponent-1)) / 2^exponent). From 32 on the result is 0.
        exponent = np.minimum(over_unit + (31 - bits), 32)
        q = e.take(index[:n], out=wide[:n], mode="clip")
        np.multiply(q, r, out=q)
        np.add(q, (np.int64(1 << 30) << exponent) + (1 << 30), out=q)
        np.right_shift(q, exponent + 31, out=q)
        value = narrow[:n]
        np.copyto(value, q, casting="unsafe")
        np.minimum(value, limits.max - limits.min, out=value)
        np.add(value, limits.min, out=y[start : start + n], casting="unsafe")

    def step() -> None:
        for start in range(0, len(x), block):
            rows(start)

    return step


def _sums(x: Array) -> Array:
    """The sum of each row of x (rows, depth), int32: (rows, 1)."""
    if x.shape[1] > NARROW or x.shape[0] < NARROW:
        return np.add.reduce(x, axis=1, keepdims=True, dtype=np.int32)
    total = x[:, :1].copy()
    for i in range(1, x.shape[1]):
        np.add(total[:, 0], x[:, i], out=total[:, 0])
    return total


@lru_cache(maxsize=8)
def _exponentials_16_bits(m: int, shift: int) -> Array:
    """exp(-d quantized steps) for every d in 0..65535, as Q0.15 in int32."""
    lut = lut_int16(np.exp, 10.0 / 65535, 32767, 2.0 / 65535, 0, np.float64)
    d = -np.arange(65536, dtype=np.int64)
    indices = np.clip(mbqm(d, m, shift).astype(np.int64) + 32767, -32768, 32767)
    return lut_int16_lookup(lut, indices).astype(np.int32)


@lru_cache(maxsize=1)
def _reciprocal_table() -> Array:
    return lut_int16(lambda v: 1.0 / (1.0 + v), 1.0 / 65535, -32768, 2.0 / 65535, 0, np.float64)


def _softmax_16_bits(node: Node, x: Array, y: Array) -> Step:
    scale = np.float32(node.input(0).scale) * np.float32(node.options.beta)
    table = _exponentials_16_bits(*quantize_multiplier(float(scale) / (10.0 / 65535.0)))
    largest, e = np.empty((len(x), 1), np.int16), np.empty(x.shape, np.int32)
    below = np.empty(x.shape, np.uint16)

    def step() -> None:
        greatest(x, largest)
        np.subtract(largest.view(np.uint16), x.view(np.uint16), out=below)
        table.take(below, out=e, mode="clip")
        sums = np.add.reduce(e, axis=1, keepdims=True, dtype=np.int32)
        headroom = clz32(sums).astype(np.int64)
        # 1 / (1 + v) wants v = the sum's mantissa - 1, in the middle of the int16 range.
        mantissa = ((sums.astype(np.int64) << (headroom - 1)) + (1 << 13)) >> 14
        r = lut_int16_lookup(_reciprocal_table(), np.clip(mantissa - 98304, -32768, 32767)).astype(np.int32)
        shift = (31 - headroom).astype(np.int32)
        np.multiply(e, r, out=e)
        np.add(e, np.int32(1) << (shift - 1), out=e)
        np.right_shift(e, shift, out=e)
        np.copyto(y, np.clip(e, 0, 32767, out=e), casting="unsafe")

    return step
