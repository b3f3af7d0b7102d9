"""LSTM, UNIDIRECTIONAL_SEQUENCE_LSTM and BIDIRECTIONAL_SEQUENCE_LSTM: shapes, and which arithmetic takes a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.cache_blocks import in_order
from tflgpu.ops.recurrent.lstm_basic import basic_lstm, basic_lstm_shapes, check_basic_lstm
from tflgpu.ops.recurrent.lstm_float import Sequences, float_lstm
from tflgpu.ops.recurrent.lstm_integer import integer_lstm
from tflgpu.ops.recurrent.lstm_integer_8bit import integer_8bit_lstm
from tflgpu.ops.recurrent.lstm_tensors import (
    BACKWARD,
    FORWARD,
    ONE_CELL,
    Ports,
    Settings,
    cell_sizes,
    check_cell,
    read_cell,
)
from tflgpu.ops.recurrent.sequence import (
    check_auxiliary,
    depths_of_directions,
    once_or_each_time,
    outputs_of_directions,
)
from tflgpu.ops.registry import Step, kernel, require

_STATES = (0, 18, 19)
_BIDIRECTIONAL_STATES = (0, 35, 36, 37, 38, 39)


def _settings(node: Node) -> Settings:
    options = node.options
    require(options.cell_clip >= 0, "params->cell_clip >= 0 was not true. ")
    require(options.proj_clip >= 0, "params->proj_clip >= 0 was not true. ")
    return Settings(
        options.fused_activation_function, options.cell_clip, options.proj_clip, options.asymmetric_quantize_inputs
    )


def _full_inputs(node: Node) -> None:
    count = len(node.inputs)
    require(count in (20, 24), f"The LSTM Full kernel expects 20 or 24 inputs. Got {count} inputs")


def _check_depth(node: Node, ports: Ports, depth: int) -> None:
    weights = node.input(ports.input_weights + 3)
    require(len(weights.shape) == 2 and weights.shape[1] == depth, f"{weights} must have {depth} columns. ")


def lstm_shapes(node: Node) -> Sequence[Shape]:
    if node.options.kernel_type == "BASIC":
        return basic_lstm_shapes(node)
    _full_inputs(node)
    x = node.input(0).shape
    require(len(x) == 2, f"{node.input(0)} must be [n_batch, n_input]. ")
    _check_depth(node, ONE_CELL, x[1])
    return [(x[0], cell_sizes(node, ONE_CELL)[1])]


def _check_lstm(node: Node) -> None:
    if node.op == "LSTM" and node.options.kernel_type == "BASIC":
        check_basic_lstm(node)
        return
    x = node.input(0)
    require(x.type != "UINT8", "UINT8 input needs the BASIC kernel. ")
    _settings(node)
    time_major = node.op != "LSTM" and node.options.time_major
    check_cell(node, ONE_CELL, x.shape[1 if time_major else 0])
    if x.type == "INT8":
        # The number of intermediate tensors tells the two integer schemes apart.
        count = len(node.intermediates)
        require(count == 5 or (count == 12 and node.op == "LSTM"), f"an INT8 LSTM with {count} intermediate tensors. ")


@kernel(
    "LSTM",
    inputs="5-24",
    outputs="1-4",
    version=4,
    types="FLOAT32 INT8 UINT8",
    shape=lstm_shapes,
    check=_check_lstm,
    variables=True,
)
def lstm(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """One step of a cell: x (n_batch, n_input) -> (n_batch, n_output). The BASIC kernel: lstm_basic."""
    if node.options.kernel_type == "BASIC":
        return basic_lstm(node, inputs, outputs)
    x, y = inputs[0], outputs[0]
    assert x is not None
    return _one_cell(node, inputs, Sequences(x[None], y[None], time_major=True))


def sequence_lstm_shapes(node: Node) -> Sequence[Shape]:
    _full_inputs(node)
    x = node.input(0).shape
    require(len(x) == 3, f"{node.input(0)} must have three dimensions. ")
    _check_depth(node, ONE_CELL, x[2])
    return [(*x[:2], cell_sizes(node, ONE_CELL)[1])]


@kernel(
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    inputs="20-24",
    version=4,
    types="FLOAT32 INT8",
    shape=sequence_lstm_shapes,
    check=_check_lstm,
    variables=True,
)
def unidirectional_sequence_lstm(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """x (n_batch, time, n_input), or (time, n_batch, n_input) where time_major -> the same with n_output."""
    x, y = inputs[0], outputs[0]
    assert x is not None
    return _one_cell(node, inputs, Sequences(x, y, node.options.time_major))


def _one_cell(node: Node, inputs: Sequence[Array | None], over: Sequences) -> Step:
    kind = node.input(0).type
    settings = _settings(node)

    def make() -> Step:
        cell = read_cell(node, inputs, ONE_CELL)
        if kind == "FLOAT32":
            return float_lstm(cell, settings, over)
        integer: Callable[..., Step] = integer_lstm if len(node.intermediates) == 5 else integer_8bit_lstm
        return integer(node, cell, settings, over)

    return once_or_each_time(node, _STATES, make)


def bidirectional_lstm_shapes(node: Node) -> Sequence[Shape]:
    require(len(node.inputs) == 48, f"48 inputs expected, {len(node.inputs)} given. ")
    x = node.input(0).shape
    require(len(x) == 3, f"{node.input(0)} must have three dimensions. ")
    for ports in (FORWARD, BACKWARD):
        _check_depth(node, ports, x[2])
    n_forward, n_backward = (cell_sizes(node, ports)[1] for ports in (FORWARD, BACKWARD))
    return [(*x[:2], depth) for depth in depths_of_directions(node, n_forward, n_backward)]


def _check_bidirectional(node: Node) -> None:
    _settings(node)
    x, aux = node.input(0), node.optional(39)
    n_batch = x.shape[1 if node.options.time_major else 0]
    forward, backward = (check_cell(node, ports, n_batch) for ports in (FORWARD, BACKWARD))
    linked = bool(forward.aux_weights)
    require(linked == bool(backward.aux_weights), "aux_inputs_weights_all_or_none was not true. ")
    require(not forward.diagonal and not backward.diagonal, "diagonal recurrent weights are not supported here. ")
    require(not linked or aux is not None, "aux_input != nullptr was not true. ")
    if aux is None:
        return
    check_auxiliary(x, aux, in_place_of_x=not linked)
    for cell in (forward, backward):
        for weights in cell.aux_weights.values():
            wanted = (cell.n_cell, aux.shape[2])
            require(weights.spec.shape == wanted, f"{weights.spec} must have the shape {list(wanted)}. ")


@kernel(
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    inputs=48,
    outputs="1-2",
    version=3,
    types="FLOAT32",
    shape=bidirectional_lstm_shapes,
    check=_check_bidirectional,
    variables=True,
)
def bidirectional_sequence_lstm(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """A cell forward and one backward in time. An auxiliary input without weights is the backward cell's input."""
    x, time_major = inputs[0], node.options.time_major
    aux = inputs[39] if node.optional(39) is not None else None
    assert x is not None
    settings = _settings(node)

    def make() -> Step:
        forward, backward = (read_cell(node, inputs, ports) for ports in (FORWARD, BACKWARD))
        linked = bool(forward.aux_weights)
        y_forward, y_backward = outputs_of_directions(outputs, forward.n_output)
        x_backward = x if aux is None or linked else aux
        ahead = float_lstm(forward, settings, Sequences(x, y_forward, time_major, aux))
        back = float_lstm(backward, settings, Sequences(x_backward, y_backward, time_major, aux, reverse=True))
        return in_order([ahead, back])

    return once_or_each_time(node, _BIDIRECTIONAL_STATES, make)
