"""Sizes at the edges of tiles, vectors and splits: what makes each variant of a hand-written kernel run.

Floats are whole numbers, whose sums are exact in any order and in float16 and TF32 too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tflgpu.conformance.cases.case import Case, OneOp, T, i32, one, q, row, shaped
from tflgpu.conformance.cases.conv import layer

FAMILY, GPU = "tiles", "gpu tiles"
"""Those of the kernels for CPUs, and of those for GPUs."""
F = "FLOAT32"
Shape = tuple[int, ...]
PLAIN: dict[str, Any] = {"fused_activation_function": "NONE"}
WHOLE = "whole:-3:3"


def cases() -> Iterator[Case]:
    yield from _depthwise_vectors()
    yield from _gemms()
    yield from _transposed()
    yield from _others()
    yield from _int4()
    yield from _gpu()
    yield from _magnified()
    yield from _rows()
    yield row(FAMILY, "ABS", [T(F, (6201,))], [T(F)], "a longer last chunk")
    yield named(FAMILY, "work for several threads", depthwise("INT8", (2, 112, 112, 64)))


def whole(tensors: tuple[T, ...]) -> tuple[T, ...]:
    """The same, with whole numbers for floats."""
    return tuple(replace(t, values=WHOLE) if t.type == F else t for t in tensors)


def conv(kind: str, x: Shape, oc: int, k: int = 1, stride: int = 1, padding: str = "SAME") -> OneOp:
    """A convolution of x (n, h, w, c) to oc channels by a window of k x k."""
    spec, w, bias, out = whole(layer(kind, x, (oc, k, k, x[3]), oc, k * k * x[3], 0))
    options = {"padding": padding, "stride_w": stride, "stride_h": stride, "fused_activation_function": "RELU"}
    return OneOp("CONV_2D", [spec, w, bias], [out], options, {"HYBRID": 5, F: 2, "UINT8": 1}.get(kind, 3))


def dense(kind: str, m: int, n: int, k: int, asymmetric: bool = False) -> OneOp:
    """x (m, k) by weights (n, k) plus bias (n)."""
    x, w, bias, out = whole(layer(kind, (m, k), (n, k), n, k, 0))
    if kind in ("INT8", "HYBRID"):
        w = replace(w, scale=0.02, zero_point=0)
    if kind == "INT8":
        bias = replace(bias, scale=x.scale * 0.02, zero_point=0)
    options = {**PLAIN, "asymmetric_quantize_inputs": asymmetric}
    return OneOp("FULLY_CONNECTED", [x, w, bias], [out], options, {"HYBRID": 9, "INT8": 4}.get(kind, 1))


def depthwise(kind: str, x: Shape, k: int = 3, stride: int = 1, dilation: int = 1, **options: Any) -> OneOp:
    """x (n, h, w, c) with one filter of k x k a channel."""
    spec, w, bias, out = whole(layer(kind, x, (1, k, k, x[3]), x[3], k * k, 3))
    options = {**PLAIN, "padding": "SAME", "stride_w": stride, "stride_h": stride, "depth_multiplier": 1, **options}
    options = {"dilation_w_factor": dilation, "dilation_h_factor": dilation, **options}
    return OneOp("DEPTHWISE_CONV_2D", [spec, w, bias], [out], options, {F: 2, "UINT8": 1}.get(kind, 3))


def batched(kind: str, x: Shape, y: Shape, adj_x: bool = False, adj_y: bool = False, **options: Any) -> OneOp:
    """A batched GEMM of computed matrices; kind may name two types, INT8 INT32, or HYBRID, by constant int8 ones."""
    options = {"adj_x": adj_x, "adj_y": adj_y, **options}
    if kind == "HYBRID":
        weights = T("INT8", y, "within:-99:99", True, 0.25, 0)
        return OneOp("BATCH_MATMUL", [T(F, x, WHOLE), weights], [T(F)], options, 4)
    if kind == F:
        return OneOp("BATCH_MATMUL", [T(F, x, WHOLE), T(F, y, WHOLE)], [T(F)], options)
    _, *wide = kind.split()
    inputs = [q("INT8", *x, zero_point=4), q("INT8", *y, scale=0.02, zero_point=-3)]
    out = T("INT32", scale=0.1) if wide else q("INT8", scale=0.1, zero_point=5)
    return OneOp("BATCH_MATMUL", inputs, [out], options, 4)


def named(family: str, note: str, model: OneOp) -> Case:
    """A case of a model that these functions make."""
    fed = [spec for spec in model.inputs if isinstance(spec, T)][:2]
    kind = fed[0].type
    return one(family, kind, [shaped(*(spec.shape for spec in fed)), note], model)


def _depthwise_vectors() -> Iterator[Case]:
    """As many outputs as inputs, and at least a vector of them; 19 leaves a remainder."""
    for c in (16, 19):
        for kind in (F, "INT8"):
            relu6: dict[str, Any] = {"fused_activation_function": "RELU6", "dilation_h_factor": 2, "stride_h": 1}
            yield named(FAMILY, "stride 2x1,dilation 1x2", depthwise(kind, (2, 5, 7, c), 3, 2, **relu6))
        for stride in (1, 2):
            relu6 = {"fused_activation_function": "RELU6", "stride_h": 1}
            yield named(FAMILY, f"four taps,stride {stride}", depthwise("INT8", (2, 5, 7, c), 2, stride, **relu6))
    model = depthwise(F, (1, 4, 9, 40))
    yield named(FAMILY, "no bias", replace(model, inputs=model.inputs[:2]))


def _gemms() -> Iterator[Case]:
    """Last panels, last rows and last tiles that are not full."""
    for m, n, k in ((1, 40, 9), (5, 1, 8), (13, 33, 17)):
        for kind in (F, "INT8"):
            yield named(FAMILY, "dense", dense(kind, m, n, k))
    yield named(FAMILY, "broadcast", batched(F, (2, 1, 13, 17), (1, 3, 17, 37)))
    yield named(FAMILY, "both transposed", batched(F, (3, 17, 19), (3, 41, 17), True, True))


def _transposed() -> Iterator[Case]:
    """Several outputs of each window; of unsigned weights, sums of rows besides."""
    for kind, size, oc in (("INT8", 2, 5), ("INT8", 3, 19), ("UINT8", 3, 5)):
        x, w, _, out = layer(kind, (2, 5, 9, 7), (oc, size, size, 7), oc, size * size * 7, 0)
        options = {"padding": "SAME", "stride_w": 2, "stride_h": 2}
        inputs = [i32(2, 10, 18, oc), w, x]
        yield row(FAMILY, "TRANSPOSE_CONV", inputs, [out], f"window {size}x{size}", **options)


def _others() -> Iterator[Case]:
    steps = {**PLAIN, "pot_scale_int16": True}
    x, y = T("INT16", (70,), scale=2**-10), T("INT16", (70,), scale=2**-9)
    for op in ("ADD", "SUB"):
        yield row(FAMILY, op, [x, y], [T("INT16", scale=2**-9)], "scales are powers of two", 2, **steps)
    pool = {**PLAIN, "padding": "SAME", "stride_w": 2, "stride_h": 2, "filter_width": 3, "filter_height": 2}
    for op in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        yield row(FAMILY, op, [T(F, (2, 5, 7, 19))], [T(F)], "vectors of channels", **pool)


def _magnified() -> Iterator[Case]:
    """Layers whose sums are multiplied by more than one."""
    for name, model in (("conv", conv("INT8", (1, 5, 7, 20), 19)), ("depthwise", depthwise("INT8", (1, 5, 7, 20)))):
        x, w, bias = (t for t in model.inputs if isinstance(t, T))
        small = [
            replace(x, values="within:-1:7"),
            replace(w, values="within:-2:2"),
            replace(bias, values="within:-9:9"),
        ]
        out = replace(model.outputs[0], scale=0.0004)
        yield named(FAMILY, f"{name},magnified", replace(model, inputs=small, outputs=[out]))


def _int4() -> Iterator[Case]:
    """Weights of 4 bits in whole words, which stay packed."""
    weights = T("INT4", (19, 16), constant=True, scale=0.02)
    yield row(FAMILY, "FULLY_CONNECTED", [T(F, (5, 16)), weights], [T(F)], "words of 4-bit weights", 9, **PLAIN)
    x, bias, out = q("INT8", 5, 16), T("INT32", (19,), constant=True, scale=0.001), q("INT8", scale=0.2)
    yield row(FAMILY, "FULLY_CONNECTED", [x, weights, bias], [out], "words of 4-bit weights", 7, **PLAIN)
    yield row(FAMILY, "EMBEDDING_LOOKUP", [T("INT32", (4,), "below:19"), weights], [T(F)], "words of 4-bit weights", 4)


QUANTIZED = (
    ("vectors", conv, ((1, 5, 7, 32), 33, 3)),
    ("three channels", conv, ((2, 9, 7, 3), 17, 3, 2)),
    ("tensor cores,windows", conv, ((1, 9, 9, 16), 70, 3)),
    ("split-K", dense, (1, 37, 1300)),
    ("tensor cores,pairs", dense, (65, 66, 100)),
    ("stride 2", depthwise, ((1, 9, 7, 12), 3, 2)),
)
GPU_MODELS: tuple[tuple[str, Any, str, tuple[Any, ...]], ...] = (
    ("pointwise,vectors", conv, F, ((1, 5, 7, 20), 33)),
    ("pointwise,scalars", conv, F, ((1, 5, 7, 9), 5)),
    ("three channels", conv, F, ((2, 9, 7, 3), 17, 3, 2)),
    ("vectors,no padding", conv, F, ((1, 8, 9, 8), 40, 3, 1, "VALID")),
    ("blocks of 64", conv, F, ((1, 40, 41, 4), 66)),
    ("split-K", dense, F, (1, 37, 515)),
    ("rows and columns", dense, F, (35, 70, 20)),
    *((note, make, kind, sizes) for kind in ("INT8", "UINT8") for note, make, sizes in QUANTIZED),
    ("whole words", conv, "INT8", ((1, 5, 7, 4), 33, 3, 2)),
    ("tensor cores", conv, "INT8", ((1, 9, 9, 48), 40, 1)),
    ("pairs", dense, "INT8", (3, 37, 130)),
    ("short strips", depthwise, F, ((2, 5, 7, 8),)),
    ("long strips", depthwise, F, ((1, 61, 67, 32), 3, 2)),
    ("5x5,dilated", depthwise, F, ((1, 9, 8, 4), 5, 1, 2)),
    ("long strips", depthwise, "INT8", ((1, 40, 41, 80), 5)),
    ("plain", batched, F, ((3, 35, 40), (3, 40, 33))),
    ("second transposed", batched, F, ((2, 3, 5, 70), (3, 34, 70), False, True)),
    ("first transposed", batched, F, ((2, 9, 33), (9, 5), True)),
    ("plain", batched, "INT8", ((3, 35, 40), (3, 40, 33))),
    ("tensor cores,both along k", batched, "INT8", ((2, 3, 65, 72), (3, 70, 72), False, True)),
    ("odd depth", batched, "INT8", ((2, 33, 9), (33, 5), True)),
    ("to int32", batched, "INT8 INT32", ((2, 9, 31), (2, 31, 66))),
    ("tensor cores", batched, "INT8", ((2, 33, 70), (2, 33, 45), True)),
    ("tensor cores,to int32", batched, "INT8 INT32", ((100, 132), (132, 33))),
    ("hybrid,one row", dense, "HYBRID", (1, 37, 515)),
    ("hybrid,asymmetric", dense, "HYBRID", (5, 33, 64, True)),
    ("hybrid,tensor cores", dense, "HYBRID", (70, 40, 96, True)),
    ("hybrid", conv, "HYBRID", ((2, 7, 6, 8), 20, 3)),
    ("hybrid,vectors", conv, "HYBRID", ((2, 9, 9, 32), 40, 3)),
)


def _gpu() -> Iterator[Case]:
    for note, make, kind, sizes in GPU_MODELS:
        yield named(GPU, note, make(kind, *sizes))
    for note, x, y, adj_x in (
        ("hybrid,tensor cores", (2, 70, 40), (2, 40, 33), False),
        ("hybrid,tensor cores,asymmetric", (65, 36), (36, 70), False),
        ("hybrid", (2, 5, 40), (2, 40, 33), False),
        ("hybrid,asymmetric", (2, 3, 65, 36), (2, 3, 36, 70), False),
        ("hybrid,asymmetric,one matrix", (2, 31, 5), (31, 7), True),
    ):
        model = batched("HYBRID", x, y, adj_x, asymmetric_quantize_inputs="asymmetric" in note)
        yield named(GPU, note, model)


def _rows() -> Iterator[Case]:
    """Rows that fit a block's registers, and some that do not."""
    for depth in (1, 33, 129, 1025, 2049):
        yield row(GPU, "SOFTMAX", [T(F, (2, depth), "within:-3:3")], [T(F)], "beta=0.7", beta=0.7)
        yield row(GPU, "LOG_SOFTMAX", [T(F, (2, depth), "within:-3:3")], [T(F)])
    for kind, scale, out in (("INT8", 0.1, T("INT8", scale=1 / 256, zero_point=-128)), ("INT16", 0.0005, None)):
        for depth in (5, 100):
            x = T(kind, (5, depth), scale=scale)
            result = out or T("INT16", scale=1 / 32768)
            yield row(GPU, "SOFTMAX", [x], [result], "beta=1,a warp a row", version=2, beta=1.0)
