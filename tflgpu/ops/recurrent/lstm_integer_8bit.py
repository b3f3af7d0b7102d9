"""The LSTM cell in integers with 8-bit gate terms (8x8_8): LstmStepInteger8x8_8 of lstm_eval.cc.

Only what upstream's step computes: forget, cell and output gates (the input gate is coupled whatever the node has),
layer normalization and a projection; peephole weights are ignored. The gates' functions are in float32.
"""

from __future__ import annotations

import functools

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm, quantize_multiplier, rdbp, round_half_away, to_int32
from tflgpu.arithmetic.lookup_tables import all_quantized_values
from tflgpu.model.graph import Array, Node
from tflgpu.ops.matmul.gemv import exact_gemm
from tflgpu.ops.matmul.integer_matmul import IntegerMatrix
from tflgpu.ops.recurrent.linear import Tensor, single_scale
from tflgpu.ops.recurrent.lstm_fixed_point import INT8, INT16, clip_range, effective_scale
from tflgpu.ops.recurrent.lstm_float import Sequences
from tflgpu.ops.recurrent.lstm_tensors import Cell, Settings
from tflgpu.ops.recurrent.sequence import frames, state
from tflgpu.ops.registry import Step, require

# For each gate the intermediate tensors of the scales of its sum, its input term and its recurrent term.
_SCALES = {"f": (3, 4, 5), "c": (6, 7, 8), "o": (9, 10, 11)}
# And those whose zero points upstream uses for the two terms; the last is not the gate's own.
_ZERO_POINTS = {"f": (4, 5), "c": (7, 8), "o": (10, 7)}


def integer_8bit_lstm(node: Node, cell: Cell, settings: Settings, over: Sequences) -> Step:
    """A step that runs the cell over the whole sequence, its state in place."""
    require(cell.layer_norm, "an INT8 LSTM with 12 intermediate tensors must have layer norm coefficients. ")
    require(cell.projection is not None, "an INT8 LSTM with 12 intermediate tensors must have a projection. ")
    require(cell.projection_bias is not None, "an INT8 LSTM with 12 intermediate tensors must have a projection bias. ")
    require(single_scale(cell.cell_state.spec) == np.float32(2**-15), "the cell state's scale must be 2^-15. ")
    inner = _Cell8Bit(node, cell, settings, over.n_batch)
    times = list(zip(frames(over.x, over.time_major), frames(over.y, over.time_major), strict=True))

    def step() -> None:
        for x, y in times:
            inner.advance(x)
            y[...] = inner.output

    return step


class _Cell8Bit:
    def __init__(self, node: Node, cell: Cell, settings: Settings, n_batch: int):
        self.output = state(cell.output_state, n_batch, cell.n_output, "output_state")
        self.cell = state(cell.cell_state, n_batch, cell.n_cell, "cell_state")
        self._sums = {g: _GateSum(node, cell, g, n_batch) for g in _SCALES}
        self._normal = {g: _LayerNorm(cell.layer_norm[g], cell.bias[g]) for g in _SCALES}
        clip = settings.cell_clip if settings.cell_clip < 1 else 0.0
        self._range = clip_range(clip, single_scale(cell.cell_state.spec), INT16)
        self._project = _Projection(node, cell, settings, n_batch)

    def advance(self, x: Array) -> None:
        forget, update = _sigmoid(self._gate("f", x)), _tanh(self._gate("c", x), -12)
        remembered = rdbp(forget.astype(np.int64) * self.cell, 15)
        admitted = rdbp((32767 - forget.astype(np.int64)) * update, 15)
        total = remembered.astype(np.int16).astype(np.int64) + admitted.astype(np.int16)
        self.cell[...] = np.clip(total, *self._range)
        output = _sigmoid(self._gate("o", x))
        hidden = rdbp(output.astype(np.int64) * _tanh(self.cell, -15), 15).astype(np.int16)
        self.output[...] = self._project(hidden)

    def _gate(self, g: str, x: Array) -> Array:
        return self._normal[g](self._sums[g](x, self.output))


class _Rescaled:
    """(int8 rows - zero point) times weights transposed, requantized to int8."""

    def __init__(self, weights: Tensor, zero_point: int, scale: np.float32, output_zero_point: int, rows: int):
        self._gemm, self._dtype = exact_gemm(weights.array, rows)
        self._offset = zero_point * weights.array.sum(axis=1, dtype=np.int64)
        self._m, self._e = quantize_multiplier(float(scale))
        self._output_zero_point = output_zero_point

    def __call__(self, quantized: Array) -> Array:
        accumulators = self._gemm(quantized.astype(self._dtype)).astype(np.int64) - self._offset
        return np.clip(mbqm(accumulators, self._m, self._e) + self._output_zero_point, -128, 127)


class _GateSum:
    """The input's and the state's term of a gate, both rounded to int8, added as int16."""

    def __init__(self, node: Node, cell: Cell, g: str, rows: int):
        total, of_input, of_state = (single_scale(node.intermediates[i]) for i in _SCALES[g])
        self._input_zero_point, self._state_zero_point = (node.intermediates[i].zero_point for i in _ZERO_POINTS[g])
        x, h = node.input(0), cell.output_state.spec
        weights, recurrent = cell.input_weights[g], cell.recurrent_weights[g]
        input_scale = effective_scale(weights, single_scale(x), of_input)
        state_scale = effective_scale(recurrent, single_scale(h), of_state)
        self._input = _Rescaled(weights, x.zero_point, input_scale, self._input_zero_point, rows)
        self._state = _Rescaled(recurrent, h.zero_point, state_scale, self._state_zero_point, rows)
        self._from_input = quantize_multiplier(float(of_input / total))
        self._from_state = quantize_multiplier(float(of_state / total))
        if g == "o":
            # Upstream reads element 11 of eight multipliers, which is the fourth of the exponents that follow them.
            forget_sum, forget_state = (single_scale(node.intermediates[i]) for i in (3, 5))
            m = quantize_multiplier(float(forget_state / forget_sum))[1]
            self._from_state = (m, self._from_state[1])

    def __call__(self, x: Array, h: Array) -> Array:
        from_input = mbqm(self._input(x) - self._input_zero_point, *self._from_input)
        from_state = mbqm(self._state(h) - self._state_zero_point, *self._from_state)
        return np.clip(from_input.astype(np.int64) + from_state, -32768, 32767)


class _LayerNorm:
    """Normalizes the rows of a gate in float32, summing from left to right: PortableApplyLayerNormFloat."""

    def __init__(self, weights: Tensor, bias: Tensor):
        m, e = quantize_multiplier(float(single_scale(weights.spec)))
        self._scale = np.float32(m * 2.0 ** (e - 31))
        self._bias = bias.array.astype(np.float32) * (np.float32(2**-10) * self._scale)
        self._weights = weights.array.astype(np.float32)

    def __call__(self, gate: Array) -> Array:
        x = gate.astype(np.float32)
        n = np.float32(x.shape[1])
        mean = np.add.accumulate(x, axis=1)[:, -1:] / n
        variance = np.add.accumulate(x * x, axis=1)[:, -1:] / n - mean * mean
        with np.errstate(invalid="ignore"):
            inverse = np.float32(1) / np.sqrt(np.where(variance == 0, np.float32(1e-8), variance))
            y = (x - mean) * inverse * self._weights * self._scale + self._bias
            return np.clip(to_int32(round_half_away(y * np.float32(4096))), -32768, 32767)


class _Projection:
    def __init__(self, node: Node, cell: Cell, settings: Settings, rows: int):
        weights, h = cell.projection, cell.output_state.spec
        assert weights is not None and cell.projection_bias is not None
        scale = np.float32(float(single_scale(weights.spec)) * 2.0**-15 / float(single_scale(h)))
        self._m, self._e = quantize_multiplier(float(scale))
        self._matrix = IntegerMatrix(weights.array, rows, largest=32768, keep=True)
        self._bias = cell.projection_bias.array.astype(np.int64)
        self._zero_point = h.zero_point
        self._range = clip_range(settings.proj_clip, single_scale(node.outputs[0]), INT8)

    def __call__(self, hidden: Array) -> Array:
        accumulators = self._matrix.multiply(hidden.astype(self._matrix.dtype)).astype(np.int64)
        total = mbqm(accumulators + self._bias, self._m, self._e).astype(np.int64) + self._zero_point
        return np.clip(total, *self._range)


@functools.cache
def _table(function: str, exponent: int) -> Array:
    """The logistic function or tanh of every int16 times 2^exponent, in units of 2^-15, truncated."""
    x = all_quantized_values(np.int16) * 2.0**exponent
    if function == "tanh":
        y = np.tanh(x).astype(np.float32)
    else:
        y = np.float32(1) / (np.float32(1) + np.exp(-x).astype(np.float32))
    return np.clip((y * np.float32(32768)).astype(np.int32), -32768, 32767).astype(np.int16)


def _sigmoid(gate: Array) -> Array:
    return _table("logistic", -12)[gate]


def _tanh(gate: Array, exponent: int) -> Array:
    return _table("tanh", exponent)[gate]
