"""StridedSlice of types and ranks that TensorFlow Lite's does not take."""

from __future__ import annotations

from typing import Any

from tflgpu.model.graph import Array, Node
from tflgpu.ops.flex.node_def import attribute
from tflgpu.ops.registry import OpError, require, value, view


def _index(node: Node) -> tuple[Any, ...]:
    """The node as a NumPy index of its input: TensorFlow counts and clamps as Python does."""
    begins, ends, strides = (value(node.input(i)).tolist() for i in (1, 2, 3))
    kinds = {(spec.shape, spec.type) for spec in map(node.input, (1, 2, 3))}
    fits = len(kinds) == len(node.input(1).shape) == 1 and node.input(1).type in ("INT16", "INT32", "INT64")
    require(fits and len(begins) < 33, f"{node.op} takes begin, end and strides as equally long vectors of integers. ")
    masks = {
        name: attribute(node, f"{name}_mask", 0) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    require(bin(masks["ellipsis"]).count("1") <= 1, "Multiple ellipses in slice spec not allowed")
    found: list[Any] = []
    for i, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        has = {name: mask >> i & 1 for name, mask in masks.items()}
        require(stride != 0, f"strides[{i}] must be non-zero")
        if has["ellipsis"]:
            found.append(Ellipsis)
        elif has["new_axis"]:
            found.append(None)
        elif has["shrink_axis"]:
            found.append(0 if has["begin"] else begin)
        else:
            found.append(slice(None if has["begin"] else begin, None if has["end"] else end, stride))
    return (*found, ...) if Ellipsis not in found else tuple(found)


@view("FlexStridedSlice", inputs=4, custom=True)
def strided_slice(node: Node, x: Array) -> Array:
    """x read from begin to end by strides, integers for each dimension, as the masks of the attributes say."""
    try:
        return x[_index(node)]
    except IndexError as error:
        raise OpError(f"{node.op}: {error}. ") from error
