"""Values to feed: at random, at the edges of every type, within a range, or given."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from tflgpu.model.graph import DTYPES, Array

Values = str | Array
"""normal, special, positive, unit, wide, nonzero, small, below:N, within:LOW:HIGH, whole:LOW:HIGH, or an array."""

_INTEGERS = {"INT4": (-7, 7), "UINT4": (0, 15), "INT2": (-1, 1)}


def drawn(values: Values, type: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """An array of a schema type and a shape."""
    if isinstance(values, np.ndarray):
        return values
    dtype = DTYPES[type]
    kind, *bounds = values.split(":")
    if type == "STRING":
        return _strings(shape, rng)
    if kind == "special":
        return _special(type, shape, rng)
    if dtype.kind == "b":
        return np.asarray(rng.integers(0, 2, shape)).astype(np.bool_)
    if type in ("BFLOAT16",):
        return _bfloat16(np.asarray(rng.normal(size=shape) * 2, np.float32))
    if dtype.kind == "f":
        return _floats(kind, [float(b) for b in bounds], shape, rng).astype(dtype)
    if dtype.kind == "c":
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    return _whole(kind, [int(b) for b in bounds], type, shape, rng)


def _floats(kind: str, bounds: list[float], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if kind == "within":
        return np.asarray(rng.uniform(bounds[0], bounds[1], shape))
    if kind == "whole":
        return np.asarray(rng.integers(int(bounds[0]), int(bounds[1]), shape, endpoint=True), np.float64)
    if kind == "positive":
        return np.asarray(rng.uniform(0.05, 8, shape))
    if kind == "unit":
        return np.asarray(rng.uniform(-1, 1, shape))
    if kind == "wide":
        return np.asarray(np.exp(rng.uniform(-60, 60, shape)) * rng.choice([-1.0, 1.0], shape))
    if kind == "nonzero":
        return np.asarray(rng.uniform(0.1, 4, shape) * rng.choice([-1.0, 1.0], shape))
    x = np.asarray(rng.normal(size=shape) * 2)
    x.reshape(-1)[3::13] = 0.0
    return x


def _whole(kind: str, bounds: list[int], type: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    dtype = DTYPES[type]
    low, high = _INTEGERS.get(type) or (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    if kind == "below":
        low, high = 0, bounds[0] - 1
    elif kind in ("within", "whole"):
        low, high = bounds
    elif kind == "small":
        low, high = max(low, -8), min(high, 8)
    elif kind == "positive":
        low, high = 1, min(high, 1000)
    elif dtype.itemsize >= 4:
        low, high = max(low, -1000), 1000
    found = np.asarray(rng.integers(low, high, shape, dtype, endpoint=True))
    if kind == "nonzero":
        found[found == 0] = 3
    return found


_EDGES = (
    *(0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, 6.0, 88.7, -104.0),
    *(1e-42, -1e-42, 1.17549435e-38, -1.17549435e-38, 3.4028235e38, -3.4028235e38, 1e-7, 16777217.0),
)


def _special(type: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """The edges of a type in order, as often as they fit, from an offset that each draw chooses."""
    dtype = DTYPES[type]
    edges: Array
    with np.errstate(all="ignore"):
        if type == "BFLOAT16":
            edges = _bfloat16(np.array(_EDGES, np.float32))
        elif dtype.kind == "f":
            edges = np.array(_EDGES, np.float64).astype(dtype)
        elif dtype.kind == "b":
            edges = np.array([True, False])
        elif dtype.kind == "c":
            edges = np.array(_EDGES[:8], dtype)
        else:
            low, high = _INTEGERS.get(type) or (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
            found = {low, low + 1, -1, 0, 1, 2, high - 1, high, low // 2, high // 2}
            edges = np.array(sorted(v for v in found if low <= v <= high), dtype)
    return np.asarray(np.resize(np.roll(edges, int(rng.integers(edges.size))), shape))


def _bfloat16(x: Array) -> Array:
    bits = np.asarray(np.ascontiguousarray(x).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return bits.view(import_module("ml_dtypes").bfloat16).reshape(x.shape)


def _strings(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    words: list[Any] = [b"", b"a", b"delegate", b"\xc3\xa9t\xc3\xa9"]
    found = np.empty(shape, object)
    found.reshape(-1)[:] = [words[int(k)] for k in rng.integers(0, len(words), found.size)]
    return found
