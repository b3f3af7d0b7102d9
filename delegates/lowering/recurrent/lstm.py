"""LSTM, UNIDIRECTIONAL_SEQUENCE_LSTM and BIDIRECTIONAL_SEQUENCE_LSTM, as in tflgpu/ops/recurrent/lstm.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import c_float
from tflgpu.delegates.launch import Buffer, Launch, Lowered, PerIteration, Ref, Temp
from tflgpu.delegates.lowering.recurrent.linear import (
    COLUMNS,
    Accumulation,
    RecurrentWeights,
    gemm,
    inputs_of_all_times,
    weights_of,
)
from tflgpu.delegates.lowering.recurrent.lstm_integer import integer_cell
from tflgpu.delegates.lowering.recurrent.sequence import (
    ACTIVATIONS,
    Walk,
    checked,
    emit,
    gates_at,
    one_row,
    state,
    time_of,
)
from tflgpu.delegates.lowering.registry import constant, f32, lowers, require
from tflgpu.delegates.lowering.strided_index import standin
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.recurrent.lstm_tensors import BACKWARD, FORWARD, ONE_CELL, Cell, Gated, Ports, read_cell


@lowers("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", variables=True)
def lstm(node: Node, limits: DeviceLimits) -> Lowered:
    """One cell over a sequence, or over one step."""
    require(node.op != "LSTM" or node.options.kernel_type != "BASIC", "the BASIC kernel of LSTM")
    x = node.input(0)
    walk = Walk(x, time_of(x, node.op == "LSTM" or bool(node.options.time_major)), node.outputs[0])
    cell = cell_of(node, ONE_CELL)
    if x.type == "FLOAT32":
        return checked(float_cell(node, cell, walk, limits))
    return checked(integer_cell(node, cell, walk, limits))


@lowers("BIDIRECTIONAL_SEQUENCE_LSTM", variables=True)
def bidirectional_lstm(node: Node, limits: DeviceLimits) -> Lowered:
    """A cell forward and one backward in time."""
    x, aux = node.input(0), node.optional(39)
    over = time_of(x, bool(node.options.time_major))
    forward, backward = cell_of(node, FORWARD), cell_of(node, BACKWARD)
    linked = bool(forward.aux_weights)
    require(linked == bool(backward.aux_weights), "auxiliary weights of one direction")
    require(not forward.diagonal and not backward.diagonal, "diagonal recurrent weights in both directions")
    require(not linked or aux is not None, "auxiliary weights without an input")
    require(aux is None or aux.shape[:2] == x.shape[:2], "an auxiliary input of another length")
    require(aux is None or linked or aux.shape == x.shape, "an auxiliary input of another shape")
    merged = len(node.outputs) == 1
    second = (node.outputs[0], forward.n_output) if merged else (node.outputs[1], 0)
    back = x if aux is None or linked else aux
    return checked(
        [
            *float_cell(node, forward, Walk(x, over, node.outputs[0], 0, aux), limits),
            *float_cell(node, backward, Walk(back, over, *second, aux, reverse=True), limits),
        ]
    )


def cell_of(node: Node, ports: Ports) -> Cell:
    """The cell's tensors, with the CPU's checks. Stand-ins replace what is not constant."""
    arrays = [
        None if spec is None else standin(spec.shape, spec.dtype) if spec.data is None else spec.data
        for spec in node.inputs
    ]
    return read_cell(node, arrays, ports)


def stacked(tensors: Gated, order: str, what: str) -> Array:
    """The gates' vectors one after another."""
    return np.concatenate([constant(tensors[g].spec, what).reshape(-1) for g in order])


@dataclass(frozen=True, eq=False)
class _Cell:
    """The parameters that the steps of one float cell share."""

    order: str
    n: int
    rows: int
    state: Ref
    defines: dict[str, Any]
    peephole: Buffer
    sees: str
    normal: tuple[Buffer, Buffer] | None
    clip: np.float32

    @classmethod
    def of(cls, cell: Cell, rows: int, activation: str, clip: float) -> _Cell:
        order, n, normal = cell.order, cell.n_cell, None
        if cell.layer_norm:
            coefficients = np.ascontiguousarray(stacked(cell.layer_norm, order, "layer norm coefficients"))
            normal = coefficients, stacked(cell.bias, order, "a bias")
        return cls(
            order,
            n,
            rows,
            state(cell.cell_state.spec, rows * n),
            {"ACTIVATE(x)": activation} | gates_at(order) | one_row(rows),
            _peephole(cell, order, n),
            "".join(cell.peephole),
            normal,
            f32(clip),
        )


def float_cell(node: Node, cell: Cell, walk: Walk, limits: DeviceLimits) -> Lowered:
    """The launches of one cell, with float or 8-bit weights, over the whole sequence."""
    o, over = node.options, walk.over
    asymmetric = bool(o.asymmetric_quantize_inputs)
    name = o.fused_activation_function
    require(name in ACTIVATIONS and name != "NONE", f"the activation {name}")
    require(o.cell_clip >= 0 and o.proj_clip >= 0, "a clip below zero")
    order, n, rows = cell.order, cell.n_cell, over.n_batch
    width = n * len(order)
    hidden = state(cell.output_state.spec, rows * cell.n_output)
    bias = stacked(cell.bias, order, "a bias")
    inner = _Cell.of(cell, rows, ACTIVATIONS[name], o.cell_clip)
    sources = [(walk.x, weights_of([cell.input_weights[g].spec for g in order]))]
    if walk.aux is not None and cell.aux_weights:
        sources.append((walk.aux, weights_of([cell.aux_weights[g].spec for g in order])))
    start = np.zeros_like(bias) if cell.layer_norm else bias
    before, launches = inputs_of_all_times(sources, start, over, asymmetric, limits)
    sums = Temp(4 * rows * width)
    recurrent = _recurrent(cell, order, hidden, rows, sums, asymmetric, limits)
    projection = _Projection.of(cell, rows, asymmetric, float(o.proj_clip), limits)
    at = over.row_step_and_offset(width, 0, walk.reverse)
    output_at = over.row_step_and_offset(walk.out.shape[-1], walk.column, walk.reverse)
    steps = recurrent(before, *at)
    if projection is None:
        steps += _cell_steps(inner, sums, hidden, walk.out, output_at, limits)
    else:
        steps += _cell_steps(inner, sums, projection.hidden, walk.out, None, limits)
        steps += projection.launches(hidden, walk.out, output_at)
    macs = rows * cell.n_output * (width + (n if projection is not None else 0))
    return [*launches, *over.walk(steps, macs, limits)]


def _peephole(cell: Cell, order: str, n: int) -> Buffer:
    """(gates, n) float32, in the gates' order, zeros where a gate sees nothing."""
    if not cell.peephole:
        return np.zeros(1, np.float32)
    out = np.zeros((len(order), n), np.float32)
    for g, w in cell.peephole.items():
        data = constant(w.spec, "peephole weights")
        # Unsigned values are read as signed ones, as upstream does.
        real = data if w.spec.type == "FLOAT32" else w.spec.scale * data.view(np.int8).astype(np.float32)
        out[order.index(g)] = real
    return out


def _recurrent(
    cell: Cell, order: str, hidden: Ref, rows: int, sums: Temp, asymmetric: bool, limits: DeviceLimits
) -> Any:
    """(before, step, offset) -> the launches of the gates' sums: before + the state times the recurrent weights."""
    n, width = cell.n_cell, cell.n_cell * len(order)
    specs = [cell.recurrent_weights[g].spec for g in order]
    require(len(cell.diagonal) in (0, len(order)), "diagonal recurrent weights of some gates")
    if not cell.diagonal:
        dense = Accumulation.of(hidden, rows, weights_of(specs), asymmetric, limits)
        return lambda before, step, offset: dense.launches(before, step, offset, sums)
    size = rows * n
    diagonals = [
        Launch(
            "recurrent_gemm.diagonal",
            (size,),
            inputs={"h": hidden, "w": constant(spec, "weights")},
            outputs={"z": sums},
            sizes={"size": size, "n": n, "width": width, "at": k * n},
            defines={"DIAGONAL": 1} | one_row(rows),
        )
        for k, spec in enumerate(specs)
    ]
    # A GEMM of depth 0 copies.
    empty = weights_of_no_depth(width)
    nothing = Accumulation(gemm(hidden, rows, empty, False, limits), empty, COLUMNS)
    return lambda before, step, offset: [*nothing.launches(before, step, offset, sums), *diagonals]


def weights_of_no_depth(n: int) -> RecurrentWeights:
    """Weights (n, 0)."""
    return weights_of([TensorSpec(-1, "", "FLOAT32", (n, 0), data=np.zeros((n, 0), np.float32))])


def _cell_steps(
    c: _Cell,
    sums: Temp,
    hidden: Buffer,
    out: TensorSpec,
    output_at: tuple[int, int | PerIteration] | None,
    limits: DeviceLimits,
) -> list[Launch]:
    """The rest of a step after the gates' sums: writes the cell's state and `hidden`, and with output_at the output."""
    defines = c.defines | ({"WRITES_Y": 1} if output_at is not None else {})
    row, offset = output_at or (0, 0)
    size = c.rows * c.n

    def cell(stage: int, more: dict[str, Any]) -> Launch:
        return Launch(
            "lstm_cell.lstm_cell",
            (size,),
            inputs={"z": sums, "peephole": c.peephole},
            outputs={"state": c.state, "hidden": hidden, "y": Ref(out.index)},
            sizes={"size": size, "n": c.n, "y_step": row, "y_offset": offset},
            scalars={"clip": c.clip},
            defines=defines | more | {"STAGE": stage},
        )

    if c.normal is None:
        return [cell(0, {"PEEPHOLE": 1} if c.sees else {})]
    before = [_normalize(c, g, c.normal, sums, limits) for g in c.order if g != "o"]
    return [*before, cell(1, {}), _normalize(c, "o", c.normal, sums, limits), cell(2, {})]


def _normalize(c: _Cell, g: str, normal: tuple[Buffer, Buffer], sums: Temp, limits: DeviceLimits) -> Launch:
    """The layer normalization of one gate's sums, in place. normal: its coefficients and bias."""
    width = 1 if limits.cpu else min(limits.max_block, 128)
    weights, bias = normal
    return Launch(
        "lstm_norm.normalize_gate",
        (c.rows * width,),
        (width,),
        inputs={"peephole": c.peephole, "state": c.state, "weights": weights, "bias": bias},
        outputs={"z": sums},
        sizes={"n": c.n, "gates": len(c.order), "gate": c.order.index(g), "sees": int(g in c.sees)},
        defines={"WIDTH": width},
        stage="rows",
        reductions=2,
    )


@dataclass(frozen=True, eq=False)
class _Projection:
    gemm: Accumulation
    bias: Buffer
    hidden: Temp
    projected: Temp
    rows: int
    activate: str

    @staticmethod
    def of(cell: Cell, rows: int, asymmetric: bool, clip: float, limits: DeviceLimits) -> _Projection | None:
        """From the hidden values (rows, n_cell) to the state (rows, n_output); None where they are the same."""
        if cell.projection is None:
            return None
        hidden = Temp(4 * rows * cell.n_cell)
        bias = np.zeros(cell.n_output, np.float32)
        if cell.projection_bias is not None:
            bias = constant(cell.projection_bias.spec, "a bias")
        activate = f"clamp_f32(x, {c_float(-clip)}, {c_float(clip)})" if clip > 0 else "(x)"
        weights = weights_of([cell.projection.spec])
        made = Accumulation.of(hidden, rows, weights, asymmetric, limits)
        return _Projection(made, bias, hidden, Temp(4 * rows * cell.n_output), rows, activate)

    def launches(self, state: Ref, out: TensorSpec, output_at: tuple[int, int | PerIteration]) -> Sequence[Launch]:
        n = self.gemm.gemm.n
        last = emit(self.projected, state, out, self.rows * n, n, output_at, "f32", "f32", self.activate)
        return [*self.gemm.launches(self.bias, 0, 0, self.projected), last]
