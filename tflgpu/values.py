"""Arrays as callers give and get them, and as kernels see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tflgpu.hints import layout
from tflgpu.model.graph import Array, CallersText, TensorSpec

_NUMBERS = {f"{kind}{bits}" for kind in ("INT", "UINT", "FLOAT") for bits in (8, 16, 32, 64)} - {"FLOAT8"}
PLAIN = frozenset(_NUMBERS | {"BOOL", "COMPLEX64", "COMPLEX128"})
"""The types whose arrays are the same to callers and kernels."""


def caller_dtype(spec: TensorSpec) -> np.dtype[Any]:
    """The dtype under which a tensor is shown. Raises ValueError where NumPy has none (bfloat16 without ml_dtypes)."""
    if spec.type == "STRING":
        return np.dtype(np.bytes_)
    if spec.type == "BFLOAT16":
        try:
            return np.dtype("bfloat16")
        except TypeError:
            raise ValueError("Invalid data-type for array: import ml_dtypes to use bfloat16 tensors") from None
    if spec.type in ("RESOURCE", "VARIANT"):
        return np.dtype(object)
    if spec.type.startswith("FLOAT8"):
        return np.dtype(np.int8)
    return spec.dtype


def to_caller(array: Array, spec: TensorSpec) -> Array:
    """A kernel's array as `get_tensor` returns it."""
    if spec.type in PLAIN:
        return array
    if spec.type == "STRING":
        if array.ndim == 0:
            return np.array(array[()], dtype=np.bytes_)
        return array
    if spec.type == "RESOURCE":
        return array.astype(object)
    shown = caller_dtype(spec)
    return array if array.dtype == shown else array.view(shown)


NARROW = {"INT4": (-8, 7), "UINT4": (0, 15), "INT2": (-2, 1)}
"""The values of types that callers give one to a byte."""


def from_caller(value: Any, spec: TensorSpec) -> Array:
    """What `set_tensor` was given, checked, as kernels see it. Raises ValueError with TensorFlow Lite's texts."""
    array = np.asarray(value)
    if spec.type in PLAIN and array.dtype == spec.dtype and array.shape == spec.shape:
        return array
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    got, want = type_name(array.dtype), spec.type
    if got != want and not (want in ("INT4", "INT2") and got == "INT8") and not (want == "UINT4" and got == "UINT8"):
        raise ValueError(
            f"Cannot set tensor: Got value of type {got} but expected type {want} for input {spec.index}, "
            f"name: {spec.name} "
        )
    if array.ndim != len(spec.shape):
        raise ValueError(
            f"Cannot set tensor: Dimension mismatch. Got {array.ndim} but expected {len(spec.shape)} "
            f"for input {spec.index}. {layout(array.shape, spec.shape)}".rstrip()
        )
    for axis, (d, expected) in enumerate(zip(array.shape, spec.shape, strict=True)):
        if d != expected:
            raise ValueError(
                f"Cannot set tensor: Dimension mismatch. Got {d} but expected {expected} "
                f"for dimension {axis} of input {spec.index}. {layout(array.shape, spec.shape)}".rstrip()
            )
    if want in NARROW:
        low, high = NARROW[want]
        if array.size and not low <= array.min() <= array.max() <= high:
            raise ValueError(f"Cannot set tensor: Values for {want} input must be between {low} and {high}.")
    if want == "STRING":
        return _bytes(array)
    if want == "BFLOAT16":
        return array.view(np.uint16)
    return array


def type_name(dtype: np.dtype[Any]) -> str:
    """The schema's name of a caller's dtype, NOTYPE for one that it does not have."""
    if dtype.kind in "SUO":
        return "STRING"
    if dtype.name == "bfloat16":
        return "BFLOAT16"
    name = {"bool": "BOOL"}.get(dtype.name, dtype.name.upper())
    known = ("FLOAT", "INT", "UINT", "BOOL", "COMPLEX")
    return name if name.startswith(known) and dtype.char not in "gG" else "NOTYPE"


def _bytes(array: Array) -> Array:
    """Strings of any NumPy kind as an object array of UTF-8."""
    out = np.empty(array.shape, object)
    for index in np.ndindex(array.shape):
        item: Any = array[index]
        if isinstance(item, str):
            item = item.encode()
        if not isinstance(item, bytes):
            raise ValueError(f"PyBytes_AsStringAndSize() failed: a string tensor cannot hold {type(item).__name__}.")
        out[index] = CallersText(item)
    return out


def at_random(details: Mapping[str, Any], generator: np.random.Generator, within: Any = None) -> Array:
    """A random input: floats in [-1, 1) or `within`, 8- and 16-bit integers in their range, others 0 or 1."""
    shape, dtype = tuple(int(d) for d in details["shape"]), np.dtype(details["dtype"])
    if dtype.kind in "SO":
        return np.full(shape, b"tflgpu", object)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        low, high = within or ((limits.min, limits.max) if dtype.itemsize <= 2 else (0, 1))
        return generator.integers(int(low), int(high), shape, endpoint=True).astype(dtype)
    low, high = within or (-1.0, 1.0)
    return generator.uniform(low, high, shape).astype(dtype)
