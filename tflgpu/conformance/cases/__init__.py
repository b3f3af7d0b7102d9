"""Every case, one module a family: operators, element types, shapes, parameters and values as tables."""

from __future__ import annotations

from functools import cache

from tflgpu.conformance.cases import (
    comparison,
    conv,
    custom,
    elementwise,
    indexing,
    matmul,
    movement,
    normalization,
    quantize,
    reduce,
    windows,
)
from tflgpu.conformance.cases.case import Case

FAMILIES = (elementwise, comparison, movement, indexing, quantize, reduce, windows, conv, matmul, normalization, custom)


@cache
def every() -> dict[str, Case]:
    """All cases by name, in the order of their tables."""
    found: dict[str, Case] = {}
    for family in FAMILIES:
        for case in family.cases():
            found.setdefault(case.name, case)
    return found
