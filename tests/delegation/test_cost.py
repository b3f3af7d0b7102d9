"""What the cost model counts of operators."""

from __future__ import annotations

import numpy as np
from oracle import one_op

from tflgpu.delegation.cost import operations
from tflgpu.model.loader import load


def test_convolutions_of_volumes_count_their_multiplications() -> None:
    weights = np.zeros((2, 3, 3, 4, 8), np.float32)
    steps = {f"stride_{axis}": 1 for axis in "dhw"} | {f"dilation_{axis}_factor": 1 for axis in "dhw"}
    small, large = ({"type": "FLOAT32", "shape": [1, 5, 6, 7, c]} for c in (4, 8))
    shape = np.array([1, 5, 6, 7, 4], np.int32)
    for op, inputs, out in (
        ("CONV_3D", [small, weights], large),
        ("CONV_3D_TRANSPOSE", [shape, weights, large], small),
    ):
        (graph,) = load(path=None, content=one_op(op, inputs, [out], padding="SAME", **steps)).graphs
        assert operations(graph.nodes[0]) == 5 * 6 * 7 * weights.size
