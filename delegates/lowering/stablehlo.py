"""The StableHLO operators: element-wise ones of equal shapes, PAD, and GATHER."""

from __future__ import annotations

from typing import Any

import numpy as np
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Ref
from tflgpu.delegates.lowering.elementwise import elementwise
from tflgpu.delegates.lowering.index import index, standin, start_and_index
from tflgpu.delegates.lowering.movement import fill_from, move
from tflgpu.delegates.lowering.registry import bits_type, c_type, i32, lowers, require, size

from tflgpu.graph import Array, Node
from tflgpu.ops.padding import placed, stablehlo_placements
from tflgpu.ops.stablehlo_indexing import gather_dimensions, index_vectors, order_of

FLOATS = {
    "STABLEHLO_ADD": "x + y",
    "STABLEHLO_MULTIPLY": "x * y",
    "STABLEHLO_MAXIMUM": "x < y ? y : x",
    "STABLEHLO_MINIMUM": "y < x ? y : x",
}
INTEGERS = FLOATS | {
    "STABLEHLO_ADD": "(T)((u64)x + (u64)y)",
    "STABLEHLO_MULTIPLY": "(T)((u64)x * (u64)y)",
    "STABLEHLO_AND": "x & y",
    "STABLEHLO_SHIFT_LEFT": "(T)((u64)(i64)x << ((i64)y & 31))",
    "RIGHT_SHIFT": "x >> (i32)clamp_i64(y, 0, 8 * (i64)sizeof(x) - 1)",
}
BOOLS = FLOATS | {"STABLEHLO_ADD": "x | y", "STABLEHLO_MULTIPLY": "x & y", "STABLEHLO_AND": "x & y"}
"""T is the element type. Integers wrap in 64 bits and are cut."""


@lowers(*INTEGERS)
def plain(node: Node, limits: DeviceLimits) -> Lowered:
    """Numbers of any type, codes among them, as they are."""
    x, y, out = node.input(0), node.input(1), node.outputs[0]
    rows = {"f": FLOATS, "b": BOOLS}.get(x.dtype.kind, INTEGERS)
    require(x.type == y.type == out.type and node.op in rows, f"{node.op} of {x.type} and {y.type} to {out.type}")
    expression = rows[node.op].replace("(T)", f"({c_type(x, limits)})")
    return [elementwise(expression, (x, y), out, limits)]


@lowers("STABLEHLO_PAD")
def stablehlo_pad(node: Node, limits: DeviceLimits) -> Lowered:
    """The value of input 1 everywhere, then x over it, its elements apart."""
    x, filler, out = node.input(0), node.input(1), node.outputs[0]
    require(x.type == filler.type == out.type, f"STABLEHLO_PAD of {x.type} to {out.type}")
    if not size(out):
        return []
    y_base, x_base = standin(out.shape, out.dtype), standin(x.shape, x.dtype)
    target, source = placed(y_base, x_base, stablehlo_placements(node))
    from_at, to_at = start_and_index(source, x_base), start_and_index(target, y_base)
    bits = bits_type(out)
    over = [move(Ref(x.index), Ref(out.index), source.size, bits, from_at, to_at)] if source.size else []
    return [fill_from(filler, out), *over]


@lowers("STABLEHLO_GATHER")
def stablehlo_gather(node: Node, limits: DeviceLimits) -> Lowered:
    """Windows of slice_sizes of x, from index vectors on, moved so that they lie inside of x."""
    x, indices, out = node.input(0), node.input(1), node.outputs[0]
    require(x.type == out.type, f"STABLEHLO_GATHER of {x.type} to {out.type}")
    sizes, kept, targets, offset_dims, _ = gather_dimensions(node)
    if not size(out):
        return []
    x_base, index_base = standin(x.shape, x.dtype), standin(indices.shape, indices.dtype)
    vectors = index_vectors(index_base, int(node.options.index_vector_dim))
    window = x_base[tuple(slice(0, n) if d in kept else 0 for d, n in enumerate(sizes))]
    whole = (*vectors.shape[:-1], *window.shape)
    turned = order_of(len(out.shape), offset_dims)

    def seen(view: Array, base: Array) -> str:
        return index(np.broadcast_to(view, whole).transpose(turned), base)

    starts = [
        f"clamp_i64(indices[{seen(vectors[..., k].reshape(vectors.shape[:-1] + (1,) * window.ndim), index_base)}], 0, "
        f"{x.shape[d] - sizes[d]}) * {int(np.prod(x.shape[d + 1 :], dtype=np.int64))}"
        for k, d in enumerate(targets)
    ]
    defines = {
        "T": bits_type(out),
        "INDEX_T": c_type(indices, limits),
        "START": f"(i32)({' + '.join(starts) or '0'})",
        "X_AT": seen(window, x_base),
    }
    args: tuple[Any, ...] = (Ref(x.index), Ref(indices.index), Ref(out.index), i32(size(out)))
    return [Launch("windows.gather_windows", args, (size(out),), defines=defines)]
