"""Convolutions and products that reach every variant of gemm.cu, products.cu and strips.cu, with whole numbers for
data, whose sums are exact in any order and precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from delegate_cases import Case, f, q


def per_channel(weights: Any, scale: Any, axis: int) -> dict[str, Any]:
    """int8 weights with a scale for each channel along an axis."""
    zeros = np.zeros(scale.size, np.int64)
    return {"type": "INT8", "value": weights.astype(np.int8), "scale": scale, "zero_point": zeros, "axis": axis}


def conv(name: str, kind: str, x: Sequence[int], oc: int, k: int = 1, stride: int = 1, padding: str = "SAME") -> Case:
    """A convolution of x (n, h, w, c) to oc channels by a window of k x k."""
    n, h, w, c = x
    small = padding == "VALID"
    oh, ow = (-(-(d - (k - 1 if small else 0)) // stride) for d in (h, w))
    rng = np.random.default_rng(3)
    weights = rng.integers(-3, 4, (oc, k, k, c))
    options = {"padding": padding, "stride_w": stride, "stride_h": stride, "fused_activation_function": "RELU"}
    if kind == "FLOAT32":
        bias = rng.integers(-9, 9, oc).astype(np.float32)
        return Case(name, "CONV_2D", [f(*x), weights.astype(np.float32), bias], [f(n, oh, ow, oc)], options, 2)
    scale = np.linspace(0.01, 0.02, oc).astype(np.float32)
    w8: Any = {
        "type": "INT8",
        "value": weights.astype(np.int8),
        "scale": scale,
        "zero_point": np.zeros(oc, "i8"),
        "axis": 0,
    }
    bias8 = {"type": "INT32", "value": rng.integers(-999, 999, oc).astype(np.int32), "scale": 0.001, "zero_point": 0}
    out = q("INT8", n, oh, ow, oc, scale=0.5, zero_point=-7)
    return Case(name, "CONV_2D", [q("INT8", *x, scale=0.07, zero_point=-11), w8, bias8], [out], options, 3)


def product(name: str, kind: str, m: int, n: int, k: int) -> Case:
    """A fully connected layer."""
    rng = np.random.default_rng(5)
    weights, options = rng.integers(-3, 4, (n, k)), {"fused_activation_function": "NONE"}
    if kind == "FLOAT32":
        return Case(name, "FULLY_CONNECTED", [f(m, k), weights.astype(np.float32), None], [f(m, n)], options)
    w8 = {"type": "INT8", "value": weights.astype(np.int8), "scale": 0.02, "zero_point": 0}
    bias = {"type": "INT32", "value": rng.integers(-999, 999, n).astype(np.int32), "scale": 0.001, "zero_point": 0}
    x, out = q("INT8", m, k, scale=0.05, zero_point=4), q("INT8", m, n, scale=0.6, zero_point=9)
    return Case(name, "FULLY_CONNECTED", [x, w8, bias], [out], options, 4)


def depthwise(name: str, kind: str, x: Sequence[int], k: int = 3, stride: int = 1, dilation: int = 1) -> Case:
    """A depthwise convolution of x (n, h, w, c) with one filter of k x k a channel."""
    n, h, w, c = x
    oh, ow = -(-h // stride), -(-w // stride)
    rng = np.random.default_rng(3)
    weights = rng.integers(-3, 4, (1, k, k, c))
    options = {"padding": "SAME", "stride_w": stride, "stride_h": stride, "fused_activation_function": "NONE"}
    options |= {"depth_multiplier": 1, "dilation_w_factor": dilation, "dilation_h_factor": dilation}
    if kind == "FLOAT32":
        bias = rng.integers(-9, 9, c).astype(np.float32)
        inputs = [f(*x), weights.astype(np.float32), bias]
        return Case(name, "DEPTHWISE_CONV_2D", inputs, [f(n, oh, ow, c)], options, 2)
    scale = np.linspace(0.01, 0.02, c).astype(np.float32)
    w8: Any = {
        "type": "INT8",
        "value": weights.astype(np.int8),
        "scale": scale,
        "zero_point": np.zeros(c, "i8"),
        "axis": 3,
    }
    bias8 = {"type": "INT32", "value": rng.integers(-999, 999, c).astype(np.int32), "scale": 0.001, "zero_point": 0}
    out = q("INT8", n, oh, ow, c, scale=0.1, zero_point=-7)
    return Case(name, "DEPTHWISE_CONV_2D", [q("INT8", *x, scale=0.07, zero_point=-11), w8, bias8], [out], options, 3)


def unsigned(case: Case) -> Case:
    """A case of int8 as one of uint8: every code 128 more, and weights with a zero point of their own."""
    made = []
    for spec in case.inputs:
        spec = dict(spec)
        if spec["type"] == "INT8":
            spec |= {"type": "UINT8", "zero_point": int(np.ravel(spec["zero_point"])[0]) + 128}
            spec.pop("axis", None)
            spec["scale"] = float(np.ravel(spec["scale"])[0])
            if "value" in spec:
                spec |= {"value": (spec["value"].astype(np.int16) + 128).astype(np.uint8), "zero_point": 131}
        made.append(spec)
    out = dict(case.outputs[0]) | {"type": "UINT8", "zero_point": case.outputs[0]["zero_point"] + 128}
    return Case(f"{case.name}, unsigned", case.op, made, [out], case.options, 1)


def hybrid(name: str, m: int, n: int, k: int, asymmetric: bool) -> Case:
    """Floats by int8 weights."""
    weights = np.random.default_rng(7).integers(-99, 99, (n, k)).astype(np.int8)
    fields = {"type": "INT8", "value": weights, "scale": 0.5, "zero_point": 0}
    bias = np.arange(n, dtype=np.float32)
    options = {"fused_activation_function": "NONE", "asymmetric_quantize_inputs": asymmetric}
    return Case(name, "FULLY_CONNECTED", [f(m, k), fields, bias], [f(m, n)], options, 9)


def hybrid_conv(name: str, x: Sequence[int], oc: int, k: int, scales: bool) -> Case:
    """Float images by int8 weights, with a scale for each output channel or one for all."""
    n, h, w, c = x
    weights = np.random.default_rng(7).integers(-99, 99, (oc, k, k, c))
    scale = np.linspace(0.01, 0.02, oc).astype(np.float32) if scales else np.full(oc, 0.5, np.float32)
    options = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "fused_activation_function": "RELU"}
    bias = np.arange(oc, dtype=np.float32)
    return Case(name, "CONV_2D", [f(*x), per_channel(weights, scale, 0), bias], [f(n, h, w, oc)], options, 5)


def products(name: str, x: Sequence[int], y: Sequence[int], adj_x: bool = False, adj_y: bool = False) -> Case:
    """Matrices times matrices, both computed."""
    m, n = x[-1 if adj_x else -2], y[-2 if adj_y else -1]
    lead = np.broadcast_shapes(tuple(x[:-2]), tuple(y[:-2]))
    return Case(name, "BATCH_MATMUL", [f(*x), f(*y)], [f(*lead, m, n)], {"adj_x": adj_x, "adj_y": adj_y})


def code_products(
    name: str, x: Sequence[int], y: Sequence[int], adj_x: bool = False, adj_y: bool = False, kind: str = "INT8"
) -> Case:
    """The same of int8, to `kind`."""
    case = products(name, x, y, adj_x, adj_y)
    inputs = [q("INT8", *x, scale=0.05, zero_point=4), q("INT8", *y, scale=0.02, zero_point=-3)]
    out = q(kind, *case.outputs[0]["shape"], scale=0.1, zero_point=5 if kind == "INT8" else 0)
    return Case(name, "BATCH_MATMUL", inputs, [out], case.options, 4)


def hybrid_products(name: str, x: Sequence[int], y: Sequence[int], asymmetric: bool, adj_x: bool = False) -> Case:
    """Floats by int8."""
    case = products(name, x, y, adj_x)
    codes = np.random.default_rng(2).integers(-99, 99, tuple(y)).astype(np.int8)
    weights = {"type": "INT8", "value": codes, "scale": 0.25, "zero_point": 0}
    options = {**case.options, "asymmetric_quantize_inputs": asymmetric}
    return Case(name, "BATCH_MATMUL", [f(*x), weights], case.outputs, options, 4)


_CODES = [
    conv("codes, vectors", "INT8", (1, 5, 7, 32), 33, 3),
    conv("codes of three channels", "INT8", (2, 9, 7, 3), 17, 3, 2),
    conv("codes on tensor cores, windows", "INT8", (1, 9, 9, 16), 70, 3),
    product("codes split along k", "INT8", 1, 37, 1300),
    product("codes by doubles on tensor cores", "INT8", 65, 66, 100),
    depthwise("depthwise of codes", "INT8", (1, 9, 7, 12), 3, 2),
]

FAST_CASES = [
    conv("pointwise, vectors", "FLOAT32", (1, 5, 7, 20), 33),
    conv("pointwise, scalars", "FLOAT32", (1, 5, 7, 9), 5),
    conv("3x3 of three channels", "FLOAT32", (2, 9, 7, 3), 17, 3, 2),
    conv("3x3, vectors, no padding", "FLOAT32", (1, 8, 9, 8), 40, 3, 1, "VALID"),
    conv("blocks of 64", "FLOAT32", (1, 40, 41, 4), 66),
    product("split along k", "FLOAT32", 1, 37, 515),
    product("rows and columns", "FLOAT32", 35, 70, 20),
    conv("codes, vectors", "INT8", (1, 5, 7, 32), 33, 3),
    conv("codes, whole words", "INT8", (1, 5, 7, 4), 33, 3, 2),
    conv("codes of three channels", "INT8", (2, 9, 7, 3), 17, 3, 2),
    conv("codes on tensor cores", "INT8", (1, 9, 9, 48), 40, 1),
    conv("codes on tensor cores, windows", "INT8", (1, 9, 9, 16), 70, 3),
    product("codes by doubles", "INT8", 3, 37, 130),
    product("codes split along k", "INT8", 1, 37, 1300),
    depthwise("depthwise, short strips", "FLOAT32", (2, 5, 7, 8)),
    depthwise("depthwise, long strips", "FLOAT32", (1, 61, 67, 32), 3, 2),
    depthwise("depthwise 5x5, dilated", "FLOAT32", (1, 9, 8, 4), 5, 1, 2),
    depthwise("depthwise of codes", "INT8", (1, 9, 7, 12), 3, 2),
    depthwise("depthwise of codes, long strips", "INT8", (1, 40, 41, 80), 5),
    products("matrices by matrices", (3, 35, 40), (3, 40, 33)),
    products("matrices by turned matrices", (2, 3, 5, 70), (3, 34, 70), adj_y=True),
    products("turned matrices by one", (2, 9, 33), (9, 5), adj_x=True),
    product("codes by doubles on tensor cores", "INT8", 65, 66, 100),
    code_products("products of codes", (3, 35, 40), (3, 40, 33)),
    code_products("products of codes, both along k", (2, 3, 65, 72), (3, 70, 72), adj_y=True),
    code_products("products of codes, odd depth", (2, 33, 9), (33, 5), adj_x=True),
    code_products("products of codes to sums", (2, 9, 31), (2, 31, 66), kind="INT32"),
    code_products("products of codes on tensor cores", (2, 33, 70), (2, 33, 45), adj_x=True),
    code_products("products of codes on tensor cores to sums", (100, 132), (132, 33), kind="INT32"),
    hybrid_products("hybrid products on tensor cores", (2, 70, 40), (2, 40, 33), False),
    hybrid_products("hybrid products on tensor cores, asymmetric", (65, 36), (36, 70), True),
    hybrid_products("hybrid products", (2, 5, 40), (2, 40, 33), False),
    hybrid_products("hybrid products, asymmetric", (2, 3, 65, 36), (2, 3, 36, 70), True),
    hybrid_products("hybrid products, asymmetric, one matrix", (2, 31, 5), (31, 7), True, adj_x=True),
    *map(unsigned, _CODES),
    hybrid("hybrid, one row", 1, 37, 515, False),
    hybrid("hybrid, asymmetric rows", 5, 33, 64, True),
    hybrid("hybrid on tensor cores", 70, 40, 96, True),
    hybrid_conv("hybrid convolution", (2, 7, 6, 8), 20, 3, True),
    hybrid_conv("hybrid convolution, one scale", (2, 9, 9, 32), 40, 3, False),
]


def whole_numbers(case: Case) -> list[Any]:
    """Inputs for it, floats rounded: their products with the weights are exact in binary16 and TF32 too."""
    return [np.rint(v).astype(v.dtype) if v.dtype.kind == "f" else v for v in case.values()]


SOFTMAX_CASES = [
    *(
        Case(f"{op} of {depth}", op, [f(2, depth)], [f(2, depth)], {"beta": 0.7} if op == "SOFTMAX" else {})
        for op in ("SOFTMAX", "LOG_SOFTMAX")
        for depth in (1, 33, 129, 1025, 2049)
    ),
    *(
        Case(
            f"SOFTMAX of {depth} {kind}",
            "SOFTMAX",
            [q(kind, 5, depth, scale=scale, zero_point=0)],
            [q(kind, 5, depth, scale=1 / steps, zero_point=least)],
            {"beta": 1.0},
            2,
        )
        for kind, scale, steps, least in (("INT8", 0.1, 256, -128), ("INT16", 0.0005, 32768, 0))
        for depth in (5, 100)
    ),
]
"""Rows that fit a block's registers, and one that does not."""
