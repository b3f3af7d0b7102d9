"""TensorFlow's own operators, of those that run on devices, without attributes."""

from __future__ import annotations

from collections.abc import Iterator

from tflgpu.conformance.cases.case import NO_CASES, Case, T, i32, row
from tflgpu.ops.registry import OPS

FAMILY = "flex"
UNARY = ("FlexAtan", "FlexCosh", "FlexErf", "FlexSinh", "FlexTan")
BINARY = ("FlexBitwiseAnd", "FlexBitwiseOr", "FlexEluGrad", "FlexRelu6Grad", "FlexReluGrad")


def cases() -> Iterator[Case]:
    for op in (*UNARY, *BINARY):
        for kind in sorted(OPS[op].types - NO_CASES.keys()):
            x = T(kind, (3, 17))
            yield row(FAMILY, op, [x] if op in UNARY else [x, x], [T(kind, (3, 17))], custom=b"")
    broadcast = [T("INT32", (3, 1, 5)), T("INT32", (7, 1))]
    yield row(FAMILY, "FlexBitwiseAnd", broadcast, [T("INT32")], custom=b"")
    bounds = [i32(1, 3, -2), i32(5, -9, 9), i32(2, -1, 1)]
    for kind in ("COMPLEX64", "FLOAT32"):
        yield row(FAMILY, "FlexStridedSlice", [T(kind, (6, 4, 3)), *bounds], [T(kind)], custom=b"")
