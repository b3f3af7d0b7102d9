"""The most common LSTM cell in float32, with few NumPy calls for each time step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tflgpu.model.graph import Array
from tflgpu.ops.fused_activation import clamp
from tflgpu.ops.recurrent.linear import linear
from tflgpu.ops.recurrent.lstm_tensors import Cell, Settings
from tflgpu.ops.recurrent.sequence import ONE, state


def is_common(cell: Cell, settings: Settings) -> bool:
    """Whether QuickCell computes it: four gates and tanh; no peepholes, layer norms, projection, diagonal weights."""
    beside = cell.peephole or cell.layer_norm or cell.diagonal or cell.projection
    return settings.activation == "TANH" and "i" in cell.gates and not beside


class QuickCell:
    """A cell of n_batch rows; `walk` runs it over a sequence.

    What a sigmoid would multiply is divided by 1 + exp(-sum) instead, so that the sums of the first `negated` gates in
    `order` are computed negated.
    """

    order = "fioc"
    negated = 3

    def __init__(self, cell: Cell, settings: Settings, n_batch: int):
        n = cell.n_cell
        self.width = 4 * n
        self._output = state(cell.output_state, n_batch, n, "output_state")
        self._cell = state(cell.cell_state, n_batch, n, "cell_state")
        weights = [cell.recurrent_weights[g] for g in self.order]
        self._recurrent = linear(weights, n_batch, settings.asymmetric, often=True, negated=self.negated)
        biases = [cell.bias[g].array for g in self.order]
        self.start = np.concatenate([-b if k < self.negated else b for k, b in enumerate(biases)])
        self._clip = np.array(settings.cell_clip, np.float32)
        self._clips = settings.cell_clip > 0
        self._sums = np.empty((n_batch, 4 * n), np.float32)
        # The cell's state and the activated cell gate side by side, as the forget and input gates are.
        self._pair = np.empty((n_batch, 2 * n), np.float32)

    def walk(self, times: Sequence[tuple[Array, Array]]) -> None:
        """times: for each time step the gates' sums without the state's term, and where the output goes."""
        n, sums, pair = self._cell.shape[1], self._sums, self._pair
        clip, clips = self._clip, self._clips
        sigmoids, of_pair, of_output, of_update = (
            sums[:, columns] for columns in (slice(3 * n), slice(2 * n), slice(2 * n, 3 * n), slice(3 * n, None))
        )
        cell, update = pair[:, :n], pair[:, n:]
        cell[...] = self._cell
        output, recurrent = self._output, self._recurrent
        for before, y in times:
            sums[...] = before
            recurrent(output, sums)
            np.exp(sigmoids, sigmoids)
            np.add(sigmoids, ONE, sigmoids)
            np.tanh(of_update, update)
            np.divide(pair, of_pair, pair)
            np.add(cell, update, cell)
            if clips:
                clamp(cell, -clip, clip, cell)
            np.tanh(cell, y)
            np.divide(y, of_output, y)
            output = y
        self._output[...] = output
        self._cell[...] = cell
