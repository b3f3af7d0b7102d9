"""NumPy strides as C: where the elements of a view lie in the array that it views."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tflgpu.model.graph import Array, Shape


def standin(shape: Shape, dtype: npt.DTypeLike) -> Array:
    """An array of which only the strides matter: its memory is never touched, so never committed."""
    return np.empty(shape, dtype)


def is_view(view: Array, base: Array) -> bool:
    """Whether view's elements are base's. Empty arrays share nothing and are views all the same."""
    return view.size == 0 or np.may_share_memory(view, base)


def index(view: Array, base: Array, i: str = "i") -> str:
    """C for: the element of `base` that the i-th element of `view`, in C order, is. i: the counter's name."""
    start, rest = start_and_index(view, base, i)
    if not start:
        return rest
    return f"({start})" if rest == "(0)" else f"({start} + {rest[1:-1]})"


def start_and_index(view: Array, base: Array, i: str = "i") -> tuple[int, str]:
    """The element of `base` that the first of `view` is, and C for how far from there the i-th is."""
    itemsize = base.itemsize
    dims: list[tuple[int, int]] = []
    for n, stride in zip(view.shape, view.strides, strict=True):
        if dims and dims[-1][1] == stride * n:  # dimensions that step as one
            dims[-1] = (dims[-1][0] * n, stride)
        elif n != 1:
            dims.append((n, stride))
    terms: list[str] = []
    below = 1
    for place, (n, stride) in reversed(list(enumerate(dims))):
        position = i if below == 1 else f"{i} / {below}"
        position = position if place == 0 else f"{position} % {n}"
        if stride:
            terms.insert(0, position if stride == itemsize else f"{position} * {stride // itemsize}")
        below *= n
    return (_address(view) - _address(base)) // itemsize, "(" + (" + ".join(terms) or "0") + ")"


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def broadcast_index(shape: Shape, out: Shape, i: str = "i") -> str:
    """C for: the element of an array of `shape` that broadcasts to the i-th of one of shape `out`."""
    base = standin(shape, np.uint8)
    return index(np.broadcast_to(base, out), base, i)
