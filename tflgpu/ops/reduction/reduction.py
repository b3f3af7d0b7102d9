"""What reductions share: the axes, the output's shape, the input with its dimensions merged, and sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np

from tflgpu.arithmetic.fixed_point import FLOAT32_EXACT
from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.registry import Step, require, value

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
    """x: the input, neighbouring dimensions merged where both or none are reduced. axes: of x, to reduce. out: alike.

    count: elements that go into one output. everything: whether all axes are reduced.
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
    reduced_runs: list[bool] = []
    for i, d in enumerate(shape):
        if d == 1 and len(shape) > 1:
            continue
        if reduced_runs and reduced_runs[-1] == (i in axes):
            sizes[-1] *= d
        else:
            sizes.append(d)
            reduced_runs.append(i in axes)
    remaining = tuple(d for d, is_reduced in zip(sizes, reduced_runs, strict=True) if not is_reduced)
    merged = tuple(i for i, is_reduced in enumerate(reduced_runs) if is_reduced)
    count = math.prod(shape[i] for i in axes)
    return Reduction(inputs[0].reshape(sizes), merged, outputs[0].reshape(remaining), count, len(axes) == len(shape))


def sum_step(r: Reduction, out: Array) -> Step:
    """A step that sums r.x into out, in out's type: float32, or integers that wrap."""
    if r.x.dtype != np.float32 or r.count < WORTH_BLAS or len(r.axes) != 1 or r.axes[0] < r.x.ndim - 2:
        return lambda: quietly(np.add.reduce, r.x, axis=r.axes, dtype=out.dtype, out=out)
    # GEMM with ones: NumPy's reduction pays for every row, however short.
    if r.axes[0] == r.x.ndim - 1:
        ones = np.ones(r.count, np.float32)
        return lambda: quietly(np.matmul, r.x, ones, out=out)
    ones, columns = np.ones((1, r.count), np.float32), out.reshape(*r.x.shape[:-2], 1, r.x.shape[-1])
    return lambda: quietly(np.matmul, ones, r.x, out=columns)


def quantized_sum_step(r: Reduction, out: Array) -> Step:
    """A step that sums the quantized values r.x into out (int32 or wider)."""
    largest = -int(np.iinfo(r.x.dtype).min) or int(np.iinfo(r.x.dtype).max)
    if r.count * largest >= FLOAT32_EXACT:
        return lambda: quietly(np.add.reduce, r.x, axis=r.axes, dtype=out.dtype, out=out)
    # Exact: every partial sum is a whole number below 2^24.
    scratch, sums = np.empty(r.x.shape, np.float32), np.empty(out.shape, np.float32)
    floats = sum_step(Reduction(scratch, r.axes, sums, r.count, r.everything), sums)

    def step() -> None:
        np.copyto(scratch, r.x)
        floats()
        np.copyto(out, sums, casting="unsafe")

    return step


def quietly(f: Callable[..., Any], *args: object, **kwargs: object) -> None:
    """Calls f without NumPy's warnings of overflow and NaN."""
    with np.errstate(all="ignore"):
        f(*args, **kwargs)


Factory = Callable[[Node, tuple[Array, ...], tuple[Array, ...]], Step]


def in_float32(run: Factory) -> Factory:
    """The kernel for FLOAT16 too: in float32, as in XNNPACK, which alone has it."""

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
