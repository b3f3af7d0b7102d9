"""What ir.py says is computed, as launches of kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import c_text, types_macro
from tflgpu.delegates.ir import Copy, Elementwise, Lookup, Reduce, Rescaled
from tflgpu.delegates.launch import Launch, Ref
from tflgpu.delegates.lowering.reduction.combine import combine_macro, text_of
from tflgpu.delegates.lowering.strided_index import broadcast_index
from tflgpu.model.graph import Shape

Rendered = Elementwise | Copy | Lookup | Rescaled | Reduce

BITS = {"i8": "u8", "i16": "u16", "i32": "u32", "i64": "u64"}
"""The unsigned type of the size of a signed one."""

VECTOR_NAMES = {"f32": "float", "i8": "char", "u8": "uchar", "i16": "short"}
"""What vectors.clh calls an element type in X_T and OUT_T."""


def render(op: Rendered, limits: DeviceLimits) -> Launch:
    """The launch that computes what the op says."""
    if isinstance(op, Elementwise):
        return elementwise(op)
    if isinstance(op, Copy):
        return copy(op)
    if isinstance(op, Reduce):
        return reduce(op)
    return int8_rows(op, limits) or (lookup(op) if isinstance(op, Lookup) else rescaled(op))


def elementwise(op: Elementwise) -> Launch:
    loads = [f"{operand.kind} v{k} = x{k}[{operand.at}];" for k, operand in enumerate(op.inputs)]
    values = [f"{kind} t{k} = {c_text(value, value_of)};" for k, (kind, value) in enumerate(op.values)]
    condition, fault = op.fault or (None, None)
    kinds = {op.out_kind, *(operand.kind for operand in op.inputs)}
    defines: dict[str, object] = {
        "INPUTS": "".join(f"IN({operand.kind}) x{k}, " for k, operand in enumerate(op.inputs)),
        "VALUES": " ".join([*loads, *values]),
        "EXPR": c_text(op.expression, value_of),
        "OUT_T": op.out_kind,
    }
    defines |= {"TYPES": 1} if "c64" in kinds else types_macro(*op.expressions())
    defines |= {} if condition is None else {"FAULT": c_text(condition, value_of)}
    return Launch(
        "elementwise.elementwise",
        (op.n,),
        inputs={f"x{k}": operand.buffer for k, operand in enumerate(op.inputs)},
        outputs={"out": op.out},
        sizes={"n": op.n},
        fault=fault,
        defines=defines,
    )


def value_of(number: int) -> str:
    """What the element of an input is called."""
    return f"v{number}"


def copy(op: Copy) -> Launch:
    """The starts are arguments, so that pieces of one tensor share a program."""
    return Launch(
        "movement.move",
        (op.n,),
        inputs={"x": op.x},
        outputs={"out": op.out},
        sizes={"n": op.n, "x_start": op.x_at.start, "out_start": op.out_at.start},
        defines={"T": op.bits, "X_AT": replace(op.x_at, start=0), "OUT_AT": replace(op.out_at, start=0)},
    )


def reduce(op: Reduce) -> Launch:
    reducer, numbers = op.reducer, op.numbers
    return Launch(
        "reduce.reduce",
        (op.n // op.columns * op.width,),
        (op.width if op.width > 1 else 64,),
        inputs={"x": op.x},
        outputs={"out": op.out},
        sizes={"n": op.n, "count": op.count},
        scalars={name: np.int32(numbers.get(name, 0)) for name in ("offset", "multiplier", "exponent", "zero_point")}
        | {name: np.float32(numbers.get(name, 0)) for name in ("scale", "bias")},
        defines={
            "X_T": op.kinds[0],
            "OUT_T": op.kinds[1],
            "ACC_T": reducer.acc_kind,
            "INIT": text_of(reducer.init),
            **combine_macro(reducer.combine),
            "RESULT(a)": text_of(reducer.finish),
            "X_AT": op.x_at,
            "K_AT": op.k_at,
            "WIDTH": op.width,
            "COLUMNS": op.columns,
        },
        stage="items" if op.width == 1 else "none",
    )


def lookup(op: Lookup) -> Launch:
    kind, out_kind = (BITS.get(kind, kind) for kind in op.kinds)
    defines: dict[str, object] = {"X_T": kind, "OUT_T": out_kind}
    if op.least is not None:
        defines |= {"LEAST": f"({op.least})", "VALUE_T": op.kinds[0]}
    return Launch(
        "lut.lut",
        (op.n,),
        inputs={"x": op.x, "table": op.table},
        outputs={"out": op.out},
        sizes={"n": op.n},
        fault=op.fault,
        defines=defines,
    )


def rescaled(op: Rescaled) -> Launch:
    x_at, y_at = (broadcast_index(shape, op.out_shape) for shape in op.shapes)
    defines: dict[str, object] = {"T": op.kind, "X_AT": x_at, "Y_AT": y_at}
    return Launch(
        f"quantized.{'product' if op.operator == '*' else 'sum'}",
        (op.n,),
        inputs={"x": op.x, "y": op.y},
        outputs={"out": op.out},
        sizes={"n": op.n},
        scalars=op.numbers,
        defines=defines | ({"PRODUCT": 1} if op.operator == "*" else {"SIGN": op.operator}),
    )


PIECE = 4096
"""As many elements at the most are computed without looking for other work."""

Walk = tuple[int, int]
"""How far an input goes from a row to the next, and along a row."""


def rows_of(op: Lookup | Rescaled) -> tuple[int, list[Walk]] | None:
    """The elements of rows in which each input either goes along with the output or stands still, and from one row to
    the next too; and how each input walks. None where there are no such rows."""
    if isinstance(op, Lookup):
        return op.n, [(op.n, 1)]
    out = op.out_shape
    wide = [(1,) * (len(out) - len(shape)) + tuple(shape) for shape in op.shapes]
    for at in range(len(out) + 1):
        walks = [_walk(shape[:at], shape[at:], out[:at], out[at:]) for shape in wide]
        known = [walk for walk in walks if walk is not None]
        if len(known) == len(walks):
            return math.prod(out[at:]), known
    return None


def _walk(rows: Shape, row: Shape, out_rows: Shape, out_row: Shape) -> Walk | None:
    if rows not in (out_rows, (1,) * len(rows)) or row not in (out_row, (1,) * len(row)):
        return None
    along, down = int(row == out_row), int(rows == out_rows)
    return down * (math.prod(out_row) if along else 1), along


def int8_rows(op: Lookup | Rescaled, limits: DeviceLimits) -> Launch | None:
    """The launch on vectors of rows, the fast kernel of OpenCL CPUs; None where there is none for the op."""
    # A temporary's launch is small, and small launches are joined where they are no vectors.
    usual = op.of_bytes and isinstance(op.out, Ref) if isinstance(op, Lookup) else int(op.numbers["multiplier"]) >= 0
    found = rows_of(op) if usual and limits.cpu and limits.has("register_tiles") and op.n else None
    if found is None:
        return None
    inner, walks = found
    rows = op.n // inner
    if inner < limits.vector and rows > 1:
        return None
    sizes = _pieces(rows, inner, op.n, limits)
    for name, (row, along) in zip("xy", walks, strict=False):
        sizes |= {f"{name}_row": row, f"{name}_along": along}
    scalars: Mapping[str, np.int32] = {}
    macros: dict[str, object] = {}
    if isinstance(op, Lookup):
        kinds, inputs = op.kinds, {"x": op.x, "table": op.table}
    else:
        kinds, inputs, scalars = (op.kind, op.kind), {"x": op.x, "y": op.y}, op.numbers
        macros = {"PRODUCT": 1} if op.operator == "*" else {"SUM": 1, "SIGN": op.operator}
    names = {"X_T": VECTOR_NAMES[kinds[0]], "OUT_T": VECTOR_NAMES[kinds[1]], "QUANTIZED": 1, "VW": limits.vector}
    return Launch(
        "elementwise_int8.elementwise_int8",
        (-(-sizes["pieces"] // sizes["share"]),),
        (1,),
        inputs=inputs,
        outputs={"out": op.out},
        sizes=sizes,
        scalars=scalars,
        defines={**names, **macros},
        computes=op,
        stage="none",
        single=True,
    )


def _pieces(rows: int, inner: int, total: int, limits: DeviceLimits) -> dict[str, int]:
    """How rows are cut into pieces, and how many of these a work-item has."""
    # A single row is divided among work-items, in whole cache lines.
    most = PIECE if rows > 1 else max(64, -(-total // (limits.units * 2) // 64) * 64)
    length = min(inner, most, PIECE)
    per_row = -(-inner // length)
    pieces = rows * per_row
    share = -(-pieces // min(pieces, limits.units * 4))
    return {"pieces": pieces, "share": share, "per_row": per_row, "length": length, "oc": inner, "total": total}
