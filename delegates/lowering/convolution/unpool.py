"""MaxUnpooling2D: scatters values to the locations of their maxima."""

from __future__ import annotations

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Fault, Launch, Lowered, Ref
from tflgpu.delegates.lowering.movement.movement import fill
from tflgpu.delegates.lowering.registry import c_type, lowers
from tflgpu.model.graph import Node
from tflgpu.ops.convolution.unpool import unpool_window


@lowers("MaxUnpooling2D")
def max_unpooling_2d(node: Node, limits: DeviceLimits) -> Lowered:
    """Zeros, then the values in order: later ones win."""
    x, indices, out = node.input(0), node.input(1), node.outputs[0]
    window = unpool_window(node)
    b, h, w, c = x.shape
    _, oh, ow, _ = out.shape
    flat = indices.type == "INT32"
    n = b if flat else b * c
    sizes = {"n": n, "h": h, "w": w, "channels": c, "oh": oh, "ow": ow, "kw": window.kw}
    over = Launch(
        "unpool.unpool",
        (n,),
        inputs={"x": Ref(x.index), "indices": Ref(indices.index)},
        outputs={"out": Ref(out.index)},
        sizes=sizes | {"stride_h": window.sh, "stride_w": window.sw, "top": window.top, "left": window.left},
        fault=Fault("an index of MaxUnpooling2D lies outside of the output. "),
        defines={"INDEX_T": c_type(indices, limits), **({"FLAT_INDICES": 1} if flat else {})},
    )
    return [fill(out, np.zeros(1, np.float32)), over]
