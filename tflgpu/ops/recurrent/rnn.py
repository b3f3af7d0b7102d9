"""RNN, UNIDIRECTIONAL_SEQUENCE_RNN and BIDIRECTIONAL_SEQUENCE_RNN: h = activation(W x + R h + bias), y = h."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.cache_blocks import in_order
from tflgpu.ops.recurrent.linear import Tensor, check_weights, linear
from tflgpu.ops.recurrent.sequence import (
    ACTIVATIONS,
    check_auxiliary,
    check_state,
    depths_of_directions,
    frames,
    once_or_each_time,
    outputs_of_directions,
    rows_of,
    upstream_tanh,
)
from tflgpu.ops.registry import Step, kernel, require


@dataclass(frozen=True)
class _Layer:
    """weights (n, n_input), recurrent (n, n), bias (n), hidden state (n_batch, n), aux_weights (n, n_aux) or None."""

    weights: Tensor
    recurrent: Tensor
    bias: Tensor
    hidden: Tensor
    aux_weights: Tensor | None = None


def _at(node: Node, inputs: Sequence[Array | None], position: int) -> Tensor:
    spec, array = node.input(position), inputs[position]
    assert array is not None
    return Tensor(spec, array)


def _layer(node: Node, inputs: Sequence[Array | None], first: int, aux: int | None = None) -> _Layer:
    weights, recurrent, bias, hidden = (_at(node, inputs, first + i) for i in range(4))
    aux_weights = _at(node, inputs, aux) if aux is not None and node.optional(aux) is not None else None
    return _Layer(weights, recurrent, bias, hidden, aux_weights)


def _check_layer(node: Node, first: int, n_batch: int, aux: int | None = None) -> None:
    weights, recurrent, bias, hidden = (node.input(first + i) for i in range(4))
    aux_weights = None if aux is None else node.optional(aux)
    check_weights(node.input(0), [weights, recurrent, *([] if aux_weights is None else [aux_weights])])
    n = weights.shape[0]
    require(recurrent.shape == (n, n), f"{recurrent} must have the shape {[n, n]}. ")
    require(bias.shape == (n,) and bias.type == "FLOAT32", f"{bias} must be {[n]}. ")
    check_state(hidden, n_batch, n, "hidden_state")
    for spec in (hidden, *node.outputs):
        require(spec.type == "FLOAT32", f"{spec} must be FLOAT32. ")


def _units(node: Node, first: int, depth: int) -> int:
    weights = node.input(first)
    require(len(weights.shape) == 2 and weights.shape[1] == depth, f"{weights} must have {depth} columns. ")
    return weights.shape[0]


def _walk(
    node: Node,
    layer: _Layer,
    sources: Sequence[tuple[Array, Tensor]],
    y: Array,
    time_major: bool,
    reverse: bool = False,
) -> Step:
    """A step over the whole sequence; sources: the inputs (lead, lead, depth) and the weights of each."""
    shape = sources[0][0].shape
    n_batch, n = shape[1 if time_major else 0], layer.weights.spec.shape[0]
    asymmetric = node.options.asymmetric_quantize_inputs
    hidden = layer.hidden.array.reshape(n_batch, n)
    name = node.options.fused_activation_function
    hybrid = layer.weights.spec.type != "FLOAT32"
    activation = upstream_tanh if hybrid and name == "TANH" else ACTIVATIONS[name]
    # The GEMM with the inputs of all time steps runs at once: it does not depend on the state.
    before = np.empty((*shape[:2], n), np.float32)
    before_rows = rows_of(before)
    gemms = [(x, linear([w], len(before_rows), asymmetric)) for x, w in sources]
    recurrent = linear([layer.recurrent], n_batch, asymmetric, often=True)
    times = list(zip(frames(before, time_major, reverse), frames(y, time_major, reverse), strict=True))
    total = np.empty((n_batch, n), np.float32)

    def step() -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            before_rows[...] = layer.bias.array
            for x, gemm in gemms:
                gemm(rows_of(x), before_rows)
            for z, out in times:
                np.copyto(total, z)
                recurrent(hidden, total)
                activation(total, hidden)
                out[...] = hidden

    return step


def rnn_shapes(node: Node) -> Sequence[Shape]:
    x = node.input(0).shape
    require(len(node.inputs) == 5 and len(x) == 2, "an RNN has 5 inputs, the first of two dimensions. ")
    return [(x[0], _units(node, 1, x[1]))]


def _check_rnn(node: Node) -> None:
    time_major = node.op != "RNN" and node.options.time_major
    _check_layer(node, 1, node.input(0).shape[1 if time_major else 0])


@kernel("RNN", inputs=5, version=3, types="FLOAT32", shape=rnn_shapes, check=_check_rnn, variables=True)
def rnn(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """One step: x (n_batch, n_input) -> (n_batch, n)."""
    return _unidirectional(node, inputs, outputs, time_major=True)


def sequence_rnn_shapes(node: Node) -> Sequence[Shape]:
    x = node.input(0).shape
    require(len(node.inputs) == 5 and len(x) == 3, "a sequence RNN has 5 inputs, the first of three dimensions. ")
    return [(*x[:2], _units(node, 1, x[2]))]


@kernel(
    "UNIDIRECTIONAL_SEQUENCE_RNN",
    inputs=5,
    version=3,
    types="FLOAT32",
    shape=sequence_rnn_shapes,
    check=_check_rnn,
    variables=True,
)
def unidirectional_sequence_rnn(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """x (n_batch, time, n_input), or (time, n_batch, n_input) where time_major -> the same with n."""
    return _unidirectional(node, inputs, outputs, node.options.time_major)


def _unidirectional(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array], time_major: bool) -> Step:
    x, y = inputs[0], outputs[0]
    assert x is not None
    if x.ndim == 2:
        x, y = x[None], y[None]

    def make() -> Step:
        layer = _layer(node, inputs, 1)
        return _walk(node, layer, [(x, layer.weights)], y, time_major)

    return once_or_each_time(node, (0, 4), make)


def bidirectional_rnn_shapes(node: Node) -> Sequence[Shape]:
    x = node.input(0).shape
    require(
        len(node.inputs) == 12 and len(x) == 3, "a bidirectional RNN has 12 inputs, the first of three dimensions. "
    )
    forward, backward = _units(node, 1, x[2]), _units(node, 5, x[2])
    return [(*x[:2], n) for n in depths_of_directions(node, forward, backward)]


def _check_bidirectional(node: Node) -> None:
    x, aux, time_major = node.input(0), node.optional(9), node.options.time_major
    n_batch = x.shape[1 if time_major else 0]
    for first, linked_by in ((1, 10), (5, 11)):
        _check_layer(node, first, n_batch, aux=linked_by)
    aux_weights = node.optional(10), node.optional(11)
    linked = aux_weights[0] is not None
    require(linked == (aux_weights[1] is not None), "aux_inputs_weights_or_none was not true. ")
    require(not linked or aux is not None, "an auxiliary input's weights without the input. ")
    if aux is None:
        return
    # Upstream's batch-major loop gives the backward layer the input all the same.
    check_auxiliary(x, aux, in_place_of_x=not linked and time_major)
    for first, weights in zip((1, 5), aux_weights, strict=True):
        fits = weights is None or weights.shape == (node.input(first).shape[0], aux.shape[2])
        require(fits, f"{weights} must have {aux.shape[2]} columns. ")


@kernel(
    "BIDIRECTIONAL_SEQUENCE_RNN",
    inputs=12,
    outputs="1-2",
    version=3,
    types="FLOAT32",
    shape=bidirectional_rnn_shapes,
    check=_check_bidirectional,
    variables=True,
)
def bidirectional_sequence_rnn(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """One layer forward and one backward in time. An auxiliary input without weights is the backward layer's input."""
    x, time_major = inputs[0], node.options.time_major
    aux = inputs[9] if node.optional(9) is not None else None
    assert x is not None

    def make() -> Step:
        forward, backward = _layer(node, inputs, 1, aux=10), _layer(node, inputs, 5, aux=11)
        linked = forward.aux_weights is not None
        y_forward, y_backward = outputs_of_directions(outputs, len(forward.weights.array))
        # Upstream's batch-major loop gives the backward layer the input all the same.
        x_backward = aux if aux is not None and not linked and time_major else x
        ahead = _walk(node, forward, _sources(x, aux, forward), y_forward, time_major)
        back = _walk(node, backward, _sources(x_backward, aux, backward), y_backward, time_major, True)
        # Upstream's hybrid time-major loop runs the whole sequence once for each time, states carried on.
        hybrid = forward.weights.spec.type != "FLOAT32"
        repeats = x.shape[0] if hybrid and time_major else 1
        return in_order([ahead, back] * repeats)

    return once_or_each_time(node, (0, 4, 8, 9), make)


def _sources(x: Array, aux: Array | None, layer: _Layer) -> list[tuple[Array, Tensor]]:
    if layer.aux_weights is None or aux is None:
        return [(x, layer.weights)]
    return [(x, layer.weights), (aux, layer.aux_weights)]
