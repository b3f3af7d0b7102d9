"""Products of rows with weights, as the recurrent operators take them: once for all times, or anew at every time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tflgpu.arithmetic.fixed_point import rescaler, wrap
from tflgpu.model.graph import Array, TensorSpec
from tflgpu.ops.matmul.gemv import Linear, exact_product, hybrid_product, product_with
from tflgpu.ops.registry import require

WEIGHTS_8BIT = ("INT8", "UINT8")


class Tensor(NamedTuple):
    """An input of a node: what is known of it, and its storage."""

    spec: TensorSpec
    array: Array


def linear(weights: Sequence[Tensor], rows: int, asymmetric: bool, often: bool = False, negated: int = 0) -> Linear:
    """The product of `rows` rows with all the weights (n_j, k), one above the other. float32, or 8-bit (hybrid).

    often: taken at every time of a sequence; it may keep a float copy of the weights. negated: so many of the weights,
    the first, are taken with the opposite sign.
    """
    if weights[0].spec.type == "FLOAT32":
        parts = [-w.array if k < negated else w.array for k, w in enumerate(weights)]
        return _float_linear(np.concatenate(parts), rows)
    matrix = np.concatenate([w.array for w in weights]).view(np.int8)
    scales = [single_scale(w.spec) * (-1 if k < negated else 1) for k, w in enumerate(weights)]
    scale = np.repeat(np.array(scales, np.float32), [len(w.array) for w in weights])
    return hybrid_product(matrix, scale, rows, asymmetric, often)


def _float_linear(matrix: Array, rows: int) -> Linear:
    product = product_with(matrix, rows)

    def accumulate(x: Array, out: Array) -> None:
        np.add(out, product(x), out=out)

    return accumulate


def single_scale(spec: TensorSpec) -> np.float32:
    """The scale of a tensor that these operators take quantized as a whole only."""
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


class CodesProduct:
    """codes (rows, k) of int8 times weights transposed, plus biases, rescaled by column: int64."""

    def __init__(self, weights: Array, biases: Array, multipliers: tuple[Array, Array], rows: int):
        self._product, dtype = exact_product(weights, rows)
        self._codes = np.empty((rows, weights.shape[1]), dtype)
        # As rows: to a single row NumPy adds a row in a third of the time that a vector takes.
        self._biases, self._rescale = biases.reshape(1, -1), rescaler(*(part.reshape(1, -1) for part in multipliers))
        # Without large biases no sum leaves 32 bits.
        largest = int(np.abs(biases).max(initial=0)) + (weights.shape[1] << 14)
        self._wraps = largest > 2**31 - 1
        self._scratch = np.empty((rows, len(weights)), np.int64)

    def __call__(self, x: Array, out: Array) -> None:
        self._codes[...] = x
        out[...] = self._product(self._codes)
        np.add(out, self._biases, out=out)
        if self._wraps:
            out[...] = wrap(out)
        self._rescale(out, self._scratch)
