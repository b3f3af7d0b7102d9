"""Steps of random graphs along axes and over windows: sums, softmax, pooling, resizing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from tflgpu.conformance.random_graphs.draw import (
    CLOSE,
    EXACT,
    LARGEST,
    Draw,
    Value,
    floats,
    image,
    number,
    ranked,
    step,
)
from tflgpu.conformance.random_graphs.gemms import window


@step(1.5, lambda v: (floats(v) or v.type in ("INT8", "UINT8", "INT16")) and 1 <= len(v.shape) <= 4)
def softmax(d: Draw, x: Value) -> None:
    if d.batched and len(x.shape) < 2:
        return
    scale, zero = {"INT8": (1 / 256, -128), "UINT8": (1 / 256, 0), "INT16": (1 / 32768, 0)}.get(x.type, (None, 0))
    beta = 1.0 if x.type == "INT16" else d.among((1.0, 0.5))
    d.add(
        "SOFTMAX", [x], replace(x, most=1.0, exact=CLOSE if x.real else EXACT, scale=scale, zero_point=zero), beta=beta
    )


@step(2, lambda v: number(v) and ranked(v))
def reduced(d: Draw, x: Value) -> None:
    first = 1 if d.batched else 0
    if len(x.shape) <= first:
        return
    axes = sorted(k for k in range(first, len(x.shape)) if d.chance(0.5)) or [len(x.shape) - 1]
    keep = d.chance(0.6)
    op = d.among(("MEAN", "MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM") if x.real else ("MEAN", "MEAN", "REDUCE_MAX"))
    shape = [1 if k in axes else s for k, s in enumerate(x.shape) if keep or k not in axes]
    count = math.prod(x.shape[k] for k in axes)
    out = d.like(x, shape, most=x.most * (count if op == "SUM" else 1))
    if x.real:
        out = replace(out, exact=EXACT if op.startswith("R") else CLOSE)
    elif op == "MEAN" and d.chance(0.5):
        out = d.quantize(x.type, shape, x.most)
    d.add(op, [x, d.ints([d.signed(a, x) for a in axes])], out, keep_dims=keep)


@step(0.5, lambda v: v.exact == EXACT and number(v) and len(v.shape) >= 2 and v.type != "INT16")
def arg_max(d: Draw, x: Value) -> None:
    axis = d.axis(x)
    out = Value(-1, "INT32", tuple(s for k, s in enumerate(x.shape) if k != axis), float(x.shape[axis]))
    d.add(d.among(("ARG_MAX", "ARG_MIN")), [x, d.ints(d.signed(axis, x))], out, output_type="INT32")


@step(0.4, lambda v: (v.real or v.type in ("INT8", "UINT8")) and v.most < 1e3 and len(v.shape) >= 2)
def normalized(d: Draw, x: Value) -> None:
    if x.quantized:
        scale, zero = 1 / 128, 0 if x.type == "INT8" else 128
        d.add("L2_NORMALIZATION", [x], replace(x, most=1.0, scale=scale, zero_point=zero))
    else:
        d.add(d.among(("L2_NORMALIZATION", "LOG_SOFTMAX")), [x], replace(x, most=max(x.most * 2, 9.0), exact=CLOSE))


@step(0.4, lambda v: v.exact == EXACT and v.real and ranked(v) and v.shape[-1] >= 2 and v.most < 1e3)
def top(d: Draw, x: Value) -> None:
    if d.batched and len(x.shape) < 2:
        return
    shape = (*x.shape[:-1], d.number(1, x.shape[-1]))
    d.add("TOPK_V2", [x, d.ints(shape[-1])], d.like(x, shape), Value(-1, "INT32", shape, float(x.shape[-1])))


@step(0.4, lambda v: v.real and ranked(v) and v.most < 100)
def cumulated(d: Draw, x: Value) -> None:
    axis = d.axis(x) if len(x.shape) > d.batched else None
    if axis is not None:
        out = replace(x, most=x.most * x.shape[axis], exact=CLOSE)
        d.add("CUMSUM", [x, d.ints(d.signed(axis, x))], out, exclusive=d.chance(0.3), reverse=d.chance(0.3))


@step(2, image)
def pool(d: Draw, x: Value) -> None:
    op, kh, kw = d.among(("MAX_POOL_2D", "AVERAGE_POOL_2D")), d.among((1, 2, 3)), d.among((2, 3))
    options, oh, ow = window(d, replace(x), kh, kw)
    if options["dilation_h_factor"] != 1 or options["dilation_w_factor"] != 1:
        return
    options = {k: v for k, v in options.items() if "dilation" not in k} | {"filter_height": kh, "filter_width": kw}
    out = d.like(x, (x.shape[0], oh, ow, x.shape[3]))
    exact = CLOSE if x.real and op[0] == "A" else EXACT
    d.add(op, [x], replace(out, exact=exact), fused_activation_function=d.activation(), **options)


@step(1, lambda v: image(v) and v.type != "UINT8")
def resized(d: Draw, x: Value) -> None:
    n, h, w, c = x.shape
    size = (d.number(1, 2 * h + 1), d.number(1, 2 * w))
    if n * size[0] * size[1] * c > LARGEST:
        return
    if d.chance(0.5):
        options: dict[str, Any] = {"align_corners": d.chance(0.3), "half_pixel_centers": d.chance(0.3)}
        d.add("RESIZE_NEAREST_NEIGHBOR", [x, d.ints(list(size))], d.like(x, (n, *size, c)), **options)
    else:
        options = d.among(({}, {"align_corners": True}, {"half_pixel_centers": True}))
        exact = CLOSE if x.real else EXACT
        d.add("RESIZE_BILINEAR", [x, d.ints(list(size))], d.like(x, (n, *size, c), exact=exact), **options)
