"""Operators on the diagonals of matrices: MATRIX_DIAG, MATRIX_SET_DIAG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.movement.shape import FIXED_SIZE, require_output_type, require_same_type
from tflgpu.ops.registry import Step, kernel, require
from tflgpu.ops.shape_rules import elements, sized


def diagonals(matrices: Array) -> Array:
    """The diagonals of matrices (..., rows, columns) as a view that can be written: (..., min(rows, columns))."""
    size = min(matrices.shape[-2:])
    view: Array = np.einsum("...ii->...i", matrices[..., :size, :size])
    return view


def _matrix_diag_shape(node: Node) -> list[Shape]:
    x = node.input(0).shape
    require(x, "MATRIX_DIAG takes a vector or more. ")
    return [sized((*x, x[-1]))]


@kernel(
    "MATRIX_DIAG",
    inputs=1,
    types=FIXED_SIZE + " INT4",
    shape=_matrix_diag_shape,
    check=require_output_type,
    output_type=0,
)
def matrix_diag(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """Square matrices of zeros (..., n, n) with x (..., n) on their diagonals."""
    x, y = inputs[0], outputs[0]
    diagonal = diagonals(y)

    def step() -> None:
        y.fill(0)
        np.copyto(diagonal, x)

    return step


def _matrix_set_diag_shape(node: Node) -> list[Shape]:
    x, new = node.input(0).shape, node.input(1).shape
    require(len(x) >= 2, "MATRIX_SET_DIAG takes a matrix or more. ")
    require_same_type(node, 0, 1)
    # Longer ones are read from their start on, whatever their shape, as in TensorFlow Lite.
    fits = elements(new) >= elements((*x[:-2], min(x[-2:])))
    require(fits, f"MATRIX_SET_DIAG: a diagonal of {list(new)} does not fit {list(x)}. ")
    return [x]


@kernel(
    "MATRIX_SET_DIAG",
    inputs=2,
    types=FIXED_SIZE + " INT4",
    shape=_matrix_set_diag_shape,
    check=require_output_type,
    output_type=0,
)
def matrix_set_diag(node: Node, inputs: Sequence[Array], outputs: Sequence[Array]) -> Step:
    """The matrices x (..., rows, columns) with `diagonal` (..., min(rows, columns)) in place of their own."""
    x, y = inputs[0], outputs[0]
    target = diagonals(y)
    new = inputs[1].reshape(-1)[: target.size].reshape(target.shape)

    def step() -> None:
        np.copyto(y, x)
        np.copyto(target, new)

    return step
