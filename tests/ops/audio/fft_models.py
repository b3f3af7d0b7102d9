"""Models of one Fourier transform, and what NumPy makes of their inputs in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from oracle import one_op

Array = np.ndarray[Any, Any]
SIZES = (1, 2, 3, 4, 5, 7, 12, 17, 30, 97, 128, 240, 256)
OTHERS = {"FLOAT32": "COMPLEX64", "COMPLEX64": "FLOAT32", "FLOAT64": "COMPLEX128", "COMPLEX128": "FLOAT64"}


def model(op: str, type: str, shape: Sequence[int], lengths: Sequence[int], constant: bool = True) -> bytes:
    """x of a type and shape, transformed by an operator; lengths: of the last dimensions in the time domain."""
    out = list(shape[: len(shape) - len(lengths)]) + list(lengths)
    inputs: list[Any] = [{"type": type, "shape": list(shape)}]
    if "R" in op:
        inputs.append(np.array(lengths, np.int32) if constant else {"type": "INT32", "shape": [len(lengths)]})
        out[-1] = lengths[-1] if "IR" in op else lengths[-1] // 2 + 1
    kind = OTHERS[type] if "R" in op else type
    custom = {"custom": b""} if op.startswith("Flex") else {}
    return one_op(op, inputs, [{"type": kind, "shape": out}], **custom)


def values(type: str, shape: Sequence[int], seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=tuple(shape))
    return np.asarray(x + 1j * rng.normal(size=x.shape) if "COMPLEX" in type else x).astype(type.lower())


def transformed(op: str, x: Array, lengths: Sequence[int]) -> Array:
    """The transform in float64, rounded once to the width of x."""
    wide = x.astype(np.result_type(x, np.float64))
    name = op.removeprefix("Flex").removesuffix("2D").lower()
    axes = range(-len(lengths), 0)
    if "R" not in op:
        found = getattr(np.fft, name + "n")(wide, axes=axes)
    else:
        kept = [*lengths[:-1], lengths[-1] // 2 + 1 if "IR" in op else lengths[-1]]
        cropped = wide[(..., *(slice(0, n) for n in kept))]
        found = getattr(np.fft, name + "n")(cropped, lengths, axes=axes)
    narrow = x.dtype in (np.float32, np.complex64)
    return found.astype({"c": np.complex64, "f": np.float32}[found.dtype.kind]) if narrow else found
