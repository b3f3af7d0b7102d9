"""MEAN SUM REDUCE_PROD REDUCE_MAX REDUCE_MIN REDUCE_ANY REDUCE_ALL: reductions over axes, by one mechanism."""

from __future__ import annotations

from typing import Any

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm64, quantize_multiplier, rescaler, round_half_away, to_int32
from tflgpu.model.graph import Array, Node
from tflgpu.ops.fused_activation import clamp
from tflgpu.ops.movement.shape import require_output_type
from tflgpu.ops.reduction.reduction import (
    Reduction,
    in_float32,
    quantized_sum_step,
    quietly,
    reduced_shape,
    reduction,
    sum_step,
)
from tflgpu.ops.registry import Step, kernel, require
from tflgpu.ops.shape_rules import elements

QUANTIZED = frozenset({"INT8", "UINT8", "INT16"})
"""The types that may be quantized."""


def _check_sum(node: Node) -> None:
    require_output_type(node)
    if node.input(0).type in QUANTIZED and elements(node.input(0).shape):
        _check_scales(node)


def _check_scales(node: Node) -> None:
    x, y = node.input(0), node.outputs[0]
    for spec in (x, y):
        require(spec.quantization is not None, f"{spec} has no quantization parameters. ")
    require(
        x.type != "INT16" or x.zero_point == y.zero_point == 0,
        f"{x}, {y}: the zero points of 16-bit tensors must be 0. ",
    )
    require(y.scale > 0, f"{y} has a scale of {y.scale}. ")


def _clamped_into(out: Array, value: Array) -> None:
    limits = np.iinfo(out.dtype)
    np.copyto(out, np.clip(value, limits.min, limits.max), casting="unsafe")


@kernel(
    "MEAN",
    inputs=2,
    version=3,
    types="FLOAT32 FLOAT16 INT32 INT64 INT8 UINT8 INT16",
    shape=reduced_shape,
    check=_check_sum,
)
@in_float32
def mean(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """The mean: of floats, of integers truncated, quantized in fixed point. Of nothing: NaN, 0 for integers."""
    r = reduction(node, inputs, outputs)
    if r.x.size == 0:
        empty = np.float32(np.nan) if r.out.dtype == np.float32 else r.out.dtype.type(0)
        return lambda: r.out.fill(empty)
    if node.input(0).type in QUANTIZED:
        return _quantized_mean(node, r)
    if r.out.dtype == np.float32:
        total = sum_step(r, r.out)

        def float_step() -> None:
            total()
            np.divide(r.out, np.float32(r.count), out=r.out)

        return float_step

    sums, remainders = np.empty(r.out.shape, np.int64), np.empty(r.out.shape, np.int64)
    total = sum_step(r, sums)

    def integer_step() -> None:
        total()
        np.fmod(sums, r.count, out=remainders)
        np.subtract(sums, remainders, out=sums)
        np.floor_divide(sums, r.count, out=sums)
        np.copyto(r.out, sums, casting="unsafe")

    return integer_step


def _quantized_mean(node: Node, r: Reduction) -> Step:
    x, y = node.input(0), node.outputs[0]
    m, e = quantize_multiplier(float(x.scale) / float(y.scale))
    # The division by the count goes into the multiplier, with as many bits more as the count has.
    shift = min(r.count.bit_length() - 1, 32, 31 + e)
    m, e = (m << shift) // r.count, e - shift
    sums, scratch = np.empty(r.out.shape, np.int64), np.empty(r.out.shape, np.int64)
    total, rescale = quantized_sum_step(r, sums), rescaler(m, e)
    limits = np.iinfo(r.out.dtype)
    numbers = (x.zero_point * r.count, y.zero_point, limits.min, limits.max)
    # As arrays: NumPy is slower with scalars.
    offset, zero_point, lo, hi = (np.array(number, np.int64) for number in numbers)

    def step() -> None:
        total()
        np.subtract(sums, offset, out=sums)
        rescale(sums, scratch)
        np.add(sums, zero_point, out=sums)
        clamp(sums, lo, hi, sums)
        np.copyto(r.out, sums, casting="unsafe")

    return step


@kernel(
    "SUM",
    inputs=2,
    version=2,
    types="FLOAT32 FLOAT16 INT32 INT64 INT8 UINT8 INT16 BOOL",
    shape=reduced_shape,
    check=_check_sum,
)
@in_float32
def sum(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """The sum, wrapping in the tensor's own type; quantized in float32."""
    r = reduction(node, inputs, outputs)
    return _quantized_sum(node, r) if node.input(0).type in QUANTIZED else sum_step(r, r.out)


def _quantized_sum(node: Node, r: Reduction) -> Step:
    """The optimized kernel's float32 arithmetic: the reference kernel reads int8 and int16 as uint8."""
    x, y = node.input(0), node.outputs[0]
    if r.x.size == 0:
        return lambda: r.out.fill(0)
    scale = x.scale / y.scale
    bias = np.float32(-x.zero_point) * scale * np.float32(r.count)
    sums = np.empty(r.out.shape, np.int32)
    total = quantized_sum_step(r, sums)
    zero_point = np.int64(y.zero_point)

    def step() -> None:
        total()
        real = sums.astype(np.float32) * scale + bias
        _clamped_into(r.out, to_int32(round_half_away(real)) + zero_point)

    return step


def _check_extreme(node: Node) -> None:
    """Quantized values are compared as they are."""
    require_output_type(node)
    x, y = node.input(0).quantization, node.outputs[0].quantization
    if node.input(0).type in QUANTIZED and x is not None and y is not None:
        same = np.array_equal(x.scale, y.scale) and np.array_equal(x.zero_point, y.zero_point)
        require(same, "input->params.scale != output->params.scale or the zero points differ. ")


def _check_product(node: Node) -> None:
    x = node.input(0)
    require_output_type(node)
    if x.type in QUANTIZED and x.quantization is not None:
        require(x.type != "UINT8", "Unsupported quantized data type: 3")
        _check_scales(node)


@kernel(
    "REDUCE_PROD",
    inputs=2,
    version=2,
    types="FLOAT32 INT32 INT64 INT8 UINT8 INT16 BOOL",
    shape=reduced_shape,
    check=_check_product,
)
def reduce_prod(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """The product, wrapping in the tensor's own type; quantized, it is rescaled after every factor."""
    r = reduction(node, inputs, outputs)
    if node.input(0).type in QUANTIZED and node.input(0).quantization is not None:
        return _quantized_product(node, r)
    return lambda: quietly(np.multiply.reduce, r.x, axis=r.axes, dtype=r.out.dtype, out=r.out)


def _quantized_product(node: Node, r: Reduction) -> Step:
    x, y = node.input(0), node.outputs[0]
    if r.x.size == 0:
        return lambda: r.out.fill(0)
    m, e = quantize_multiplier(float(x.scale) / float(y.scale) ** (1.0 / r.count))
    remaining = [i for i in range(r.x.ndim) if i not in r.axes]
    # In memory order, since every product is rounded.
    factors = r.x.transpose(*r.axes, *remaining)
    order = list(np.ndindex(*(r.x.shape[i] for i in r.axes)))

    def step() -> None:
        product = factors[order[0]].astype(np.int64) - x.zero_point
        for i in order[1:]:
            product = mbqm64(product * (factors[i].astype(np.int64) - x.zero_point), m, e).astype(np.int64)
        _clamped_into(r.out, mbqm64(product, m, e).astype(np.int64) + y.zero_point)

    return step


def _extreme(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...], largest: bool) -> Step:
    """The greatest or least element. A NaN loses against any number, except as the first of all elements reduced."""
    r = reduction(node, inputs, outputs)
    if r.x.dtype == np.bool_:
        return _reduced_by(np.logical_or if largest else np.logical_and, r)
    limits = np.finfo(np.float32) if r.x.dtype == np.float32 else np.iinfo(r.x.dtype)
    start = r.x.dtype.type(limits.min if largest else limits.max)
    if r.x.dtype != np.float32:
        ufunc = np.maximum if largest else np.minimum
        return lambda: quietly(ufunc.reduce, r.x, axis=r.axes, initial=start, out=r.out)
    number = np.fmax if largest else np.fmin
    if not r.everything or r.x.size == 0:
        return lambda: quietly(number.reduce, r.x, axis=r.axes, initial=start, out=r.out)
    first = r.x.reshape(-1)[:1]

    def step() -> None:
        with np.errstate(all="ignore"):
            number.reduce(r.x, axis=r.axes, out=r.out)
            if np.isnan(first[0]):
                r.out.fill(first[0])

    return step


EXTREME: dict[str, Any] = {"inputs": 2, "version": 3, "shape": reduced_shape, "check": _check_extreme}
EXTREME["types"] = "FLOAT32 FLOAT16 INT32 INT64 INT8 UINT8 INT16 BOOL"


@kernel("REDUCE_MAX", **EXTREME)
@in_float32
def reduce_max(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """The greatest element; of nothing, the least finite number of the type."""
    return _extreme(node, inputs, outputs, largest=True)


@kernel("REDUCE_MIN", **EXTREME)
@in_float32
def reduce_min(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """The least element; of nothing, the greatest finite number of the type."""
    return _extreme(node, inputs, outputs, largest=False)


@kernel("REDUCE_ANY", inputs=2, types="BOOL", shape=reduced_shape, check=require_output_type)
def reduce_any(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """Whether any element is true; of nothing, false."""
    return _reduced_by(np.logical_or, reduction(node, inputs, outputs))


@kernel("REDUCE_ALL", inputs=2, types="BOOL", shape=reduced_shape, check=require_output_type)
def reduce_all(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """Whether all elements are true; of nothing, true."""
    return _reduced_by(np.logical_and, reduction(node, inputs, outputs))


def _reduced_by(ufunc: np.ufunc, r: Reduction) -> Step:
    return lambda: quietly(ufunc.reduce, r.x, axis=r.axes, out=r.out)
