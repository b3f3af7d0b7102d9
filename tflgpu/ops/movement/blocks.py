"""SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND: blocks of pixels to and from the batch, with padding or cropping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.movement.padding import Placement, placed
from tflgpu.ops.movement.shape import FIXED_SIZE, require_output_type, sliced
from tflgpu.ops.registry import Step, kernel, require, value
from tflgpu.ops.shape_rules import sized
from tflgpu.ops.tensor_quantization import require_same_quantization, scale_and_zero_point


def _blocks(node: Node) -> tuple[list[int], list[list[int]]]:
    """block_shape (input 1), and the paddings or crops (input 2) before and after each of the spatial dimensions."""
    rank = len(node.input(0).shape)
    require_same_quantization(node, (node.input(0), *node.outputs))
    require(3 <= rank <= 4, f"{node.op} takes a tensor of 3 or 4 dimensions, not {node.input(0)}. ")
    spatial = rank - 2
    require(node.input(1).shape == (spatial,), f"{node.op} of rank {rank} takes a block_shape of {spatial} sizes. ")
    require(node.input(2).shape == (spatial, 2), f"{node.op} of rank {rank} takes paddings of shape [{spatial}, 2]. ")
    for spec in (node.input(1), node.input(2)):
        require(spec.dtype.kind in "iu", f"{node.op}: {spec} must be of integers. ")
    block, edges = value(node.input(1)).tolist(), value(node.input(2)).tolist()
    require(all(b > 0 for b in block), f"{node.op}: block_shape {block} must be positive. ")
    return block, edges


def _space_to_batch_shape(node: Node) -> list[Shape]:
    block, paddings = _blocks(node)
    n, *space, c = node.input(0).shape
    padded = [d + before + after for d, (before, after) in zip(space, paddings, strict=True)]
    for d, b in zip(padded, block, strict=True):
        require(d >= 0 and d % b == 0, f"final_dim_size % block_shape[dim] != 0 ({d} % {b}) ")
    return [sized((n * int(np.prod(block)), *(d // b for d, b in zip(padded, block, strict=True)), c))]


def _split(x: Array, block: Sequence[int]) -> Array:
    """x (n, h, w, c) of whole blocks (bh, bw) as (bh, bw, n, h/bh, w/bw, c), a view; one spatial dimension likewise."""
    n, *space, c = x.shape
    pairs = [size for d, b in zip(space, block, strict=True) for size in (d // b, b)]
    inner = range(2, 2 + 2 * len(space), 2)
    outer = range(1, 1 + 2 * len(space), 2)
    return x.reshape(n, *pairs, c).transpose(*inner, 0, *outer, 1 + 2 * len(space))


@kernel(
    "SPACE_TO_BATCH_ND", inputs=3, version=4, types=FIXED_SIZE, shape=_space_to_batch_shape, check=require_output_type
)
def space_to_batch_nd(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """x (n, h, w, c), padded by the zero point, to (bh bw n, h/bh, w/bw, c): a block's pixels in separate batches."""
    x, y = inputs[0], outputs[0]
    block, paddings = _blocks(node)
    if not np.any(paddings):
        split = _split(x, block)
        whole = y.reshape(split.shape)
        return lambda: np.copyto(whole, split)
    space = [d * b for d, b in zip(y.shape[1:-1], block, strict=True)]
    # Not scratch, which others overwrite: the border must stay as it is set here.
    padded = np.full((x.shape[0], *space, x.shape[-1]), _zero_point(node), x.dtype)
    inner, source = placed(padded, x, [Placement(0, 0), *(Placement(*p) for p in paddings), Placement(0, 0)])
    split = _split(padded, block)
    whole = y.reshape(split.shape)

    def step() -> None:
        np.copyto(inner, source)
        np.copyto(whole, split)

    return step


def _zero_point(node: Node) -> int:
    """The value that stands for zero: the output's zero point for 8-bit types, else 0."""
    return scale_and_zero_point(node.outputs[0])[1] if node.input(0).type in ("INT8", "UINT8") else 0


def _batch_to_space_shape(node: Node) -> list[Shape]:
    block, crops = _blocks(node)
    require(all(crop >= 0 for pair in crops for crop in pair), "crops[i] >= 0 was not true. ")
    n, *space, c = node.input(0).shape
    for b in block:
        require(n % b == 0, f"output_batch_size % block_shape[dim] != 0 ({n} % {b}) ")
        n //= b
    cropped = [d * b - before - after for d, b, (before, after) in zip(space, block, crops, strict=True)]
    return [sized((n, *cropped, c))]


@kernel(
    "BATCH_TO_SPACE_ND", inputs=3, version=4, types=FIXED_SIZE, shape=_batch_to_space_shape, check=require_output_type
)
def batch_to_space_nd(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """x (bh bw n, h, w, c) to (n, h bh, w bw, c) with `crops` cut off: the inverse of SPACE_TO_BATCH_ND."""
    x, y = inputs[0], outputs[0]
    block, crops = _blocks(node)
    n, c = y.shape[0], y.shape[-1]
    given = x.reshape(*block, n, *x.shape[1:])
    if not np.any(crops):
        split = _split(y, block)
        return lambda: np.copyto(split, given)
    whole = np.empty((n, *(d * b for d, b in zip(x.shape[1:-1], block, strict=True)), c), x.dtype)
    split = _split(whole, block)
    cropped = sliced(whole, [slice(None), *(slice(a, a + d) for (a, _), d in zip(crops, y.shape[1:-1], strict=True))])

    def step() -> None:
        np.copyto(split, given)
        np.copyto(y, cropped)

    return step
