"""Products by the vendor's library, cuBLAS, as launches among others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflgpu.delegates.launch import LIBRARY, Buffer, Launch, Packed, Temp
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


def product(x: Buffer, y: Buffer, out: Buffer, arithmetic: str, s: Sizes) -> Launch:
    """out (batches, m, n) of float32, or of int8 operands int32, without gaps."""
    before: tuple[Launch, ...] = ()
    if arithmetic == "half":
        first, x = _halves(x, s.m * s.k * (s.batches if s.x_step else 1))
        second, y = _halves(y, s.n * s.k * (s.batches if s.y_step else 1))
        before = (*first, *second)
    sizes = {"m": s.m, "n": s.n, "k": s.k, "x_by_column": int(s.x_by_column), "y_by_column": int(s.y_by_column)}
    sizes |= {"batches": s.batches, "x_step": s.x_step, "y_step": s.y_step}
    sizes |= {"arithmetic": ARITHMETICS.index(arithmetic)}
    return Launch(f"{LIBRARY}.product", (1,), (1,), {"x": x, "y": y}, {"out": out}, sizes, before=before)


def _halves(operand: Buffer, count: int) -> tuple[tuple[Launch, ...], Buffer]:
    """The operand rounded to binary16: a constant at once, others by a kernel."""
    if isinstance(operand, Packed):
        return (), Packed(lambda: _rounded(operand.make()))
    temp = Temp(2 * count)
    return (Launch("halves.halves", (count,), (256,), {"x": operand}, {"out": temp}, {"n": count}),), temp


def _rounded(array: Array) -> Array:
    with np.errstate(over="ignore"):
        return array.astype(np.float16)
