"""A long short-term memory cell's tensors among the inputs of a node, and what must hold between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.recurrent.linear import WEIGHTS_8BIT, Tensor, single_scale
from tflgpu.ops.recurrent.sequence import check_state
from tflgpu.ops.registry import require

GATES = "ifco"
"""Input, forget, cell, output: the order of a cell's tensors. A cell with coupled input and forget gate has no "i"."""


@dataclass(frozen=True)
class Settings:
    """An LSTM's options. A clip of 0 does nothing."""

    activation: str
    cell_clip: float
    proj_clip: float
    asymmetric: bool


@dataclass(frozen=True)
class Ports:
    """The node's input at which each group of a cell's tensors begins."""

    input_weights: int
    recurrent_weights: int
    peephole: int
    bias: int
    projection: int
    output_state: int
    cell_state: int
    layer_norm: int | None = None
    aux_weights: int | None = None


ONE_CELL = Ports(1, 5, 9, 12, 16, 18, 19, layer_norm=20)
FORWARD = Ports(1, 5, 9, 12, 16, 35, 36, aux_weights=40)
BACKWARD = Ports(18, 22, 26, 29, 33, 37, 38, aux_weights=44)

Gated = Mapping[str, Tensor]
"""Tensors by gate; a gate without one is absent."""


@dataclass(frozen=True)
class Cell:
    """Weights (n_cell, n_input), recurrent (n_cell, n_output) or diagonal (n_cell), projection (n_output, n_cell)."""

    gates: str
    input_weights: Gated
    recurrent_weights: Gated
    aux_weights: Gated
    peephole: Gated
    bias: Gated
    layer_norm: Gated
    projection: Tensor | None
    projection_bias: Tensor | None
    output_state: Tensor
    cell_state: Tensor
    n_input: int
    n_cell: int
    n_output: int

    @property
    def order(self) -> str:
        """The gates in the order in which they are computed, side by side."""
        return "ifoc" if "i" in self.gates else "foc"

    @property
    def diagonal(self) -> frozenset[str]:
        """The gates whose recurrent weights are a diagonal."""
        return frozenset(g for g, w in self.recurrent_weights.items() if len(w.spec.shape) == 1)


def cell_sizes(node: Node, ports: Ports) -> tuple[int, int]:
    """(n_cell, n_output)."""
    weights, recurrent = node.input(ports.input_weights + 3), node.input(ports.recurrent_weights + 3)
    require(len(weights.shape) == 2 and len(recurrent.shape) in (1, 2), f"{weights} must be a matrix. ")
    return weights.shape[0], recurrent.shape[-1]


def check_cell(node: Node, ports: Ports, n_batch: int) -> Cell:
    """The cell's tensors without their values. Raises OpError where they, states and outputs do not fit together."""
    # With strides 0, so that they take no memory.
    shapes = [None if s is None else np.broadcast_to(np.zeros((), s.dtype), s.shape) for s in node.inputs]
    cell = read_cell(node, shapes, ports)
    is_integer = node.input(0).type == "INT8"
    output_state, cell_state = cell.output_state.spec, cell.cell_state.spec
    check_state(output_state, n_batch, cell.n_output, "output_state")
    check_state(cell_state, n_batch, cell.n_cell, "cell_state")
    kind = node.input(0).type
    for spec, wanted in ((output_state, kind), (cell_state, "INT16" if is_integer else kind)):
        require(spec.type == wanted, f"{spec} must be of type {wanted}. ")
    for spec in node.outputs:
        require(spec.type == kind, f"{spec} must be of type {kind}. ")
    weights = [cell.input_weights, cell.recurrent_weights, cell.aux_weights, cell.peephole]
    for tensor in (*(t for group in weights for t in group.values()), cell.projection):
        if tensor is not None and tensor.spec.type in WEIGHTS_8BIT:
            single_scale(tensor.spec)
    if is_integer:
        # The last intermediate tensor is the hidden state's; those of gates are read with layer norm alone.
        inner = node.intermediates if cell.layer_norm else node.intermediates[4:5]
        normal = [tensor.spec for tensor in cell.layer_norm.values()]
        for spec in (node.input(0), output_state, cell_state, *node.outputs, *normal, *inner):
            require(single_scale(spec) > 0, f"{spec} has a scale of {spec.scale}. ")
    return cell


def read_cell(node: Node, inputs: Sequence[Array | None], ports: Ports) -> Cell:
    """The cell's tensors, checked. Raises OpError where they do not fit together."""

    def at(position: int) -> Tensor | None:
        spec = node.optional(position)
        array = inputs[position] if spec is not None else None
        return None if spec is None or array is None else Tensor(spec, array)

    def needed(position: int) -> Tensor:
        node.input(position)
        tensor = at(position)
        assert tensor is not None
        return tensor

    def gated(first: int | None, gates: str = GATES) -> dict[str, Tensor]:
        found = {g: at(first + k) for k, g in enumerate(gates)} if first is not None else {}
        return {g: tensor for g, tensor in found.items() if tensor is not None}

    n_cell, n_output = cell_sizes(node, ports)
    input_weights = gated(ports.input_weights)
    layer_norm = gated(ports.layer_norm)
    cell = Cell(
        gates=GATES if "i" in input_weights else GATES[1:],
        input_weights=input_weights,
        recurrent_weights=gated(ports.recurrent_weights),
        aux_weights=gated(ports.aux_weights),
        peephole=gated(ports.peephole, "ifo"),
        bias=gated(ports.bias),
        layer_norm=layer_norm if "f" in layer_norm else {},
        projection=at(ports.projection),
        projection_bias=at(ports.projection + 1),
        output_state=needed(ports.output_state),
        cell_state=needed(ports.cell_state),
        n_input=needed(ports.input_weights + 3).spec.shape[1],
        n_cell=n_cell,
        n_output=n_output,
    )
    _check(cell, is_integer=node.input(0).type == "INT8")
    return cell


def _check(cell: Cell, is_integer: bool) -> None:
    gates = set(cell.gates)
    without_cell = gates - {"c"}
    _check_gates("input weights", cell.input_weights, gates)
    _check_gates("recurrent weights", cell.recurrent_weights, gates)
    _check_gates("gate biases", cell.bias, gates)
    _check_gates("peephole weights", cell.peephole, without_cell, or_none=True)
    _check_gates("layer norm coefficients", cell.layer_norm, gates, or_none=True)
    _check_gates("auxiliary input weights", cell.aux_weights, gates, or_none=True)
    require(cell.projection is not None or cell.projection_bias is None, "a projection bias needs projection weights. ")
    require(
        cell.projection is not None or cell.n_output == cell.n_cell,
        f"{cell.n_output} outputs of {cell.n_cell} cells need a projection. ",
    )
    kind = cell.input_weights["o"].spec.type
    require(kind in ("FLOAT32", *WEIGHTS_8BIT), f"Type {kind} is not currently supported. ")
    require(not is_integer or kind == "INT8", f"INT8 input with weights of {kind} is not supported. ")
    column, bias = (cell.n_cell,), "INT32" if is_integer else "FLOAT32"
    _check_tensors(cell.input_weights, (cell.n_cell, cell.n_input), kind)
    for g, w in cell.recurrent_weights.items():
        if g not in cell.diagonal:
            _check_tensors({g: w}, (cell.n_cell, cell.n_output), kind)
        else:
            require(not is_integer, "diagonal recurrent weights are not supported with INT8 input. ")
            _check_tensors({g: w}, column, "FLOAT32")
    _check_tensors(cell.peephole, column, "INT16" if is_integer else kind)
    _check_tensors(cell.bias, column, bias)
    _check_tensors(cell.layer_norm, column, "INT16" if is_integer else "FLOAT32")
    if cell.projection is not None:
        _check_tensors({"": cell.projection}, (cell.n_output, cell.n_cell), kind)
    if cell.projection_bias is not None:
        _check_tensors({"": cell.projection_bias}, (cell.n_output,), bias)


def _check_gates(what: str, tensors: Gated, gates: set[str], or_none: bool = False) -> None:
    require(
        set(tensors) == gates or (or_none and not tensors),
        f"{what} are there for the gates {''.join(sorted(tensors)) or 'none'} and not for {''.join(sorted(gates))}. ",
    )


def _check_tensors(tensors: Gated, shape: Shape, kind: str) -> None:
    for tensor in tensors.values():
        require(tensor.spec.sparsity is None, f"{tensor.spec}: sparse weights are not supported here. ")
        require(tensor.spec.shape == shape, f"{tensor.spec} must have the shape {list(shape)}. ")
        require(tensor.spec.type == kind, f"{tensor.spec} must be of type {kind}. ")
