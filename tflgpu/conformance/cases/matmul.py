"""Matrix multiplications: fully connected layers and batched GEMMs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.conformance.cases.case import Case, OneOp, T, one, q, row, shaped, words
from tflgpu.conformance.cases.conv import KINDS, layer

FAMILY = "matmul"
Shape = tuple[int, ...]

LAYERS: tuple[tuple[Shape, int], ...] = (
    *(
        ((3, 17), 6),
        ((1, 64), 65),
        ((1, 1), 1),
        ((2, 3, 5), 7),
        ((5, 257), 3),
        ((1, 1024), 10),
        ((4, 8), 8),
        ((0, 5), 3),
    ),
)
PRODUCTS: tuple[tuple[Shape, Shape], ...] = (
    *(
        ((3, 5), (5, 7)),
        ((2, 3, 5), (2, 5, 7)),
        ((2, 1, 3, 5), (3, 5, 7)),
        ((1, 1, 1), (1, 1, 1)),
        ((4, 33, 17), (4, 17, 65)),
    ),
    *(((1, 2, 3, 4), (2, 1, 4, 5)), ((5, 1, 7), (7, 3))),
)


def cases() -> Iterator[Case]:
    for kind in KINDS:
        for x, n in LAYERS:
            for activation in ("NONE", "RELU") if x == (3, 17) else ("NONE",):
                for keep in (False, True) if len(x) > 2 else (False,):
                    yield _layer(kind, x, n, activation, keep, bias=True)
            yield _layer(kind, x, n, "NONE", False, bias=False)
        if kind == "HYBRID":
            for x, n in LAYERS[:5]:
                yield _layer(kind, x, n, "NONE", False, bias=True, asymmetric=True)
    for type in ("FLOAT32", "INT8", "INT16"):
        for x, y in PRODUCTS:
            for adj_x, adj_y in ((False, False), (True, False), (False, True), (True, True)):
                yield _batched(type, x, y, adj_x, adj_y)
    yield from _mixed()


def _mixed() -> Iterator[Case]:
    """float16, floats by int8 weights, int8 to int32 sums, and a bias that is computed."""
    h, f = "FLOAT16", "FLOAT32"
    plain: dict[str, Any] = {"fused_activation_function": "NONE"}
    for weights in (T(h, (7, 20), "unit", True), T("INT4", (7, 20), constant=True, scale=0.02)):
        inputs = [T(h, (3, 20)), weights, T(h, (7,), constant=True)]
        yield row(FAMILY, "FULLY_CONNECTED", inputs, [T(h)], weights.type.lower(), **plain)
    yield row(FAMILY, "BATCH_MATMUL", [T(h, (2, 3, 20)), T(h, (2, 20, 4))], [T(h)])
    given: dict[str, Any]
    for name, x, given in (("hybrid", (1, 3, 4, 12), {}), ("asymmetric", (2, 1, 12, 4), {"adj_x": True})):
        options: dict[str, Any] = {**given, "asymmetric_quantize_inputs": name == "asymmetric"}
        inputs = [T(f, x), T("INT8", (2, 1, 12, 5), "within:-60:60", True, 0.02)]
        yield row(FAMILY, "BATCH_MATMUL", inputs, [T(f)], name, 4, **options)
        scales = np.linspace(0.01, 0.03, 5).astype(np.float32)
        inputs[1] = T("INT8", (2, 1, 12, 5), "within:-60:60", True, scales, np.zeros(5, np.int64), 3)
        yield row(FAMILY, "BATCH_MATMUL", inputs, [T(f)], f"{name},scales by column", 4, **options)
    inputs = [T(f, (3, 17)), T("INT8", (6, 17), "within:-127:127", True, 0.02), T(f, (6,))]
    yield row(FAMILY, "FULLY_CONNECTED", inputs, [T(f)], "hybrid,computed bias", 9, **plain)
    for kind, version in ((f, 1), ("UINT8", 1), ("INT8", 4), ("INT16", 7)):
        for rows in (1, 3):
            data, filters, bias, out = layer(kind, (rows, 17), (6, 17), 6, 17, 0)
            filters = replace(filters, constant=False)
            if kind != f:
                filters = replace(filters, scale=0.02, zero_point=120 if kind == "UINT8" else 0)
                bias = replace(bias, scale=data.scale * 0.02, zero_point=0)
            inputs = [data, filters, bias]
            yield row(FAMILY, "FULLY_CONNECTED", inputs, [out], "computed weights", version, **plain)


def _layer(kind: str, x: Shape, n: int, activation: str, keep: bool, bias: bool, asymmetric: bool = False) -> Case:
    weights = (n, x[-1])
    data, filters, offset, out = layer(kind, x, weights, n, x[-1], 0)
    if kind == "HYBRID":  # by tensor: by channel is CONV_2D's
        filters = T("INT8", weights, "within:-127:127", True, 0.02, 0)
    if kind == "INT16":
        offset = T("INT64", (n,), "normal", True, data.scale * 0.02, 0)
        filters = T("INT8", weights, "within:-127:127", True, 0.02, 0)
    options = {"fused_activation_function": activation, "keep_num_dims": keep, "asymmetric_quantize_inputs": asymmetric}
    version = {"HYBRID": 9 if asymmetric else 3, "INT8": 4, "INT16": 7}.get(kind, 1)
    type = "FLOAT32" if kind == "HYBRID" else kind
    shown = words({"fused_activation_function": activation})
    notes = [
        word
        for word, on in (
            ("keep", keep),
            ("no bias", not bias),
            ("hybrid", kind == "HYBRID"),
            ("asymmetric", asymmetric),
        )
        if on
    ]
    inputs = [data, filters, offset if bias else None]
    model = OneOp("FULLY_CONNECTED", inputs, [out], options, version)
    return one(FAMILY, type, [shaped(x, weights), *shown, *notes], model)


def _batched(type: str, x: Shape, y: Shape, adj_x: bool, adj_y: bool) -> Case:
    depth = x[-1]
    x = (*x[:-2], x[-1], x[-2]) if adj_x else x
    y = (*y[:-2], y[-1], y[-2]) if adj_y else y
    out = (
        T(type)
        if type == "FLOAT32"
        else q(type, scale=float(np.float32(0.12 * np.sqrt(depth))) * (0.05 if type == "INT16" else 1))
    )
    options = {"adj_x": adj_x, "adj_y": adj_y}
    notes = [word for word, on in options.items() if on]
    model = OneOp("BATCH_MATMUL", [q(type, *x), q(type, *y)], [out], options)
    return one(FAMILY, type, [shaped(x, y), *notes], model)
