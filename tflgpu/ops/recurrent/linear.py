"""Matrix multiplies of the recurrent operators: of all time steps at once, or of one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tflgpu.arithmetic.fixed_point import rescaler, wrap
from tflgpu.model.graph import Array, TensorSpec
from tflgpu.ops.matmul.gemv import Linear, exact_gemm, gemm_with, hybrid_gemm
from tflgpu.ops.registry import require

WEIGHTS_8BIT = ("INT8", "UINT8")


class Tensor(NamedTuple):
    """An input of a node: its spec and its storage."""

    spec: TensorSpec
    array: Array


def linear(weights: Sequence[Tensor], rows: int, asymmetric: bool, often: bool = False, negated: int = 0) -> Linear:
    """The GEMM of `rows` rows with all the weights (n_j, k), stacked. float32, or 8-bit (hybrid).

    often: it runs at every time step, and may keep a float copy of the weights. negated: how many of the weights, from
    the first, have their sign changed.
    """
    if weights[0].spec.type == "FLOAT32":
        matrices = [-w.array if k < negated else w.array for k, w in enumerate(weights)]
        return _float_linear(np.concatenate(matrices), rows)
    matrix = np.concatenate([w.array for w in weights]).view(np.int8)
    scales = [single_scale(w.spec) * (-1 if k < negated else 1) for k, w in enumerate(weights)]
    scale = np.repeat(np.array(scales, np.float32), [len(w.array) for w in weights])
    return hybrid_gemm(matrix, scale, rows, asymmetric, often)


def _float_linear(matrix: Array, rows: int) -> Linear:
    gemm = gemm_with(matrix, rows)

    def accumulate(x: Array, out: Array) -> None:
        np.add(out, gemm(x), out=out)

    return accumulate


def single_scale(spec: TensorSpec) -> np.float32:
    """The scale of a tensor, which these operators require to be quantized as a whole. Raises OpError for others."""
    require(
        spec.quantization is not None and not spec.quantization.per_channel,
        f"{spec} must be quantized with one scale. ",
    )
    return spec.scale


def check_weights(input_spec: TensorSpec, weights: Sequence[TensorSpec]) -> None:
    """Raises OpError where float inputs meet weights that are neither all float32 nor all of one 8-bit type."""
    require(input_spec.type == "FLOAT32", f"{input_spec} must be FLOAT32. ")
    kinds = {w.type for w in weights}
    require(
        len(kinds) == 1 and kinds <= {"FLOAT32", *WEIGHTS_8BIT},
        f"weights of type {', '.join(sorted(kinds))} are not supported together; all FLOAT32, INT8 or UINT8 are. ",
    )
    for w in weights:
        require(w.sparsity is None, f"{w}: sparse weights are not supported here. ")
        if w.type != "FLOAT32":
            single_scale(w)


class QuantizedLinear:
    """int8 rows (rows, k) times weights transposed, plus biases, rescaled by column: int64."""

    def __init__(self, weights: Array, biases: Array, multipliers: tuple[Array, Array], rows: int):
        self._gemm, dtype = exact_gemm(weights, rows)
        self._quantized = np.empty((rows, weights.shape[1]), dtype)
        # As rows: to a single row NumPy adds a row in a third of the time that a vector takes.
        self._biases, self._rescale = biases.reshape(1, -1), rescaler(*(array.reshape(1, -1) for array in multipliers))
        # Without large biases no accumulator exceeds 32 bits.
        largest = int(np.abs(biases).max(initial=0)) + (weights.shape[1] << 14)
        self._wraps = largest > 2**31 - 1
        self._scratch = np.empty((rows, len(weights)), np.int64)

    def __call__(self, x: Array, out: Array) -> None:
        self._quantized[...] = x
        out[...] = self._gemm(self._quantized)
        np.add(out, self._biases, out=out)
        if self._wraps:
            out[...] = wrap(out)
        self._rescale(out, self._scratch)
