"""Matrices: inverse, Cholesky and QR decomposition, determinant and diagonals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.flex.node_def import attribute, choice
from tflgpu.ops.registry import OpError, function, require, value
from tflgpu.ops.shape_rules import same_as_input

TYPES = "FLOAT32 FLOAT64 COMPLEX64 COMPLEX128"


def _matrices(node: Node) -> tuple[int, int]:
    x = node.input(0)
    require(len(x.shape) >= 2, f"{x}: matrices (…, m, n) are wanted. ")
    return x.shape[-2], x.shape[-1]


def _square(node: Node) -> list[Shape]:
    m, n = _matrices(node)
    require(m == n, f"Input matrix must be square, not {m} x {n}. ")
    return same_as_input(node)


def _solved(compute: Callable[[Array], Array], x: Array, otherwise: str) -> Array:
    try:
        with np.errstate(all="ignore"):
            return compute(x)
    except np.linalg.LinAlgError as error:
        raise OpError(otherwise) from error


@function("FlexMatrixInverse", inputs=1, types=TYPES, shape=_square, custom=True)
def matrix_inverse(node: Node, x: Array) -> Array:
    """The inverse of each matrix of x (…, n, n), or of its adjoint."""
    x = np.conj(np.swapaxes(x, -1, -2)) if attribute(node, "adjoint", False) else x
    return _solved(np.linalg.inv, x, "Input is not invertible.")


@function("FlexCholesky", inputs=1, types=TYPES, shape=_square, custom=True)
def cholesky(node: Node, x: Array) -> Array:
    """The lower triangular L with L times its adjoint = x (…, n, n), of which the lower triangle is read."""
    return _solved(np.linalg.cholesky, x, "Cholesky decomposition was not successful. The input might not be valid.")


def _determinant_shape(node: Node) -> list[Shape]:
    return [_square(node)[0][:-2]]


@function("FlexMatrixDeterminant", inputs=1, types=TYPES, shape=_determinant_shape, custom=True)
def matrix_determinant(node: Node, x: Array) -> Array:
    """The determinant of each matrix of x (…, n, n)."""
    return np.asarray(np.linalg.det(x))


def _qr_shape(node: Node) -> list[Shape]:
    m, n = _matrices(node)
    inner = m if attribute(node, "full_matrices", False) else min(m, n)
    outer = node.input(0).shape[:-2]
    return [(*outer, m, inner), (*outer, inner, n)]


@function("FlexQr", inputs=1, outputs=2, types=TYPES, shape=_qr_shape, custom=True)
def qr(node: Node, x: Array) -> tuple[Array, Array]:
    """Unitary matrices and upper triangular ones whose product is x (…, m, n)."""
    mode: Literal["complete", "reduced"] = "complete" if attribute(node, "full_matrices", False) else "reduced"
    q, r = (np.empty(spec.shape, x.dtype) for spec in node.outputs)
    for at in np.ndindex(x.shape[:-2]):
        q[at], r[at] = np.linalg.qr(x[at], mode)
    return q, r


def _diagonals(node: Node) -> tuple[int, int]:
    """The lowest and the highest diagonal that are wanted. Raises NeedsValue."""
    require(node.input(1).type == "INT32", f"{node.op}: {node.input(1)} must be INT32. ")
    k = value(node.input(1)).reshape(-1).tolist()
    require(len(k) in (1, 2), f"diag_index must have only one or two elements, received {len(k)} elements.")
    low, high = k[0], k[-1]
    m, n = _matrices(node)
    inside = all(-m < d < n or d == 0 for d in (low, high))
    require(inside and low <= high, f"{node.op}: the diagonals {low} to {high} of {m} x {n} matrices. ")
    return low, high


def _diagonal_shape(node: Node) -> list[Shape]:
    (low, high), (m, n) = _diagonals(node), _matrices(node)
    longest = min(m + min(high, 0), n - max(low, 0))
    rows = () if low == high else (high - low + 1,)
    return [(*node.input(0).shape[:-2], *rows, longest)]


@function("FlexMatrixDiagPartV3", inputs=3, shape=_diagonal_shape, custom=True)
def matrix_diagonals(node: Node, x: Array, k: Array, padding: Array) -> Array:
    """The diagonals of x (…, m, n) from the highest to the lowest, short ones padded on the side that `align` says."""
    low, high = _diagonals(node)
    align = choice(node, "align", ("RIGHT_LEFT", "LEFT_RIGHT", "LEFT_LEFT", "RIGHT_RIGHT"))
    out = np.full(node.outputs[0].shape, padding, x.dtype)
    rows = out[..., None, :] if low == high else out
    for row, d in enumerate(range(high, low - 1, -1)):
        diagonal = np.diagonal(x, d, -2, -1)
        side = align.split("_")[d < 0 if align in ("RIGHT_LEFT", "LEFT_RIGHT") else 0]
        start = rows.shape[-1] - diagonal.shape[-1] if side == "RIGHT" else 0
        rows[..., row, start : start + diagonal.shape[-1]] = diagonal
    return out
