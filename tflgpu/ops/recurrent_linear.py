"""What the recurrent operators share: weights that rows are multiplied by, activations, and the walk over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from tflgpu.graph import Array, Node, TensorSpec
from tflgpu.ops.hybrid import HybridMatrix, RowQuantizer
from tflgpu.ops.registry import Step, require

WEIGHTS_8BIT = ("INT8", "UINT8")


class Tensor(NamedTuple):
    """An input of a node: what is known of it, and its storage."""

    spec: TensorSpec
    array: Array


class Linear(Protocol):
    def __call__(self, x: Array, out: Array) -> None:
        """out (rows, n) += x (rows, k) times weights (n, k) transposed."""


def linear(weights: Sequence[Tensor], rows: int, asymmetric: bool) -> Linear:
    """The product of `rows` rows with all the weights (n_j, k), one above the other. float32, or 8-bit (hybrid)."""
    matrix = np.concatenate([w.array for w in weights])
    if weights[0].spec.type == "FLOAT32":
        return _float_linear(matrix, rows)
    k = matrix.shape[1]
    scale = np.repeat([single_scale(w.spec) for w in weights], [len(w.array) for w in weights])
    quantizer = RowQuantizer(rows, k, asymmetric)
    hybrid = HybridMatrix(matrix, scale, rows, asymmetric, keep=True)

    def accumulate(x: Array, out: Array) -> None:
        hybrid.accumulate(quantizer(x), out)

    return accumulate


def _float_linear(matrix: Array, rows: int) -> Linear:
    product = np.empty((rows, len(matrix)), np.float32)
    transposed = matrix.T

    def accumulate(x: Array, out: Array) -> None:
        np.matmul(x, transposed, out=product)
        np.add(out, product, out=out)

    return accumulate


def single_scale(spec: TensorSpec) -> np.float32:
    """The scale of a tensor that these operators take quantized as a whole only."""
    require(
        spec.quantization is not None and not spec.quantization.per_channel,
        f"{spec} must be quantized with one scale. ",
    )
    return spec.scale


def check_weights(input_spec: TensorSpec, weights: Sequence[Tensor]) -> None:
    """Raises OpError where float inputs meet weights that are neither all float32 nor all of one 8-bit type."""
    require(input_spec.type == "FLOAT32", f"{input_spec} must be FLOAT32. ")
    kinds = {w.spec.type for w in weights}
    require(
        len(kinds) == 1 and kinds <= {"FLOAT32", *WEIGHTS_8BIT},
        f"weights of type {', '.join(sorted(kinds))} are not supported together; all FLOAT32, INT8 or UINT8 are. ",
    )
    for w in weights:
        require(w.spec.sparsity is None, f"{w.spec}: sparse weights are not supported here. ")


def _relu(x: Array, out: Array) -> None:
    np.maximum(x, np.float32(0), out=out)


def _relu_n1_to_1(x: Array, out: Array) -> None:
    np.clip(x, np.float32(-1), np.float32(1), out=out)


def _relu6(x: Array, out: Array) -> None:
    np.clip(x, np.float32(0), np.float32(6), out=out)


def _tanh(x: Array, out: Array) -> None:
    np.tanh(x, out=out)


def _sign_bit(x: Array, out: Array) -> None:
    np.copyto(out, np.signbit(x))


ACTIVATIONS: Mapping[str, Callable[[Array, Array], None]] = {
    "NONE": lambda x, out: np.copyto(out, x),
    "RELU": _relu,
    "RELU_N1_TO_1": _relu_n1_to_1,
    "RELU6": _relu6,
    "TANH": _tanh,
    "SIGN_BIT": _sign_bit,
}
"""(x, out): a float activation of x into out, which may be x."""


def sigmoid(x: Array) -> None:
    """The logistic function in place. exp overflows to infinity, and the result to 0, where x is very negative."""
    np.negative(x, out=x)
    np.exp(x, out=x)
    np.add(x, np.float32(1), out=x)
    np.reciprocal(x, out=x)


def frames(array: Array, time_major: bool, reverse: bool = False) -> list[Array]:
    """The views (n_batch, …) of a sequence at each time, in the order in which a cell meets them."""
    count = array.shape[0 if time_major else 1]
    order = range(count - 1, -1, -1) if reverse else range(count)
    return [array[t] if time_major else array[:, t] for t in order]


def rows_of(sequence: Array) -> Array:
    """A view (frames of all batches, depth) of a contiguous sequence."""
    return sequence.reshape(sequence.shape[0] * sequence.shape[1], sequence.shape[2])


def state(tensor: Tensor, n_batch: int, n: int, what: str) -> Array:
    """A view (n_batch, n) of a variable tensor, which may be of any shape with as many elements."""
    require(tensor.spec.is_variable, f"{what} != nullptr was not true. ")
    require(tensor.array.size == n_batch * n, f"{tensor.spec}: {n_batch} x {n} elements expected. ")
    return tensor.array.reshape(n_batch, n)


def once_or_each_time(node: Node, varying: Sequence[int], make: Callable[[], Step]) -> Step:
    """make() now, where every input but the `varying` ones is constant; otherwise a step that makes and runs it."""
    if all(spec is None or spec.data is not None for i, spec in enumerate(node.inputs) if i not in varying):
        return make()

    def step() -> None:
        make()()

    make()
    return step
