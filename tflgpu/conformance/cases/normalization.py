"""Softmax and its kin, and normalizations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tflgpu.conformance.cases.case import Case, OneOp, T, one, q, row, shaped, words

FAMILY = "normalization"
Shape = tuple[int, ...]

ROWS: tuple[Shape, ...] = ((7,), (3, 10), (4, 1001), (2, 3, 5), (1, 2, 3, 65), (5, 1), (2, 257), (0, 5), (3, 64))
SOFTMAX_OUT = {"INT8": (1 / 256, -128), "UINT8": (1 / 256, 0), "INT16": (1 / 32768, 0)}
LOG_OUT = {"INT8": (16 / 256, 127), "UINT8": (16 / 256, 255)}
PLAIN = {"fused_activation_function": "NONE"}
UNIT_OUT = {"INT8": (1 / 128, 0), "UINT8": (1 / 128, 128)}


def cases() -> Iterator[Case]:
    for type in ("FLOAT32", "INT8", "UINT8", "INT16"):
        for shape in ROWS:
            for beta in (1.0, 0.5, 2.0) if shape in ((3, 10), (4, 1001)) else (1.0,):
                x = q(type, *shape, scale=0.2 if type != "INT16" else 0.001)
                yield one(
                    FAMILY, type, [shaped(shape), f"beta={beta:g}"], _rows("SOFTMAX", x, SOFTMAX_OUT, {"beta": beta})
                )
    yield row(FAMILY, "SOFTMAX", [T("FLOAT16", (3, 70))], [T("FLOAT16")], beta=1.0)
    for type in ("INT8", "UINT8"):
        x, out = q(type, 5, 67, scale=0.05), T("INT16", scale=1 / 65536, zero_point=-32768)
        yield row(FAMILY, "SOFTMAX", [x], [out], "to 16 bits", beta=1.0)
    lone = np.full((4, 5), 3, np.int8)  # rows of zeros but for one or two steps
    lone[1, 4], lone[2, 0], lone[3, 1:3] = 4, 2, 1
    yield row(
        FAMILY, "L2_NORMALIZATION", [q("INT8", 4, 5, values=lone)], [T("INT8", scale=1 / 128)], "lone values", **PLAIN
    )
    for type in ("FLOAT32", "INT8", "UINT8"):
        for shape in ROWS:
            yield one(FAMILY, type, [shaped(shape)], _rows("LOG_SOFTMAX", q(type, *shape, scale=0.1), LOG_OUT, {}))
            yield one(FAMILY, type, [shaped(shape)], _rows("L2_NORMALIZATION", q(type, *shape), UNIT_OUT, PLAIN))
    for values in ("within:-90:90", "within:-400:-300", "within:300:400", "wide"):
        x = T("FLOAT32", (5, 67), values)
        yield one(FAMILY, "FLOAT32", ["5x67", values], _rows("SOFTMAX", x, {}, {"beta": 1.0}))
        if "00" in values:
            yield one(FAMILY, "FLOAT32", ["5x67", values], _rows("LOG_SOFTMAX", x, {}, {}))
    for shape in ((1, 2, 3, 5), (2, 1, 1, 17), (1, 4, 4, 1)):
        for options in (
            {"radius": 2, "bias": 1.0, "alpha": 0.5, "beta": 0.5},
            {"radius": 5, "bias": 2.0, "alpha": 1.0, "beta": 0.75},
        ):
            model = OneOp("LOCAL_RESPONSE_NORMALIZATION", [T("FLOAT32", shape)], [T("FLOAT32")], options)
            yield one(FAMILY, "FLOAT32", [shaped(shape), *words(options)], model)


def _rows(op: str, x: T, outs: dict[str, tuple[float, int]], options: Mapping[str, object]) -> OneOp:
    quantization = outs.get(x.type)
    out = T(x.type) if quantization is None else T(x.type, scale=quantization[0], zero_point=quantization[1])
    return OneOp(op, [x], [out], options)
