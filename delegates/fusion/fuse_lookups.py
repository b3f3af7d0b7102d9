"""Operators on 8-bit values that are all made of the values of one tensor become one lookup by these, as in swish."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm
from tflgpu.delegates.fusion.steps import PassContext, Steps, Uses, with_ops
from tflgpu.delegates.ir import BYTES, Lookup, Rescaled, entries_of
from tflgpu.delegates.launch import Buffer, Op, Packed, Ref
from tflgpu.model.graph import Array


@dataclass(frozen=True, eq=False)
class Made:
    """What a tensor's values are made of: the tensor `of`, of type `kind`, by a table of its 256 values."""

    of: Ref
    kind: str
    table: Callable[[], Array]


def fuse_lookups(steps: Steps, context: PassContext) -> Steps:
    """Lookups of lookups, sums and products as one lookup each; those that nothing reads any more are gone."""
    search = _Search(Uses(steps, context), context)
    ops: dict[int, Op | None] = {}
    made_at: dict[int, Ref] = {}
    for position, step in enumerate(steps):
        op = step.op
        found = search.made(op) if isinstance(op, Lookup | Rescaled) and isinstance(op.out, Ref) else None
        if found is None:
            continue
        assert isinstance(op, Lookup | Rescaled) and isinstance(op.out, Ref)
        both = isinstance(op, Rescaled) and isinstance(op.y, Ref) and context.constant(op.y) is None
        if both or not any(search.uses.same(found.of, buffer) for buffer in op.reads):
            kind = op.kinds[1] if isinstance(op, Lookup) else op.kind
            ops[position] = Lookup(found.of, Packed(found.table), op.out, op.n, (found.kind, kind))
        search.known[search.uses.root(op.out)] = found
        made_at[position] = op.out
    joined = with_ops(steps, ops)
    left = Uses(joined, context)
    dead = {position: None for position, out in made_at.items() if not left.users_of(out) and not left.live_out(out)}
    return with_ops(steps, {**ops, **dead})


@dataclass(eq=False)
class _Search:
    uses: Uses
    context: PassContext
    known: dict[int, Made] = field(default_factory=dict)

    def made(self, op: Lookup | Rescaled) -> Made | None:
        """What the op's output is made of; None where it is of more than one tensor, or not of bytes."""
        if isinstance(op, Lookup):
            return self._looked_up(op) if op.of_bytes and isinstance(op.x, Ref) else None
        if op.kind not in BYTES or int(op.numbers["multiplier"]) < 0:
            return None
        values = [
            self.context.constant(buffer) if math.prod(shape) == 1 < op.n else None
            for buffer, shape in zip((op.x, op.y), op.shapes, strict=True)
        ]
        moving = [
            (buffer, shape) for buffer, shape, v in zip((op.x, op.y), op.shapes, values, strict=True) if v is None
        ]
        if not moving or any(math.prod(shape) != op.n or not isinstance(buffer, Ref) for buffer, shape in moving):
            return None
        sources = [self._source(buffer, op.kind) for buffer, _ in moving]
        first, last = sources[0], sources[-1]
        if not self.uses.same(first.of, last.of) or first.kind != last.kind:
            return None
        left = first.table if values[0] is None else _given(values[0])
        right = last.table if values[1] is None else _given(values[1])
        return Made(first.of, first.kind, lambda: _computed(op, left(), right()))

    def _looked_up(self, op: Lookup) -> Made:
        before = self._source(op.x, op.kinds[0])
        return Made(before.of, before.kind, lambda: entries_of(op.table)[before.table().view(np.uint8)])

    def _source(self, buffer: Buffer, kind: str) -> Made:
        assert isinstance(buffer, Ref)
        return self.known.get(self.uses.root(buffer)) or Made(buffer, kind, lambda: _all_values(kind))


def _given(value: Array) -> Callable[[], Array]:
    return lambda: value.reshape(-1)


def _all_values(kind: str) -> Array:
    """Every 8-bit value, in the order of its bits."""
    return np.arange(256, dtype=np.uint8).view(BYTES[kind])


def _computed(op: Rescaled, x: Array, y: Array) -> Array:
    """What the op makes of these values, as its kernels compute it."""
    number = {name: int(value) for name, value in op.numbers.items()}
    left, right = x.astype(np.int32) - np.int32(number["x_zero"]), y.astype(np.int32) - np.int32(number["y_zero"])
    if op.operator == "*":
        total = left * right
    else:
        a, b = (
            mbqm(values << np.int32(number["bits"]), number[f"{name}_multiplier"], number[f"{name}_exponent"])
            for name, values in (("x", left), ("y", right))
        )
        total = a + b if op.operator == "+" else a - b
    total = mbqm(total, number["multiplier"], number["exponent"])
    clamped = np.clip(total.astype(np.int64) + number["out_zero"], number["low"], number["high"])
    return np.broadcast_to(clamped, (256,)).astype(BYTES[op.kind])
