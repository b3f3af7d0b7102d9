"""Binary operators on quantized values: what they do to two values, and how that is done to arrays of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tflgpu.arithmetic.lookup_tables import all_quantized_values
from tflgpu.model.graph import Array
from tflgpu.ops.cache_blocks import BLOCK, blocked
from tflgpu.ops.elementwise.elementwise import InPlace
from tflgpu.ops.fused_activation import clamp
from tflgpu.ops.registry import Step

TABLE_FROM = 4096
"""Elements from which a table of all pairs of 8-bit values is worth its preparation, which takes a millisecond."""


@dataclass(frozen=True)
class QuantizedBinary:
    """What an operator does to quantized values.

    prepare: gives compute(a, b, out, *scratch), where a and b broadcast to out. scratch: the types of its scratch
    arrays, of out's shape.
    """

    prepare: Callable[[], InPlace]
    scratch: tuple[type, ...] = ()


def by_tables(
    join: np.ufunc, first: Array, second: Array, multiplier: tuple[int, int], zero_point: int, lo: int, hi: int
) -> InPlace:
    """join(first[a], second[b]), rescaled, plus zero_point, clamped: for 8-bit values, which index the tables by bits.

    The function of (a, b, out, u, v), u and v int64 scratch.
    join: np.add, np.subtract or np.multiply. first, second: 256 int64 each, below 2^30. multiplier: (m, e) with e <= 0,
    as fixed_point.mbqm takes them; what it does to a sum or a product is done to the tables as far as it can be.
    """
    m, e = multiplier
    # What both roundings add, one half each, is added beforehand; that of the second with the zero point.
    up, shift, sign_bit, right = (np.array(n, np.int64) for n in (1 << 30, 31, 63, -e))
    after = np.array((zero_point << -e) + ((1 << -e) >> 1), np.int64)
    low, high = np.array(lo, np.int64), np.array(hi, np.int64)
    summed = join is not np.multiply
    first, second = (first * m + up if summed else first), second * m

    def compute(a: Array, b: Array, out: Array, u: Array, v: Array) -> None:
        if a.shape == b.shape:
            join(first.take(a, None, u, "wrap"), second.take(b, None, v, "wrap"), u)
        else:
            join(first.take(a, mode="wrap"), second.take(b, mode="wrap"), u)
        if not summed:
            np.add(u, up, u)
        if e:
            # One less for what is negative, so that ties go away from zero.
            np.right_shift(u, sign_bit, v)
            np.right_shift(u, shift, u)
            np.add(u, v, u)
        else:
            np.right_shift(u, shift, u)
        np.add(u, after, u)
        np.right_shift(u, right, u)
        clamp(u, low, high, u)
        out[...] = u

    return compute


def quantized_binary_step(op: QuantizedBinary, inputs: Sequence[Array], y: Array) -> Step:
    """A step that fills y with op of the two quantized inputs, by a table of all pairs where that pays."""
    if any(x.dtype.itemsize > 1 for x in inputs) or y.size < TABLE_FROM:
        return blocked(op.prepare(), inputs, y, scratch=op.scratch)
    flat = _table_of_pairs(op, inputs[0].dtype, inputs[1].dtype, y.dtype).reshape(-1)

    def look_up(a: Array, b: Array, out: Array, index: Array) -> None:
        np.multiply(a, np.uint16(256), out=index, dtype=np.uint16)
        np.bitwise_or(index, b, out=index)
        flat.take(index, out=out, mode="clip")

    return blocked(look_up, [x.view(np.uint8) for x in inputs], y, scratch=[np.uint16], limit=1 << 16)


def _table_of_pairs(op: QuantizedBinary, first: np.dtype, second: np.dtype, out: np.dtype) -> Array:
    """op of every value of one 8-bit type and every value of another, (256, 256), in the order of their bits."""
    compute, table, count = op.prepare(), np.empty((256, 256), out), BLOCK // 256
    scratch: list[Array] = [np.empty((count, 256), dtype) for dtype in op.scratch]
    rows, columns = all_quantized_values(first)[:, None], all_quantized_values(second)[None, :]
    for start in range(0, 256, count):
        block = slice(start, start + count)
        compute(rows[block], columns, table[block], *scratch)
    return table
