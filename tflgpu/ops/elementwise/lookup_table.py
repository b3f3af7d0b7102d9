"""Unary operators on 8- and 16-bit quantized values: a function of the value, run as a lookup table where that pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from tflgpu.arithmetic.lookup_tables import all_quantized_values
from tflgpu.model.graph import Array
from tflgpu.ops.cache_blocks import blocked, in_order
from tflgpu.ops.registry import OpError, Step

TABLE_FROM = 1 << 15
"""Elements from which a table of all 65,536 values is worth its preparation."""

_CHUNK = 1 << 16


@dataclass(frozen=True)
class QuantizedUnary:
    """What an operator does to quantized values: function takes an array of them (any integer type) to the results.

    Values below `lowest` are refused with `message`.
    """

    function: Callable[[Array], Array]
    lowest: int | None = None
    message: str = ""


def quantized_unary_step(op: QuantizedUnary, x: Array, y: Array) -> Step:
    """A step that fills y with op.function of the quantized values x."""
    if x.dtype.itemsize > 2 or (x.dtype.itemsize == 2 and y.size < TABLE_FROM):
        step = blocked(lambda a, out: np.copyto(out, op.function(a), casting="unsafe"), [x], y)
    else:
        table = op.function(all_quantized_values(x.dtype)).astype(y.dtype)
        step = table_step(table, x, y)
    if op.lowest is None or op.lowest <= np.iinfo(x.dtype).min:
        return step
    return _checked(step, x, op.lowest, op.message)


def _checked(step: Step, x: Array, lowest: int, message: str) -> Step:
    def check_and_step() -> None:
        if x.size and x.min() < lowest:
            raise OpError(message)
        step()

    return check_and_step


def table_step(table: Array, x: Array, y: Array) -> Step:
    """A step that fills y with table at the bits of x."""
    unsigned = x.reshape(-1).view(f"u{x.dtype.itemsize}")
    if y.size == 0:
        return lambda: None
    if table.itemsize == 1 and x.dtype.itemsize == 1:
        return _translate_step(table.tobytes(), unsigned, y)
    # Out of range cannot be; "clip" spares NumPy the check that may raise, and with it a copy of the output.
    return blocked(lambda a, out: table.take(a, out=out, mode="clip"), [unsigned], y.reshape(-1), limit=_CHUNK)


def _translate_step(table: bytes, x: Array, y: Array) -> Step:
    # bytes.translate is twice as fast as np.take, which widens every index to 64 bits; the copies are cheap.
    target = y.reshape(-1).view(np.uint8).data

    def translate(quantized: Array, out: memoryview) -> None:
        out[:] = quantized.tobytes().translate(table)

    calls = [partial(translate, x[i : i + _CHUNK], target[i : i + _CHUNK]) for i in range(0, x.size, _CHUNK)]
    return in_order(calls)
