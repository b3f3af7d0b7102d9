"""Models of one operator that every GPU delegate takes whole, with inputs: what the delegates' tests have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from oracle import one_op

Array = npt.NDArray[Any]
Spec = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Case:
    """name: the operator and what is special. inputs: as oracle.one_op takes them. below: of INT32 inputs."""

    name: str
    op: str
    inputs: Sequence[Any]
    outputs: Sequence[Spec]
    options: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    low: float = -3.0
    high: float = 3.0
    rtol: float | None = None
    below: int | None = None

    def model(self) -> bytes:
        return one_op(self.op, self.inputs, self.outputs, version=self.version, **self.options)

    def values(self) -> list[Array]:
        """Seeded inputs: floats between low and high with zeros among them, codes over their whole range."""
        if any(spec["type"] == "BFLOAT16" for spec in self.outputs):
            pytest.importorskip("ml_dtypes")  # without it NumPy has no name for what comes out
        rng = np.random.default_rng(len(self.name))
        specs = [s for s in self.inputs if isinstance(s, Mapping) and "value" not in s]
        return [_random(rng, spec, self) for spec in specs]


def _random(rng: np.random.Generator, spec: Spec, case: Case) -> Array:
    shape, kind = spec["shape"], spec["type"]
    if kind == "INT32" and case.below is not None:
        return rng.integers(0, case.below, shape, np.int32)
    if kind == "BOOL":
        return rng.integers(0, 2, shape).astype(np.bool_)
    if kind.startswith("FLOAT"):
        return rng.uniform(case.low, case.high, shape).astype(kind.lower())
    if kind == "COMPLEX64":
        return (rng.uniform(case.low, case.high, shape) + 1j * rng.uniform(case.low, case.high, shape)).astype("c8")
    if kind == "BFLOAT16":
        return rng.uniform(case.low, case.high, shape).astype(pytest.importorskip("ml_dtypes").bfloat16)
    dtype = np.dtype(kind.lower())
    bound = np.iinfo(dtype) if dtype.itemsize < 4 else np.iinfo(np.int16)
    return rng.integers(bound.min, bound.max, shape, dtype, endpoint=True)


def f(*shape: int) -> Spec:
    return {"type": "FLOAT32", "shape": list(shape)}


def t(kind: str, *shape: int, **fields: Any) -> Spec:
    return {"type": kind, "shape": list(shape), **fields}


def q(kind: str, *shape: int, scale: Any = 0.05, zero_point: Any = 3) -> Spec:
    return {"type": kind, "shape": list(shape), "scale": scale, "zero_point": zero_point}


def constant(value: Any, kind: str | None = None, **fields: Any) -> Any:
    array = np.asarray(value)
    return array if kind is None and not fields else {"type": kind, "value": array, **fields}


def i32(*values: int) -> Array:
    return np.array(values, np.int32)


def _weights(*shape: int, dtype: str = "f4", seed: int = 7) -> Array:
    rng = np.random.default_rng(seed)
    if dtype == "f4":
        return rng.normal(size=shape).astype(np.float32)
    return rng.integers(-127, 128, shape).astype(dtype)


def _codes(kind: str, *shape: int, **fields: Any) -> Spec:
    value = _weights(*shape, dtype=kind.lower())
    return {"type": kind, "value": value if kind != "UINT8" else value + np.uint8(1), **fields}


_ACT = {"fused_activation_function": "NONE"}
_RELU = {"fused_activation_function": "RELU6"}
_WINDOW = {"padding": "SAME", "stride_w": 2, "stride_h": 1}
_POOL = _WINDOW | {"filter_width": 3, "filter_height": 2} | _ACT
_CONV = _WINDOW | {"dilation_w_factor": 1, "dilation_h_factor": 2} | _RELU

UNARY = (
    *("ABS", "COS", "ELU", "EXP", "FLOOR", "HARD_SWISH", "LOGISTIC", "NEG", "RELU", "RELU6", "RELU_N1_TO_1"),
    *("ROUND", "SIGN", "SIN", "SQUARE", "TANH", "GELU"),
)
BINARY = {"ADD": _ACT, "SUB": _RELU, "MUL": _ACT, "DIV": _ACT, "MAXIMUM": {}, "SQUARED_DIFFERENCE": {}}


def _unary() -> list[Case]:
    cases = [Case(f"{op} float", op, [f(2, 3, 5)], [f(2, 3, 5)]) for op in UNARY]
    cases += [Case(f"{op} positive", op, [f(67)], [f(67)], low=0.01) for op in ("LOG", "SQRT", "RSQRT")]
    cases.append(Case("LEAKY_RELU float", "LEAKY_RELU", [f(7)], [f(7)], {"alpha": 0.3}))
    half = {"scale": 1 / 256, "zero_point": -128}
    cases.append(Case("LOGISTIC int8", "LOGISTIC", [q("INT8", 257)], [q("INT8", 257, **half)], version=2))
    small = {"scale": 1 / 32768, "zero_point": 0}
    cases.append(Case("TANH int16", "TANH", [q("INT16", 999, zero_point=0)], [q("INT16", 999, **small)], version=3))
    cases.append(Case("RELU6 uint8", "RELU6", [q("UINT8", 300)], [q("UINT8", 300, scale=0.1)], version=2))
    cases.append(Case("QUANTIZE", "QUANTIZE", [f(400)], [q("INT8", 400, scale=0.02)]))
    cases.append(Case("requantize", "QUANTIZE", [q("INT8", 400)], [q("UINT8", 400, scale=0.07)], version=2))
    cases.append(Case("DEQUANTIZE uint8", "DEQUANTIZE", [q("UINT8", 300)], [f(300)]))
    cases.append(Case("CAST float to int8", "CAST", [f(99)], [t("INT8", 99)], low=-300, high=300))
    cases.append(Case("CAST int32 to float", "CAST", [t("INT32", 99)], [f(99)]))
    return cases


def _binary() -> list[Case]:
    cases = [Case(f"{op} float", op, [f(2, 3, 5), f(3, 1)], [f(2, 3, 5)], o) for op, o in BINARY.items()]
    cases += [Case(f"{op} float", op, [f(6), f(6)], [f(6)], low=0.1) for op in ("POW", "ATAN2")]
    for op in ("LESS", "EQUAL"):
        cases.append(Case(f"{op} int32", op, [t("INT32", 9), t("INT32", 9)], [t("BOOL", 9)], below=3))
    cases.append(Case("GREATER int8", "GREATER", [q("INT8", 500), q("INT8", 500, scale=0.04)], [t("BOOL", 500)]))
    cases.append(Case("ADD int32", "ADD", [t("INT32", 4, 3), t("INT32", 3)], [t("INT32", 4, 3)], _ACT))
    for op in ("ADD", "SUB", "MUL"):
        for kind, zero in (("INT8", -5), ("UINT8", 120), ("INT16", 0)):
            x, y = q(kind, 700, zero_point=zero), q(kind, 1, scale=0.031, zero_point=zero)
            out = q(kind, 700, scale=0.093, zero_point=zero)
            options = _RELU | ({"pot_scale_int16": False} if op != "MUL" else {})
            cases.append(Case(f"{op} {kind.lower()}", op, [x, y], [out], options, 2))
    cases.append(Case("LOGICAL_AND", "LOGICAL_AND", [t("BOOL", 9), t("BOOL", 9)], [t("BOOL", 9)]))
    cases.append(Case("FLOOR_MOD int32", "FLOOR_MOD", [t("INT32", 70), i32(7, -3)[:1]], [t("INT32", 70)]))
    cases.append(Case("SELECT_V2", "SELECT_V2", [t("BOOL", 2, 1), f(3), f(2, 3)], [f(2, 3)]))
    cases.append(Case("ADD_N", "ADD_N", [f(5), f(5), f(5)], [f(5)]))
    cases.append(Case("PRELU", "PRELU", [f(2, 3, 5), _weights(5)], [f(2, 3, 5)]))
    return cases


def _movement() -> list[Case]:
    x = t("INT16", 2, 4, 6, 5)
    pads = np.array([[0, 0], [1, 2], [0, 1], [2, 0]], np.int32)
    out = t("INT16", 2, 7, 7, 7)
    return [
        Case("TRANSPOSE", "TRANSPOSE", [x, i32(0, 3, 1, 2)], [t("INT16", 2, 5, 4, 6)]),
        Case("SLICE", "SLICE", [f(4, 5), i32(1, 2), i32(2, -1)], [f(2, 3)]),
        Case("SPACE_TO_DEPTH", "SPACE_TO_DEPTH", [f(1, 4, 6, 3)], [f(1, 2, 3, 12)], {"block_size": 2}),
        Case("REVERSE_V2", "REVERSE_V2", [t("INT32", 3, 4), i32(1)], [t("INT32", 3, 4)]),
        Case("TILE", "TILE", [f(2, 3), i32(2, 3)], [f(4, 9)]),
        Case("RESHAPE", "RESHAPE", [f(4, 3), i32(2, 6)], [f(2, 6)], {"new_shape": [2, 6]}),
        Case("PAD", "PAD", [x, pads], [out]),
        Case("MIRROR_PAD", "MIRROR_PAD", [f(3, 4), np.array([[1, 2], [0, 3]], "i4")], [f(6, 7)], {"mode": "REFLECT"}),
        Case("CONCATENATION", "CONCATENATION", [f(2, 3), f(2, 5), f(2, 1)], [f(2, 9)], {"axis": -1} | _ACT),
        Case("PACK", "PACK", [f(2, 3), f(2, 3)], [f(2, 2, 3)], {"axis": 1, "values_count": 2}),
        Case("UNPACK", "UNPACK", [f(2, 3)], [f(2), f(2), f(2)], {"axis": 1, "num": 3}),
        Case("SPLIT", "SPLIT", [i32(1), f(2, 6)], [f(2, 3), f(2, 3)], {"num_splits": 2}),
        Case("GATHER", "GATHER", [f(7, 3), t("INT32", 5)], [f(5, 3)], {"axis": 0}, below=7),
        Case(
            "ONE_HOT",
            "ONE_HOT",
            [t("INT32", 4), i32(5)[0], np.float32(2), np.float32(-1)],
            [f(4, 5)],
            {"axis": -1},
            below=6,
        ),
        Case("CUMSUM", "CUMSUM", [f(3, 7), i32(1)[0]], [f(3, 7)], {"exclusive": True, "reverse": True}),
    ]


def _reductions() -> list[Case]:
    keep = {"keep_dims": False}
    cases = [
        Case(f"{op} float", op, [f(2, 5, 3, 7), i32(1, 2)], [f(2, 7)], keep)
        for op in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_PROD")
    ]
    one = {"scale": 1 / 256, "zero_point": -128}
    return [
        *cases,
        Case("MEAN int8", "MEAN", [q("INT8", 1, 7, 7, 13), i32(1, 2)], [q("INT8", 1, 13, scale=0.04)], keep, 2),
        Case("SUM of everything", "SUM", [f(5, 31), i32(0, 1)], [f()], keep),
        Case("ARG_MAX", "ARG_MAX", [f(3, 17), i32(-1)[0]], [t("INT32", 3)], {"output_type": "INT32"}),
        Case("SOFTMAX float", "SOFTMAX", [f(3, 131)], [f(3, 131)], {"beta": 0.5}),
        Case("SOFTMAX int8", "SOFTMAX", [q("INT8", 5, 67, scale=0.2)], [q("INT8", 5, 67, **one)], {"beta": 1.0}, 2),
        Case("LOG_SOFTMAX float", "LOG_SOFTMAX", [f(3, 10)], [f(3, 10)]),
        Case("L2_NORMALIZATION", "L2_NORMALIZATION", [f(3, 10)], [f(3, 10)], _ACT),
    ]


def _images() -> list[Case]:
    size, flags = i32(5, 9), {"align_corners": False, "half_pixel_centers": True}
    cases = [
        Case("RESIZE_BILINEAR float", "RESIZE_BILINEAR", [f(1, 3, 4, 5), size], [f(1, 5, 9, 5)], flags, 3),
        Case(
            "RESIZE_BILINEAR int8", "RESIZE_BILINEAR", [q("INT8", 1, 3, 4, 5), size], [q("INT8", 1, 5, 9, 5)], flags, 3
        ),
        Case(
            "RESIZE_BILINEAR uint8",
            "RESIZE_BILINEAR",
            [q("UINT8", 1, 3, 4, 5), size],
            [q("UINT8", 1, 5, 9, 5)],
            flags,
            3,
        ),
        Case("nearest", "RESIZE_NEAREST_NEIGHBOR", [f(1, 3, 4, 5), size], [f(1, 5, 9, 5)], flags, 3),
    ]
    for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        cases.append(Case(f"{op} float", op, [f(2, 5, 7, 3)], [f(2, 5, 4, 3)], _POOL))
        cases.append(Case(f"{op} int8", op, [q("INT8", 2, 5, 7, 3)], [q("INT8", 2, 5, 4, 3)], _POOL, 2))
    return cases


def _products() -> list[Case]:
    per_channel = {"scale": np.linspace(0.01, 0.03, 6).astype("f4"), "zero_point": np.zeros(6, "i8")}
    x8, y8 = q("INT8", 2, 5, 7, 4, scale=0.07), q("INT8", 2, 5, 4, 6, scale=4.3, zero_point=-7)
    bias = constant(np.arange(6) * 100 - 250, "INT32", scale=0.001, zero_point=0)
    x16 = q("INT16", 2, 5, 7, 4, scale=0.001, zero_point=0)
    y16 = q("INT16", 2, 5, 4, 6, scale=0.05, zero_point=0)
    bias16 = constant(np.arange(6) * 100 - 250, "INT64", scale=0.001, zero_point=0)
    w8 = _codes("INT8", 6, 2, 3, 4, axis=0, **per_channel)
    fx, fy, fw, fb = f(2, 5, 7, 4), f(2, 5, 4, 6), _weights(6, 2, 3, 4), _weights(6)
    deep = _CONV | {"depth_multiplier": 3}
    dx, dw8 = f(2, 5, 7, 2), _codes("INT8", 1, 2, 3, 6, axis=3, **per_channel)
    return [
        Case("CONV_2D float", "CONV_2D", [fx, fw, fb], [fy], _CONV),
        Case("CONV_2D computed weights", "CONV_2D", [fx, f(6, 2, 3, 4), fb], [fy], _CONV, rtol=1e-5),
        Case("CONV_2D grouped", "CONV_2D", [fx, _weights(6, 2, 3, 2), fb], [fy], _CONV, 6),
        Case("CONV_2D int8", "CONV_2D", [x8, w8, bias], [y8], _CONV, 3),
        Case("CONV_2D int16", "CONV_2D", [x16, w8, bias16], [y16], _CONV, 4),
        Case("CONV_2D hybrid", "CONV_2D", [fx, w8, fb], [fy], _CONV, 5),
        Case("DEPTHWISE_CONV_2D float", "DEPTHWISE_CONV_2D", [dx, _weights(1, 2, 3, 6), fb], [fy], deep, 2),
        Case("DEPTHWISE_CONV_2D int8", "DEPTHWISE_CONV_2D", [q("INT8", 2, 5, 7, 2), dw8, bias], [y8], deep, 3),
        Case("DEPTHWISE_CONV_2D hybrid", "DEPTHWISE_CONV_2D", [dx, dw8, fb], [fy], deep, 6),
        Case(
            "TRANSPOSE_CONV float",
            "TRANSPOSE_CONV",
            [i32(1, 6, 8, 5), _weights(5, 3, 3, 4), f(1, 3, 4, 4)],
            [f(1, 6, 8, 5)],
            {"padding": "SAME", "stride_w": 2, "stride_h": 2},
        ),
        Case("FULLY_CONNECTED float", "FULLY_CONNECTED", [f(3, 17), _weights(6, 17), fb], [f(3, 6)], _RELU),
        Case(
            "FULLY_CONNECTED int8",
            "FULLY_CONNECTED",
            [q("INT8", 3, 17), _codes("INT8", 6, 17, scale=0.02, zero_point=0), bias],
            [q("INT8", 3, 6, scale=0.3)],
            _ACT,
            4,
        ),
        Case(
            "FULLY_CONNECTED hybrid",
            "FULLY_CONNECTED",
            [f(3, 17), _codes("INT8", 6, 17, scale=0.02, zero_point=0), fb],
            [f(3, 6)],
            _ACT | {"asymmetric_quantize_inputs": True},
            9,
        ),
        Case(
            "BATCH_MATMUL float",
            "BATCH_MATMUL",
            [f(2, 1, 5, 3), f(3, 7, 5)],
            [f(2, 3, 3, 7)],
            {"adj_x": True, "adj_y": True},
        ),
        Case(
            "BATCH_MATMUL int8",
            "BATCH_MATMUL",
            [q("INT8", 2, 3, 5), q("INT8", 2, 5, 7)],
            [q("INT8", 2, 3, 7, scale=0.5)],
            {},
            2,
        ),
    ]


CASES = [*_unary(), *_binary(), *_movement(), *_reductions(), *_images(), *_products()]
