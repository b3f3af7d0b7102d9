"""Operators that write rows at indices from a tensor, in order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import Expr, where
from tflgpu.delegates.launch import Fault, Launch, Lowered, Ref
from tflgpu.delegates.lowering.indexing.indexing import numbered
from tflgpu.delegates.lowering.movement.movement import fill, fill_from
from tflgpu.delegates.lowering.reduction.combine import A, V, combine_macro, wrapping
from tflgpu.delegates.lowering.registry import c_type, lowers, require, size
from tflgpu.model.graph import Node, Shape, TensorSpec


def scatter(
    updates: TensorSpec, indices: TensorSpec, out: TensorSpec, sizes: Shape, combine: Expr, fault: str, **how: Any
) -> list[Launch]:
    """out, whose first dimensions have these sizes, with rows of updates combined into it at vectors of indices.

    combine: of A, the old value, and V, the update. how: c_type of both, of indices, and skip_negative.
    """
    require(len(sizes) <= 6, f"vectors of {len(sizes)} indices")
    count = size(indices) // len(sizes) if sizes else math.prod(indices.shape[:-1])
    inner = math.prod(out.shape[len(sizes) :])
    if not size(out) and not count:
        return []
    defines: dict[str, object] = {"T": how["kind"], "INDEX_T": how["index_kind"], **combine_macro(combine)}
    if how.get("skip_negative"):
        defines["SKIP_NEGATIVE"] = 1
    step = inner if size(updates) == count * inner else 0
    counts = {"count": count, "inner": inner, "update_step": step, "nd": len(sizes)}
    return [
        Launch(
            "scatter.scatter",
            (inner,),
            inputs={"updates": Ref(updates.index), "indices": Ref(indices.index)},
            outputs={"out": Ref(out.index)},
            sizes=counts | numbered("n", [*sizes, *[1] * (6 - len(sizes))]),
            fault=Fault(fault),
            defines=defines,
        )
    ]


@lowers("SCATTER_ND")
def scatter_nd(node: Node, limits: DeviceLimits) -> Lowered:
    """Zeros with updates added; updates of one index add up."""
    indices, updates, out = node.input(0), node.input(1), node.outputs[0]
    require(updates.type == out.type, f"SCATTER_ND of {updates.type} to {out.type}")
    kind = c_type(out, limits)
    combine = A | V if out.type == "BOOL" else wrapping(A + V, kind)
    sizes = out.shape[: indices.shape[-1]]
    index_kind = c_type(indices, limits)
    message = "scatter_nd index out of bounds"
    return [
        fill(out, np.zeros(1, out.dtype)),
        *scatter(updates, indices, out, sizes, combine, message, kind=kind, index_kind=index_kind),
    ]


@lowers("SPARSE_TO_DENSE")
def sparse_to_dense(node: Node, limits: DeviceLimits) -> Lowered:
    """The default value with values written at indices; the last one of an index wins."""
    indices, values, default, out = node.input(0), node.input(2), node.input(3), node.outputs[0]
    require(values.type == out.type, f"SPARSE_TO_DENSE of {values.type} to {out.type}")
    kind, index_kind = c_type(out, limits), c_type(indices, limits)
    message = "sparse_to_dense index out of bounds"
    return [
        fill_from(default, out),
        *scatter(values, indices, out, out.shape, V, message, kind=kind, index_kind=index_kind),
    ]


SEGMENTS = {"SUM": A + V, "PROD": A * V, "MAX": where(V > A, V, A), "MIN": where(V < A, V, A)}
"""Comparisons with NaN are false."""


@lowers("SEGMENT_SUM", *(f"UNSORTED_SEGMENT_{name}" for name in SEGMENTS))
def segments(node: Node, limits: DeviceLimits) -> Lowered:
    """The rows of each segment combined, from the neutral element on; negative ids are left out."""
    data, ids, out = node.input(0), node.input(1), node.outputs[0]
    require(data.type == out.type, f"{node.op} of {data.type} to {out.type}")
    kind = c_type(out, limits)
    name = node.op.split("_")[-1]
    bounds = np.finfo(out.dtype) if out.dtype.kind == "f" else np.iinfo(out.dtype)
    neutral = {"SUM": 0, "PROD": 1, "MAX": bounds.min, "MIN": bounds.max}[name]
    message = "max_index < num_segments_ was not true."
    ways = {"kind": kind, "index_kind": c_type(ids, limits), "skip_negative": True}
    return [
        fill(out, np.array([neutral], out.dtype)),
        *scatter(data, ids, out, out.shape[:1], wrapping(SEGMENTS[name], kind), message, **ways),
    ]
