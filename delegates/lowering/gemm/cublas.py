"""Launches of cuBLAS's GEMM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tflgpu.delegates.launch import LIBRARY, Buffer, Launch, Packed, Temp
from tflgpu.delegates.lowering.gemm.problem import Gemm
from tflgpu.model.graph import Array

FLOATS: Mapping[str, Sequence[str]] = {"fp32": ("fp32",), "tf32": ("tf32",), "fp16": ("fp16", "half")}
"""Arithmetics of float32 operands by precision. cuBLAS rounds them (fp16), or a kernel before it (half)."""

ARITHMETICS = ("fp32", "tf32", "fp16", "half", "int8")
"""The values of the last argument of a GEMM: int8 is summed in int32, the others in float32."""


def gemm(g: Gemm, y: Buffer, out: Buffer, arithmetic: str, batch_steps: tuple[int, int] = (0, 0)) -> Launch:
    """out (batches, m, n) of float32, or of int8 operands int32, without gaps.

    batch_steps: elements from one matrix to the next, of x and of y; 0 where one serves all.
    """
    before: tuple[Launch, ...] = ()
    x, (x_step, y_step) = g.x.buffer, batch_steps
    if arithmetic == "half":
        first, x = _float16(x, g.m * g.k * (g.batches if x_step else 1))
        second, y = _float16(y, g.n * g.k * (g.batches if y_step else 1))
        before = (*first, *second)
    sizes = {"m": g.m, "n": g.n, "k": g.k, "x_by_column": int(g.x.transposed), "y_by_column": int(g.y.transposed)}
    sizes |= {"batches": g.batches, "x_step": x_step, "y_step": y_step}
    sizes |= {"arithmetic": ARITHMETICS.index(arithmetic)}
    inputs, outputs = {"x": x, "y": y}, {"out": out}
    return Launch(f"{LIBRARY}.product", (1,), (1,), inputs, outputs, sizes, before=before, stage="none")


def _float16(operand: Buffer, count: int) -> tuple[tuple[Launch, ...], Buffer]:
    """The operand rounded to float16: a constant at once, others by a kernel."""
    if isinstance(operand, Packed):
        return (), Packed(lambda: _rounded(operand.make()))
    temp = Temp(2 * count)
    made = Launch("float16.to_float16", (count,), (256,), {"x": operand}, {"out": temp}, {"n": count}, stage="none")
    return (made,), temp


def _rounded(array: Array) -> Array:
    with np.errstate(over="ignore"):
        return array.astype(np.float16)
