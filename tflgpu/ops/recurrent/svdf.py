"""SVDF: a fully connected layer as rank-1 filters in feature and time; its state is the latest feature results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tflgpu.arithmetic.fixed_point import quantize_multiplier, quantize_multipliers, rescaler, wrap
from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.fused_activation import clamp
from tflgpu.ops.recurrent.linear import QuantizedLinear, Tensor, check_weights, linear, single_scale
from tflgpu.ops.recurrent.sequence import ACTIVATIONS, once_or_each_time
from tflgpu.ops.registry import OpError, Step, kernel, require


def svdf_shapes(node: Node) -> Sequence[Shape]:
    require(len(node.inputs) == 5 and len(node.outputs) == 1, "an SVDF has 5 inputs and 1 output. ")
    x, feature, time, state = (node.input(i).shape for i in (0, 1, 2, 4))
    rank = node.options.rank
    require(len(x) == len(feature) == len(time) == len(state) == 2, "an SVDF's tensors must have two dimensions. ")
    require(rank > 0 and feature[0] % rank == 0, f"{feature[0]} filters of rank {rank}. ")
    require(x[1] == feature[1], f"{node.input(1)} must have {x[1]} columns. ")
    require(time[0] == feature[0], f"{node.input(2)} must have {feature[0]} rows. ")
    require(state == (x[0], time[0] * time[1]), f"{node.input(4)} must have the shape {[x[0], time[0] * time[1]]}. ")
    bias = node.optional(3)
    require(bias is None or bias.shape == (feature[0] // rank,), f"{bias} must have the shape {[feature[0] // rank]}. ")
    return [(x[0], feature[0] // rank)]


_INTEGER_KINDS = (("INT8", "INT16", "INT16", "INT8"), ("INT8", "INT8", "INT8", "INT8"))


def _check(node: Node) -> None:
    x, feature, time, state, out = (*(node.input(i) for i in (0, 1, 2, 4)), node.outputs[0])
    require(state.is_variable, "state != nullptr was not true. ")
    bias = node.optional(3)
    wanted = "FLOAT32" if x.type == "FLOAT32" else "INT32"
    require(bias is None or bias.type == wanted, f"{bias} must be of type {wanted}. ")
    if x.type == "FLOAT32":
        check_weights(x, [feature])
        require(time.type == feature.type, f"{time} must be of type {feature.type}. ")
        if time.type != "FLOAT32":
            single_scale(time)
        for spec in (state, out):
            require(spec.type == "FLOAT32", f"{spec} must be FLOAT32. ")
        return
    # int8 states are TensorFlow Lite Micro's; LiteRT reads beyond their ends.
    kinds = (feature.type, time.type, state.type, out.type)
    require(kinds in _INTEGER_KINDS, f"an INT8 SVDF of types {', '.join(kinds)} is not supported. ")
    for spec in (x, feature, time, state, out):
        single_scale(spec)


@kernel("SVDF", inputs=5, version=4, types="FLOAT32 INT8", shape=svdf_shapes, check=_check, variables=True)
def svdf(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """x (n_batch, n_input) -> (n_batch, units).

    weights_feature (units * rank, n_input), weights_time (units * rank, memory), state (n_batch, … * memory).
    """
    make = _float_svdf if node.input(0).type == "FLOAT32" else _integer_svdf
    return once_or_each_time(node, (0, 4), lambda: make(node, inputs, outputs))


def _tensors(node: Node, inputs: Sequence[Array | None]) -> tuple[Array, Tensor, Tensor, Array]:
    x, feature, time, state = (inputs[i] for i in (0, 1, 2, 4))
    assert x is not None and feature is not None and time is not None and state is not None
    filters, memory = time.shape
    return x, Tensor(node.input(1), feature), Tensor(node.input(2), time), state.reshape(len(x), filters, memory)


def _float_svdf(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    x, feature, time, state = _tensors(node, inputs)
    bias, y = inputs[3] if node.optional(3) is not None else None, outputs[0]
    gemm = linear([feature], len(x), node.options.asymmetric_quantize_inputs, often=True)
    weights_time = time.array
    if time.spec.type != "FLOAT32":
        # Unsigned values are read as signed ones, as upstream does.
        weights_time = time.array.view(np.int8).astype(np.float32) * single_scale(time.spec)
    activation = ACTIVATIONS[node.options.fused_activation_function]
    newest = np.empty((len(x), len(feature.array)), np.float32)
    weighted = np.empty(state.shape, np.float32)
    by_unit = weighted.reshape(len(x), y.shape[1], -1)

    def step() -> None:
        newest.fill(0)
        with np.errstate(over="ignore", invalid="ignore"):
            gemm(x, newest)
        _remember(state, newest)
        np.multiply(state, weights_time, out=weighted)
        np.sum(by_unit, axis=2, out=y)
        if bias is not None:
            np.add(y, bias, out=y)
        activation(y, y)

    return step


def _remember(state: Array, newest: Array) -> None:
    """Shifts state (n_batch, filters, memory) by one time step and puts `newest` at its end."""
    state[:, :, :-1] = state[:, :, 1:]
    state[:, :, -1] = newest


def _integer_svdf(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    x, feature, time, state = _tensors(node, inputs)
    bias, y = inputs[3] if node.optional(3) is not None else None, outputs[0]
    spec, state_spec, out_spec = node.input(0), node.input(4), node.outputs[0]
    state_scale, limits = single_scale(state_spec), np.iinfo(state_spec.dtype)
    # The products are float32 before they are widened.
    scale_1 = np.float32(single_scale(spec) * single_scale(feature.spec)) / state_scale
    scale_2 = np.float32(state_scale * single_scale(time.spec)) / single_scale(out_spec)
    m1, e1 = quantize_multipliers([scale_1])
    offset = -spec.zero_point * feature.array.sum(axis=1, dtype=np.int64)
    gemm = QuantizedLinear(feature.array, offset, (m1, e1), len(x))
    rescale = rescaler(*quantize_multiplier(float(scale_2)))
    weights_time = time.array.astype(np.int64)
    bias_values = np.zeros((1, y.shape[1]), np.int64) if bias is None else bias.astype(np.int64).reshape(1, -1)
    newest, weighted = np.empty((len(x), len(feature.array)), np.int64), np.empty(state.shape, np.int64)
    total, scratch = np.empty(y.shape, np.int64), np.empty(y.shape, np.int64)
    by_unit = weighted.reshape(*y.shape, -1)
    state_zero, out_zero, lowest, highest, low, high = (
        np.array(n, np.int64) for n in (state_spec.zero_point, out_spec.zero_point, limits.min, limits.max, -128, 127)
    )

    def step() -> None:
        if node.options.fused_activation_function != "RELU":
            raise OpError("an INT8 SVDF must have the activation RELU, which it then does not apply. ")
        gemm(x, newest)
        clamp(newest, lowest, highest, newest)
        np.add(newest, state_zero, newest)
        _remember(state, newest)
        weighted[...] = state
        np.subtract(weighted, state_zero, weighted)
        np.multiply(weighted, weights_time, weighted)
        np.add.reduce(by_unit, axis=2, out=total)
        np.add(total, bias_values, total)
        total[...] = wrap(total)
        rescale(total, scratch)
        np.add(total, out_zero, total)
        clamp(total, low, high, total)
        y[...] = total

    return step
