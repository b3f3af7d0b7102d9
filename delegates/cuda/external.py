"""Arrays that callers have on a GPU, as `__cuda_array_interface__` describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tflgpu.model.graph import Shape, TensorSpec

VECTOR = 16
"""Bytes of the widest load that a kernel makes."""


class Described(Protocol):
    """An array that says where on the GPU it is."""

    __cuda_array_interface__: Mapping[str, Any]


def described(array: Any, spec: TensorSpec, cupy: Any) -> Described:
    """The array as one that says where it is. Raises ValueError where it exchanges itself in neither way."""
    if hasattr(array, "__cuda_array_interface__"):
        return array
    if not hasattr(array, "__dlpack__"):
        raise ValueError(f"{spec}: {type(array).__name__} has neither __cuda_array_interface__ nor __dlpack__")
    return cupy.from_dlpack(array)


def address_of(interface: Mapping[str, Any], spec: TensorSpec) -> tuple[int, int]:
    """Where the array is, and its bytes. Raises ValueError where type, shape, order or address does not fit spec."""
    shape, dtype, address = tuple(interface["shape"]), np.dtype(interface["typestr"]), interface["data"][0]
    if (shape, dtype) != (spec.shape, spec.dtype):
        raise ValueError(f"{spec}: the array is {dtype.name} {list(shape)}")
    if not contiguous(shape, interface.get("strides"), dtype.itemsize) or address % VECTOR:
        raise ValueError(f"{spec}: the array must be C-contiguous and begin at a multiple of {VECTOR} bytes")
    return address, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def contiguous(shape: Shape, strides: Sequence[int] | None, itemsize: int) -> bool:
    """Whether strides, in bytes, are those of C order; None are."""
    if strides is None or 0 in shape:
        return True
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != itemsize:
            return False
        itemsize *= size
    return True
