"""Element-wise operators on codes as rows of vectors: the fast kernels of OpenCL CPUs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Argument, Launch, Ref
from tflgpu.delegates.lowering.gemm.register_tiles import C_NAMES
from tflgpu.delegates.lowering.registry import i32
from tflgpu.model.graph import Shape, TensorSpec

PIECE = 4096
"""As many elements at the most are computed without looking for other work."""

Steps = tuple[int, int]


def split(out: Shape, inputs: Sequence[Shape]) -> tuple[int, list[Steps]] | None:
    """How long the rows are in which each input either goes along with the output or stands still, and from one row
    to the next too: the elements of a row, and of each input how far it goes from a row to the next and along a row."""
    wide = [(1,) * (len(out) - len(shape)) + tuple(shape) for shape in inputs]
    for at in range(len(out) + 1):
        steps = [_steps(shape[:at], shape[at:], out[:at], out[at:]) for shape in wide]
        known = [step for step in steps if step is not None]
        if len(known) == len(steps):
            return math.prod(out[at:]), known
    return None


def _steps(rows: Shape, row: Shape, out_rows: Shape, out_row: Shape) -> Steps | None:
    if rows not in (out_rows, (1,) * len(rows)) or row not in (out_row, (1,) * len(row)):
        return None
    along, down = int(row == out_row), int(rows == out_rows)
    return down * (math.prod(out_row) if along else 1), along


def code_rows(
    kind: dict[str, Any],
    inputs: Sequence[TensorSpec],
    tables: Sequence[Argument],
    out: TensorSpec,
    numbers: Sequence[Any],
    limits: DeviceLimits,
) -> Launch | None:
    """The launch, or None where the inputs do not go by rows. kind: the macros that choose the operator."""
    total = math.prod(out.shape)
    found = split(out.shape, [spec.shape for spec in inputs])
    if found is None or not (limits.cpu and limits.tiles) or not total:
        return None
    inner, steps = found
    rows = total // inner
    if inner < limits.vector and rows > 1:
        return None
    # A single row is shared out, in whole cache lines.
    most = PIECE if rows > 1 else max(64, -(-total // (limits.units * 2) // 64) * 64)
    length = min(inner, most, PIECE)
    per_row = -(-inner // length)
    pieces = rows * per_row
    share = -(-pieces // min(pieces, limits.units * 4))
    sizes = (pieces, share, per_row, length, inner, total, *(step for pair in steps for step in pair))
    args = (*(Ref(spec.index) for spec in inputs), *tables, Ref(out.index), *map(i32, (*sizes, *numbers)))
    names = {"X_T": C_NAMES[inputs[0].type], "OUT_T": C_NAMES[out.type], "CODES": 1, "VW": limits.vector}
    return Launch("codes.code_rows", args, (-(-pieces // share),), (1,), {**names, **kind})
