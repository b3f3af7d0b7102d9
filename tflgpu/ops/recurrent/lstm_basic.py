"""LSTM's BASIC kernel: one matrix for all gates and the state as outputs, in float32 or in uint8 with int16 inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tflgpu.arithmetic.fixed_point import quantize_multiplier, rdbp, srdhm, wrap
from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.matmul.integer_matmul import IntegerMatrix
from tflgpu.ops.recurrent.linear import Tensor, linear, single_scale
from tflgpu.ops.recurrent.lstm_fixed_point import look_up, mbqm_up, power_of_two, table
from tflgpu.ops.recurrent.sequence import once_or_each_time, sigmoid
from tflgpu.ops.registry import Step, require

_FLOAT = ("FLOAT32",) * 9
_QUANTIZED = ("UINT8", "UINT8", "UINT8", "INT32", "INT16", "UINT8", "INT16", "UINT8", "INT16")


def basic_lstm_shapes(node: Node) -> Sequence[Shape]:
    """Activation and state (n_batch, n), the inputs side by side (n_batch, n_input + n), the gates (n_batch, 4 n)."""
    require(len(node.inputs) == 5 and len(node.outputs) == 4, "a BASIC LSTM has 5 inputs and 4 outputs. ")
    x, activation, weights, bias, cell = (node.input(i).shape for i in range(5))
    require(len(x) == 2 and len(activation) == 2, "a BASIC LSTM's inputs must have two dimensions. ")
    n_batch, n = activation
    require(x[0] == n_batch and cell == activation, "a BASIC LSTM's inputs and states must have one batch size. ")
    require(weights == (4 * n, x[1] + n), f"{node.input(2)} must have the shape {[4 * n, x[1] + n]}. ")
    require(bias == (4 * n,), f"{node.input(3)} must have the shape {[4 * n]}. ")
    return [activation, cell, (n_batch, x[1] + n), (n_batch, 4 * n)]


def check_basic_lstm(node: Node) -> None:
    """Raises OpError where the types are neither all float32 nor those of the quantized kernel."""
    require(_types(node) in (_FLOAT, _QUANTIZED), "Unsupported combination of data types for LstmCell")


def _types(node: Node) -> tuple[str, ...]:
    return tuple(spec.type for spec in (*(node.input(i) for i in range(5)), *node.outputs[:4]))


def basic_lstm(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """A step of the BASIC kernel, which also carries the states over to the next invoke where they are variables."""
    types = _types(node)
    gates_of = _float_gates if types == _FLOAT else _quantized_gates
    update = _float_update if types == _FLOAT else _quantized_update

    def make() -> Step:
        x, activation, _, _, cell = inputs
        assert x is not None and activation is not None and cell is not None
        joined = outputs[2]
        gates = gates_of(node, inputs, outputs)
        carried = [(inputs[i], outputs[o]) for i, o in ((1, 0), (4, 1)) if node.input(i).is_variable]

        def step() -> None:
            np.concatenate([x, activation], axis=1, out=joined)
            gates()
            update(outputs[3], cell, outputs[1], outputs[0])
            for old, new in carried:
                assert old is not None
                old[...] = new

        return step

    return once_or_each_time(node, (0, 1, 4), make)


def _float_gates(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    weights, bias = inputs[2], inputs[3]
    assert weights is not None and bias is not None
    joined, gates = outputs[2], outputs[3]
    gemm = linear([Tensor(node.input(2), weights)], len(joined), False)

    def step() -> None:
        gates[...] = bias
        gemm(joined, gates)

    return step


def _float_update(gates: Array, cell: Array, new_cell: Array, activation: Array) -> None:
    """gates (n_batch, 4 n): input, cell, forget, output. Only `new_cell` and `activation` (n_batch, n) are written."""
    admit, update, forget, emit = np.split(gates, 4, axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        remembered = cell * _sigmoid(forget)
        np.multiply(_sigmoid(admit), np.tanh(update), out=new_cell)
        np.add(new_cell, remembered, out=new_cell)
        np.multiply(_sigmoid(emit), np.tanh(new_cell), out=activation)


def _sigmoid(x: Array) -> Array:
    y = x.copy()
    sigmoid(y)
    return y


def _quantized_gates(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    weights, bias = inputs[2], inputs[3]
    assert weights is not None and bias is not None
    joined, gates = outputs[2], outputs[3]
    k = power_of_two(node.outputs[1])
    require(k == -11, "The only case of quantized LstmCell currently supported is with StateIntegerBits==4")
    m, e = quantize_multiplier(4096.0 * float(single_scale(node.input(3))))
    matrix = IntegerMatrix(weights, len(joined), largest=255, keep=True)
    # sum (w - zero point) (x - 128): what does not depend on x is added to the bias.
    zero_point = node.input(2).zero_point
    centred = weights.astype(np.int64) - zero_point
    offset = bias.astype(np.int64) - 128 * centred.sum(axis=1)
    quantized = np.empty(joined.shape, matrix.dtype)
    total = np.empty(gates.shape, np.int64)

    def step() -> None:
        np.copyto(quantized, joined)
        np.copyto(total, matrix.multiply(quantized), casting="unsafe")
        np.subtract(total, zero_point * joined.sum(axis=1, dtype=np.int64, keepdims=True), out=total)
        np.add(total, offset, out=total)
        gates[...] = np.clip(mbqm_up(wrap(total), m, e), -32768, 32767)

    return step


def _quantized_update(gates: Array, cell: Array, new_cell: Array, activation: Array) -> None:
    """_float_update in 16-bit fixed point: gates Q3.12, cell Q4.11, activation 128 + 128 * real."""
    admit, update, forget, emit = (g.astype(np.int64) for g in np.split(gates, 4, axis=1))
    for g in (admit, forget, emit):
        look_up(table("logistic", 3), g, g)
    look_up(table("tanh", 3), update, update)
    admitted = rdbp(srdhm(admit, update, 16), 4)
    total = np.clip(admitted + srdhm(forget, cell, 16), -32768, 32767)
    new_cell[...] = total
    squashed = np.clip(total * 2, -32768, 32767)
    look_up(table("tanh", 3), squashed, squashed)
    quantized = np.clip(rdbp(srdhm(emit, squashed, 16), 8), -128, 127)
    activation[...] = quantized + 128
