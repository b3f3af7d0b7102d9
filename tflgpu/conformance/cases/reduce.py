"""Reductions along axes, and the positions of the largest and smallest."""

from __future__ import annotations

from collections.abc import Iterator

from tflgpu.conformance.cases.case import Case, OneOp, T, beside, i32, one, q, scalar, shaped
from tflgpu.ops.registry import OPS

FAMILY = "reduce"
Shape = tuple[int, ...]

REDUCED: tuple[tuple[Shape, Shape], ...] = (
    ((7,), (0,)),
    ((3, 5), (1,)),
    ((3, 5), (0,)),
    ((2, 3, 5), (-2,)),
    ((2, 5, 3, 7), (1, 2)),
    ((2, 3, 5), (0, 2)),
    ((2, 3, 5), (0, 1, 2)),
    ((3, 1, 5), (1,)),
    ((2, 257), (1,)),
    ((257, 2), (0,)),
    ((1, 7, 7, 65), (1, 2)),
    ((2, 3, 2, 3, 2), (1, 3)),
    ((2, 3, 5), ()),
)
REDUCTIONS = {
    "MEAN": "FLOAT32 INT8 UINT8 INT16 INT32 INT64",
    "SUM": "FLOAT32 INT8 UINT8 INT32 INT64",
    "REDUCE_PROD": "FLOAT32 INT32 INT64",
    "REDUCE_MAX": "FLOAT32 INT8 UINT8 INT16 INT32 INT64",
    "REDUCE_MIN": "FLOAT32 INT8 UINT8 INT16 INT32 INT64",
    "REDUCE_ANY": "BOOL",
    "REDUCE_ALL": "BOOL",
}
PLACED: tuple[tuple[Shape, int], ...] = (
    ((7,), 0), ((3, 17), 1), ((3, 17), 0), ((2, 3, 5), -2), ((2, 257), -1), ((1, 5, 7, 3), 3), ((1,), 0),
    ((2, 3, 2, 3, 2), 2),
)  # fmt: skip


def cases() -> Iterator[Case]:
    for op, types in REDUCTIONS.items():
        for type in types.split():
            rows = REDUCED if type in ("FLOAT32", "INT8", "INT32", "BOOL") else REDUCED[1:7]
            for shape, axes in rows:
                for keep in (False, True) if len(shape) > 1 else (False,):
                    yield _reduction(op, type, shape, axes, keep)
            if op in ("REDUCE_MAX", "REDUCE_MIN") and type != "BOOL":
                yield _reduction(op, type, (23, 5), (0,), False, "special")
        for type in beside(op, types if op != "REDUCE_PROD" else f"{types} UINT8"):  # which its kernel refuses
            yield _reduction(op, type, (3, 70, 4), (1,), False)
    for op in ("ARG_MAX", "ARG_MIN"):
        for type in ("FLOAT32", "INT8", "UINT8", "INT32", "BOOL"):
            if type in OPS[op].types:
                for shape, axis in PLACED:
                    for out in ("INT32", "INT64") if type == "FLOAT32" else ("INT32",):
                        yield _arg_max_or_min(op, type, shape, axis, out, "normal")
                yield _arg_max_or_min(
                    op, type, (5, 11), 1, "INT32", "whole:0:2" if type != "BOOL" else "normal", "ties"
                )


def _reduction(op: str, type: str, shape: Shape, axes: Shape, keep: bool, values: str = "normal") -> Case:
    if op == "REDUCE_PROD" and type != "FLOAT32":
        values = "within:1:2"
    x, out = q(type, *shape, values=values), q(type, scale=0.06) if op in ("MEAN", "SUM") else q(type)
    if type not in ("FLOAT32", "INT8", "UINT8", "INT16"):
        x, out = T(type, shape, values), T(type)
    notes = [word for word, on in (("keep", keep), ("special", values == "special")) if on]
    detail = [shaped(shape), f"axes={shaped(axes)}", *notes]
    return one(FAMILY, type, detail, OneOp(op, [x, i32(*axes)], [out], {"keep_dims": keep}))


def _arg_max_or_min(op: str, type: str, shape: Shape, axis: int, out: str, values: str, note: str = "") -> Case:
    detail = [shaped(shape), f"axis={axis}", *([out.lower()] if out != "INT32" else []), *([note] if note else [])]
    return one(FAMILY, type, detail, OneOp(op, [T(type, shape, values), scalar(axis)], [T(out)], {"output_type": out}))
