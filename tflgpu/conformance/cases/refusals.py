"""Values that an operator refuses: indices at the bound and below zero, divisors of zero. Then it runs on as before.

The first draw has the last index that is allowed, the second one that is not, as its last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.conformance.cases.case import Case, T, i32, q, row, scalar
from tflgpu.conformance.cases.custom import options_of, window_of
from tflgpu.model.graph import Array

FAMILY = "refusals"
F = "FLOAT32"
ROWS = 5
BAD = (("at the bound", ROWS), ("negative", -1))
"""Words for an index, and the index."""


def cases() -> Iterator[Case]:
    for note, bad in BAD:
        yield from _gathered(f"index {note}", bad)
        yield from _scattered(f"index {note}", bad)
        yield from _unpooled(f"index {note}", bad)
    yield _refused("UNSORTED_SEGMENT_SUM", [T(F, (4, 3)), _indices(ROWS), scalar(ROWS)], "index at the bound")
    yield from _sliced()
    yield from _divided()
    roots = np.arange(67, dtype=np.int8) % 100 + 4  # above the zero point
    case = row(FAMILY, "RSQRT", [q("INT8", 67, values=_pair(roots, 2))], [q("INT8")], "negative")
    yield _refusing(case)
    near = np.linspace(0, 3, 67, dtype=np.float32)
    inputs = [T("INT8", (67,), np.round(near * 2).astype(np.int8), scale=0.5), T(F, (67,), _pair(near, 50))]
    content = options_of(tolerance=5.0, log_if_failed=True)
    yield _refused("NumericVerify", inputs, "beyond the tolerance", custom=content)
    x, negative = T("INT32", (67,), "small"), _pair(np.arange(67, dtype=np.int32) % 5, -1)
    yield _refused("POW", [x, T("INT32", (67,), negative)], "negative exponent", "INT32")
    sigma = T(F, (), _pair(np.array(0.5, np.float32), -0.5))
    apart = T(F, (5, 4), np.arange(20, dtype=np.float32).reshape(5, 4))
    thresholds = np.array(0.5, np.float32), np.array(0, np.float32)
    boxes: list[Any] = [apart, T(F, (5,), "unit"), scalar(3), *thresholds, sigma]
    outputs = [T("INT32", (3,)), T(F, (3,)), T("INT32")]
    yield _refusing(row(FAMILY, "NON_MAX_SUPPRESSION_V5", boxes, outputs, "negative sigma"))
    shapes = _pair(i32(1, 1, 3), 7), i32(2, 1, 3)
    yield _refused("BROADCAST_ARGS", [T("INT32", (3,), shapes[0]), shapes[1]], "shapes that do not broadcast", "INT32")


def _pair(values: Array, bad: Any) -> tuple[Array, Array]:
    """The values, and the same with a bad one last."""
    wrong = values.copy()
    wrong.reshape(-1)[-1] = bad
    return values, wrong


def _indices(bad: int, kind: str = "INT32", width: int = 1) -> T:
    """Four vectors of indices below ROWS."""
    values = np.tile(np.array([[4], [0], [1], [4]], kind.lower()), (1, width))
    values = values.reshape(-1) if width == 1 else values
    return T(kind, values.shape, _pair(values, bad))


def _refused(op: str, inputs: list[Any], note: str, out: str = F, **options: Any) -> Case:
    return _refusing(row(FAMILY, op, inputs, [T(out)], note, **options))


def _refusing(case: Case) -> Case:
    assert case.model is not None
    model = replace(case.model, refused=True)
    return replace(case, make=model.sample, model=model)


def _gathered(note: str, bad: int) -> Iterator[Case]:
    for shape in ((ROWS, 3), (ROWS, 33)):  # rows of one element a work-item, and of one row
        for kind in ("INT32", "INT64"):
            inputs = [T(F, shape), _indices(bad, kind)]
            yield _refused("GATHER", inputs, f"{note},{kind.lower()}", axis=0, batch_dims=0)
    yield _refused("GATHER_ND", [T(F, (ROWS, ROWS)), _indices(bad, width=2)], note)
    yield _refused(
        "GATHER_ND", [T(F, (ROWS, 7)), replace(_indices(bad, width=2), shape=(4, 1), values=_column(bad))], note
    )
    for kind in (F, "INT8"):
        yield _refused(
            "EMBEDDING_LOOKUP", [_indices(bad), T(kind, (ROWS, 7), constant=True)], f"{note},{kind.lower()}", kind
        )
    table = q("INT8", ROWS, 7, zero_point=0, constant=True)
    yield _refused("EMBEDDING_LOOKUP", [_indices(bad), table], f"{note},dequantized")


def _column(bad: int) -> tuple[Array, Array]:
    return _pair(np.array([[4], [0], [1], [4]], np.int32), bad)


def _scattered(note: str, bad: int) -> Iterator[Case]:
    yield _refused("SCATTER_ND", [_indices(bad, width=2), T(F, (4,)), i32(ROWS, ROWS)], note)
    inputs = [_indices(bad, width=2), i32(ROWS, ROWS), T(F, (4,)), np.array(7, np.float32)]
    distinct = np.array([[0, 1], [1, 4], [2, 0], [4, 4]], np.int32)
    inputs[0] = T("INT32", (4, 2), _pair(distinct, bad))
    yield _refused("SPARSE_TO_DENSE", inputs, note)


def _sliced() -> Iterator[Case]:
    """x[i] with i known only at run time, for i from -6 on, which is clamped, to 5."""
    begin = T("INT32", (2,), (i32(-ROWS - 1, 0), i32(ROWS, 0)))
    masks: dict[str, Any] = {"begin_mask": 2, "end_mask": 2, "shrink_axis_mask": 1}
    for wrong in ("at the bound", 4), ("negative", -1):
        start = T("INT32", (2,), (i32(3, 1), i32(wrong[1], 1)))
        yield _refused("SLICE", [T(F, (ROWS, 3)), start, i32(2, 2)], f"begin {wrong[0]}")
    yield _refused("STRIDED_SLICE", [T(F, (ROWS, 3)), begin, i32(0, 0), i32(1, 1)], "index at the bound", **masks)


def _unpooled(note: str, bad: int) -> Iterator[Case]:
    wrong = 6 * 4 * 3 if bad > 0 else -1
    flat = np.arange(18, dtype=np.int32).reshape(1, 3, 2, 3) * 4
    flat.reshape(-1)[-1] = 6 * 4 * 3 - 1
    inputs = [T(F, flat.shape), T("INT32", flat.shape, _pair(flat, wrong))]
    yield _refused("MaxUnpooling2D", inputs, f"{note},positions", custom=window_of(2))
    if bad > 0:  # beside the last column: of a window wider than its strides
        inputs = [T(F, (1, 3, 2, 3)), T(F, (1, 3, 2, 3), _pair(np.zeros((1, 3, 2, 3), np.float32), 2))]
        yield _refused("MaxUnpooling2D", inputs, f"{note},column", custom=window_of(3))
    taps = np.full((1, 3, 2, 3), 3.1, np.float32)
    inputs = [T(F, taps.shape), T(F, taps.shape, _pair(taps, 2e9 if bad > 0 else -9.0))]
    yield _refused("MaxUnpooling2D", inputs, f"{note},taps", custom=window_of(2))


def _divided() -> Iterator[Case]:
    for op, kinds in (
        ("DIV", ("INT32",)),
        ("FLOOR_DIV", (F, "INT32", "INT16", "INT8")),
        ("FLOOR_MOD", ("INT32", "INT64", "INT16")),
    ):
        for kind in kinds:
            divisors = (np.arange(67) % 7 - 10).astype(kind.lower())
            inputs = [T(kind, (67,), "small"), T(kind, (67,), _pair(divisors, 0))]
            yield _refused(op, inputs, "by zero", kind)
    x, y = q("UINT8", 67), q("UINT8", 67, values=_pair((np.arange(67) + 121).astype(np.uint8), 120))
    yield _refusing(row(FAMILY, "DIV", [x, y], [q("UINT8")], "by zero"))
