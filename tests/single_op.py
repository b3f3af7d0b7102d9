"""Arrays of every element type, and one node compared with LiteRT's reference resolver."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import assert_same, litert, one_op, tflgpu_run

FIXED_SIZE = [
    "FLOAT32",
    "FLOAT16",
    "BFLOAT16",
    "FLOAT64",
    "INT8",
    "UINT8",
    "INT16",
    "UINT16",
    "INT32",
    "UINT32",
    "INT64",
    "UINT64",
    "BOOL",
    "COMPLEX64",
]


def example(type: str, shape: tuple[int, ...], seed: int = 0) -> Any:
    """Random values of an element type that differ from one another as far as the type allows."""
    rng = np.random.default_rng(seed)
    if type == "STRING":
        words = [bytes(rng.integers(97, 123, rng.integers(0, 5), np.uint8)) for _ in range(int(np.prod(shape)))]
        array = np.empty(len(words), object)
        array[:] = words
        return array.reshape(shape)
    if type == "BOOL":
        return rng.integers(0, 2, shape).astype(np.bool_)
    if type == "BFLOAT16":
        bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
        return rng.standard_normal(shape).astype(bfloat16)
    if type == "COMPLEX64":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    if type == "INT4":
        return rng.integers(-8, 8, shape).astype(np.int8)
    dtype = np.dtype(type.lower())
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(max(info.min, -(2**62)), min(info.max, 2**62), shape, np.int64, endpoint=True).astype(dtype)


def model_of(op: str, x: Any, type: str, *inputs: Any, outputs: int = 1, **options: Any) -> bytes:
    """A model of one node: x of a type, further inputs: (array, type) or an array for a constant, or a dict."""
    first = {"type": type, "shape": x.shape}
    ins = [{"value": i[0], "type": i[1]} if isinstance(i, tuple) else i for i in inputs]
    return one_op(op, [first, *ins], [{"type": type, "shape": ()}] * outputs, **options)


def same_as_litert(data: bytes, *values: Any, resolver: str = "BUILTIN_REF") -> list[Any]:
    """Holds tflgpu to LiteRT on one model; returns the outputs."""
    got = tflgpu_run(data, values)
    assert_same(got, litert(data, values, resolver))
    return got


def refused_by_both(data: bytes, *values: Any, match: str | None = None) -> None:
    """Both raise: ours with a text that matches."""
    with pytest.raises((RuntimeError, ValueError)):
        litert(data, values)
    with pytest.raises((RuntimeError, ValueError), match=match):
        tflgpu_run(data, values)
