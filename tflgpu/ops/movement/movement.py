"""Operators that only move elements: views of their input, which the CPU copies.

Where no view has the output's shape (blocks, tiles), the view has more dimensions and the same row-major order.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.movement.shape import FIXED_SIZE, require_index_type, sliced
from tflgpu.ops.registry import OpError, require, value, view
from tflgpu.ops.shape_rules import same_as_input, sized


@view("TRANSPOSE", inputs=2, version=9, types=FIXED_SIZE + " INT4")
def transpose(node: Node, x: Array) -> Array:
    """x with its dimensions in the order of `perm` (input 1); negative entries count from the end."""
    require(x.ndim <= 8, "Transpose op only supports 1D-8D input arrays.")
    require_index_type(node, 1)
    require(node.input(1).shape == (x.ndim,), f"TRANSPOSE of rank {x.ndim} takes as many entries of perm. ")
    perm = [int(p) for p in value(node.input(1))]
    require(all(-x.ndim <= p < x.ndim for p in perm), "Transpose op permutations array is out of bounds.")
    perm = [p % x.ndim for p in perm]
    require(len(set(perm)) == x.ndim, f"Transpose op permutations array {perm} names a dimension twice. ")
    return x.transpose(perm)


def _slice_shape(node: Node) -> list[Shape]:
    """From the sizes, once they are known."""
    x, begin, size = node.input(0), node.input(1), node.input(2)
    require_index_type(node, 1)
    require_index_type(node, 2)
    rank = (len(x.shape),)
    require(begin.shape == size.shape == rank, f"SLICE of rank {rank[0]} takes as many begins and sizes. ")
    if size.data is not None and (begin.data is not None or all(s >= 0 for s in size.data)):
        sizes = [int(s) for s in size.data]
        require(all(s >= -1 for s in sizes), "Invalid size.")
        begins = [0] * rank[0] if begin.data is None else [int(b) for b in begin.data]
        sizes = [d - b if s == -1 else s for s, b, d in zip(sizes, begins, x.shape, strict=True)]
        inside = all(0 <= b <= b + s <= d for s, b, d in zip(sizes, begins, x.shape, strict=True))
        require(inside, "Invalid begin and size.")
        return [tuple(sizes)]
    value(size)
    value(begin)
    raise AssertionError("one of the two has no value")


@view("SLICE", inputs=3, version=8, types=FIXED_SIZE + " INT4 STRING", shape=_slice_shape)
def slice_(node: Node, x: Array) -> Array:
    """`size` elements of x from `begin` in every dimension; a size of -1 goes to the end."""
    begins, sizes = value(node.input(1)).tolist(), value(node.input(2)).tolist()
    ends = [d if s == -1 else b + s for b, s, d in zip(begins, sizes, x.shape, strict=True)]
    require(all(0 <= b <= e <= d for b, e, d in zip(begins, ends, x.shape, strict=True)), "Invalid begin and size.")
    found = sliced(x, map(slice, begins, ends))
    wanted = node.outputs[0].shape
    require(
        x.ndim == 0 or found.shape == wanted, f"SLICE gives {list(found.shape)}, but its output is {list(wanted)}. "
    )
    return found


@view(
    "REVERSE_V2",
    inputs=2,
    version=4,
    types="FLOAT32 FLOAT16 BFLOAT16 INT8 UINT8 INT16 INT32 INT64 BOOL",
    shape=same_as_input,
)
def reverse_v2(node: Node, x: Array) -> Array:
    """x with the order of its elements reversed along the dimensions that input 1 (an int32 vector) names."""
    require_index_type(node, 1, ("INT32",))
    spec = node.input(1)
    require(len(spec.shape) == 1 and spec.shape[0] <= x.ndim <= 8, f"REVERSE_V2 of rank {x.ndim} by {spec}. ")
    axes = [int(axis) for axis in value(spec)]
    require(all(-x.ndim <= axis < x.ndim for axis in axes), "axes[i] >= 0 && axes[i] < rank was not true. ")
    axes = sorted(axis % x.ndim for axis in axes)
    # TensorFlow Lite reverses neighbouring dimensions only.
    require(all(b == a + 1 for a, b in pairwise(axes)), "Non-contiguous `axes` not supported")
    return np.flip(x, tuple(axes)) if axes else x


def _broadcast_to_shape(node: Node) -> list[Shape]:
    require_index_type(node, 1)
    wanted = node.input(1)
    require(len(wanted.shape) == 1, "BROADCAST_TO takes its shape as a vector. ")
    new, old = sized(value(wanted)), node.input(0).shape
    fits = len(old) <= len(new) and all(o in (1, n) for o, n in zip(reversed(old), reversed(new), strict=False))
    require(fits, "Output shape must be broadcastable from input shape.")
    require(len(new) <= 8, f"BROADCAST_TO supports up to 8 dimensions, not {len(new)}. ")
    return [new]


@view("BROADCAST_TO", inputs=2, version=4, types=FIXED_SIZE + " INT4", shape=_broadcast_to_shape)
def broadcast_to(node: Node, x: Array) -> Array:
    """x repeated to the shape in input 1, by NumPy's rule."""
    return np.broadcast_to(x, _broadcast_to_shape(node)[0])


def _tile_shape(node: Node) -> list[Shape]:
    require_index_type(node, 1)
    old, multiples = node.input(0).shape, value(node.input(1)).reshape(-1).tolist()
    require(len(old) == len(multiples), f"TILE of rank {len(old)} takes as many multiples, not {len(multiples)}. ")
    require(all(m >= 0 for m in multiples), "Multipliers must be non-negative.")
    for d, m in zip(old, multiples, strict=True):
        require(d * m < 2**31, f"Cannot multiply {d} and {m}. Output shape dimensions must be in range [0, INT32_MAX].")
    return [sized(d * m for d, m in zip(old, multiples, strict=True))]


@view("TILE", inputs=2, version=3, types=FIXED_SIZE + " STRING", shape=_tile_shape)
def tile(node: Node, x: Array) -> Array:
    """x repeated `multiples` (input 1) times in every dimension."""
    multiples = value(node.input(1)).reshape(-1).tolist()
    # (m0, d0, m1, d1, ...) in row-major order is (m0 d0, m1 d1, ...).
    split = [(m, d) if m != 1 else (d,) for m, d in zip(multiples, x.shape, strict=True)]
    once = x.reshape([1 if len(s) == 2 and i == 0 else d for s in split for i, d in enumerate(s)])
    return np.broadcast_to(once, [d for s in split for d in s])


def _block_size(node: Node) -> int:
    require(len(node.input(0).shape) == 4, f"{node.op} takes a tensor of 4 dimensions, not {node.input(0)}. ")
    block = int(node.options.block_size)
    require(block > 0, "block_size > 0 was not true. ")
    return block


def _space_to_depth_shape(node: Node) -> list[Shape]:
    b = _block_size(node)
    n, h, w, c = node.input(0).shape
    require(h % b == 0 and w % b == 0, f"SPACE_TO_DEPTH: {h} x {w} is not a multiple of block_size {b}. ")
    return [(n, h // b, w // b, b * b * c)]


# float16 is XNNPACK's addition to these two; the reference resolver refuses it.
BLOCK_TYPES = "FLOAT32 FLOAT16 INT8 UINT8 INT32 INT64"


@view("SPACE_TO_DEPTH", inputs=1, version=2, types=BLOCK_TYPES, shape=_space_to_depth_shape)
def space_to_depth(node: Node, x: Array) -> Array:
    """x (n, h, w, c) with every block of b x b pixels made one: (n, h/b, w/b, b b c), as (n, h/b, w/b, b, b, c)."""
    n, oh, ow, _ = _space_to_depth_shape(node)[0]
    b, c = _block_size(node), x.shape[3]
    return x.reshape(n, oh, b, ow, b, c).transpose(0, 1, 3, 2, 4, 5)


def _depth_to_space_shape(node: Node) -> list[Shape]:
    b = _block_size(node)
    n, h, w, c = node.input(0).shape
    if c % (b * b):
        raise OpError(f"DEPTH_TO_SPACE: {c} channels are not a multiple of the square of block_size {b}. ")
    return [sized((n, h * b, w * b, c // (b * b)))]


@view("DEPTH_TO_SPACE", inputs=1, version=2, types=BLOCK_TYPES, shape=_depth_to_space_shape)
def depth_to_space(node: Node, x: Array) -> Array:
    """x (n, h, w, b b c) with every pixel made b x b: (n, h b, w b, c), here as (n, h, b, w, b, c)."""
    n, h, w, _ = x.shape
    b, c = _block_size(node), _depth_to_space_shape(node)[0][3]
    return x.reshape(n, h, w, b, b, c).transpose(0, 1, 3, 2, 4, 5)
