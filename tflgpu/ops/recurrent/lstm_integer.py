"""The LSTM cell in integers with 16-bit gates (8x8_16): PopulateQuantizedLstmParams8x8_16 and LstmStepInteger8x8_16.

Gates are int16 with 3 integer bits before their activation and none after it; the cell state's scale is 2^k.
"""

from __future__ import annotations

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm, quantize_multiplier, quantize_multipliers, rescaler, wrap
from tflgpu.arithmetic.fixed_point_functions import inv_sqrt_multiplier
from tflgpu.model.graph import Array, Node
from tflgpu.ops.recurrent.linear import QuantizedLinear, single_scale
from tflgpu.ops.recurrent.lstm_fixed_point import (
    INT8,
    INT16,
    clamp,
    clip_range,
    effective_scale,
    look_up,
    mbqm_up,
    power_of_two,
    shift_right,
    table,
)
from tflgpu.ops.recurrent.lstm_float import Sequences
from tflgpu.ops.recurrent.lstm_tensors import Cell, Settings
from tflgpu.ops.recurrent.sequence import frames, rows_of, state
from tflgpu.ops.registry import Step, require

_BLOCK = 16
"""The x86 build's vector code rounds so many peephole products at a time, and the rest one by one."""


def integer_lstm(node: Node, cell: Cell, settings: Settings, over: Sequences) -> Step:
    """A step that runs the cell over the whole sequence, its state in place."""
    inner = _IntegerCell(node, cell, settings, over)
    before = np.empty((*over.x.shape[:2], inner.width), np.int64)
    before_rows, x_rows = rows_of(before), rows_of(over.x)
    gemm = inner.input_gemm(len(x_rows))
    times = list(zip(frames(before, over.time_major), frames(over.y, over.time_major), strict=True))

    def step() -> None:
        gemm(x_rows, before_rows)
        clamp(before_rows, *INT16)
        for z, y in times:
            inner.advance(z)
            y[...] = inner.output

    return step


class _IntegerCell:
    """One cell of n_batch rows. `advance` computes one time step; `output` (n_batch, n_output) int8 is its state."""

    def __init__(self, node: Node, cell: Cell, settings: Settings, over: Sequences):
        n, n_batch = cell.n_cell, over.n_batch
        self.order = cell.order
        self.width = n * len(self.order)
        self._tensors = cell
        self._x = node.input(0)
        self.output = state(cell.output_state, n_batch, cell.n_output, "output_state")
        self.cell = state(cell.cell_state, n_batch, n, "cell_state")
        self._k = power_of_two(cell.cell_state.spec)
        require(-15 <= self._k <= -9, "cell_scale <= -9 was not true. ")
        normal = bool(cell.layer_norm)
        self._gate_scale = {
            g: node.intermediates["ifco".index(g)].scale if normal else np.float32(2**-12) for g in self.order
        }
        self._recurrent = QuantizedLinear(
            self._stacked("recurrent_weights"),
            self._biases("recurrent_weights", -cell.output_state.spec.zero_point, with_bias=False),
            self._multipliers("recurrent_weights", single_scale(cell.output_state.spec)),
            n_batch,
        )
        self._gates = np.empty((n_batch, self.width), np.int64)
        self.gate = {g: self._gates[:, j * n : (j + 1) * n] for j, g in enumerate(self.order)}
        self._peephole = {
            g: Peephole(cell, g, self._k, self._gate_scale[g], n_batch if over.time_major else 1) for g in cell.peephole
        }
        self._normal = {g: LayerNorm(cell, g) for g in cell.layer_norm}
        self._plain = not self._peephole and not self._normal
        self._sigmoids = self._gates[:, : self.width - n]
        self._range = clip_range(settings.cell_clip, single_scale(cell.cell_state.spec), INT16)
        self._emit = _Output(node, cell, settings, n_batch)
        self._wide = np.empty((n_batch, n), np.int64)
        self._scaled = np.empty((n_batch, n), np.int64)
        self._scratch = np.empty((n_batch, n), np.int64)
        self._logistic, self._tanh = table("logistic", 3), table("tanh", 3)
        self._tanh_of_cell = table("tanh", 15 + self._k)

    def input_gemm(self, rows: int) -> QuantizedLinear:
        """The input's term of the gates' sums, for `rows` rows."""
        return QuantizedLinear(
            self._stacked("input_weights"),
            self._biases("input_weights", -self._x.zero_point, with_bias=not self._normal),
            self._multipliers("input_weights", single_scale(self._x)),
            rows,
        )

    def _stacked(self, group: str) -> Array:
        return np.concatenate([getattr(self._tensors, group)[g].array for g in self.order])

    def _biases(self, group: str, factor: int, with_bias: bool) -> Array:
        sums = factor * self._stacked(group).sum(axis=1, dtype=np.int64)
        return sums + np.concatenate([self._tensors.bias[g].array for g in self.order]) if with_bias else sums

    def _multipliers(self, group: str, scale: np.float32) -> tuple[Array, Array]:
        weights = getattr(self._tensors, group)
        scales = [effective_scale(weights[g], scale, self._gate_scale[g]) for g in self.order]
        m, e = quantize_multipliers(scales)
        return np.repeat(m, self._tensors.n_cell), np.repeat(e, self._tensors.n_cell)

    def advance(self, before: Array) -> None:
        """before (n_batch, width) int64: the input's term of the gates' sums."""
        self._recurrent(self.output, self._gates)
        np.add(self._gates, before, out=self._gates)
        clamp(self._gates, *INT16)
        if self._plain:
            look_up(self._logistic, self._sigmoids, self._sigmoids)
        for g in () if self._plain else self.order[:-2]:
            self._add_peephole_and_normalize(g)
            look_up(self._logistic, self.gate[g], self.gate[g])
        self._add_peephole_and_normalize("c")
        look_up(self._tanh, self.gate["c"], self.gate["c"])
        self._update_cell()
        if not self._plain:
            self._add_peephole_and_normalize("o")
            look_up(self._logistic, self.gate["o"], self.gate["o"])
        look_up(self._tanh_of_cell, self._wide, self._scaled)
        np.multiply(self._scaled, self.gate["o"], out=self._scaled)
        self._emit(self._scaled, self.output)

    def _add_peephole_and_normalize(self, g: str) -> None:
        if g in self._peephole:
            self._peephole[g].add(self.gate[g], self.cell)
        if g in self._normal:
            self.gate[g][...] = self._normal[g](self.gate[g])

    def _update_cell(self) -> None:
        forget, wide = self.gate["f"], self._wide
        wide[...] = self.cell
        np.multiply(wide, forget, out=wide)
        shift_right(wide, 15, self._scratch)
        admit = self.gate["i"] if "i" in self.gate else np.subtract(32767, forget, out=forget)
        np.multiply(admit, self.gate["c"], out=self._scaled)
        shift_right(self._scaled, 30 + self._k, self._scratch)
        # This product is truncated to 16 bits, not clamped: 2^15 can become -2^15.
        self._scaled[...] = self._scaled.astype(np.int16)
        np.add(wide, self._scaled, out=wide)
        clamp(wide, *self._range)
        self.cell[...] = wide


class Peephole:
    """Adds the peephole's term to a gate.

    Upstream walks the flat state in rows of n_output where it means n_cell: with a projection, the weights multiply
    other cells than their own, and some cells have none. Batch-major sequences are computed batch by batch.

    together: how many batches at once. weights and blocks (together, n_cell): each cell's weight, and whether ties
    are rounded up. m, e: the multiplier of the products.
    """

    def __init__(self, cell: Cell, g: str, k: int, gate_scale: np.float32, together: int):
        weights, n_output, n_cell = cell.peephole[g], cell.n_output, cell.n_cell
        require(n_output <= n_cell, "peephole weights of an INT8 cell with more outputs than cells are not supported. ")
        scale = np.float32(2.0**k * float(single_scale(weights.spec)) / float(gate_scale))
        self.m, self.e = quantize_multiplier(float(scale))
        index = np.arange(together * n_cell)
        seen = index < together * n_output
        column = index % n_output
        shape = (together, n_cell)
        self.weights = np.where(seen, weights.array[column], 0).astype(np.int64).reshape(shape)
        self.blocks = (seen & (column < n_output // _BLOCK * _BLOCK)).reshape(shape)

    def add(self, gate: Array, cell: Array) -> None:
        """gate and cell (n_batch, n_cell)."""
        product = self.weights * cell
        rescaled = mbqm(product, self.m, self.e).astype(np.int64)
        if self.blocks.any():
            rescaled = np.where(self.blocks, mbqm_up(product, self.m, self.e), rescaled)
        np.add(gate, rescaled, out=gate)
        clamp(gate, *INT16)


class LayerNorm:
    """Normalizes the rows of a gate: PortableApplyLayerNorm."""

    def __init__(self, cell: Cell, g: str):
        weights = cell.layer_norm[g]
        scale = single_scale(weights.spec)
        self.weights, self.bias = weights.array.astype(np.int64), cell.bias[g].array.astype(np.int64)
        self.m, self.e = quantize_multiplier(float(scale))
        self.guard = max(1, int(np.float32(10000) * scale))

    def __call__(self, gate: Array) -> Array:
        n = gate.shape[1]
        mean = _divide(gate.sum(axis=1, keepdims=True) * 1024, n)
        # 2^20 // n is exact only for powers of two; upstream's comment admits it.
        variance = _divide(np.square(gate).sum(axis=1, keepdims=True) * ((1 << 20) // n) - mean * mean, 1 << 20)
        m, e = inv_sqrt_multiplier(np.where(variance < 1, self.guard, variance))
        weighted = wrap(mbqm(gate * 1024 - mean, m, e).astype(np.int64) * self.weights + self.bias)
        rounded = _divide(weighted + np.where(weighted > 0, 512, -512), 1024)
        return np.clip(mbqm(rounded, self.m, self.e + 12), -32768, 32767)


def _divide(x: Array, n: int) -> Array:
    """x / n, towards zero."""
    return np.where(x < 0, -(-x // n), x // n)


class _Output:
    """Output gate times activated cell (Q0.30) as int8, through the projection where there is one."""

    def __init__(self, node: Node, cell: Cell, settings: Settings, n_batch: int):
        hidden, self._zero_point = node.intermediates[4], cell.output_state.spec.zero_point
        scale, self._hidden_zero_point = hidden.scale, hidden.zero_point
        self._rescale = rescaler(*quantize_multiplier(float(np.float32(2.0**-15 / float(scale) * 2.0**-15))))
        self._range = clip_range(settings.proj_clip, node.outputs[0].scale, INT8)
        self._scratch = np.empty((n_batch, cell.n_cell), np.int64)
        self._project: QuantizedLinear | None = None
        if cell.projection is None:
            return
        weights = cell.projection
        sums = hidden.zero_point * weights.array.sum(axis=1, dtype=np.int64)
        bias = sums if cell.projection_bias is None else sums + cell.projection_bias.array
        effective = effective_scale(weights, scale, single_scale(cell.output_state.spec))
        m, e = quantize_multipliers([effective])
        self._project = QuantizedLinear(weights.array, bias, (m, e), n_batch)
        self._projected = np.empty((n_batch, cell.n_output), np.int64)

    def __call__(self, product: Array, out: Array) -> None:
        self._rescale(product, self._scratch)
        if self._project is None:
            np.add(product, self._hidden_zero_point, out=product)
            clamp(product, *INT8)
            out[...] = product
            return
        # Subtracted, and added back times the weights' sums in the projection's bias (upstream's b/246629213).
        np.subtract(product, self._hidden_zero_point, out=product)
        clamp(product, *INT8)
        projected = self._projected
        self._project(product, projected)
        np.add(projected, self._zero_point, out=projected)
        clamp(projected, *self._range)
        out[...] = projected
