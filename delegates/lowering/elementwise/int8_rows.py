"""Element-wise operators on codes as rows of vectors: the fast kernels of OpenCL CPUs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Ref
from tflgpu.delegates.lowering.gemm.register_tiles import C_NAMES
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
    inputs: Mapping[str, TensorSpec],
    out: TensorSpec,
    limits: DeviceLimits,
    table: Buffer | None = None,
    scalars: Mapping[str, np.int32] | None = None,
) -> Launch | None:
    """The launch, or None where the inputs do not go by rows. kind: the macros that choose the operator."""
    total = math.prod(out.shape)
    found = split(out.shape, [spec.shape for spec in inputs.values()])
    if found is None or not (limits.cpu and limits.has("register_tiles")) or not total:
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
    sizes = {"pieces": pieces, "share": share, "per_row": per_row, "length": length, "oc": inner, "total": total}
    for name, (row, along) in zip(inputs, steps, strict=True):
        sizes |= {f"{name}_row": row, f"{name}_along": along}
    buffers: dict[str, Buffer] = {name: Ref(spec.index) for name, spec in inputs.items()}
    names = {"X_T": C_NAMES[inputs["x"].type], "OUT_T": C_NAMES[out.type], "CODES": 1, "VW": limits.vector}
    return Launch(
        "codes.code_rows",
        (-(-pieces // share),),
        (1,),
        inputs=buffers | ({} if table is None else {"table": table}),
        outputs={"out": Ref(out.index)},
        sizes=sizes,
        scalars=scalars or {},
        defines={**names, **kind},
    )
