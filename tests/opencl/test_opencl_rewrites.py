"""Rewrites of a partition before it is lowered: paddings and dilations folded, loops over rows on CPUs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import assert_same, tflgpu_run

from tflgpu.delegates.fusion.fold_conv_padding import folded
from tflgpu.delegation.discovery import load_delegate
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.loader import load

pytest.importorskip("pyopencl")

PLAIN = {"fused_activation_function": "NONE"}
CODES = {"scale": 0.05, "zero_point": 3}


def same(model: bytes, inputs: list[Any], runtime: str) -> set[str]:
    """Asserts that the delegate has the CPU's results for all of the model. Returns the names of the kernels it ran."""
    delegate: Any = load_delegate("opencl", {"device": runtime, "profile": "1", "require_full": "1"})
    assert_same(tflgpu_run(model, inputs, [delegate]), tflgpu_run(model, inputs), rtol=1e-5, atol=1e-5)
    return set(delegate.device.times())


def values(kind: str, *shape: int) -> Any:
    rng = np.random.default_rng(3)
    return rng.normal(size=shape).astype(np.float32) if kind == "FLOAT32" else rng.integers(-128, 128, shape, np.int8)


def weights_of(g: Any, kind: str, *shape: int, axis: int = 0) -> tuple[Any, Any]:
    """A filter and a bias."""
    rng = np.random.default_rng(5)
    floats, channels = rng.normal(size=shape).astype(np.float32), shape[axis]
    if kind == "FLOAT32":
        return g.constant("w", floats), g.constant("b", rng.normal(size=channels).astype(np.float32))
    by_channel = {"scale": np.full(channels, 0.01), "zero_point": np.zeros(channels, np.int64), "axis": axis}
    w = g.constant("w", (floats * 40).clip(-127, 127).astype(np.int8), type="INT8", **by_channel)
    return w, g.constant("b", rng.integers(-500, 500, channels, np.int32), type="INT32")


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_padding_before_a_convolution_is_its_own(kind: str, padding: str, depthwise: bool, runtime: str) -> None:
    m = ModelBuilder()
    g = m.graph()
    scaled: dict[str, Any] = {} if kind == "FLOAT32" else CODES
    x, wide = g.input("x", kind, [2, 7, 5, 8], **scaled), g.tensor("wide", kind, [2, 11, 7, 8], **scaled)
    g.node("PAD", [x, g.constant("by", np.array([[0, 0], [1, 3], [2, 0], [0, 0]], np.int32))], [wide])
    shape = (1, 3, 2, 8) if depthwise else (9, 3, 2, 8)
    size = [2, 5, 3] if padding == "VALID" else [2, 6, 4]
    y = g.tensor(
        "y", kind, [*size, 8 if depthwise else 9], **({} if kind == "FLOAT32" else {"scale": 1, "zero_point": 0})
    )
    options = {
        "padding": padding,
        "stride_w": 2,
        "stride_h": 2,
        "dilation_h_factor": 1,
        "dilation_w_factor": 1,
        **PLAIN,
    }
    if depthwise:
        node, options = "DEPTHWISE_CONV_2D", {**options, "depth_multiplier": 1}
    else:
        node = "CONV_2D"
    g.node(node, [wide, *weights_of(g, kind, *shape, axis=3 if depthwise else 0)], [y], version=3, **options)
    g.outputs(y)
    assert len(same(m.build(), [values(kind, 2, 7, 5, 8)], runtime)) == 1


def padded(kind: str, size: tuple[int, int], pads: tuple[int, int], depthwise: bool = False) -> bytes:
    """A convolution with a window of 3 x 3, over an image of that size with so many rows and columns at either side."""
    m = ModelBuilder()
    g = m.graph()
    scaled: dict[str, Any] = {} if kind == "FLOAT32" else CODES
    (h, w), (rows, columns) = size, pads
    x = g.input("x", kind, [2, h, w, 8], **scaled)
    wide = g.tensor("wide", kind, [2, h + 2 * rows, w + 2 * columns, 8], **scaled)
    by = g.constant("by", np.array([[0, 0], [rows, rows], [columns, columns], [0, 0]], np.int32))
    g.node("PAD", [x, by], [wide])
    out = [2, h + 2 * rows - 2, w + 2 * columns - 2, 8 if depthwise else 9]
    y = g.tensor("y", kind, out, **({} if kind == "FLOAT32" else {"scale": 1, "zero_point": 0}))
    options: dict[str, Any] = {"padding": "VALID", "stride_w": 1, "stride_h": 1, **PLAIN}
    filters = weights_of(g, kind, *((1, 3, 3, 8) if depthwise else (9, 3, 3, 8)), axis=3 if depthwise else 0)
    op = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    g.node(op, [wide, *filters], [y], version=3, **options, **({"depth_multiplier": 1} if depthwise else {}))
    g.outputs(y)
    return m.build()


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
@pytest.mark.parametrize("depthwise", [False, True])
def test_the_image_within_the_padding_may_be_smaller_than_the_window(kind: str, depthwise: bool, runtime: str) -> None:
    assert len(same(padded(kind, (1, 2), (1, 2), depthwise), [values(kind, 2, 1, 2, 8)], runtime)) == 1


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_convolution_of_nothing_but_padding_has_the_cpus_results(kind: str, depthwise: bool, runtime: str) -> None:
    assert same(padded(kind, (0, 2), (2, 1), depthwise), [values(kind, 2, 0, 2, 8)], runtime)


def test_blocks_as_wide_as_the_image_are_dilation(runtime: str) -> None:
    """As DeepLab's widest branch is written: no window of so large a dilation fits into the image without padding."""
    m = ModelBuilder()
    g = m.graph()
    x, cut = g.input("x", "FLOAT32", [1, 6, 5, 8]), g.tensor("cut", "FLOAT32", [36, 3, 3, 8])
    blocks = g.constant("blocks", np.array([6, 6], np.int32))
    g.node("SPACE_TO_BATCH_ND", [x, blocks, g.constant("pads", np.array([[6, 6], [6, 7]], np.int32))], [cut])
    y, out = g.tensor("y", "FLOAT32", [36, 1, 1, 8]), g.tensor("out", "FLOAT32", [1, 6, 5, 8])
    options = {"padding": "VALID", "stride_w": 1, "stride_h": 1, "depth_multiplier": 1, **PLAIN}
    g.node("DEPTHWISE_CONV_2D", [cut, *weights_of(g, "FLOAT32", 1, 3, 3, 8, axis=3)], [y], **options)
    g.node("BATCH_TO_SPACE_ND", [y, blocks, g.constant("crops", np.array([[0, 0], [0, 1]], np.int32))], [out])
    g.outputs(out)
    assert len(same(m.build(), [values("FLOAT32", 1, 6, 5, 8)], runtime)) == 1


def test_a_convolution_that_would_not_lower_with_the_padding_keeps_its_own() -> None:
    graph = load(content=padded("FLOAT32", (4, 4), (1, 1))).graphs[0]
    refused = [node.op for node in folded(graph.nodes, graph.outputs, lambda node: False)]
    taken = [node.op for node in folded(graph.nodes, graph.outputs, lambda node: True)]
    assert (refused, taken) == (["PAD", "CONV_2D"], ["CONV_2D"])


def test_a_padding_that_is_wanted_itself_stays(runtime: str) -> None:
    m = ModelBuilder()
    g = m.graph()
    x, wide = g.input("x", "FLOAT32", [1, 6, 6, 8]), g.tensor("wide", "FLOAT32", [1, 8, 8, 8])
    g.node("PAD", [x, g.constant("by", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))], [wide])
    y = g.tensor("y", "FLOAT32", [1, 6, 6, 16])
    options = {"padding": "VALID", "stride_w": 1, "stride_h": 1, **PLAIN}
    g.node("CONV_2D", [wide, *weights_of(g, "FLOAT32", 16, 3, 3, 8)], [y], **options)
    g.outputs(wide, y)
    assert len(same(m.build(), [values("FLOAT32", 1, 6, 6, 8)], runtime)) > 1


@pytest.mark.parametrize("value, folded", [(3, True), (0, False)])
def test_quantized_values_are_padded_with_the_zero_point_or_by_the_padding(
    value: int, folded: bool, runtime: str
) -> None:
    m = ModelBuilder()
    g = m.graph()
    x, wide = g.input("x", "INT8", [1, 6, 6, 8], **CODES), g.tensor("wide", "INT8", [1, 8, 8, 8], **CODES)
    by = g.constant("by", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    g.node("PADV2", [x, by, g.constant("value", np.array([value], np.int8), type="INT8", **CODES)], [wide])
    y = g.tensor("y", "INT8", [1, 6, 6, 16], scale=1, zero_point=0)
    options = {"padding": "VALID", "stride_w": 1, "stride_h": 1, **PLAIN}
    g.node("CONV_2D", [wide, *weights_of(g, "INT8", 16, 3, 3, 8)], [y], version=3, **options)
    g.outputs(y)
    assert (len(same(m.build(), [values("INT8", 1, 6, 6, 8)], runtime)) == 1) == folded


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
@pytest.mark.parametrize("crops", [(0, 0), (1, 1)])
def test_blocks_around_convolutions_are_dilation(kind: str, crops: tuple[int, int], runtime: str) -> None:
    """As Keras writes a causal Conv1D: PAD and SPACE_TO_BATCH_ND of three dimensions, read by two convolutions."""
    m = ModelBuilder()
    g = m.graph()
    scaled: dict[str, Any] = {} if kind == "FLOAT32" else CODES
    after: dict[str, Any] = {} if kind == "FLOAT32" else {"scale": 1, "zero_point": 0}
    x, wide = g.input("x", kind, [2, 12, 8], **scaled), g.tensor("wide", kind, [2, 18, 8], **scaled)
    g.node("PAD", [x, g.constant("by", np.array([[0, 0], [6, 0], [0, 0]], np.int32))], [wide])
    cut, four = g.tensor("cut", kind, [6, 6, 8], **scaled), g.tensor("four", kind, [6, 1, 6, 8], **scaled)
    blocks = g.constant("blocks", np.array([3], np.int32))
    g.node("SPACE_TO_BATCH_ND", [wide, blocks, g.constant("none", np.zeros((1, 2), np.int32))], [cut])
    g.node("EXPAND_DIMS", [cut, g.constant("axis", np.array(-3, np.int32))], [four])
    options = {"padding": "VALID", "stride_w": 1, "stride_h": 1, **PLAIN}
    filters = weights_of(g, kind, 16, 1, 3, 8)
    crop, shape = g.constant("crop", np.array([crops], np.int32)), g.constant("shape", np.array([-1, 4, 16], np.int32))
    length = 12 - sum(crops)
    results = []
    for k in range(2):
        y, three = g.tensor(f"y{k}", kind, [6, 1, 4, 16], **after), g.tensor(f"three{k}", kind, [6, 4, 16], **after)
        g.node("CONV_2D", [four, *filters], [y], version=3, **options)
        g.node("RESHAPE", [y, shape], [three])
        results.append(g.tensor(f"out{k}", kind, [2, length, 16], **after))
        g.node("BATCH_TO_SPACE_ND", [three, blocks, crop], [results[-1]])
    g.outputs(*results)
    assert len(same(m.build(), [values(kind, 2, 12, 8)], runtime)) == 1


SHAPES = [
    ([2, 3, 5, 16], [16]),
    ([2, 3, 5, 19], [1, 1, 1, 19]),
    ([2, 3, 4, 8], [2, 1, 1, 8]),
    ([2, 3, 4, 8], [2, 3, 4, 1]),
    ([3, 4, 8], [1, 4, 8]),
    ([3, 4, 8], [4, 1]),
    ([1, 5000], [1, 5000]),
    ([9001], [1]),
    ([7, 3], [3]),
    ([3], [3]),
]


@pytest.mark.parametrize("left, right", SHAPES)
def test_rows_of_vectors_are_what_single_elements_are(left: list[int], right: list[int], runtime: str) -> None:
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "FLOAT32", left), g.input("y", "FLOAT32", right)
    total, product, out = (g.tensor(name, "FLOAT32", left) for name in ("sum", "product", "out"))
    g.node("ADD", [x, y], [total], fused_activation_function="RELU6")
    g.node("MUL", [total, x], [product], **PLAIN)
    g.node("LOGISTIC", [product], [out])
    g.outputs(total, out)
    inputs = [values("FLOAT32", *left), values("FLOAT32", *right) + 1]
    inputs[0].reshape(-1)[0] = np.nan
    same(m.build(), inputs, runtime)


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8", "INT16"])
@pytest.mark.parametrize(
    "shape, axis", [([2, 3, 5, 19], 3), ([2, 3, 8], 1), ([1, 7000], 0), ([4, 3], 1), ([2, 0, 8], 2)]
)
def test_joining_tensors_copies_whole_rows(kind: str, shape: list[int], axis: int, runtime: str) -> None:
    m = ModelBuilder()
    g = m.graph()
    whole = [n * 2 if d == axis else n for d, n in enumerate(shape)]
    scaled: dict[str, Any] = {} if kind == "FLOAT32" else {"scale": 0.5, "zero_point": 0}
    x, y = g.input("x", kind, shape, **scaled), g.input("y", kind, shape, **scaled)
    out = g.tensor("out", kind, whole, **scaled)
    g.node("CONCATENATION", [x, y], [out], axis=axis, **PLAIN)
    g.outputs(out)
    rng = np.random.default_rng(1)
    dtype = {"FLOAT32": np.float32, "INT8": np.int8, "INT16": np.int16}[kind]
    same(m.build(), [(rng.normal(size=shape) * 50).astype(dtype) for _ in range(2)], runtime)


@pytest.mark.parametrize("size", [16, 37])
def test_a_cast_of_floats_to_floats_is_vectorized_too(size: int, runtime: str) -> None:
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "FLOAT32", [3, size]), g.tensor("y", "FLOAT32", [3, size])
    g.node("CAST", [x], [y])
    g.outputs(y)
    assert same(m.build(), [values("FLOAT32", 3, size)], runtime) == {"element_rows"}
