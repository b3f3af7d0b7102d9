"""Convolutions after paddings and between cuts into blocks, which a delegate may fold into them, or must not."""

from __future__ import annotations

from typing import Any

import numpy as np

from tflgpu.conformance.cases.case import T
from tflgpu.conformance.cases.fused_graphs import W8, X8, Y8, constant, conv, entered
from tflgpu.conformance.cases.graph_case import F, graph, then
from tflgpu.model.builder import GraphBuilder, ModelBuilder

Pads = tuple[tuple[int, int], tuple[int, int]]
X = (1, 6, 8, 4)
VALID: dict[str, Any] = {"padding": "VALID", "stride_w": 1, "stride_h": 1}


def padded(g: GraphBuilder, x: int, pads: Pads, type: str, value: float | None = None) -> int:
    """Rows and columns around x, of zeros or of a value."""
    n, h, w, c = g.tensors[x]["shape"]
    shape = (n, h + sum(pads[0]), w + sum(pads[1]), c)
    inputs = [x, g.constant(f"p{len(g.tensors)}", np.array([(0, 0), *pads, (0, 0)], np.int32))]
    quantization: dict[str, Any] = {} if type == F else X8
    if value is None:
        return then(g, "PAD", inputs, shape, type, **quantization)
    filler = np.array(value, np.float32 if type == F else np.int8)
    inputs.append(g.constant(f"v{len(g.tensors)}", filler, **quantization))
    return then(g, "PADV2", inputs, shape, type, **quantization)


def depthwise(g: GraphBuilder, x: int, type: str, shape: tuple[int, ...], **options: Any) -> int:
    rng = np.random.default_rng(len(g.tensors))
    weights = rng.integers(-127, 128, (1, 3, 3, shape[-1])).astype(np.int8)
    options = {"depth_multiplier": 1, **VALID, **options}
    if type == F:
        inputs = [x, g.constant("w", weights.astype(np.float32) / 64), g.constant("b", np.ones(shape[-1], np.float32))]
        return then(g, "DEPTHWISE_CONV_2D", inputs, shape, **options)
    bias = g.constant("b", np.full(shape[-1], 300, np.int32), scale=0.001, zero_point=0)
    return then(
        g,
        "DEPTHWISE_CONV_2D",
        [x, g.constant("w", weights, axis=3, **W8), bias],
        shape,
        type,
        version=3,
        **Y8,
        **options,
    )


PADDINGS: tuple[tuple[str, Pads, float | None, dict[str, Any], tuple[int, int]], ...] = (
    ("zeros", ((1, 2), (0, 3)), None, VALID, (7, 9)),
    ("a value", ((1, 2), (0, 3)), 5, VALID, (7, 9)),
    ("what is stored as 0", ((1, 2), (0, 3)), 0, VALID, (7, 9)),
    ("zeros, then the convolution's own", ((2, 1), (1, 0)), None, {**VALID, "padding": "SAME"}, (9, 9)),
    ("zeros, strides", ((0, 3), (2, 1)), None, {**VALID, "stride_h": 3, "stride_w": 2}, (3, 5)),
    ("nothing in front", ((0, 1), (0, 1)), None, {**VALID, "stride_h": 2, "stride_w": 2}, (3, 4)),
)


def _register(
    type: str, name: str, pads: Pads, value: float | None, options: dict[str, Any], out: tuple[int, int]
) -> None:
    @graph(f"a convolution after a padding of {name}, {type.lower()}", type.lower())
    def _plain(m: ModelBuilder) -> list[T]:
        g, x, fed = entered(m, type, X)
        g.outputs(conv(g, padded(g, x, pads, type, value), type, (1, *out, 5), **options))
        return [fed]

    @graph(f"a depthwise convolution after a padding of {name}, {type.lower()}", type.lower())
    def _depthwise(m: ModelBuilder) -> list[T]:
        g, x, fed = entered(m, type, X)
        g.outputs(depthwise(g, padded(g, x, pads, type, value), type, (1, *out, 4), **options))
        return [fed]


for _type in (F, "INT8"):
    for _entry in PADDINGS:
        _register(_type, *_entry)


@graph("a padding of the value that is zero", "int8")
def _zero_point(m: ModelBuilder) -> list[T]:
    g, x, fed = entered(m, "INT8", X)
    g.outputs(conv(g, padded(g, x, ((1, 0), (2, 1)), "INT8", 3), "INT8", (1, 5, 9, 5), **VALID))
    return [fed]


@graph("a padding whose output has another scale", "int8")
def _rescaled(m: ModelBuilder) -> list[T]:
    g, x, fed = entered(m, "INT8", X)
    pads = g.constant("p", np.array(((0, 0), (1, 0), (2, 1), (0, 0)), np.int32))
    around = then(g, "PAD", [x, pads], (1, 7, 11, 4), "INT8", **Y8)
    g.outputs(conv(g, around, "INT8", (1, 5, 9, 5), **VALID))
    return [fed]


@graph("a padding of a padding, between them another reader")
def _twice(m: ModelBuilder) -> list[T]:
    g, x, fed = entered(m, F, X)
    once = padded(g, x, ((1, 0), (0, 2)), F)
    y = conv(g, padded(g, once, ((0, 2), (1, 0)), F), F, (1, 7, 9, 5), **VALID)
    g.outputs(y, then(g, "NEG", [once], (1, 7, 10, 4)))
    return [fed]


@graph("a padding that is an output")
def _live(m: ModelBuilder) -> list[T]:
    g, x, fed = entered(m, F, X)
    around = padded(g, then(g, "EXP", [x], X), ((1, 1), (2, 0)), F)
    g.outputs(around, conv(g, around, F, (1, 6, 8, 5), **VALID))
    return [fed]


@graph("a padding before a convolution by int8 weights")
def _hybrid(m: ModelBuilder) -> list[T]:
    g, x, fed = entered(m, F, X)
    rng = np.random.default_rng(3)
    weights = g.constant(
        "w", rng.integers(-127, 128, (5, 3, 3, 4)).astype(np.int8), scale=[0.01] * 5, zero_point=[0] * 5
    )
    inputs = [padded(g, x, ((1, 2), (3, 0)), F), weights, constant(g, F, 5)]
    g.outputs(then(g, "CONV_2D", inputs, (1, 7, 9, 5), version=5, **VALID))
    return [fed]


@graph("a convolution by int8 weights in blocks of 2 x 3")
def _hybrid_blocks(m: ModelBuilder) -> list[T]:
    g, x, fed = entered(m, F, X)
    block, pads = g.constant("b", np.array((2, 3), np.int32)), g.constant("p", np.array(((2, 2), (3, 1)), np.int32))
    blocks = then(g, "SPACE_TO_BATCH_ND", [x, block, pads], (6, 5, 4, 4))
    weights = g.constant(
        "w",
        np.random.default_rng(3).integers(-127, 128, (5, 2, 2, 4)).astype(np.int8),
        scale=[0.01] * 5,
        zero_point=[0] * 5,
    )
    y = then(g, "CONV_2D", [blocks, weights, constant(g, F, 5)], (6, 4, 3, 5), version=5, **VALID)
    crops = g.constant("c", np.zeros((2, 2), np.int32))
    g.outputs(then(g, "BATCH_TO_SPACE_ND", [y, block, crops], (1, 8, 9, 5)))
    return [fed]


Crops = tuple[tuple[int, int], tuple[int, int]]
DILATED: tuple[tuple[str, tuple[int, int], Pads, tuple[int, int], Crops, dict[str, Any]], ...] = (
    ("2 x 3", (2, 3), ((2, 2), (3, 1)), (2, 3), ((0, 0), (0, 0)), VALID),
    ("2 x 3, cropped", (2, 3), ((2, 2), (3, 1)), (2, 3), ((1, 0), (2, 0)), VALID),
    ("2 x 2, cropped more than padded above", (2, 2), ((0, 2), (2, 2)), (2, 2), ((1, 0), (1, 0)), VALID),
    ("2 x 2, cropped more than padded in front", (2, 2), ((2, 2), (1, 1)), (2, 2), ((1, 0), (2, 1)), VALID),
    ("2 x 2, with strides", (2, 2), ((2, 2), (1, 1)), (2, 2), ((0, 0), (0, 0)), {**VALID, "stride_h": 2}),
    ("2 x 2, with padding", (2, 2), ((1, 1), (0, 0)), (2, 2), ((0, 0), (0, 0)), {**VALID, "padding": "SAME"}),
    ("4 x 1, joined as 1 x 4", (4, 1), ((4, 2), (0, 0)), (1, 4), ((0, 0), (0, 0)), VALID),
)
"""Blocks, paddings, the blocks of the way back, crops, the convolution's options."""


def _sizes(block: tuple[int, int], pads: Pads, options: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes after the cut into blocks, and after a convolution of 2 x 2 to 5 channels."""
    h, w = ((n + sum(p)) // b for n, p, b in zip(X[1:3], pads, block, strict=True))
    n = block[0] * block[1]
    lost = int(options["padding"] == "VALID")
    oh, ow = ((size - lost + s - 1) // s for size, s in ((h, options["stride_h"]), (w, options["stride_w"])))
    return (n, h, w, X[3]), (n, oh, ow, 5)


def _dilated(
    type: str, other_reader: bool, name: str, block: Any, pads: Any, back: Any, crops: Any, options: Any
) -> None:
    note = ", read in between" if other_reader else ""

    @graph(f"a convolution in blocks of {name}{note}, {type.lower()}", type.lower())
    def _build(m: ModelBuilder) -> list[T]:
        g, x, fed = entered(m, type, X)
        cut, made = _sizes(block, pads, options)
        before: dict[str, Any] = {} if type == F else X8
        after: dict[str, Any] = {} if type == F else Y8
        numbers = [
            g.constant(n, np.array(v, np.int32)) for n, v in (("b", block), ("p", pads), ("k", back), ("c", crops))
        ]
        blocks = then(g, "SPACE_TO_BATCH_ND", [x, *numbers[:2]], cut, type, **before)
        y = conv(g, blocks, type, made, (2, 2), **options)
        whole = (1, *(n * b - sum(c) for n, b, c in zip(made[1:3], back, crops, strict=True)), 5)
        others = [then(g, "RELU", [y], made, type, **after), blocks] if other_reader else []
        g.outputs(then(g, "BATCH_TO_SPACE_ND", [y, *numbers[2:]], whole, type, **after), *others)
        return [fed]


for _type in (F, "INT8"):
    for _cut in DILATED:
        _dilated(_type, False, *_cut)
_dilated(F, True, *DILATED[0])
