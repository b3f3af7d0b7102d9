"""Pooling of images (n, h, w, c)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Ref
from tflgpu.delegates.lowering.convolution.window import window
from tflgpu.delegates.lowering.image_rows import rows_of, vectors
from tflgpu.delegates.lowering.registry import c_type, lowers, require, size
from tflgpu.model.graph import Node
from tflgpu.ops.fused_activation import float_range, quantized_range

KINDS = {"AVERAGE_POOL_2D": "AVERAGE", "MAX_POOL_2D": "MAXIMUM", "L2_POOL_2D": "ROOT_MEAN_SQUARE"}


@lowers(*KINDS)
def pool(node: Node, limits: DeviceLimits) -> Lowered:
    """The average, maximum or root mean square of each window; padding does not count."""
    x, out, o = node.input(0), node.outputs[0], node.options
    require(x.type in ("FLOAT32", "INT8", "UINT8", "INT16") and x.type == out.type, f"{node.op} of {x.type}")
    require(node.op != "L2_POOL_2D" or x.type == "FLOAT32", f"{node.op} of {x.type}")
    _, h, w, c = x.shape
    over = window(node, h, w, o.filter_height, o.filter_width)
    activation = o.fused_activation_function
    low: Any
    high: Any
    if x.type == "FLOAT32":
        low, high, acc = *float_range(activation), "f32"
    else:
        low, high, acc = (
            *map(np.int32, quantized_range(activation, out) if out.quantization else _range(out.dtype)),
            "i32",
        )
    sizes = {"h": h, "w": w, "c": c, "oh": over.oh, "ow": over.ow, "kh": over.kh, "kw": over.kw}
    sizes |= {"stride_h": over.sh, "stride_w": over.sw, "top": over.top, "left": over.left}
    inputs, outputs, bounds = {"x": Ref(x.index)}, {"out": Ref(out.index)}, {"low": low, "high": high}
    defines: dict[str, object] = {"T": c_type(x, limits), "ACC_T": acc, KINDS[node.op]: 1}
    if node.op == "MAX_POOL_2D":
        defines["LOWEST"] = "-FLT_MAX" if acc == "f32" else _range(x.dtype)[0]
    elif acc == "i32":
        defines["QUANTIZED"] = 1
    if limits.cpu and acc == "f32" and c >= 4 and out.shape[0] * over.oh > 1:
        rows = rows_of(out, limits)
        kind = defines | vectors(c, limits)
        by_row = Launch("image_rows.pool_rows", (rows["items"],), (1,), inputs, outputs, rows | sizes, bounds)
        return [replace(by_row, defines=kind, stage="none", single=True)]
    lanes = next((n for n in (16, 8, 4) if n <= limits.vector and c % n == 0), 1)
    if limits.cpu and acc == "f32" and lanes > 1:
        defines |= {"VW": lanes, "OUT_T": "f32"}
    else:
        lanes = 1
    sizes = {"size": size(out), **sizes}
    each = Launch("pool.pool", (size(out) // lanes,), (64,), inputs, outputs, sizes, bounds, defines=defines)
    return [replace(each, stage="items" if lanes == 1 else "none")]


def _range(dtype: np.dtype[Any]) -> tuple[int, int]:
    kind = np.iinfo(dtype)
    return int(kind.min), int(kind.max)
