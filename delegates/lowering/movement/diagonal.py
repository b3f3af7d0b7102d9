"""Operators on the diagonals of matrices."""

from __future__ import annotations

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.ir import Copy
from tflgpu.delegates.launch import Lowered, Ref
from tflgpu.delegates.lowering.movement.movement import copy, fill
from tflgpu.delegates.lowering.registry import bits_type, lowers, require, size
from tflgpu.delegates.lowering.strided_index import index_map, standin
from tflgpu.model.graph import Node, TensorSpec
from tflgpu.ops.movement.diagonal import diagonals


@lowers("MATRIX_DIAG")
def matrix_diag(node: Node, limits: DeviceLimits) -> Lowered:
    """Zeros with x on the diagonals."""
    x, out = node.input(0), node.outputs[0]
    require(x.type == out.type, f"MATRIX_DIAG of {x.type} to {out.type}")
    return [fill(out, np.zeros(1, out.dtype)), *_over_diagonal(x, out)]


@lowers("MATRIX_SET_DIAG")
def matrix_set_diag(node: Node, limits: DeviceLimits) -> Lowered:
    """x with its diagonals replaced."""
    x, new, out = node.input(0), node.input(1), node.outputs[0]
    require(x.type == new.type == out.type, f"MATRIX_SET_DIAG of {x.type} to {out.type}")
    return [copy(x, out), *_over_diagonal(new, out)]


def _over_diagonal(x: TensorSpec, out: TensorSpec) -> list[Copy]:
    if not size(out):
        return []
    base = standin(out.shape, out.dtype)
    view = diagonals(base)
    at = index_map(view, base)
    return [Copy(Ref(x.index), Ref(out.index), view.size, bits_type(out), out_at=at)]
