"""BATCH_MATMUL: x (..., m, k) times y (..., k, n), leading dimensions broadcast; adj_x and adj_y transpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.matmul.hybrid import RowQuantizer, weight_scale
from tflgpu.ops.matmul.integer_matmul import exact_depth, largest_magnitude
from tflgpu.ops.matmul.requantize import Requantizer, rescale
from tflgpu.ops.registry import Step, kernel, require
from tflgpu.ops.scratch import scratch
from tflgpu.ops.shape_rules import broadcast, elements
from tflgpu.ops.shares import cut, in_shares, ranges

BLOCK = 1 << 14
"""Elements of a quantized result that GEMM and its epilogue take at a time: they stay in the cache between the two."""

Epilogue = Callable[[Array, Array], Step]
"""f(accumulators, output) -> a step that rescales the former into the latter."""

_TYPES = {
    ("FLOAT32", "FLOAT32", "FLOAT32"),
    ("FLOAT16", "FLOAT16", "FLOAT16"),
    ("FLOAT32", "INT8", "FLOAT32"),
    ("INT8", "INT8", "INT8"),
    ("INT8", "INT8", "INT32"),
    ("INT16", "INT16", "INT16"),
    ("INT16", "INT8", "INT16"),
}


def _shape(node: Node) -> list[Shape]:
    x, y = node.input(0).shape, node.input(1).shape
    for shape in (x, y):
        require(2 <= len(shape) <= 5, f"BATCH_MATMUL takes 2 to 5 dimensions, not {len(shape)}. ")
    m, k = x[-2:][::-1] if node.options.adj_x else x[-2:]
    inner, n = y[-2:][::-1] if node.options.adj_y else y[-2:]
    require(k == inner, f"accum_dim_lhs != accum_dim_rhs ({k} != {inner})")
    return [(*broadcast(x[:-2], y[:-2]), m, n)]


def _check(node: Node) -> None:
    x, y, out = node.input(0), node.input(1), node.outputs[0]
    types = (x.type, y.type, out.type)
    require(types in _TYPES, f"BATCH_MATMUL of {types[0]} and {types[1]} into {types[2]} is not supported. ")
    if not elements(out.shape):
        return
    if types[:2] == ("FLOAT32", "INT8"):
        scales, n = weight_scale(y).size, out.shape[-1]
        require(scales == 1 or scales >= n, f"{scales} scales for {n} columns. ")
    elif x.type in ("INT8", "INT16") and out.type != "INT32":
        require(out.scale > 0, f"{out} has a scale of {out.scale}. ")
        zeros = (x.zero_point, y.zero_point)
        symmetric = zeros == (0, 0) and out.zero_point == 0
        require(x.type != "INT16" or symmetric, "int16 needs zero points of 0. ")


@kernel("BATCH_MATMUL", inputs=2, version=4, types="FLOAT32 FLOAT16 INT8 INT16", shape=_shape, check=_check)
def batch_matmul(node: Node, inputs: tuple[Array | None, ...], outputs: tuple[Array, ...]) -> Step:
    """x (..., m, k) times y (..., k, n), both after adj_x and adj_y: (..., m, n)."""
    x, y = inputs
    assert x is not None and y is not None
    types = (node.input(0).type, node.input(1).type, node.outputs[0].type)
    x = x.swapaxes(-1, -2) if node.options.adj_x else x
    y = y.swapaxes(-1, -2) if node.options.adj_y else y
    out = outputs[0]
    if not out.size:
        return lambda: None
    if types[:2] == ("FLOAT32", "INT8"):
        return _hybrid(node, x, y, out)
    if types[0] == "FLOAT16":
        # Only XNNPACK has it: in float32, rounded at the end.
        return lambda: np.copyto(out, np.matmul(x.astype(np.float32), y.astype(np.float32)), casting="same_kind")
    if types[0] == "FLOAT32":
        return in_shares(_shares(x, y, out), lambda share: _float32(*share))
    return in_shares(_shares(x, y, out), lambda share: _quantized(node, *share))


def _float32(x: Array, y: Array, out: Array) -> Step:
    return lambda: np.matmul(x, y, out=out)


def _shares(x: Array, y: Array, out: Array) -> list[tuple[Array, Array, Array]]:
    """The batched GEMM cut along its first dimension of several, leading ones or rows, for threads: x, y, out.

    What is cut of out is contiguous.
    """
    axis = next((axis for axis in range(-out.ndim, -2) if out.shape[axis] > 1), -2)

    def of(a: Array, rows: slice) -> Array:
        return a if a.ndim < -axis or a.shape[axis] == 1 else cut(a, axis, rows)

    return [
        (of(x, rows), y if axis == -2 else of(y, rows), of(out, rows))
        for rows in ranges(out.shape[axis], out.size * x.shape[-1])
    ]


def _blocks(x: Array, y: Array, out: Array) -> Iterator[tuple[Array, Array, Array]]:
    """The batched GEMM cut along its leading dimensions, or its rows, into ones of about BLOCK elements: x, y, out."""
    batches = out.shape[:-2]
    x, y = (np.broadcast_to(a, (*batches, *a.shape[-2:])) for a in (x, y))
    # The first dimension in which one index, with all later dimensions whole, is small enough; columns stay whole.
    axis = next((d for d in range(out.ndim - 1) if elements(out.shape[d + 1 :]) <= BLOCK), out.ndim - 2)
    step = max(1, BLOCK // max(1, elements(out.shape[axis + 1 :])))
    for lead in np.ndindex(*out.shape[:axis]):
        for start in range(0, out.shape[axis], step):
            rows = slice(start, start + step)
            yield x[lead][rows], y[lead] if axis == len(batches) else y[lead][rows], out[lead][rows]


def _exact_gemm(x: Array, y: Array, out: Array, zeros: tuple[int, int], epilogue: Epilogue) -> Step:
    """A step that computes (x - zero)(y - zero) over k, exactly, in float, and runs the epilogue block by block.

    8-bit values are multiplied in float32, over slices of k that stay exact, and the slices added in float64.
    """
    k = x.shape[-1]
    wide = x.dtype.itemsize > 1
    dtype = np.dtype(np.float64 if wide else np.float32)
    k_slice = k if wide else exact_depth(largest_magnitude(x.dtype, zeros[0]), largest_magnitude(y.dtype, zeros[1]))
    blocks = list(_blocks(x, y, out))
    sizes = [max((b[i].size for b in blocks), default=0) for i in range(3)]
    total = np.empty(sizes[2], dtype if k_slice >= k else np.float64)
    addend = np.empty(sizes[2] if k_slice < k else 0, dtype)
    lefts, rights = scratch("lefts", sizes[0], dtype), scratch("rights", sizes[1], dtype)
    zero_x, zero_y = (dtype.type(zero) for zero in zeros)
    bound = []
    for left, right, target in blocks:
        tile = total[: target.size].reshape(target.shape)
        partial = addend[: target.size].reshape(target.shape) if addend.size else None
        bound.append((left, right, tile, partial, epilogue(tile, target)))

    def step() -> None:
        for left, right, tile, partial, store in bound:
            a, b = lefts[: left.size].reshape(left.shape), rights[: right.size].reshape(right.shape)
            np.subtract(left, zero_x, out=a, dtype=dtype)
            np.subtract(right, zero_y, out=b, dtype=dtype)
            if partial is None:
                np.matmul(a, b, out=tile)
            else:
                tile.fill(0)
                for start in range(0, k, k_slice):
                    np.matmul(a[..., start : start + k_slice], b[..., start : start + k_slice, :], out=partial)
                    np.add(tile, partial, out=tile)
            store()

    return step


def _quantized(node: Node, x: Array, y: Array, out: Array) -> Step:
    left, right, output = node.input(0), node.input(1), node.outputs[0]
    k, n = y.shape[-2:]
    if output.type == "INT32":
        # The values as they are, whatever their zero points.
        return _exact_gemm(x, y, out, (0, 0), lambda acc, to: lambda: np.copyto(to, acc, casting="unsafe"))
    zeros = (left.zero_point, right.zero_point)
    wide = left.type == "INT16"
    factor = float(left.scale * right.scale) / float(output.scale)
    scaling = rescale(np.array([factor]), n, output, "NONE", wide=wide)
    largest = k * largest_magnitude(x.dtype, zeros[0]) * largest_magnitude(y.dtype, zeros[1])
    rows = max((target.size // n for _, _, target in _blocks(x, y, out)), default=0) if n else 0
    requantizer = Requantizer(scaling, rows, np.zeros(n, np.int64), largest)
    return _exact_gemm(x, y, out, zeros, lambda acc, to: requantizer.bind(acc.reshape(-1, n), to.reshape(-1, n)))


def _hybrid(node: Node, x: Array, y: Array, out: Array) -> Step:
    """x is quantized row by row at run time. y: int8, quantized as a whole or by its n columns."""
    k, n = y.shape[-2:]
    batches, scale_of, weight_of = groups_of(node, x.shape, y.shape)
    quantize = RowQuantizer(elements(x.shape[:-1]), k, node.options.asymmetric_quantize_inputs)
    scale = weight_scale(node.input(1))
    scale = scale[:n]
    left = quantize.values.reshape(x.shape)
    right = np.empty(y.shape, np.float32)
    k_slice = exact_depth(128, 128)
    grouped = (*batches, -1, n)

    def step() -> None:
        quantize(np.ascontiguousarray(x).reshape(-1, k))
        np.copyto(right, y)
        if k <= k_slice:
            np.matmul(left, right, out=out)
            total = out
        else:
            total = np.matmul(left.astype(np.float64), right).astype(np.float32)
        total = total.reshape(grouped)
        rows = total.shape[-2]
        if quantize.asymmetric:
            sums = right.sum(axis=-2, dtype=np.float64).astype(np.float32).reshape(-1, n)[weight_of][..., None, :]
            offsets = quantize.zero_points.reshape(-1, rows)[scale_of][..., None]
            # In float32, then truncated to an integer.
            total = np.trunc(total - sums * offsets)
        factor = quantize.scales.reshape(-1, rows)[scale_of][..., None] * scale
        np.multiply(factor, total, out=out.reshape(grouped))

    return step


def groups_of(node: Node, x: Shape, y: Shape) -> tuple[Shape, Array, Array]:
    """The batches as TensorFlow Lite walks them: their shape (3 dimensions), which scales and which sums each uses.

    A quirk: it advances by one group for each step in any of the dimensions, so that with two of them it uses the
    scales and row sums of other batches. Before that, matrices with one right side in common are merged into one.
    """
    if not node.options.adj_x and len(x) > 2 and len(y) > 2 and y[-3] == 1:
        x, y = (*x[:-3], x[-3] * x[-2], x[-1]), (*y[:-3], *y[-2:])
    x, y = (1,) * (5 - len(x)) + x, (1,) * (5 - len(y)) + y
    batches = broadcast(x[:3], y[:3])
    steps = np.indices(batches)
    scale_of = sum(step * (size > 1) for step, size in zip(steps, x[:3], strict=True))
    weight_of = sum(step * (size > 1) for step, size in zip(steps, y[:3], strict=True))
    return batches, np.asarray(scale_of), np.asarray(weight_of)
