"""Models of one operator on floats of 16 bits and on types that few operators take, for every GPU delegate."""

from __future__ import annotations

import numpy as np
from delegate_cases import Case, Spec, f, i32, t

_NONE = {"fused_activation_function": "NONE"}
_RELU6 = {"fused_activation_function": "RELU6"}
_WINDOW = {"padding": "SAME", "stride_w": 2, "stride_h": 1}
_CONV = _WINDOW | {"dilation_w_factor": 1, "dilation_h_factor": 1}
_BINARY = {"ADD": _NONE, "SUB": _RELU6, "MUL": _NONE, "DIV": _NONE, "MAXIMUM": {}, "MINIMUM": {}}


def h(*shape: int) -> Spec:
    return t("FLOAT16", *shape)


def _halves(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float16)


def _elementwise() -> list[Case]:
    rows = _BINARY | {"SQUARED_DIFFERENCE": {}}
    cases = [
        Case(f"{op} float16", op, [h(2, 3, 5), h(3, 1)], [h(2, 3, 5)], o, low=-300, high=300) for op, o in rows.items()
    ]
    cases += [
        Case(f"{op} float16", op, [h(7, 1), h(9)], [t("BOOL", 7, 9)]) for op in ("LESS", "GREATER_EQUAL", "NOT_EQUAL")
    ]
    cases.append(Case("EQUAL float16", "EQUAL", [h(9), _halves(1)], [t("BOOL", 9)]))
    cases.append(Case("ATAN2 float16", "ATAN2", [h(9), h(9)], [h(9)]))
    cases.append(Case("PRELU float16", "PRELU", [h(2, 5), _halves(5)], [h(2, 5)]))
    cases.append(Case("EXP float16", "EXP", [h(70)], [h(70)]))
    cases.append(Case("STABLEHLO_MULTIPLY float16", "STABLEHLO_MULTIPLY", [h(7), h(7)], [h(7)]))
    for op in ("MAXIMUM", "LESS"):
        out = t("BOOL", 70) if op == "LESS" else t("BFLOAT16", 70)
        cases.append(Case(f"{op} bfloat16", op, [t("BFLOAT16", 70), t("BFLOAT16", 70)], [out]))
    cases.append(Case("ATAN2 bfloat16", "ATAN2", [t("BFLOAT16", 70)] * 2, [t("BFLOAT16", 70)]))
    return cases


def _windows() -> list[Case]:
    pool = _WINDOW | {"filter_width": 3, "filter_height": 2} | _NONE
    weights, bias = _halves(4, 3, 3, 5), _halves(4)
    deep = [h(1, 7, 7, 5), weights[:1], _halves(5)]
    cases = [Case("AVERAGE_POOL_2D float16", "AVERAGE_POOL_2D", [h(1, 6, 6, 3)], [h(1, 6, 3, 3)], pool)]
    for activation in (_NONE, _RELU6):
        name = f"CONV_2D float16 {activation['fused_activation_function']}"
        cases.append(Case(name, "CONV_2D", [h(1, 7, 7, 5), weights, bias], [h(1, 7, 4, 4)], _CONV | activation))
    cases.append(
        Case("DEPTHWISE float16", "DEPTHWISE_CONV_2D", deep, [h(1, 7, 4, 5)], _CONV | {"depth_multiplier": 1} | _NONE)
    )
    return cases


def _rows() -> list[Case]:
    cases = [
        Case(f"{op} float16", op, [h(3, 70, 4), i32(1)], [h(3, 4)], {"keep_dims": False})
        for op in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
    ]
    cases.append(Case("SOFTMAX float16", "SOFTMAX", [h(3, 70)], [h(3, 70)], {"beta": 1.0}))
    value = (np.arange(140) % 15 - 7).astype(np.int8).reshape(7, 20)
    codes = {"type": "INT4", "value": value, "scale": 0.02, "zero_point": 0}
    for name, weights in (("float16", _halves(7, 20)), ("float16 int4", codes)):
        cases.append(
            Case(f"FULLY_CONNECTED {name}", "FULLY_CONNECTED", [h(3, 20), weights, _halves(7)], [h(3, 7)], _NONE)
        )
    cases.append(Case("BATCH_MATMUL float16", "BATCH_MATMUL", [h(2, 3, 20), h(2, 20, 4)], [h(2, 3, 4)]))
    return cases


def _others() -> list[Case]:
    cases = [
        Case(f"CAST float to {kind.lower()}", "CAST", [f(33)], [t(kind, 33)], low=-30, high=30)
        for kind in ("FLOAT16", "BFLOAT16", "COMPLEX64", "INT4")
    ]
    cases.append(Case("CAST int64 to float16", "CAST", [t("INT64", 33)], [h(33)]))
    cases += [
        Case(f"CAST complex64 to {k.lower()}", "CAST", [t("COMPLEX64", 33)], [t(k, 33)]) for k in ("FLOAT32", "INT8")
    ]
    cases.append(Case("MUL complex64", "MUL", [t("COMPLEX64", 3, 4), t("COMPLEX64", 4)], [t("COMPLEX64", 3, 4)], _NONE))
    cases.append(Case("FLOOR_MOD int64", "FLOOR_MOD", [t("INT64", 70), np.array([-7])], [t("INT64", 70)]))
    cases.append(Case("POW int32", "POW", [t("INT32", 70), t("INT32", 70)], [t("INT32", 70)], below=15))
    cases.append(Case("POW int32 by one", "POW", [t("INT32", 70), i32(7)], [t("INT32", 70)], below=90))
    cases.append(Case("SIGN float64", "SIGN", [t("FLOAT64", 70)], [t("FLOAT64", 70)]))
    cases.append(Case("ATAN2 float64", "ATAN2", [t("FLOAT64", 70)] * 2, [t("FLOAT64", 70)]))
    return cases


NARROW_CASES = _elementwise() + _windows() + _rows() + _others()
