"""The LSTM cell in float32, with float or 8-bit weights: CalculateLstmGateFloat and …Hybrid of lstm_eval.cc."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from tflgpu.model.graph import Array
from tflgpu.ops.recurrent.linear import Tensor, linear
from tflgpu.ops.recurrent.lstm_common import QuickCell, is_common
from tflgpu.ops.recurrent.lstm_tensors import Cell, Gated, Settings
from tflgpu.ops.recurrent.sequence import ACTIVATIONS, frames, rows_of, sigmoid, state
from tflgpu.ops.registry import Step, require


@dataclass(frozen=True)
class Sequences:
    """What a cell walks over: x, aux and y (n_batch, time, depth), or (time, n_batch, depth) where time_major."""

    x: Array
    y: Array
    time_major: bool
    aux: Array | None = None
    reverse: bool = False

    @property
    def n_batch(self) -> int:
        return self.x.shape[1 if self.time_major else 0]


def float_lstm(cell: Cell, settings: Settings, over: Sequences) -> Step:
    """A step that runs the cell over the whole sequence, its state in place."""
    inner = (QuickCell if is_common(cell, settings) else PlainCell)(cell, settings, over.n_batch)
    # The GEMM with the inputs of all time steps runs at once: it does not depend on the state.
    before = np.empty((*over.x.shape[:2], inner.width), np.float32)
    before_rows = rows_of(before)
    inputs = [over.x] if over.aux is None or not cell.aux_weights else [over.x, over.aux]
    weights = [cell.input_weights, cell.aux_weights][: len(inputs)]
    sources = [rows_of(x) for x in inputs]
    gemms = [
        linear(_stacked(w, inner.order), len(before_rows), settings.asymmetric, negated=inner.negated) for w in weights
    ]
    times = list(
        zip(frames(before, over.time_major, over.reverse), frames(over.y, over.time_major, over.reverse), strict=True)
    )
    walk: Step = partial(inner.walk, times)
    if settings.activation == "NONE":
        assert isinstance(inner, PlainCell)
        walk = partial(_WithoutActivation(cell, over, inputs).walk, inner, times)

    def step() -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            before_rows[...] = inner.start
            for x, gemm in zip(sources, gemms, strict=True):
                gemm(x, before_rows)
            walk()

    return step


def _stacked(weights: Gated, order: str) -> list[Tensor]:
    return [weights[g] for g in order]


class PlainCell:
    """Any cell, of n_batch rows. `advance` computes one time step; `output` (n_batch, n_output) is its state."""

    negated = 0

    def __init__(self, cell: Cell, settings: Settings, n_batch: int):
        n = cell.n_cell
        # The gates with a sigmoid lie side by side.
        self.order = cell.order
        self.width = n * len(self.order)
        self.output = state(cell.output_state, n_batch, cell.n_output, "output_state")
        self.cell = state(cell.cell_state, n_batch, n, "cell_state")
        self._settings = settings
        self._activation = ACTIVATIONS[settings.activation]
        self._normal = {g: (cell.layer_norm[g].array, cell.bias[g].array) for g in cell.layer_norm}
        bias = np.concatenate([cell.bias[g].array for g in self.order])
        self.start = np.zeros_like(bias) if self._normal else bias
        """The initial value of the gates' sums."""
        self._peephole = {g: _recovered(w) for g, w in cell.peephole.items()}
        dense = [g for g in self.order if g not in cell.diagonal]
        recurrent = {g: _dense(cell, g) for g in self.order}
        self._recurrent = (
            linear(_stacked(recurrent, self.order), n_batch, settings.asymmetric, often=True) if dense else None
        )
        self._diagonal = {g: cell.recurrent_weights[g].array for g in sorted(cell.diagonal)}
        self._project = linear([cell.projection], n_batch, settings.asymmetric, often=True) if cell.projection else None
        self._projection_bias = cell.projection_bias.array if cell.projection_bias else np.float32(0)
        self._gates = np.empty((n_batch, self.width), np.float32)
        self.gate = {g: self._gates[:, k * n : (k + 1) * n] for k, g in enumerate(self.order)}
        self._sigmoids = self._gates[:, : self.width - n]
        self._scratch = np.empty((n_batch, n), np.float32)
        self._plain = not self._peephole and not self._normal

    def walk(self, times: Sequence[tuple[Array, Array]]) -> None:
        for z, y in times:
            self.advance(z)
            y[...] = self.output

    def advance(self, before: Array) -> None:
        """before (n_batch, width): the gates' sums without the state's term."""
        self.accumulate(before)
        if self._plain:
            sigmoid(self._sigmoids)
        else:
            for g in self.order[:-2]:
                self._activate_gate(g)
            self._add_peephole_and_normalize("c")
        self._activation(self.gate["c"], self.gate["c"])
        self.update_cell()
        if not self._plain:
            self._activate_gate("o")
        self._activation(self.cell, self._scratch)
        self.emit(self._scratch)

    def accumulate(self, before: Array) -> None:
        np.copyto(self._gates, before)
        if self._recurrent is not None:
            self._recurrent(self.output, self._gates)
        for g, w in self._diagonal.items():
            np.multiply(self.output, w, out=self._scratch)
            np.add(self.gate[g], self._scratch, out=self.gate[g])

    def _activate_gate(self, g: str) -> None:
        self._add_peephole_and_normalize(g)
        sigmoid(self.gate[g])

    def _add_peephole_and_normalize(self, g: str) -> None:
        """Adds the gate's peephole and applies its layer norm, where the cell has them."""
        z = self.gate[g]
        if g in self._peephole:
            np.multiply(self._peephole[g], self.cell, out=self._scratch)
            np.add(z, self._scratch, out=z)
        if g in self._normal:
            weights, bias = self._normal[g]
            z -= z.mean(axis=1, keepdims=True)
            variance = np.square(z).mean(axis=1, keepdims=True)
            z *= np.float32(1) / np.sqrt(variance + np.float32(1e-8))
            z *= weights
            z += bias

    def update_cell(self) -> None:
        forget, cell = self.gate["f"], self.cell
        np.multiply(cell, forget, out=cell)
        if "i" in self.gate:
            admit = self.gate["i"]
        else:
            admit = np.subtract(np.float32(1), forget, out=forget)
        np.multiply(admit, self.gate["c"], out=self._scratch)
        np.add(cell, self._scratch, out=cell)
        if self._settings.cell_clip > 0:
            clip = np.float32(self._settings.cell_clip)
            np.clip(cell, -clip, clip, out=cell)

    def emit(self, activated: Array) -> None:
        """activated (n_batch, n_cell): the cell's state after its activation. It may be overwritten."""
        if self._project is None:
            np.multiply(self.gate["o"], activated, out=self.output)
            return
        np.multiply(self.gate["o"], activated, out=activated)
        self.output[...] = self._projection_bias
        self._project(activated, self.output)
        if self._settings.proj_clip > 0:
            clip = np.float32(self._settings.proj_clip)
            np.clip(self.output, -clip, clip, out=self.output)

    def advance_without_activation(self, before: Array, lost: Array) -> None:
        """`advance` with what upstream leaves in buffers that no activation writes; lost: see _WithoutActivation."""
        self.accumulate(before)
        for g in self.order[:-2]:
            self._activate_gate(g)
        self._add_peephole_and_normalize("c")
        np.copyto(self.gate["c"], before[:, -self._scratch.shape[1] :], where=lost)
        self.update_cell()
        self._activate_gate("o")
        # The buffer of the activated cell state is the cell gate's own.
        self.emit(self.gate["c"])


class _WithoutActivation:
    """The fused activation NONE, with which upstream's kernels read buffers that they have not written.

    The output becomes output gate * cell gate. In float32 the sums of a gate alternate between two buffers, so that the
    cell gate also misses its recurrent term where an even number of the inputs (x, aux) is not all zero.
    """

    def __init__(self, cell: Cell, over: Sequences, inputs: Sequence[Array]):
        require(not cell.diagonal, "diagonal recurrent weights without an activation are not supported. ")
        self._over, self._inputs = over, inputs
        self._alternates = cell.input_weights["o"].spec.type == "FLOAT32"

    def walk(self, cell: PlainCell, times: Sequence[tuple[Array, Array]]) -> None:
        time_major, reverse = self._over.time_major, self._over.reverse
        seen = [
            # Time-major input is tested for all batches at once.
            [x.any(axis=None if time_major else 1, keepdims=True) for x in frames(source, time_major, reverse)]
            for source in self._inputs
        ]
        for t, (before, y) in enumerate(times):
            lost = sum(s[t].astype(np.int64) for s in seen) % 2 == 0
            cell.advance_without_activation(before, np.asarray(lost & self._alternates))
            y[...] = cell.output


def _dense(cell: Cell, g: str) -> Tensor:
    """The gate's recurrent weights as a matrix: zeros where they are a diagonal, which is added separately."""
    if g not in cell.diagonal:
        return cell.recurrent_weights[g]
    like = cell.input_weights[g]
    return Tensor(like.spec, np.zeros((cell.n_cell, cell.n_output), like.array.dtype))


def _recovered(weights: Tensor) -> Array:
    """Peephole weights as float32; unsigned values are read as signed ones, as upstream does."""
    if weights.spec.type == "FLOAT32":
        return weights.array
    return weights.spec.scale * weights.array.view(np.int8).astype(np.float32)
