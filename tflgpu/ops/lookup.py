"""Unary operators on 8- and 16-bit codes: a function of the code, run as a table wherever that pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tflgpu.graph import Array, Node
from tflgpu.ops import registry
from tflgpu.ops.cache_blocks import blocked, in_order
from tflgpu.ops.registry import OpError, Step

TABLE_FROM = 1 << 15
"""Elements from which a table of all 65,536 codes is worth its preparation."""

_CHUNK = 1 << 16


@dataclass(frozen=True)
class CodeMap:
    """What an operator does to a code: function takes an array of codes (any integer type) to an array of results.

    Codes below `lowest` are refused with `message`.
    """

    function: Callable[[Array], Array]
    lowest: int | None = None
    message: str = ""


UNARY: set[str] = set()
"""Operators of one input whose output element depends on the input element at its place alone."""


def all_codes(dtype: np.dtype) -> Array:
    """Every value of an 8- or 16-bit integer type, in the order of its bits as an unsigned number."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    return np.arange(1 << (8 * dtype.itemsize)).astype(unsigned).view(dtype)


def codes_step(mapping: CodeMap, x: Array, y: Array) -> Step:
    """A step that fills y with mapping.function of the codes x."""
    if x.dtype.itemsize > 2 or (x.dtype.itemsize == 2 and y.size < TABLE_FROM):
        step = blocked(lambda a, out: np.copyto(out, mapping.function(a), casting="unsafe"), [x], y)
    else:
        table = mapping.function(all_codes(x.dtype)).astype(y.dtype)
        step = table_step(table, x, y)
    if mapping.lowest is None or mapping.lowest <= np.iinfo(x.dtype).min:
        return step
    return _checked(step, x, mapping.lowest, mapping.message)


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
    return blocked(lambda a, out: np.take(table, a, out=out, mode="clip"), [unsigned], y.reshape(-1), limit=_CHUNK)


def _translate_step(table: bytes, x: Array, y: Array) -> Step:
    # bytes.translate is twice as fast as np.take, which widens every index to 64 bits; the copies are cheap.
    target = memoryview(y.reshape(-1).view(np.uint8))  # type: ignore[arg-type]

    def translate(codes: Array, out: memoryview) -> None:
        out[:] = codes.tobytes().translate(table)

    calls = [partial(translate, x[i : i + _CHUNK], target[i : i + _CHUNK]) for i in range(0, x.size, _CHUNK)]
    return in_order(calls)


def lut8(node: Node) -> Array | None:
    """The results of a unary node on all 256 codes of its 8-bit input, indexed by the code's bits.

    None where the node is no such node, or where it refuses some code.
    """
    source = node.optional(0)
    if node.op not in UNARY or len(node.inputs) != 1 or source is None or source.dtype.itemsize != 1:
        return None
    if any(spec.quantization is not None and spec.quantization.per_channel for spec in (source, *node.outputs)):
        return None
    codes = all_codes(np.dtype(np.uint8)).view(source.dtype)
    target = replace(node.outputs[0], shape=(256,))
    result = np.zeros(256, target.dtype)
    flat = replace(node, inputs=(replace(source, shape=(256,), data=None),), outputs=(target,))
    try:
        with np.errstate(all="ignore"):
            registry.OPS[node.op].run(flat, (codes,), (result,))()
    except OpError:
        return None
    return result
