"""What the recurrent operators share besides their GEMM: activations, states, and the loop over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.recurrent.linear import Tensor
from tflgpu.ops.registry import Step, require
from tflgpu.ops.shape_rules import elements

# As arrays: NumPy is slower with scalars.
ONE, _MINUS_ONE = np.array(1, np.float32), np.array(-1, np.float32)


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


# tanh(x) ~ x + x^3 P(x^2) over 1 + x^2 Q(x^2), highest powers first; 1 from _TANH_LIMIT on.
_TANH_LIMIT = np.array(7.90738964080810547, np.float32)
_TANH_P = [np.array(c, np.float32) for c in (1.394553628e-8, 2.102733560e-5, 3.520756727e-3, 1.340216100e-1)]
_TANH_Q = [np.array(c, np.float32) for c in (8.015776984e-7, 3.326951409e-4, 2.597254514e-2, 4.673548340e-1)]


def upstream_tanh(x: Array, out: Array) -> None:
    """tanh, bit for bit as TensorFlow Lite's x86 build has it (Eigen's rational function, without fused operations).

    For states that are quantized next: one last bit at ±1 moves the zero point, and with it every quantized value.
    """
    x = np.minimum(np.maximum(x, -_TANH_LIMIT), _TANH_LIMIT)
    square = x * x
    p, q = square * _TANH_P[0], square * _TANH_Q[0]
    for a, b in zip(_TANH_P[1:], _TANH_Q[1:], strict=True):
        p += a
        q += b
        if a is not _TANH_P[-1]:
            p *= square
        q *= square
    p *= square * x
    p += x
    q += ONE
    np.divide(p, q, out=out)


def sigmoid(x: Array) -> None:
    """The logistic function in place. exp overflows to infinity, and the result to 0, where x is very negative."""
    # Not np.negative: in place it misreads strided rows of one element (NumPy 2.4).
    np.multiply(x, _MINUS_ONE, out=x)
    np.exp(x, out=x)
    np.add(x, ONE, out=x)
    np.reciprocal(x, out=x)


def frames(array: Array, time_major: bool, reverse: bool = False) -> list[Array]:
    """The views (n_batch, …) of a sequence at each time, in the order of the time steps."""
    count = array.shape[0 if time_major else 1]
    order = range(count - 1, -1, -1) if reverse else range(count)
    return [array[t] if time_major else array[:, t] for t in order]


def rows_of(sequence: Array) -> Array:
    """A view (frames of all batches, depth) of a contiguous sequence."""
    return sequence.reshape(sequence.shape[0] * sequence.shape[1], sequence.shape[2])


def state(tensor: Tensor, n_batch: int, n: int, what: str) -> Array:
    """A view (n_batch, n) of a variable tensor, which may be of any shape with as many elements."""
    check_state(tensor.spec, n_batch, n, what)
    return tensor.array.reshape(n_batch, n)


def check_state(spec: TensorSpec, n_batch: int, n: int, what: str) -> None:
    """Raises OpError where a tensor cannot be such a state."""
    require(spec.is_variable, f"{what} != nullptr was not true. ")
    require(elements(spec.shape) == n_batch * n, f"{spec}: {n_batch} x {n} elements expected. ")


def once_or_each_time(node: Node, varying: Sequence[int], make: Callable[[], Step]) -> Step:
    """make() where all inputs but the `varying` ones are constant; else a step that makes and runs it each invoke."""
    if all(spec is None or spec.data is not None for i, spec in enumerate(node.inputs) if i not in varying):
        return make()

    def step() -> None:
        make()()

    make()
    return step


def depths_of_directions(node: Node, forward: int, backward: int) -> list[int]:
    """The last dimension of each output of a bidirectional layer."""
    merged = node.options.merge_outputs
    require(len(node.outputs) == (1 if merged else 2), f"{len(node.outputs)} outputs. ")
    return [forward + backward] if merged else [forward, backward]


def outputs_of_directions(outputs: Sequence[Array], forward: int) -> Sequence[Array]:
    """Where the forward layer, of `forward` columns, and the backward layer write."""
    return outputs if len(outputs) == 2 else (outputs[0][..., :forward], outputs[0][..., forward:])


def check_auxiliary(x: TensorSpec, aux: TensorSpec, in_place_of_x: bool) -> None:
    """Raises OpError where an auxiliary input does not go with x. in_place_of_x: a layer has it for its input."""
    require(aux.type == "FLOAT32", f"{aux} must be FLOAT32. ")
    require(len(aux.shape) == 3 and aux.shape[:2] == x.shape[:2], "aux_input must be as long as the input. ")
    require(not in_place_of_x or aux.shape == x.shape, "aux_input must be of the input's shape. ")
