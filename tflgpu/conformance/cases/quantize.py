"""Between element types: with scales and without."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tflgpu.conformance.cases.case import Case, OneOp, T, beside, one, q, row, shaped
from tflgpu.conformance.cases.shapes import ANY, REAL
from tflgpu.conformance.cases.values import Values

FAMILY = "quantize"

CAST_FROM = "FLOAT32 INT8 UINT8 INT16 INT32 INT64 BOOL"
CAST_TO = "FLOAT32 INT8 UINT8 INT16 INT32 INT64 BOOL"
REQUANTIZED = ("INT8 INT8", "INT8 UINT8", "UINT8 INT8", "UINT8 UINT8", "INT16 INT16", "INT16 INT8", "INT8 INT16")


def cases() -> Iterator[Case]:
    for source in CAST_FROM.split():
        for target in CAST_TO.split():
            for shape in (*ANY[:6], (65,)):
                # Halves of floats to bytes and back: the values that both have.
                values = "within:0:120" if source == "FLOAT32" and target in ("INT8", "UINT8", "INT16") else "normal"
                model = OneOp("CAST", [T(source, shape, values)], [T(target)])
                yield one(FAMILY, source, [shaped(shape), f"to={target.lower()}"], model)
    for source in beside("CAST", CAST_FROM):
        packed = source in ("INT2", "INT4", "UINT4")
        for target in ("FLOAT32",) if packed else ("FLOAT32", "INT8", "INT32"):
            yield row(FAMILY, "CAST", [T(source, (33,), "small")], [T(target)], f"to={target.lower()}")
        for other in ("FLOAT32",) if packed else ("FLOAT32", "INT64"):
            yield row(FAMILY, "CAST", [T(other, (33,), "within:0:7")], [T(source)], f"to={source.lower()}")
    # Floats that no value of the target is, rounded to zero or the nearest end.
    yield row(FAMILY, "CAST", [T("FLOAT32", (99,), "within:-300:300")], [T("INT8")], "to=int8,saturated")
    wide = T("INT32", (70,), np.arange(-35000, 35000, 1000, dtype=np.int32), scale=0.001)
    yield row(FAMILY, "QUANTIZE", [wide], [q("INT16", scale=0.002)], "to=int16", 3)
    for shift in (0, 7):
        ends = T("INT32", (70,), "special", scale=0.001, zero_point=shift)
        yield row(FAMILY, "QUANTIZE", [ends], [q("INT8", scale=0.0009)], f"zero={shift},special", 3)
    near = T("INT32", (70,), "within:-90:90", scale=0.001, zero_point=7)
    yield row(FAMILY, "QUANTIZE", [near], [q("INT8", scale=0.002)], "zero=7", 3)
    for target in ("INT8", "UINT8", "INT16"):
        for shape in (*ANY, REAL):
            model = OneOp("QUANTIZE", [T("FLOAT32", shape)], [q(target, scale=0.02)])
            yield one(FAMILY, "FLOAT32", [shaped(shape), f"to={target.lower()}"], model)
        ties = np.arange(-33, 34, dtype=np.float32) * np.float32(0.25)
        model = OneOp("QUANTIZE", [T("FLOAT32", (67,), ties)], [q(target, scale=0.5)])
        yield one(FAMILY, "FLOAT32", ["67", f"to={target.lower()}", "ties"], model)
    for pair in REQUANTIZED:
        source, target = pair.split()
        for shape in ((256,), (2, 3, 5), (0,), (), (65,)):
            for scale in (0.02, 0.05, 0.11):
                filled: Values = "normal"
                if shape == (256,) and source != "INT16":
                    filled = np.arange(256, dtype=np.uint8).view(source.lower())
                zero = 0 if "INT16" in (source, target) else None
                model = OneOp(
                    "QUANTIZE",
                    [q(source, *shape, values=filled, zero_point=zero)],
                    [q(target, scale=scale, zero_point=zero)],
                )
                yield one(FAMILY, source, [shaped(shape), f"to={target.lower()}", f"scale={scale}"], model)
    for source in ("INT8", "UINT8", "INT16", "FLOAT16"):
        for shape in (*ANY, REAL):
            x = q(source, *shape) if source != "FLOAT16" else T(source, shape)
            yield one(FAMILY, source, [shaped(shape)], OneOp("DEQUANTIZE", [x], [T("FLOAT32")]))
    for source in beside("DEQUANTIZE", "INT8 UINT8 INT16 FLOAT16"):
        yield row(FAMILY, "DEQUANTIZE", [T(source, (65,), scale=0.05)], [T("FLOAT32")])
    scales, zeros = np.array([0.1, 0.02, 0.7], np.float32), np.zeros(3, np.int64)
    for shape in ((2, 5, 3), (7, 3)):
        x = T("INT8", shape, scale=scales, zero_point=zeros, axis=len(shape) - 1)
        yield one(FAMILY, "INT8", [shaped(shape), "by channel"], OneOp("DEQUANTIZE", [x], [T("FLOAT32")]))
    for low, high, bits in ((-1.0, 1.0, 8), (0.0, 6.0, 8), (-3.0, 1.0, 4)):
        options = {"min": low, "max": high, "num_bits": bits, "narrow_range": False}
        for shape in ANY[:4]:
            model = OneOp("FAKE_QUANT", [T("FLOAT32", shape)], [T("FLOAT32")], options)
            yield one(FAMILY, "FLOAT32", [shaped(shape), f"{low:g}:{high:g}", f"bits={bits}"], model)
