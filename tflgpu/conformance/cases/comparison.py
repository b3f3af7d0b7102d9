"""Comparisons, and what chooses by a condition."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tflgpu.conformance.cases.case import Case, OneOp, T, beside, one, q, row, shaped
from tflgpu.conformance.cases.shapes import FEW_PAIRS, PAIRS

FAMILY = "comparison"

COMPARISONS = {
    "EQUAL": "FLOAT32 INT32 INT8 UINT8 INT64 BOOL INT16",
    "NOT_EQUAL": "FLOAT32 INT32 INT8 UINT8 INT64 BOOL",
    "GREATER": "FLOAT32 INT32 INT8 UINT8 INT64",
    "GREATER_EQUAL": "FLOAT32 INT32 INT8 UINT8 INT64",
    "LESS": "FLOAT32 INT32 INT8 UINT8 INT64 INT16",
    "LESS_EQUAL": "FLOAT32 INT32 INT8 UINT8 INT64",
}
SELECTED = "FLOAT32 INT32 INT8 UINT8 INT16 INT64 BOOL UINT32"
TRIPLES = (
    *(((7,), (7,), (7,)), ((2, 1), (3,), (2, 3)), ((1,), (5,), (2, 5)), ((2, 3, 5), (2, 3, 5), (2, 3, 5))),
    *(((), (3,), (3,)), ((3, 1), (1, 4), ()), ((0,), (0,), (0,)), ((2, 1, 3, 1), (1, 4, 1, 2), (1,))),
)


def cases() -> Iterator[Case]:
    for op, types in COMPARISONS.items():
        for type in types.split():
            pairs = PAIRS[:11] if type in ("FLOAT32", "INT32") else (*FEW_PAIRS, ((1, 3, 1, 5), (2, 1, 7, 1)))
            for shapes in pairs:
                yield _comparison(op, type, shapes, "small" if type in ("INT32", "INT64") else "normal")
            if type not in ("BOOL", "UINT8"):
                for shapes in (((61,), (61,)), ((23, 1), (1, 29))):
                    yield _comparison(op, type, shapes, "special", "special")
        for type in beside(op, types):
            yield _comparison(op, type, ((7, 1), (9,)), "small")
    yield row(FAMILY, "EQUAL", [T("FLOAT16", (9,), "small"), np.ones(1, np.float16)], [T("BOOL")], "by a constant")
    for op in ("SELECT", "SELECT_V2"):
        for type in beside(op, SELECTED):
            yield _select(op, type, ((7,),) * 3)
        for type in SELECTED.split():
            triples = TRIPLES if op == "SELECT_V2" else (((7,),) * 3, ((3,), (3, 5), (3, 5)), ((), (2, 3), (2, 3)))
            for triple in triples:
                yield _select(op, type, triple)


def _comparison(
    op: str, type: str, shapes: tuple[tuple[int, ...], tuple[int, ...]], values: str, note: str = ""
) -> Case:
    x, y = q(type, *shapes[0], values=values), q(type, *shapes[1], values=values, scale=0.04)
    if type not in ("INT8", "UINT8"):
        x, y = T(type, shapes[0], values), T(type, shapes[1], values)
    out = T("BOOL", np.broadcast_shapes(*shapes))
    return one(FAMILY, type, [shaped(*shapes), *([note] if note else [])], OneOp(op, [x, y], [out]))


def _select(op: str, type: str, shapes: tuple[tuple[int, ...], ...]) -> Case:
    condition, x, y = T("BOOL", shapes[0]), T(type, shapes[1]), T(type, shapes[2])
    shape = np.broadcast_shapes(*shapes) if op == "SELECT_V2" else shapes[1]
    return one(FAMILY, type, [shaped(*shapes)], OneOp(op, [condition, x, y], [T(type, shape)]))
