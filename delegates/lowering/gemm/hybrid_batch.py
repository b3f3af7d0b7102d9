"""BATCH_MATMUL of floats by codes: rows quantized at run time."""

from __future__ import annotations

import math

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.ir import Copy
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Ref, Temp
from tflgpu.delegates.lowering.gemm import batched
from tflgpu.delegates.lowering.gemm.hybrid import quantize_rows
from tflgpu.delegates.lowering.registry import i32, require, size
from tflgpu.delegates.lowering.strided_index import broadcast_index, index_map, standin
from tflgpu.model.graph import Node
from tflgpu.ops.matmul.batch_matmul import groups_of
from tflgpu.ops.matmul.hybrid import weight_scale


def batch_matmul(node: Node, limits: DeviceLimits) -> Lowered:
    """x (..., m, k) of float32 times y (..., k, n) of int8, leading dimensions broadcast."""
    x, y, out, o = node.input(0), node.input(1), node.outputs[0], node.options
    m, n = out.shape[-2:]
    k = x.shape[-2] if o.adj_x else x.shape[-1]
    x_shape, y_shape = (*x.shape[:-2], m, k), (*y.shape[:-2], k, n)
    scale = weight_scale(y)
    require(scale.size == 1 or scale.size >= n, f"{scale.size} scales for {n} columns")
    if not size(out) or not k:
        require(not size(out), "products of no depth")
        return []
    launches: Lowered = []
    left: Buffer = Ref(x.index)
    if o.adj_x:
        left = Temp(4 * size(x))
        base = standin(x.shape, x.dtype)
        turned = index_map(base.swapaxes(-1, -2), base)
        launches.append(Copy(Ref(x.index), left, size(x), "u32", turned))
    rows = quantize_rows(left, size(x) // k, k, bool(o.asymmetric_quantize_inputs), limits)
    batches, scale_of, weight_of = groups_of(node, x_shape, y_shape)
    steps = (1, k) if o.adj_y else (n, 1)
    group_rows = size(out) // n // math.prod(batches)
    places = [np.broadcast_to(p, batches).astype(np.int32).reshape(-1) for p in (scale_of, weight_of)]
    y_scales = np.broadcast_to(scale[:n], (n,)).astype(np.float32)
    defines: dict[str, object] = {
        "X_BATCH": f"({broadcast_index(x.shape[:-2], out.shape[:-2], 'b')} * {m * k})",
        "Y_BATCH": f"({broadcast_index(y.shape[:-2], out.shape[:-2], 'b')} * {k * n})",
    }
    if o.asymmetric_quantize_inputs:
        defines["ASYMMETRIC"] = 1
    blocks = batched.batches_of(node, rows.codes, x_turned=False)
    # Column sums of one matrix and products by another: as the reference has it where batches are broadcast.
    own = np.arange(math.prod(y.shape[:-2])).reshape(y.shape[:-2])
    multiplied = np.broadcast_to(own, out.shape[:-2]).reshape(-1)
    summed = np.repeat(places[1], group_rows).reshape(-1, m)
    if limits.has("warps") and blocks.fits and (summed == multiplied[:, None]).all():
        scales: dict[str, Buffer] = {
            "y_scales": y_scales,
            "scales": rows.scales,
            "zero_points": rows.zero_points,
            "scale_of": places[0],
        }
        macros = {name: 1 for name in defines if name == "ASYMMETRIC"}
        return [*launches, rows.launch, batched.hybrid(blocks, scales, {"group_rows": i32(group_rows)}, macros, limits)]
    product = Launch(
        "hybrid_batch.batch_matmul",
        (size(out),),
        inputs={
            "x": rows.codes,
            "y": Ref(y.index),
            "y_scales": y_scales,
            "scales": rows.scales,
            "zero_points": rows.zero_points,
            "scale_of": places[0],
            "weight_of": places[1],
        },
        outputs={"out": Ref(out.index)},
        sizes={"size": size(out), "m": m, "n": n, "k": k, "y_row": steps[0], "y_column": steps[1]}
        | {"group_rows": group_rows},
        defines=defines,
    )
    return [*launches, rows.launch, product]
