"""MaxUnpooling2D: values put back to where their maxima were."""

from __future__ import annotations

from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Fault, Launch, Lowered, Ref
from tflgpu.delegates.lowering.movement.movement import fill
from tflgpu.delegates.lowering.registry import c_type, i32, lowers
from tflgpu.model.graph import Node
from tflgpu.ops.convolution.unpool import unpool_window


@lowers("MaxUnpooling2D")
def max_unpooling_2d(node: Node, limits: DeviceLimits) -> Lowered:
    """Zeros, and the values over them, in their order, since later ones win."""
    x, indices, out = node.input(0), node.input(1), node.outputs[0]
    window = unpool_window(node)
    b, h, w, c = x.shape
    _, oh, ow, _ = out.shape
    places = indices.type == "INT32"
    n = b if places else b * c
    sizes = (n, h, w, c, oh, ow, window.kw, window.sh, window.sw, window.top, window.left)
    args: tuple[Any, ...] = (
        Ref(x.index),
        Ref(indices.index),
        Ref(out.index),
        *map(i32, sizes),
        Fault("an index of MaxUnpooling2D lies outside of the output. "),
    )
    defines = {"INDEX_T": c_type(indices, limits), **({"PLACES": 1} if places else {})}
    return [fill(out, np.zeros(1, np.float32)), Launch("unpool.unpool", args, (n,), defines=defines)]
