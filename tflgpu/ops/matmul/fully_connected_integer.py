"""FULLY_CONNECTED of integers: x (rows, depth), weights (units, depth), bias (units), y (rows, units)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm, mbqm64, quantize_multipliers
from tflgpu.model.graph import Array, Node
from tflgpu.ops import fused_activation
from tflgpu.ops.fused_activation import clamp
from tflgpu.ops.matmul.gemv import gemm_with
from tflgpu.ops.matmul.hybrid import weight_scale
from tflgpu.ops.matmul.integer_matmul import (
    FLOAT_COPY_ELEMENTS,
    SMALL,
    IntegerMatrix,
    exact_throughout,
    largest_magnitude,
)
from tflgpu.ops.registry import Step, require
from tflgpu.ops.scratch import copied, scratch
from tflgpu.ops.shape_rules import elements

_BELOW_HALF = np.nextafter(np.float64(0.5), np.float64(0))

Tiles = Iterator[tuple[slice, slice, Array]]


def _accumulator(node: Node, x: Array, weights: Array, bias: Array | None) -> tuple[Callable[[], Tiles], int]:
    """f() that yields accumulators (w - zero)(x - zero) + bias, in float64, tile by tile; and the size of a tile."""
    spec, weight_spec = node.input(0), node.input(1)
    assert weight_spec.quantization is not None
    # Weights quantized by rows are symmetric by definition; a zero point of theirs is not read.
    weight_zero = 0 if weight_spec.quantization.per_channel else weight_spec.zero_point
    matrix = IntegerMatrix(weights, len(x), largest=largest_magnitude(x.dtype, spec.zero_point))
    zero = matrix.dtype.type(spec.zero_point)
    bias_spec = node.optional(2)
    start = np.zeros(len(weights), np.float64) if bias is None else bias.astype(np.float64)
    bias_varies = bias if bias_spec is not None and bias_spec.data is None else None

    centred = scratch("quantized", x.shape, matrix.dtype)
    totals = scratch("totals", matrix.tile_size, np.float64)

    def accumulate() -> Tiles:
        np.subtract(x, zero, out=centred, dtype=centred.dtype)
        if bias_varies is not None:
            start[...] = bias_varies
        sums = centred.sum(axis=1, keepdims=True, dtype=np.float64) * -weight_zero if weight_zero else None
        for rows, columns, result in matrix.tiles(centred):
            tile = totals[: result.size].reshape(result.shape)
            np.add(result, start[columns], out=tile)
            if sums is not None:
                np.add(tile, sums[rows], out=tile)
            yield rows, columns, tile

    return accumulate, matrix.tile_size


def quantized(node: Node, x: Array, weights: Array, bias: Array | None, y: Array) -> Step:
    """A step that rescales in double, as the reference does, not in fixed point."""
    spec, output, weight_spec = node.input(0), node.outputs[0], node.input(1)
    zero, lo, hi = _output_range(node)
    scales = weight_scale(weight_spec)
    if spec.type == "INT8" and output.type == "INT16":
        # TensorFlow Lite goes through its uint8 kernel, which takes the bits of both for unsigned, and the scale of
        # weights quantized by rows for 0. Of packed weights it reads beyond the end.
        x, weights = x.view(np.uint8), weights.view(np.uint8)
        scales = scales if scales.size == 1 else np.zeros(1, np.float32)
    scale = np.broadcast_to(float(spec.scale) * scales.astype(np.float64) / float(output.scale), (len(weights),))
    bias_spec = node.optional(2)
    weight_zero = weight_spec.quantization is not None and not weight_spec.quantization.per_channel
    symmetric = not (weight_zero and weight_spec.zero_point)
    if symmetric and (bias_spec is None or bias_spec.data is not None) and _is_small(x, weights):
        return _small(node, x, weights, bias, scale, y)
    accumulate, size = _accumulator(node, x, weights, bias)
    low, high = np.float64(lo - zero), np.float64(hi - zero)
    signed_halves, wholes = scratch("signed halves", size, np.float64), scratch("wholes", size, np.int32)

    def step() -> None:
        for rows, columns, total in accumulate():
            half, whole = signed_halves[: total.size].reshape(total.shape), wholes[: total.size].reshape(total.shape)
            np.multiply(total, scale[columns], out=total)
            # Away from zero by a half; what is nearer to zero than that stays within 1 of it.
            clamp(total, -_BELOW_HALF, _BELOW_HALF, half)
            np.add(total, half, out=total)
            # The clamp may come before the truncation: its bounds are integers.
            clamp(total, low, high, total)
            np.copyto(whole, total, casting="unsafe")
            np.add(whole, zero, out=y[rows, columns], casting="unsafe")

    return step


def _is_small(x: Array, weights: Array) -> bool:
    largest = largest_magnitude(x.dtype, 0)
    few = len(x) * len(weights) <= SMALL and x.size <= 4 * SMALL and weights.size <= FLOAT_COPY_ELEMENTS
    return few and weights.dtype.itemsize == x.dtype.itemsize == 1 and exact_throughout(weights, largest)


def _small(node: Node, x: Array, weights: Array, bias: Array | None, scale: Array, y: Array) -> Step:
    """`quantized` without tiles, for weights of zero point 0: with few numbers it is the calls that cost time."""
    zero, lo, hi = _output_range(node)
    multiply = gemm_with(copied(weights, np.float32), len(x))
    start = (0 if bias is None else bias) - node.input(0).zero_point * weights.sum(axis=1, dtype=np.int64)
    start, scale = start.astype(np.float64).reshape(1, -1), scale.reshape(1, -1)
    centred, whole = np.empty(x.shape, np.float32), np.empty(y.shape, np.int32)
    total, half = np.empty(y.shape, np.float64), np.empty(y.shape, np.float64)
    low, high, below, above = (np.array(v, np.float64) for v in (lo - zero, hi - zero, -_BELOW_HALF, _BELOW_HALF))
    zeros = np.array(zero, np.int32)

    def step() -> None:
        centred[...] = x
        total[...] = multiply(centred)
        np.add(total, start, total)
        np.multiply(total, scale, total)
        clamp(total, below, above, half)
        np.add(total, half, total)
        clamp(total, low, high, total)
        whole[...] = total
        np.add(whole, zeros, whole)
        y[...] = whole

    return step


def _output_range(node: Node) -> tuple[int, int, int]:
    """The output's zero point, and the (lo, hi) to clamp to."""
    output = node.outputs[0]
    return output.zero_point, *fused_activation.quantized_range(node.options.fused_activation_function, output)


def _multipliers(node: Node) -> tuple[Array, Array]:
    x, weights, output = node.input(0), node.input(1), node.outputs[0]
    scales = weight_scale(weights)
    # In float32 where there is one scale, in double where there are many.
    scales_product = scales * x.scale if scales.size == 1 else scales.astype(np.float64) * float(x.scale)
    return quantize_multipliers(scales_product.astype(np.float64) / float(output.scale))


def fixed_point(node: Node, x: Array, weights: Array, bias: Array | None, y: Array) -> Step:
    """A step that rescales in fixed point, as for int16 weights and sparse int8 ones."""
    wide = weights.dtype == np.int16
    if wide and bias is not None and bias.dtype == np.int64 and node.options.quantized_bias_type != "INT64":
        # Where the option does not say so, TensorFlow Lite reads any bias of these as int32.
        bias = bias.view(np.int32)[: len(weights)]
    accumulate, _ = _accumulator(node, x, weights, bias)
    m, e = (np.broadcast_to(array, (len(weights),)) for array in _multipliers(node))
    zero, lo, hi = _output_range(node)
    rescale = mbqm64 if wide else mbqm

    def step() -> None:
        for rows, columns, total in accumulate():
            scaled = rescale(total.astype(np.int64), m[columns], e[columns])
            y[rows, columns] = np.clip(scaled + zero, lo, hi)

    return step


def check_shuffled(node: Node) -> None:
    """Raises OpError where a node with weights in tiles is not of the types and shapes that these are for."""
    x, weights = node.input(0), node.input(1)
    units, depth = weights.shape
    types = (x.type, weights.type, node.outputs[0].type)
    require(types == ("UINT8", "UINT8", "INT16"), f"shuffled weights are not supported for {types}. ")
    require(len(node.outputs) == 2, f"NumOutputs(node) != 2 ({len(node.outputs)} != 2)")
    rows = elements(node.outputs[0].shape) // max(units, 1)
    require(rows in (1, 4), f"shuffled weights are for 1 or 4 rows, not {rows}. ")
    require(units % 4 == 0 and depth % 16 == 0, "shuffled weights come in tiles of 4 by 16. ")
    require(node.optional(2) is not None, "shuffled weights need a bias. ")


def shuffled(node: Node, x: Array, weights: Array | None, bias: Array | None, y: Array) -> Step:
    """Weights as bytes in tiles of 4 units by 16 columns, with zero points of 128 already taken away."""
    spec = node.input(1)
    units, depth = spec.shape
    assert weights is not None and bias is not None
    m, e = quantize_multipliers([float(node.input(0).scale * spec.scale) / float(node.outputs[0].scale)])
    _, lo, hi = _output_range(node)

    def step() -> None:
        tiles = weights.view(np.int8).reshape(units // 4, depth // 16, 4, 16)
        plain = tiles.transpose(0, 2, 1, 3).reshape(units, depth).astype(np.float64)
        centred = (x ^ np.uint8(0x80)).view(np.int8).astype(np.float64)
        total = (centred @ plain.T).astype(np.int64) + bias
        y[...] = np.clip(mbqm(total, m, e), lo, hi)

    return step
