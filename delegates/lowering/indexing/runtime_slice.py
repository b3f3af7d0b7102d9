"""STRIDED_SLICE, also with a begin that is known only at run time, where the output's shape is known: `x[:, i]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.ir import Copy
from tflgpu.delegates.launch import Fault, Launch, Lowered, Ref
from tflgpu.delegates.lowering.movement.movement import view
from tflgpu.delegates.lowering.registry import bits_type, constant, lowers, require, size
from tflgpu.delegates.lowering.strided_index import index_map, standin
from tflgpu.model.graph import Node
from tflgpu.ops.movement.strided_slice import FULL, NEW, bounds, clamp_limits, entries


@lowers("STRIDED_SLICE")
def strided_slice(node: Node, limits: DeviceLimits) -> Lowered:
    """A view where all is constant; else each entry is a whole dimension, or one element that `begin` picks."""
    x, out = node.input(0), node.outputs[0]
    if all(node.input(k).data is not None for k in (1, 2, 3)):
        return view(node, limits)
    require(not node.options.offset, "bounds that are known only at run time, with an offset")
    base = standin(x.shape, x.dtype)
    indices, picks = _indices(node, [step // x.dtype.itemsize for step in base.strides])
    at = index_map(base[indices], base)
    if not picks:
        return [Copy(Ref(x.index), Ref(out.index), size(out), bits_type(out), at)]
    return [
        Launch(
            "runtime_slice.slice_from",
            (size(out),),
            inputs={"x": Ref(x.index), "begin": Ref(node.input(1).index)},
            outputs={"out": Ref(out.index)},
            sizes={"n": size(out), "x_start": at.start},
            fault=Fault("slice index is out of bounds. "),
            defines={"T": bits_type(out), "STARTS": " ".join(picks), "X_AT": replace(at, start=0)},
        )
    ]


def _indices(node: Node, steps: Sequence[int]) -> tuple[tuple[Any, ...], list[str]]:
    """A NumPy index that takes the first element for picks known only at run time, and the C of each such pick.

    steps: elements from one index to the next, of each dimension.
    """
    begin, strides = node.input(1).data, constant(node.input(3), "strides").tolist()
    indices: list[int | slice | None] = []
    picks: list[str] = []
    dimensions = iter(zip(node.input(0).shape, steps, strict=True))
    for e in entries(node, len(steps)):
        n, step = (1, 0) if e == NEW else next(dimensions)
        if e in (NEW, FULL):
            indices.append(None if e == NEW else slice(None))
        elif not node.options.shrink_axis_mask >> e & 1:  # a whole dimension, as its shape is known
            indices.append(slice(None, None, strides[e]))
        elif begin is not None or node.options.begin_mask >> e & 1:
            first = 0 if begin is None else int(begin[e])
            indices.append(bounds(node, e, n, first, 0, strides[e]).index())
        else:
            require(n > 0 and strides[e], "a pick of no element")
            indices.append(0)
            picks.append("ENTRY({}, {}, {}, ({}), {})".format(e, n, step, *clamp_limits(n, strides[e])))
    return (*indices, ...), picks
