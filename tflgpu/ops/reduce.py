"""Reductions over axes: MEAN SUM REDUCE_PROD REDUCE_MAX REDUCE_MIN REDUCE_ANY REDUCE_ALL, by one mechanism."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np

from tflgpu.fixed_point import mbqm64, mbqm_in_place, quantize_multiplier, round_half_away, to_int32
from tflgpu.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.registry import Step, kernel, require, value

INTEGER_CODES = frozenset({"INT8", "UINT8", "INT16"})
"""The types whose values may be codes of a quantized tensor."""

EXACT_IN_FLOAT32 = 2**24
WORTH_BLAS = 16
"""Elements from which summing them by BLAS is faster than by NumPy."""


def reduced_axes(node: Node) -> tuple[int, ...]:
    """The axes that the node reduces, counted from the front, rising, each once. A scalar has none."""
    rank = len(node.input(0).shape)
    axis = node.input(1)
    require(axis.type == "INT32", f"{axis}: the axes must be INT32. ")
    given = [int(a) for a in np.ravel(value(axis))] if rank else []
    require(all(-rank <= a < rank for a in given), "Invalid axis index.")
    return tuple(sorted({a % rank for a in given}))


def reduced_shape(node: Node) -> list[Shape]:
    """The input's shape without the reduced axes, or with 1 in their place where keep_dims is set."""
    shape, axes = node.input(0).shape, reduced_axes(node)
    if node.options.keep_dims:
        return [tuple(1 if i in axes else d for i, d in enumerate(shape))]
    return [tuple(d for i, d in enumerate(shape) if i not in axes)]


@dataclass(frozen=True, eq=False, slots=True)
class Reduction:
    """x: the input with neighbours that share a fate merged. axes: those of it to reduce. out: the output to match.

    count: elements that go into one output.
    """

    x: Array
    axes: tuple[int, ...]
    out: Array
    count: int
    everything: bool


def reduction(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Reduction:
    """The node's reduction over as few dimensions as it can be written with."""
    shape, axes = node.input(0).shape, reduced_axes(node)
    sizes: list[int] = []
    fates: list[bool] = []
    for i, d in enumerate(shape):
        if d == 1 and len(shape) > 1:
            continue
        if fates and fates[-1] == (i in axes):
            sizes[-1] *= d
        else:
            sizes.append(d)
            fates.append(i in axes)
    kept = tuple(d for d, reduced in zip(sizes, fates, strict=True) if not reduced)
    merged = tuple(i for i, reduced in enumerate(fates) if reduced)
    count = math.prod(shape[i] for i in axes)
    return Reduction(inputs[0].reshape(sizes), merged, outputs[0].reshape(kept), count, len(axes) == len(shape))


def sum_step(r: Reduction, out: Array) -> Step:
    """A step that sums r.x into out, in out's type: float32, or integers that wrap."""
    if r.x.dtype != np.float32 or r.count < WORTH_BLAS or len(r.axes) != 1 or r.axes[0] < r.x.ndim - 2:
        return lambda: _ignoring(np.add.reduce, r.x, axis=r.axes, dtype=out.dtype, out=out)
    # A product with ones through BLAS: NumPy's reduction pays for every row, however short.
    if r.axes[0] == r.x.ndim - 1:
        ones = np.ones(r.count, np.float32)
        return lambda: _ignoring(np.matmul, r.x, ones, out=out)
    ones, columns = np.ones((1, r.count), np.float32), out.reshape(*r.x.shape[:-2], 1, r.x.shape[-1])
    return lambda: _ignoring(np.matmul, ones, r.x, out=columns)


def code_sum_step(r: Reduction, out: Array) -> Step:
    """A step that sums the codes r.x into out (int32 or wider)."""
    largest = -int(np.iinfo(r.x.dtype).min) or int(np.iinfo(r.x.dtype).max)
    if r.count * largest >= EXACT_IN_FLOAT32:
        return lambda: _ignoring(np.add.reduce, r.x, axis=r.axes, dtype=out.dtype, out=out)
    # Exact: every partial sum is a whole number below 2^24.
    scratch, sums = np.empty(r.x.shape, np.float32), np.empty(out.shape, np.float32)
    floats = sum_step(Reduction(scratch, r.axes, sums, r.count, r.everything), sums)

    def step() -> None:
        np.copyto(scratch, r.x)
        floats()
        np.copyto(out, sums, casting="unsafe")

    return step


def _ignoring(f: Callable[..., Any], *args: object, **kwargs: object) -> None:
    with np.errstate(all="ignore"):
        f(*args, **kwargs)


Factory = Callable[[Node, tuple[Array, ...], tuple[Array, ...]], Step]


def in_float32(run: Factory) -> Factory:
    """The kernel, taking FLOAT16 too: through float32, as XNNPACK does; the other kernels refuse it."""

    @wraps(run)
    def factory(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
        if node.input(0).type != "FLOAT16":
            return run(node, inputs, outputs)
        x, y = np.empty(inputs[0].shape, np.float32), np.empty(outputs[0].shape, np.float32)
        narrow = run(node, (x, *inputs[1:]), (y,))

        def step() -> None:
            np.copyto(x, inputs[0])
            narrow()
            with np.errstate(over="ignore"):
                np.copyto(outputs[0], y, casting="unsafe")

        return step

    return factory


def _scales(node: Node) -> tuple[TensorSpec, TensorSpec]:
    x, y = node.input(0), node.outputs[0]
    require(
        x.type != "INT16" or x.zero_point == y.zero_point == 0,
        f"{x}, {y}: the zero points of 16-bit tensors must be 0. ",
    )
    return x, y


def _clamped_into(out: Array, codes: Array) -> None:
    limits = np.iinfo(out.dtype)
    np.copyto(out, np.clip(codes, limits.min, limits.max), casting="unsafe")


@kernel("MEAN", version=3, types="FLOAT32 FLOAT16 INT32 INT64 INT8 UINT8 INT16", shape=reduced_shape)
@in_float32
def mean(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """The mean: of floats, of integers cut towards zero, of codes in fixed point. Of nothing: NaN, 0 for integers."""
    r = reduction(node, inputs, outputs)
    if r.x.size == 0:
        empty = np.float32(np.nan) if r.out.dtype == np.float32 else r.out.dtype.type(0)
        return lambda: r.out.fill(empty)
    if node.input(0).type in INTEGER_CODES:
        return _mean_of_codes(node, r)
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


def _mean_of_codes(node: Node, r: Reduction) -> Step:
    x, y = _scales(node)
    m, e = quantize_multiplier(float(x.scale) / float(y.scale))
    # The division by the count goes into the multiplier, with as many bits more as the count has.
    shift = min(r.count.bit_length() - 1, 32, 31 + e)
    m, e = (m << shift) // r.count, e - shift
    sums, scratch = np.empty(r.out.shape, np.int64), np.empty(r.out.shape, np.int64)
    total = code_sum_step(r, sums)
    offset, zero_point = np.int64(x.zero_point * r.count), np.int64(y.zero_point)
    limits = np.iinfo(r.out.dtype)

    def step() -> None:
        total()
        np.subtract(sums, offset, out=sums)
        mbqm_in_place(sums, scratch, m, e)
        np.add(sums, zero_point, out=sums)
        np.clip(sums, limits.min, limits.max, out=r.out, casting="unsafe")

    return step


@kernel("SUM", version=2, types="FLOAT32 FLOAT16 INT32 INT64 INT8 UINT8 INT16 BOOL", shape=reduced_shape)
@in_float32
def sum(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """The sum, wrapping in the tensor's own type; of codes in float32."""
    r = reduction(node, inputs, outputs)
    return _sum_of_codes(node, r) if node.input(0).type in INTEGER_CODES else sum_step(r, r.out)


def _sum_of_codes(node: Node, r: Reduction) -> Step:
    """The optimized kernel's float32 arithmetic: the reference kernel reads int8 and int16 as uint8."""
    x, y = _scales(node)
    if r.x.size == 0:
        return lambda: r.out.fill(0)
    scale = x.scale / y.scale
    bias = np.float32(-x.zero_point) * scale * np.float32(r.count)
    sums = np.empty(r.out.shape, np.int32)
    total = code_sum_step(r, sums)
    zero_point = np.int64(y.zero_point)

    def step() -> None:
        total()
        real = sums.astype(np.float32) * scale + bias
        _clamped_into(r.out, to_int32(round_half_away(real)) + zero_point)

    return step


def _require_equal_quantization(node: Node) -> None:
    """Codes are compared and multiplied as they are."""
    x, y = node.input(0).quantization, node.outputs[0].quantization
    if node.input(0).type in INTEGER_CODES and x is not None and y is not None:
        same = np.array_equal(x.scale, y.scale) and np.array_equal(x.zero_point, y.zero_point)
        require(same, "input->params.scale != output->params.scale or the zero points differ. ")


@kernel("REDUCE_PROD", version=2, types="FLOAT32 INT32 INT64 INT8 UINT8 INT16 BOOL", shape=reduced_shape)
def reduce_prod(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """The product, wrapping in the tensor's own type; of quantized codes rescaled after every factor."""
    r = reduction(node, inputs, outputs)
    if node.input(0).type in INTEGER_CODES and node.input(0).quantization is not None:
        require(node.input(0).type != "UINT8", "Unsupported quantized data type: 3")
        return _product_of_codes(node, r)
    _require_equal_quantization(node)
    return lambda: _ignoring(np.multiply.reduce, r.x, axis=r.axes, dtype=r.out.dtype, out=r.out)


def _product_of_codes(node: Node, r: Reduction) -> Step:
    x, y = _scales(node)
    if r.x.size == 0:
        return lambda: r.out.fill(0)
    m, e = quantize_multiplier(float(x.scale) / float(y.scale) ** (1.0 / r.count))
    kept = [i for i in range(r.x.ndim) if i not in r.axes]
    # Factors in the order in which they lie, since every product is rounded.
    factors = r.x.transpose(*r.axes, *kept)
    order = list(np.ndindex(*(r.x.shape[i] for i in r.axes)))

    def step() -> None:
        product = factors[order[0]].astype(np.int64) - x.zero_point
        for i in order[1:]:
            product = mbqm64(product * (factors[i].astype(np.int64) - x.zero_point), m, e).astype(np.int64)
        _clamped_into(r.out, mbqm64(product, m, e).astype(np.int64) + y.zero_point)

    return step


def _extreme(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...], largest: bool) -> Step:
    """The greatest or least element. A NaN loses against any number, except as the first of all elements reduced."""
    _require_equal_quantization(node)
    r = reduction(node, inputs, outputs)
    if r.x.dtype == np.bool_:
        some = np.logical_or if largest else np.logical_and
        return lambda: _ignoring(some.reduce, r.x, axis=r.axes, out=r.out)
    limits = np.finfo(np.float32) if r.x.dtype == np.float32 else np.iinfo(r.x.dtype)
    start = r.x.dtype.type(limits.min if largest else limits.max)
    if r.x.dtype != np.float32:
        ufunc = np.maximum if largest else np.minimum
        return lambda: _ignoring(ufunc.reduce, r.x, axis=r.axes, initial=start, out=r.out)
    number = np.fmax if largest else np.fmin
    if not r.everything or r.x.size == 0:
        return lambda: _ignoring(number.reduce, r.x, axis=r.axes, initial=start, out=r.out)
    first = r.x.reshape(-1)[:1]

    def step() -> None:
        with np.errstate(all="ignore"):
            number.reduce(r.x, axis=r.axes, out=r.out)
            if np.isnan(first[0]):
                r.out.fill(first[0])

    return step


@kernel("REDUCE_MAX", version=3, types="FLOAT32 FLOAT16 INT32 INT64 INT8 UINT8 INT16 BOOL", shape=reduced_shape)
@in_float32
def reduce_max(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """The greatest element; of nothing, the least finite number of the type."""
    return _extreme(node, inputs, outputs, largest=True)


@kernel("REDUCE_MIN", version=3, types="FLOAT32 FLOAT16 INT32 INT64 INT8 UINT8 INT16 BOOL", shape=reduced_shape)
@in_float32
def reduce_min(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """The least element; of nothing, the greatest finite number of the type."""
    return _extreme(node, inputs, outputs, largest=False)


@kernel("REDUCE_ANY", types="BOOL", shape=reduced_shape)
def reduce_any(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """Whether any element is true; of nothing, false."""
    r = reduction(node, inputs, outputs)
    return lambda: _ignoring(np.logical_or.reduce, r.x, axis=r.axes, out=r.out)


@kernel("REDUCE_ALL", types="BOOL", shape=reduced_shape)
def reduce_all(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """Whether all elements are true; of nothing, true."""
    r = reduction(node, inputs, outputs)
    return lambda: _ignoring(np.logical_and.reduce, r.x, axis=r.axes, out=r.out)
