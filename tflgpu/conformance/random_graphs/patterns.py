"""Patterns of several nodes in random graphs: attention, layer normalization, padded and dilated convolutions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tflgpu.conformance.random_graphs.draw import CLOSE, Draw, Value, floats, image, step
from tflgpu.conformance.random_graphs.gemms import bias_of, conv, depthwise, gemm_output, weights_of


@step(1.5, lambda v: floats(v) and len(v.shape) >= 2)
def layer_norm(d: Draw, x: Value) -> None:
    c, axis = x.shape[-1], d.ints([d.signed(len(x.shape) - 1, x)])
    row, full = replace(x, shape=(*x.shape[:-1], 1), exact=CLOSE), replace(x, exact=CLOSE)
    mean = d.add("MEAN", [x, axis], row, keep_dims=True)
    if d.chance(0.5):
        off = d.add("SUB", [x, mean], full)
        squares = d.add(*(("MUL", [off, off]) if d.chance(0.5) else ("SQUARE", [off])), replace(full, most=99.0))
    else:
        squares = d.add("SQUARED_DIFFERENCE", [x, mean], replace(full, most=99.0))
        off = d.add("SUB", [x, mean], full)
    variance = d.add("MEAN", [squares, axis], replace(row, most=99.0), keep_dims=True)
    around = d.add("ADD", [variance, d.constant(np.float32(0.01))], replace(row, most=99.0))
    by = d.add("RSQRT", [around], replace(row, most=10.0))
    normal = replace(full, most=float(math.sqrt(c)) + 1)
    y = d.add("MUL", [off, by], normal)
    y = d.add("MUL", [y, d.constant(d.normal(c))], normal)
    d.add("ADD", [y, d.constant(d.normal(c))], normal)


@step(1, lambda v: floats(v) and len(v.shape) == 3 and v.shape[-1] % 2 == 0)
def attention(d: Draw, x: Value) -> None:
    n, s, c = x.shape
    heads = 2
    shape = (n, s, heads, c // heads)
    projected = []
    for k in range(3):
        w, _, exact = weights_of(d, x, (c, c), 0, "FULLY_CONNECTED")
        y = d.add(
            "FULLY_CONNECTED", [x, w, bias_of(d, x, c, None)], gemm_output(d, x, x.shape, exact), keep_num_dims=True
        )
        y = d.add("RESHAPE", [y, d.ints([-1, *shape[1:]])], d.like(y, shape))
        order = (0, 2, 3, 1) if k == 1 and d.chance(0.3) else (0, 2, 1, 3)
        projected.append(d.add("TRANSPOSE", [y, d.ints(list(order))], d.like(y, [shape[i] for i in order])))
    query, key, value = projected
    square = replace(query, shape=(n, heads, s, s), most=50.0, exact=CLOSE)
    scores = d.add("BATCH_MATMUL", [query, key], square, adj_y=key.shape[-1] == c // heads and key.shape[-2] == s)
    if d.chance(0.7):
        scores = d.add("MUL", [scores, d.constant(np.float32(0.5))], square)
    if d.chance(0.5):
        scores = d.add("ADD", [scores, d.constant(d.normal(1, 1, s, s))], square)
    p = d.add("SOFTMAX", [scores], replace(square, most=1.0), beta=1.0)
    y = d.add("BATCH_MATMUL", [p, value], replace(value, exact=CLOSE))
    y = d.add("TRANSPOSE", [y, d.ints([0, 2, 1, 3])], d.like(y, shape))
    y = d.add("RESHAPE", [y, d.ints([-1, s, c])], d.like(y, x.shape))
    d.add("ADD", [y, x], replace(y, most=y.most + x.most))


@step(1.5, image)
def padded_conv(d: Draw, x: Value) -> None:
    """PAD before a convolution with VALID padding."""
    (t, b), (left, r) = ((d.number(0, 2), d.number(0, 2)) for _ in range(2))
    n, h, w, c = x.shape
    y = d.add("PAD", [x, d.ints([[0, 0], [t, b], [left, r], [0, 0]])], d.like(x, (n, h + t + b, w + left + r, c)))
    conv(d, y) if d.chance(0.5) else depthwise(d, y)


@step(1, lambda v: image(v) and v.type != "INT16" and min(v.shape[1:3]) > 2, batched=False)
def dilated(d: Draw, x: Value) -> None:
    """A convolution between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND."""
    n, h, w, c = x.shape
    block = d.among((2, 3))
    ph, pw = -h % block + block, -w % block + block
    ph, pw = ph + block * d.number(0, 1), pw + block * d.number(0, 1)
    top_, left = d.number(0, ph), d.number(0, pw)
    shape = (n * block * block, (h + ph) // block, (w + pw) // block, c)
    y = d.add(
        "SPACE_TO_BATCH_ND",
        [x, d.ints([block, block]), d.ints([[top_, ph - top_], [left, pw - left]])],
        d.like(x, shape),
    )
    k = d.among((2, 3))
    if min(shape[1:3]) < k:
        return
    oh, ow = shape[1] - k + 1, shape[2] - k + 1
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "fused_activation_function": d.activation()}
    if d.chance(0.5):
        oc = d.among((1, 4, 8))
        wt, scales, exact = weights_of(d, y, (oc, k, k, c), 0, "CONV_2D")
        y = d.add(
            "CONV_2D", [y, wt, bias_of(d, y, oc, scales)], gemm_output(d, y, (shape[0], oh, ow, oc), exact), **options
        )
    else:
        wt, scales, exact = weights_of(d, y, (1, k, k, c), 3, "DEPTHWISE_CONV_2D")
        out, options = gemm_output(d, y, (shape[0], oh, ow, c), exact), options | {"depth_multiplier": 1}
        y = d.add("DEPTHWISE_CONV_2D", [y, wt, bias_of(d, y, c, scales)], out, **options)
    crops = [[d.number(0, min(1, s * block - 1)) for _ in range(2)] for s in (oh, ow)]
    size = [s * block - sum(crop) for s, crop in zip((oh, ow), crops, strict=True)]
    if min(size) > 0:
        inputs: list[Value | int] = [y, d.ints([block, block]), d.ints(crops)]
        d.add("BATCH_TO_SPACE_ND", inputs, d.like(y, (n, *size, y.shape[3])))
