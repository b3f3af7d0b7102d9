"""TOPK_V2 and BUCKETIZE."""

from __future__ import annotations

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Ref
from tflgpu.delegates.lowering.registry import c_type, lowers, require, size
from tflgpu.model.graph import Node

COMPARISONS = {True: 1 << 30, False: 1 << 36}
"""Comparisons at the most, on a CPU and on other devices: each element is compared with all of its row."""


@lowers("TOPK_V2")
def topk(node: Node, limits: DeviceLimits) -> Lowered:
    """The k greatest of each row and their indices."""
    x, values, indices = node.input(0), node.outputs[0], node.outputs[1]
    depth, k = x.shape[-1], values.shape[-1]
    require(size(x) * depth <= COMPARISONS[limits.cpu], f"rows of {depth} elements")
    if not size(values):
        return []
    defines = {"T": c_type(x, limits), "INDEX_T": c_type(indices, limits)}
    outputs, sizes = (
        {"values": Ref(values.index), "indices": Ref(indices.index)},
        {"size": size(x), "depth": depth, "k": k},
    )
    return [Launch("ranking.topk", (size(x),), (64,), {"x": Ref(x.index)}, outputs, sizes, defines=defines)]


@lowers("BUCKETIZE")
def bucketize(node: Node, limits: DeviceLimits) -> Lowered:
    """How many boundaries are not above each element; integers are compared as float32."""
    x, out = node.input(0), node.outputs[0]
    given = node.options.boundaries
    boundaries = np.asarray(() if given is None else given, np.float32)
    wide = x.type == "FLOAT64"
    table = boundaries.astype(np.float64 if wide else np.float32)
    defines = {"T": c_type(x, limits), "BOUNDARY_T": "f64" if wide else "f32"}
    return [
        Launch(
            "ranking.bucketize",
            (size(x),),
            inputs={"x": Ref(x.index), "boundaries": table},
            outputs={"out": Ref(out.index)},
            sizes={"n": size(x), "count": len(table)},
            defines=defines,
        )
    ]
