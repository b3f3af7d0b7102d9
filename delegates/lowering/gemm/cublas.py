"""Products by the vendor's library, cuBLAS, as launches among others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflgpu.delegates.launch import LIBRARY, Argument, Launch, Packed, Temp
from tflgpu.delegates.lowering.registry import i32
from tflgpu.model.graph import Array

FLOATS: Mapping[str, Sequence[str]] = {"fp32": ("fp32",), "tf32": ("tf32",), "fp16": ("fp16", "half")}
"""By precision: the arithmetics of float32 operands. fp16 and half round them, the library or a kernel before it."""

ARITHMETICS = ("fp32", "tf32", "fp16", "half", "int8")
"""What the last argument of a product counts in: all but int8 are summed in float32, int8 in int32."""


@dataclass(frozen=True)
class Sizes:
    """x (m, k) times y (k, n), `batches` of them, `x_step` and `y_step` elements apart; by_column: stored turned."""

    m: int
    n: int
    k: int
    x_by_column: bool = False
    y_by_column: bool = False
    batches: int = 1
    x_step: int = 0
    y_step: int = 0


def product(x: Argument, y: Argument, out: Argument, arithmetic: str, s: Sizes) -> Launch:
    """out (batches, m, n) of float32, or of int8 operands int32, without gaps."""
    before: tuple[Launch, ...] = ()
    if arithmetic == "half":
        first, x = _halves(x, s.m * s.k * (s.batches if s.x_step else 1))
        second, y = _halves(y, s.n * s.k * (s.batches if s.y_step else 1))
        before = (*first, *second)
    turned = int(s.x_by_column), int(s.y_by_column)
    numbers = (s.m, s.n, s.k, *turned, s.batches, s.x_step, s.y_step, ARITHMETICS.index(arithmetic))
    return Launch(f"{LIBRARY}.product", (x, y, out, *map(i32, numbers)), (1,), (1,), before=before)


def _halves(operand: Argument, count: int) -> tuple[tuple[Launch, ...], Argument]:
    """The operand rounded to binary16: a constant at once, others by a kernel."""
    if isinstance(operand, Packed):
        return (), Packed(lambda: _rounded(operand.make()))
    temp = Temp(2 * count)
    return (Launch("halves.halves", (operand, temp, i32(count)), (count,), (256,)),), temp


def _rounded(array: Array) -> Array:
    with np.errstate(over="ignore"):
        return array.astype(np.float16)
