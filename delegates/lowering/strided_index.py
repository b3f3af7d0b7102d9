"""NumPy strides as index maps: the offsets of a view's elements in the array that it views."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tflgpu.delegates.expression import IndexMap, Term
from tflgpu.model.graph import Array, Shape


def standin(shape: Shape, dtype: npt.DTypeLike) -> Array:
    """An array of which only the strides matter: its memory is never touched, so never committed."""
    return np.empty(shape, dtype)


def is_view(view: Array, base: Array) -> bool:
    """Whether view's elements are base's. Empty arrays share nothing and are views all the same."""
    return view.size == 0 or np.may_share_memory(view, base)


def index_map(view: Array, base: Array, counter: str = "i") -> IndexMap:
    """The index in `base` of the i-th element of `view`, in C order. counter: i's name in C."""
    itemsize = base.itemsize
    dims: list[tuple[int, int]] = []
    for n, stride in zip(view.shape, view.strides, strict=True):
        if dims and dims[-1][1] == stride * n:  # dimensions that step as one
            dims[-1] = (dims[-1][0] * n, stride)
        elif n != 1:
            dims.append((n, stride))
    terms: list[Term] = []
    below = 1
    for axis, (n, stride) in reversed(list(enumerate(dims))):
        if stride:
            terms.insert(0, Term(below, n if axis else 0, stride // itemsize))
        below *= n
    return IndexMap((_address(view) - _address(base)) // itemsize, tuple(terms), counter)


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def broadcast_index(shape: Shape, out: Shape, counter: str = "i") -> IndexMap:
    """The index of the element of an array of `shape` that broadcasts to the i-th element of one of shape `out`."""
    base = standin(shape, np.uint8)
    return index_map(np.broadcast_to(base, out), base, counter)
