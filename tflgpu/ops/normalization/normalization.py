"""L2_NORMALIZATION and LOCAL_RESPONSE_NORMALIZATION, along the channels."""

from __future__ import annotations

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm
from tflgpu.arithmetic.fixed_point_functions import inv_sqrt_multiplier
from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.registry import Step, kernel, require
from tflgpu.ops.shape_rules import same_as_input

EPSILON = np.float32(1e-6)


def _check_l2(node: Node) -> None:
    x, out = node.input(0), node.outputs[0]
    require(len(x.shape) >= 1, "NumDimensions(input) >= 1 was not true.")
    require(x.type == out.type, f"{out} must be of the input's type. ")
    require(node.options.fused_activation_function == "NONE", "L2_NORMALIZATION has no fused activation. ")
    if x.type != "FLOAT32":
        middle = _middle(node)
        require(out.scale == np.float32(1 / 128), f"{out}: the scale of L2_NORMALIZATION's output must be 1/128. ")
        require(out.zero_point == middle, f"{out}: the zero point of L2_NORMALIZATION's output must be {middle}. ")
        require(x.quantization is not None, f"{x} has no quantization parameters. ")


def _middle(node: Node) -> int:
    return 128 if node.outputs[0].type == "UINT8" else 0


@kernel("L2_NORMALIZATION", inputs=1, version=2, types="FLOAT32 INT8 UINT8", shape=same_as_input, check=_check_l2)
def l2_normalization(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """x divided by the square root of the sum of its squares along the last axis."""
    depth = node.input(0).shape[-1]
    x, y = (array.reshape(array.size // depth if depth else 0, depth) for array in (inputs[0], outputs[0]))
    return _l2_float(x, y) if x.dtype == np.float32 else _l2_8_bits(node, x, y)


def _l2_float(x: Array, y: Array) -> Step:
    norm = np.empty((len(x), 1), np.float32)

    def step() -> None:
        with np.errstate(all="ignore"):
            np.multiply(x, x, out=y)
            np.add.reduce(y, axis=1, keepdims=True, out=norm)
            np.sqrt(norm, out=norm)
            np.maximum(norm, EPSILON, out=norm)
            np.divide(x, norm, out=y)

    return step


def _l2_8_bits(node: Node, x: Array, y: Array) -> Step:
    out = node.outputs[0]
    middle = _middle(node)
    limits = np.iinfo(y.dtype)
    zero_point = node.input(0).zero_point

    def step() -> None:
        real = x.astype(np.int64) - zero_point
        m, e = inv_sqrt_multiplier(np.sum(real * real, axis=1, keepdims=True).astype(np.int32))
        # 128 is the inverse of the output's scale; the reference applies it before rescaling for uint8, else after it.
        value = mbqm(128 * real, m, e) if out.type == "UINT8" else mbqm(real, m, e.astype(np.int64) + 7)
        np.copyto(y, np.clip(value.astype(np.int64) + middle, limits.min, limits.max), casting="unsafe")

    return step


def _four_dimensions(node: Node) -> list[Shape]:
    shape = node.input(0).shape
    require(len(shape) == 4, f"{node.input(0)}: LOCAL_RESPONSE_NORMALIZATION needs four dimensions. ")
    return [shape]


@kernel("LOCAL_RESPONSE_NORMALIZATION", inputs=1, types="FLOAT32", shape=_four_dimensions)
def local_response_normalization(node: Node, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Step:
    """x / (bias + alpha * the sum of squares of the channels at most `radius` away)^beta.

    As the builtin kernel has it: the reference kernel leaves out the last channel of the window.
    """
    o = node.options
    x, y = inputs[0], outputs[0]
    c = x.shape[-1]
    radius = min(max(int(o.radius), 0), c)
    bias, alpha, beta = np.float32(o.bias), np.float32(o.alpha), np.float32(o.beta)
    squares = np.empty(x.shape, np.float32)
    # (addend, target) for each distance; a GEMM with a matrix of ones and zeros would spread infinities.
    windows = [
        (squares[..., max(d, 0) : c + min(d, 0)], y[..., max(-d, 0) : c - max(d, 0)])
        for d in range(-radius, radius + 1)
    ]

    def step() -> None:
        with np.errstate(all="ignore"):
            np.multiply(x, x, out=squares)
            np.multiply(squares, alpha, out=squares)
            y.fill(bias)
            for near, total in windows:
                np.add(total, near, out=total)
            np.power(y, -beta, out=y)
            np.multiply(x, y, out=y)

    return step
