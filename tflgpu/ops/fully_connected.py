"""FULLY_CONNECTED: rows of x times weights (units, depth) transposed, plus bias (units), through an activation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tflgpu.fixed_point import mbqm, mbqm64, quantize_multipliers
from tflgpu.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops import fused_activation
from tflgpu.ops.hybrid import HybridMatrix, RowQuantizer, weight_scale
from tflgpu.ops.integer_matmul import IntegerMatrix
from tflgpu.ops.registry import OpError, Step, kernel, require
from tflgpu.ops.shape_rules import elements
from tflgpu.ops.sparse import dense_values
from tflgpu.ops.workspace import Workspace

_BELOW_HALF = np.nextafter(np.float64(0.5), np.float64(0))
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
    workspace = [spec.shape for spec in node.outputs[1:]]
    if node.options.keep_num_dims:
        require((x.shape and x.shape[-1] == depth) or not depth, f"{x} has not the {depth} columns of the weights. ")
        return [(*x.shape[:-1], units), *workspace]
    rows = elements(x.shape) // depth if depth else elements(x.shape[:-1])
    return [(rows, units), *workspace]


@kernel("FULLY_CONNECTED", version=14, types="FLOAT32 FLOAT16 UINT8 INT8 INT16", shape=_shape)
def fully_connected(node: Node, inputs: tuple[Array | None, ...], outputs: tuple[Array, ...]) -> Step:
    """A step for any of the types: x (rows, depth), weights (units, depth), bias (units) or none -> (rows, units)."""
    x, y = inputs[0], outputs[0]
    assert x is not None
    spec, weights, bias = node.input(0), node.input(1), node.optional(2)
    units, depth = weights.shape
    _check(node, spec, weights, bias)
    if not y.size or not depth:
        return lambda: y.fill(0)
    rows = y.size // units
    # An input that is no whole number of rows is accepted; its tail is not read.
    x = x.reshape(-1)[: rows * depth].reshape(rows, depth)
    y = y.reshape(rows, units)
    bias_values = None if bias is None else inputs[2]
    if node.options.weights_format != "DEFAULT":
        return _shuffled(node, x, inputs[1], bias_values, y)
    make = _factory(spec, weights)
    if weights.data is not None:
        return make(node, x, dense_values(weights), bias_values, y)
    given = inputs[1]
    assert given is not None
    if make is _float32:
        return make(node, x, given, bias_values, y)
    # Integer weights that are computed: everything that follows from them is made anew each time.
    return lambda: make(node, x, given, bias_values, y)()


def _check(node: Node, x: TensorSpec, weights: TensorSpec, bias: TensorSpec | None) -> None:
    y, options = node.outputs[0], node.options
    hybrid = x.type in ("FLOAT32", "FLOAT16") and weights.type not in ("FLOAT32", "FLOAT16")
    accepted = _TYPES.get((x.type, y.type), frozenset())
    require(weights.type in accepted, f"input {x.type}, weights {weights.type}, output {y.type} is not supported. ")
    require(
        hybrid or options.fused_activation_function in _CLIPPING,
        f"activation {options.fused_activation_function} is not supported here. ",
    )
    if bias is not None:
        integer = x.type in _QUANTIZED
        wanted = ("INT32", "INT64") if integer else (x.type, "FLOAT32")
        require(bias.type in wanted, f"a bias of type {bias.type} is not supported. ")
        require(elements(bias.shape) == weights.shape[0], f"{bias} is not one value for each of {weights.shape[0]}. ")
    q = weights.quantization
    if q is None or q.block_size:
        require(x.type not in _QUANTIZED, f"{weights} is not quantized as {x} needs it. ")
        return
    if weights.type in ("INT4", "INT2"):
        require(not q.zero_point.any(), "Unsupported filter quantization zero-point value.")
    if q.per_channel:
        require(x.type != "UINT8", "per-channel weights need a signed input. ")
        require(q.axis == 0 and q.scale.size == weights.shape[0], "weights must be quantized along their rows. ")
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


Factory = Callable[[Node, Array, Array, "Array | None", Array], Step]


def _factory(x: TensorSpec, weights: TensorSpec) -> Factory:
    if x.type == "FLOAT16":
        return _float16
    if x.type == "FLOAT32":
        blockwise = weights.quantization is not None and weights.quantization.block_size > 0
        return _float32 if weights.type == "FLOAT32" else _blockwise if blockwise else _hybrid
    return _fixed_point if weights.type == "INT16" or weights.sparsity is not None else _quantized


def _float32(node: Node, x: Array, weights: Array, bias: Array | None, y: Array) -> Step:
    lo, hi = fused_activation.float_range(node.options.fused_activation_function)
    transposed = weights.T

    def step() -> None:
        np.matmul(x, transposed, out=y)
        if bias is not None:
            np.add(y, bias, out=y)
        np.maximum(y, lo, out=y)
        np.minimum(y, hi, out=y)

    return step


def _float16(node: Node, x: Array, weights: Array, bias: Array | None, y: Array) -> Step:
    """In float32, rounded at the end; no resolver but XNNPACK has it. Integer weights are dequantized."""
    spec = node.input(1)
    scale = np.ones(1, np.float32) if spec.type == "FLOAT16" else weight_scale(spec)
    activate = _ACTIVATIONS[node.options.fused_activation_function]

    def step() -> None:
        product = np.matmul(x.astype(np.float32), weights.astype(np.float32).T) * scale
        if bias is not None:
            product += bias.astype(np.float32)
        activate(product)
        y[...] = product

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
    rows, asymmetric = len(x), node.options.asymmetric_quantize_inputs
    quantize = RowQuantizer(rows, x.shape[1], asymmetric, shared=True)
    matrix = HybridMatrix(weights, weight_scale(node.input(1)), rows, asymmetric)
    activate = _ACTIVATIONS[node.options.fused_activation_function]
    start = np.zeros(1, np.float32) if bias is None else bias

    def step() -> None:
        np.copyto(y, start)
        matrix.accumulate(quantize(x), y)
        activate(y)

    return step


def _blockwise(node: Node, x: Array, weights: Array, bias: Array | None, y: Array) -> Step:
    """Follows EvalBlockwise4Bit of the builtin resolver (the reference yields zeros), which ignores the activation."""
    quantization = node.input(1).quantization
    assert quantization is not None
    size = quantization.block_size
    units, depth = weights.shape
    require(depth % size == 0 and quantization.scale.size * size == weights.size, "blocks do not divide the weights. ")
    scale = np.ascontiguousarray(quantization.scale.astype(np.float32).reshape(units, -1).T)
    quantize = RowQuantizer(len(x), depth, asymmetric=True)
    blocks = [slice(start, start + size) for start in range(0, depth, size)]
    weight_sum = np.zeros(units, np.float32)
    for block, s in zip(blocks, scale, strict=True):
        weight_sum += s * weights[:, block].sum(axis=1, dtype=np.int32).astype(np.float32)
    part = np.empty((size, units), np.float32)
    partial = np.empty_like(y)

    def step() -> None:
        quantize(x)
        y.fill(0)
        for block, s in zip(blocks, scale, strict=True):
            np.copyto(part, weights[:, block].T)
            np.matmul(quantize.codes[:, block], part, out=partial)
            np.multiply(partial, s, out=partial)
            np.add(y, partial, out=y)
        np.multiply(quantize.zero_points, weight_sum, out=partial)
        np.subtract(y, partial, out=y)
        np.multiply(y, quantize.scales, out=y)
        if bias is not None:
            np.add(y, bias, out=y)

    return step


Tiles = Iterator[tuple[slice, slice, Array]]


def _accumulator(node: Node, x: Array, weights: Array, bias: Array | None) -> tuple[Callable[[], Tiles], int]:
    """A callable that yields sums (w - zero)(x - zero) + bias, in float64, by tiles; and the size of a tile."""
    spec, weight_spec = node.input(0), node.input(1)
    assert weight_spec.quantization is not None
    # Weights quantized by rows are symmetric by definition; a zero point of theirs is not read.
    weight_zero = 0 if weight_spec.quantization.per_channel else weight_spec.zero_point
    matrix = IntegerMatrix(weights, len(x), largest=1 << 15 if x.dtype == np.int16 else 255)
    zero = matrix.dtype.type(spec.zero_point)
    bias_spec = node.optional(2)
    start = np.zeros(len(weights), np.float64) if bias is None else bias.astype(np.float64)
    bias_varies = bias if bias_spec is not None and bias_spec.data is None else None

    if matrix.single and not weight_zero and bias_varies is None:
        own, whole = np.empty(x.shape, matrix.dtype), np.empty((len(x), len(weights)), np.float64)
        tiles = [(slice(None), slice(None), whole)]

        def accumulate_whole() -> Tiles:
            np.subtract(x, zero, out=own, dtype=own.dtype)
            np.add(matrix.multiply(own), start, out=whole)
            return iter(tiles)

        return accumulate_whole, matrix.tile_size

    workspace = Workspace("codes", (x.shape, matrix.dtype))
    totals = Workspace("totals", ((matrix.tile_size,), np.float64))

    def accumulate() -> Tiles:
        (codes,), (total,) = workspace(), totals()
        np.subtract(x, zero, out=codes, dtype=codes.dtype)
        if bias_varies is not None:
            start[...] = bias_varies
        sums = codes.sum(axis=1, keepdims=True, dtype=np.float64) * -weight_zero if weight_zero else None
        for rows, columns, product in matrix.tiles(codes):
            tile = total[: product.size].reshape(product.shape)
            np.add(product, start[columns], out=tile)
            if sums is not None:
                np.add(tile, sums[rows], out=tile)
            yield rows, columns, tile

    return accumulate, matrix.tile_size


def _quantized(node: Node, x: Array, weights: Array, bias: Array | None, y: Array) -> Step:
    """The reference rescales in double, not in fixed point."""
    spec, output, weight_spec = node.input(0), node.outputs[0], node.input(1)
    zero, lo, hi = _codes(node)
    scales = weight_scale(weight_spec)
    if spec.type == "INT8" and output.type == "INT16":
        # TensorFlow Lite goes through its uint8 kernel, which takes the bits of both for unsigned, and the scale of
        # weights quantized by rows for 0. Of packed weights it reads beyond the end.
        require(
            weight_spec.type == "INT8" or scales.size > 1, f"INT8 with {weight_spec.type} into INT16 is undefined. "
        )
        x, weights = x.view(np.uint8), weights.view(np.uint8)
        scales = scales if scales.size == 1 else np.zeros(1, np.float32)
    accumulate, size = _accumulator(node, x, weights, bias)
    scale = np.broadcast_to(float(spec.scale) * scales.astype(np.float64) / float(output.scale), (len(weights),))
    low, high = np.float64(lo - zero), np.float64(hi - zero)
    clamp = _clamp_large if y.size > 1024 else _clamp_small
    workspace = Workspace("rounding", ((size,), np.float64), ((size,), np.int32))

    def step() -> None:
        halves, wholes = workspace()
        for rows, columns, total in accumulate():
            half, whole = halves[: total.size].reshape(total.shape), wholes[: total.size].reshape(total.shape)
            np.multiply(total, scale[columns], out=total)
            # Away from zero by a half; what is nearer to zero than that stays within 1 of it.
            clamp(total, -_BELOW_HALF, _BELOW_HALF, half)
            np.add(total, half, out=total)
            # The clamp may come before the cut to an integer: its bounds are integers.
            clamp(total, low, high, total)
            np.copyto(whole, total, casting="unsafe")
            np.add(whole, zero, out=y[rows, columns], casting="unsafe")

    return step


def _clamp_large(x: Array, lo: np.float64, hi: np.float64, out: Array) -> None:
    x.clip(lo, hi, out)


def _clamp_small(x: Array, lo: np.float64, hi: np.float64, out: Array) -> None:
    """As _clamp_large: two passes, but less of a call."""
    np.maximum(x, lo, out=out)
    np.minimum(out, hi, out=out)


def _codes(node: Node) -> tuple[int, int, int]:
    """The output's zero point and the range of its codes."""
    output = node.outputs[0]
    return output.zero_point, *fused_activation.quantized_range(node.options.fused_activation_function, output)


def _multipliers(node: Node) -> tuple[Array, Array]:
    x, weights, output = node.input(0), node.input(1), node.outputs[0]
    scales = weight_scale(weights)
    # A product in float32 where there is one scale, in double where there are many.
    products = scales * x.scale if scales.size == 1 else scales.astype(np.float64) * float(x.scale)
    return quantize_multipliers(products.astype(np.float64) / float(output.scale))


def _fixed_point(node: Node, x: Array, weights: Array, bias: Array | None, y: Array) -> Step:
    """int16 weights, and sparse int8 ones, are the ones that are rescaled in fixed point."""
    wide = weights.dtype == np.int16
    if wide and bias is not None and bias.dtype == np.int64 and node.options.quantized_bias_type != "INT64":
        # Where the option does not say so, TensorFlow Lite reads any bias of these as int32.
        bias = bias.view(np.int32)[: len(weights)]
    accumulate, _ = _accumulator(node, x, weights, bias)
    m, e = (np.broadcast_to(part, (len(weights),)) for part in _multipliers(node))
    zero, lo, hi = _codes(node)
    rescale = mbqm64 if wide else mbqm

    def step() -> None:
        for rows, columns, total in accumulate():
            scaled = rescale(total.astype(np.int64), m[columns], e[columns])
            y[rows, columns] = np.clip(scaled + zero, lo, hi)

    return step


def _shuffled(node: Node, x: Array, weights: Array | None, bias: Array | None, y: Array) -> Step:
    """Weights as bytes in tiles of 4 units by 16 columns, with zero points of 128 already taken away."""
    spec = node.input(1)
    units, depth = spec.shape
    types = (node.input(0).type, spec.type, node.outputs[0].type)
    require(types == ("UINT8", "UINT8", "INT16"), f"shuffled weights are not supported for {types}. ")
    require(len(node.outputs) == 2, f"NumOutputs(node) != 2 ({len(node.outputs)} != 2)")
    require(len(x) in (1, 4), f"shuffled weights are for 1 or 4 rows, not {len(x)}. ")
    require(units % 4 == 0 and depth % 16 == 0, "shuffled weights come in tiles of 4 by 16. ")
    if weights is None or bias is None:
        raise OpError("shuffled weights need a bias. ")
    m, e = quantize_multipliers([float(node.input(0).scale * spec.scale) / float(node.outputs[0].scale)])
    _, lo, hi = _codes(node)

    def step() -> None:
        tiles = weights.view(np.int8).reshape(units // 4, depth // 16, 4, 16)
        plain = tiles.transpose(0, 2, 1, 3).reshape(units, depth).astype(np.float64)
        codes = (x ^ np.uint8(0x80)).view(np.int8).astype(np.float64)
        total = (codes @ plain.T).astype(np.int64) + bias
        y[...] = np.clip(mbqm(total, m, e), lo, hi)

    return step
