"""Operators on bytes whose inputs are all made of the codes of one tensor become one table of these codes' results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm
from tflgpu.delegates.fusion.fuse_int8_epilogues import ROWS_AT
from tflgpu.delegates.launch import Argument, Launch, Packed, Ref, launches_of
from tflgpu.model.graph import Array

DTYPES = {"char": np.dtype(np.int8), "uchar": np.dtype(np.uint8)}


@dataclass(frozen=True, eq=False)
class Made:
    """What a tensor's codes are made of: the tensor `of`, of type `kind`, by a table of its 256 codes."""

    of: Ref
    kind: str
    table: Callable[[], Array]


def with_tables(
    groups: list[list[Any]],
    root: Callable[[int], int],
    kept: Callable[[int], bool],
    constant: Callable[[int], Array | None],
) -> None:
    """Joins such launches of `groups` in place; None is left where one is that nothing reads any more."""
    made: dict[int, Made] = {}
    places: dict[int, tuple[int, int]] = {}
    for g, group in enumerate(groups):
        for s, step in enumerate(group):
            if not isinstance(step, Launch) or step.kernel != "codes.code_rows":
                continue
            found = _made(step, made, root, constant)
            if found is None:
                continue
            out = step.args[2]
            assert isinstance(out, Ref)
            both = isinstance(step.args[1], Ref) and constant(step.args[1].tensor) is None
            if both or root(found.of.tensor) not in (root(a.tensor) for a in step.args[:2] if isinstance(a, Ref)):
                group[s] = _lookup(step, found)
            made[root(out.tensor)] = found
            places[root(out.tensor)] = (g, s)
    read = {root(tensor) for group in groups for step in group for tensor in _read(step)}
    for tensor, (g, s) in places.items():
        if tensor not in read and not kept(tensor):
            groups[g][s] = None


def _read(step: Any) -> list[int]:
    """Tensors among a step's arguments, but for the output of a launch of ours."""
    if isinstance(step, Launch) and step.kernel == "codes.code_rows":
        return [a.tensor for a in step.args[:2] if isinstance(a, Ref)]
    steps = [] if step is None else launches_of([step])
    return [a.tensor for launch in steps for one in launch.sequence for a in one.args if isinstance(a, Ref)]


def _made(
    launch: Launch, made: dict[int, Made], root: Callable[[int], int], constant: Callable[[int], Array | None]
) -> Made | None:
    """What the launch's output is made of; None where it is of more than one tensor, or not of bytes."""
    kind = str(launch.defines["X_T"])
    if kind not in DTYPES:
        return None
    x, y = launch.args[:2]
    assert isinstance(x, Ref)
    if "SUM" not in launch.defines and "PRODUCT" not in launch.defines:
        before = made.get(root(x.tensor)) or Made(x, kind, lambda: _all_codes(kind))
        return Made(before.of, before.kind, lambda: _entries(y)[before.table().view(np.uint8)])
    assert isinstance(y, Ref)
    numbers = [int(a) for a in launch.args[ROWS_AT:]]  # type: ignore[arg-type]
    inner, ways, rest = numbers[4], (numbers[6:8], numbers[8:10]), numbers[10:]
    values = [constant(a.tensor) if way == [0, 0] else None for a, way in zip((x, y), ways, strict=True)]
    moving = [a for a, value in zip((x, y), values, strict=True) if value is None]
    if not moving or any(way != [inner, 1] for way, value in zip(ways, values, strict=True) if value is None):
        return None
    first = made.get(root(moving[0].tensor)) or Made(moving[0], kind, lambda: _all_codes(kind))
    if len(moving) == 2:
        second = made.get(root(moving[1].tensor)) or Made(moving[1], kind, lambda: _all_codes(kind))
        if root(first.of.tensor) != root(second.of.tensor) or first.kind != second.kind:
            return None
        return Made(first.of, first.kind, lambda: _computed(launch, rest, first.table(), second.table()))
    left, right = (first.table if value is None else _given(value) for value in values)
    return Made(first.of, first.kind, lambda: _computed(launch, rest, left(), right()))


def _given(value: Array) -> Callable[[], Array]:
    return lambda: value.reshape(-1)


def _all_codes(kind: str) -> Array:
    """Every code, in the order of its bits."""
    return np.arange(256, dtype=np.uint8).view(DTYPES[kind])


def _entries(table: Argument) -> Array:
    entries = table.make() if isinstance(table, Packed) else table
    assert isinstance(entries, np.ndarray)
    return entries


def _computed(launch: Launch, numbers: Sequence[int], x: Array, y: Array) -> Array:
    """What the launch makes of these codes."""
    zeros, (zero, low, high) = numbers[:2], numbers[-3:]
    left, right = x.astype(np.int32) - np.int32(zeros[0]), y.astype(np.int32) - np.int32(zeros[1])
    if "PRODUCT" in launch.defines:
        total = mbqm(left * right, *numbers[2:4])
    else:
        bits, x_by, x_exponent, y_by, y_exponent, by, exponent = numbers[2:9]
        a, b = mbqm(left << np.int32(bits), x_by, x_exponent), mbqm(right << np.int32(bits), y_by, y_exponent)
        total = mbqm(a + b if launch.defines["SIGN"] == "+" else a - b, by, exponent)
    codes = np.clip(total.astype(np.int64) + zero, low, high)
    return np.broadcast_to(codes, (256,)).astype(DTYPES[str(launch.defines["OUT_T"])])


def _lookup(launch: Launch, made: Made) -> Launch:
    """The launch as a look-up."""
    out, sizes = launch.args[2], launch.args[ROWS_AT : ROWS_AT + 6]
    inner = sizes[4]
    args = (made.of, Packed(made.table), out, *sizes, inner, np.int32(1))
    defines = {key: value for key, value in launch.defines.items() if key not in ("SUM", "PRODUCT", "SIGN")}
    return replace(launch, args=args, defines=defines | {"X_T": made.kind})
