"""How an output's shape follows from the inputs' where many operators share the rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tflgpu.model.graph import Node, Shape
from tflgpu.ops.registry import OpError


def same_as_input(node: Node) -> list[Shape]:
    """Every output has the shape of the first input."""
    return [node.input(0).shape] * len(node.outputs)


def broadcast(*shapes: Shape) -> Shape:
    """The shape that all of `shapes` broadcast to, NumPy's rule. Raises OpError with TensorFlow Lite's text."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    out = tuple(next((d for d in dims if d != 1), 1) for dims in zip(*padded, strict=True))
    if any(d not in (1, o) for s in padded for d, o in zip(s, out, strict=True)):
        text = " and ".join("[" + ",".join(map(str, s)) + "]" for s in shapes)
        raise OpError(f"Given shapes, {text}, are not broadcastable. ")
    return out


def broadcast_inputs(node: Node) -> list[Shape]:
    """The output has the shape that all inputs broadcast to."""
    return [broadcast(*(spec.shape for spec in node.inputs if spec is not None))]


def normalized_axis(axis: int, rank: int) -> int:
    """`axis` counted from the front. Raises OpError where it is out of range."""
    if not -rank <= axis < rank:
        raise OpError(f"axis {axis} is out of range for rank {rank}. ")
    return axis % rank if rank else 0


def window_size(
    size: int, window: int, stride: int, dilation: int, padding: str, strict: bool = False
) -> tuple[int, int]:
    """Output size and padding before, for a window sliding over `size` elements with padding "SAME" or "VALID".

    A window that is too large gives size 0; strict, as in convolutions: OpError where it is too large by `stride`.
    """
    effective = (window - 1) * dilation + 1
    if stride <= 0 or dilation <= 0:
        raise OpError(f"stride {stride} and dilation {dilation} must be positive. ")
    out = -(-size // stride) if padding == "SAME" else (size + stride - effective) // stride
    if strict and padding == "VALID" and size + 2 * stride <= effective:
        raise OpError(f"a window of {effective} elements does not fit into {size}. ")
    out = max(out, 0)
    return out, max(0, (out - 1) * stride + effective - size) // 2


def elements(shape: Sequence[int]) -> int:
    """The number of elements of a shape, in unbounded integers."""
    n = 1
    for d in shape:
        n *= int(d)
    return n


def sized(dimensions: Iterable[int]) -> Shape:
    """Dimensions read from a tensor's value, as a shape. Raises OpError where no tensor can have it."""
    shape = tuple(int(d) for d in dimensions)
    if any(d < 0 for d in shape):
        raise OpError(f"output shape {list(shape)} has a negative dimension. ")
    if elements(shape) >= 2**31:
        raise OpError(f"output shape {list(shape)}: BytesRequired number of elements overflowed.\n")
    return shape
