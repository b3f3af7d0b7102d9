"""FULLY_CONNECTED: rows of x times weights (units, depth) transposed, plus bias (units), through an activation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops import fused_activation
from tflgpu.ops.fused_activation import clamp
from tflgpu.ops.matmul.fully_connected_integer import check_shuffled, fixed_point, quantized, shuffled
from tflgpu.ops.matmul.gemv import hybrid_gemm
from tflgpu.ops.matmul.hybrid import RowQuantizer, block_weight_sums, weight_scale
from tflgpu.ops.movement.sparse import dense_values
from tflgpu.ops.registry import Step, kernel, require
from tflgpu.ops.scratch import scratch
from tflgpu.ops.shape_rules import elements
from tflgpu.ops.shares import in_shares, ranges

_NARROW = frozenset({"INT8", "INT4", "INT2"})
_QUANTIZED = frozenset({"INT8", "UINT8", "INT16"})
_CLIPPING = frozenset({"NONE", "RELU", "RELU6", "RELU_N1_TO_1"})

# (input, output) to the weights that go with them.
_TYPES: dict[tuple[str, str], frozenset[str]] = {
    ("FLOAT32", "FLOAT32"): _NARROW | {"FLOAT32", "UINT8"},
    ("FLOAT16", "FLOAT16"): frozenset({"FLOAT16", "INT4", "INT2"}),
    ("UINT8", "UINT8"): frozenset({"UINT8"}),
    ("UINT8", "INT16"): frozenset({"UINT8"}),
    ("INT8", "INT8"): _NARROW,
    ("INT8", "INT16"): _NARROW,
    ("INT16", "INT16"): _NARROW | {"INT16"},
}


def _shape(node: Node) -> list[Shape]:
    x, weights = node.input(0), node.input(1)
    require(len(weights.shape) == 2, f"NumDimensions(filter) != 2 ({len(weights.shape)} != 2)")
    units, depth = weights.shape
    wanted = 1 if node.options.weights_format == "DEFAULT" else 2
    require(
        len(node.outputs) == wanted, f"node->outputs->size != expected_outputs_count ({len(node.outputs)} != {wanted})"
    )
    workspace = [spec.shape for spec in node.outputs[1:]]
    if node.options.keep_num_dims:
        require((x.shape and x.shape[-1] == depth) or not depth, f"{x} has not the {depth} columns of the weights. ")
        return [(*x.shape[:-1], units), *workspace]
    rows = elements(x.shape) // depth if depth else elements(x.shape[:-1])
    return [(rows, units), *workspace]


def _check(node: Node) -> None:
    x, weights, bias, y, options = node.input(0), node.input(1), node.optional(2), node.outputs[0], node.options
    hybrid = x.type in ("FLOAT32", "FLOAT16") and weights.type not in ("FLOAT32", "FLOAT16")
    accepted = _TYPES.get((x.type, y.type), frozenset())
    require(weights.type in accepted, f"input {x.type}, weights {weights.type}, output {y.type} is not supported. ")
    known = _ACTIVATIONS if hybrid else _CLIPPING
    activation = options.fused_activation_function
    require(activation in known, f"activation {activation} is not supported here. ")
    if bias is not None:
        integer = x.type in _QUANTIZED
        wanted = ("INT32", "INT64") if integer else (x.type, "FLOAT32")
        require(bias.type in wanted, f"a bias of type {bias.type} is not supported. ")
        require(elements(bias.shape) == weights.shape[0], f"{bias} is not one value for each of {weights.shape[0]}. ")
    if options.weights_format != "DEFAULT":
        check_shuffled(node)
    undefined = (x.type, y.type) == ("INT8", "INT16") and weights.type != "INT8" and weight_scale(weights).size == 1
    require(not undefined, f"INT8 with {weights.type} into INT16 is undefined. ")
    q = weights.quantization
    if q is not None and q.block_size and x.type == "FLOAT32":
        whole = weights.shape[1] % q.block_size == 0 and q.scale.size * q.block_size == elements(weights.shape)
        require(whole, "blocks do not divide the weights. ")
    if q is None or q.block_size:
        require(x.type not in _QUANTIZED, f"{weights} is not quantized as {x} needs it. ")
        return
    if weights.type in ("INT4", "INT2"):
        require(not q.zero_point.any(), "Unsupported filter quantization zero-point value.")
    if q.per_channel:
        require(x.type != "UINT8", "per-channel weights need a signed input. ")
        require(q.axis == 0, f"affine_quantization->quantized_dimension != 0 ({q.axis} != 0)")
        require(q.scale.size == weights.shape[0], "weights must be quantized along their rows. ")
    if x.type in _QUANTIZED:
        _check_integer(node, x, weights, bias)


def _check_integer(node: Node, x: TensorSpec, weights: TensorSpec, bias: TensorSpec | None) -> None:
    y, wanted = node.outputs[0], node.options.quantized_bias_type
    for spec in (x, weights, y):
        require(spec.quantization is not None, f"{spec} has no quantization parameters. ")
    assert weights.quantization is not None
    if bias is not None and not weights.quantization.per_channel:
        bias_scale = 0.0 if bias.quantization is None else float(bias.scale)
        difference = abs(float(x.scale) * float(weights.scale) - bias_scale)
        require(difference / float(y.scale) <= 0.02, "scale_diff / output_scale <= 0.02 was not true.")
    if x.type == "INT16":
        require(x.zero_point == 0 and y.zero_point == 0, "int16 needs zero points of 0. ")
        # FLOAT32 is what the option holds where it is not set.
        require(
            wanted == "FLOAT32" or (wanted in ("INT32", "INT64") and (bias is None or bias.type == wanted)),
            f"quantized_bias_type {wanted} is not the bias's. ",
        )


@kernel(
    "FULLY_CONNECTED",
    inputs="2-3",
    outputs="1-2",
    version=14,
    types="FLOAT32 FLOAT16 UINT8 INT8 INT16",
    shape=_shape,
    check=_check,
)
def fully_connected(node: Node, inputs: tuple[Array | None, ...], outputs: tuple[Array, ...]) -> Step:
    """x (rows, depth) times weights (units, depth) transposed, plus bias (units) or none: (rows, units)."""
    x, y = inputs[0], outputs[0]
    assert x is not None
    spec, weights = node.input(0), node.input(1)
    units, depth = weights.shape
    if not y.size or not depth:
        return lambda: y.fill(0)
    rows = y.size // units
    # An input that is not a whole number of rows is accepted; its tail is not read.
    x = x.reshape(-1)[: rows * depth].reshape(rows, depth)
    y = y.reshape(rows, units)
    given_bias = inputs[2] if len(inputs) > 2 else None
    bias_values = None if given_bias is None else given_bias.reshape(-1)
    if node.options.weights_format != "DEFAULT":
        return shuffled(node, x, inputs[1], bias_values, y)
    make = _factory(spec, weights)
    if weights.data is not None:
        return _in_shares(make, node, x, dense_values(weights), bias_values, y)
    given = inputs[1]
    assert given is not None
    if make is _float32:
        return _in_shares(make, node, x, given, bias_values, y)
    # Integer weights that are not constant: everything derived from them is computed anew at each invoke.
    return lambda: make(node, x, given, bias_values, y)()


Factory = Callable[[Node, Array, Array, "Array | None", Array], Step]


GEMM_SPEED = 8
"""Multiply-adds of GEMM in the time that one takes for a single row, whose weights come from memory."""


def _in_shares(make: Factory, node: Node, x: Array, weights: Array, bias: Array | None, y: Array) -> Step:
    """What `make` makes, cut along the rows for threads, or along the units where there is one row of floats."""
    units, depth = weights.shape
    if len(x) > 1 or make is not _float32:
        return in_shares(ranges(len(x), y.size * depth), lambda rows: make(node, x[rows], weights, bias, y[rows]))

    def of_units(cut: slice) -> Step:
        return make(node, x, weights[cut], None if bias is None else bias[cut], y[:, cut])

    return in_shares(ranges(units, GEMM_SPEED * y.size * depth), of_units)


def _factory(x: TensorSpec, weights: TensorSpec) -> Factory:
    if x.type == "FLOAT16":
        return _float16
    if x.type == "FLOAT32":
        blockwise = weights.quantization is not None and weights.quantization.block_size > 0
        return _float32 if weights.type == "FLOAT32" else _blockwise if blockwise else _hybrid
    return fixed_point if weights.type == "INT16" or weights.sparsity is not None else quantized


def _float32(node: Node, x: Array, weights: Array, bias: Array | None, y: Array) -> Step:
    lo, hi = (np.array(bound) for bound in fused_activation.float_range(node.options.fused_activation_function))
    if len(x) == 1:
        # As a vector, one row is multiplied in half the time, and added to in a third.
        x, y = x[0], y[0]
    multiply = partial(np.dot, weights, x, y) if x.ndim == 1 else partial(np.matmul, x, weights.T, out=y)

    def step() -> None:
        multiply()
        if bias is not None:
            np.add(y, bias, y)
        clamp(y, lo, hi, y)

    return step


def _float16(node: Node, x: Array, weights: Array, bias: Array | None, y: Array) -> Step:
    """In float32, rounded at the end; no resolver but XNNPACK has it. Integer weights are dequantized."""
    spec = node.input(1)
    scale = np.ones(1, np.float32) if spec.type == "FLOAT16" else weight_scale(spec)
    activate = _ACTIVATIONS[node.options.fused_activation_function]

    def step() -> None:
        result = np.matmul(x.astype(np.float32), weights.astype(np.float32).T) * scale
        if bias is not None:
            result += bias.astype(np.float32)
        activate(result)
        y[...] = result

    return step


def _relu(y: Array) -> None:
    np.maximum(y, np.float32(0), out=y)


_ACTIVATIONS: dict[str, Callable[[Array], object]] = {
    "NONE": lambda y: None,
    "RELU": _relu,
    "RELU6": lambda y: fused_activation.apply("RELU6", y),
    "RELU_N1_TO_1": lambda y: fused_activation.apply("RELU_N1_TO_1", y),
    "TANH": lambda y: np.tanh(y, out=y),
    "SIGN_BIT": lambda y: np.copyto(y, np.signbit(y)),
}
"""In place, on float32. Here NONE lets infinities pass, unlike in the float kernel."""


def _hybrid(node: Node, x: Array, weights: Array, bias: Array | None, y: Array) -> Step:
    asymmetric = node.options.asymmetric_quantize_inputs
    accumulate = hybrid_gemm(weights, weight_scale(node.input(1)), len(x), asymmetric)
    activate = _ACTIVATIONS[node.options.fused_activation_function]
    start = np.zeros(1, np.float32) if bias is None else bias

    def step() -> None:
        y[...] = start
        accumulate(x, y)
        activate(y)

    return step


_CONVERTED = 1 << 18
"""Weights by block that are float32 at a time: 1 MiB, which stays in the cache."""


def _blockwise(node: Node, x: Array, weights: Array, bias: Array | None, y: Array) -> Step:
    """Follows EvalBlockwise4Bit of the builtin resolver (the reference yields zeros), which ignores the activation."""
    quantization = node.input(1).quantization
    assert quantization is not None
    (units, depth), rows, size = weights.shape, len(x), quantization.block_size
    scale = quantization.scale.astype(np.float32).reshape(units, -1)
    quantize, weight_sum = RowQuantizer(rows, depth, asymmetric=True), block_weight_sums(weights, scale)
    blocks = quantize.values.reshape(rows, -1, size).swapaxes(0, 1)
    step_size = max(1, min(units, _CONVERTED // depth))
    converted = scratch("weights by block", (step_size, depth), np.float32)
    products = scratch("products by block", (depth // size, rows, step_size), np.float32)
    moved = scratch("moved by block", y.shape, np.float32)

    def step() -> None:
        quantize(x)
        for start in range(0, units, step_size):
            some = slice(start, min(start + step_size, units))
            count = some.stop - start
            np.copyto(converted[:count], weights[some])
            found = products[:, :, :count]
            np.matmul(blocks, converted[:count].reshape(count, -1, size).transpose(1, 2, 0), out=found)
            np.multiply(found, scale[some].T[:, np.newaxis], out=found)
            np.add.reduce(found, axis=0, out=y[:, some])  # block after block, as the builtin resolver adds them
        np.multiply(quantize.zero_points, weight_sum, out=moved)
        np.subtract(y, moved, out=y)
        np.multiply(y, quantize.scales, out=y)
        if bias is not None:
            np.add(y, bias, out=y)

    return step
