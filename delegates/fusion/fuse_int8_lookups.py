"""Operators on bytes whose inputs are all made of the codes of one tensor become one table of these codes' results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm
from tflgpu.delegates.launch import Buffer, Launch, Packed, Ref, launches_of
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
            out, second = step.outputs["out"], step.inputs.get("y")
            assert isinstance(out, Ref)
            both = isinstance(second, Ref) and constant(second.tensor) is None
            if both or root(found.of.tensor) not in (root(a.tensor) for a in step.reads if isinstance(a, Ref)):
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
        return [a.tensor for a in step.reads if isinstance(a, Ref)]
    steps = [] if step is None else launches_of([step])
    return [a.tensor for launch in steps for one in launch.sequence for a in one.buffers if isinstance(a, Ref)]


def _made(
    launch: Launch, made: dict[int, Made], root: Callable[[int], int], constant: Callable[[int], Array | None]
) -> Made | None:
    """What the launch's output is made of; None where it is of more than one tensor, or not of bytes."""
    kind = str(launch.defines["X_T"])
    if kind not in DTYPES:
        return None
    x = launch.inputs["x"]
    assert isinstance(x, Ref)
    if "y" not in launch.inputs:
        before = made.get(root(x.tensor)) or Made(x, kind, lambda: _all_codes(kind))
        table = launch.inputs["table"]
        return Made(before.of, before.kind, lambda: _entries(table)[before.table().view(np.uint8)])
    y, sizes = launch.inputs["y"], launch.sizes
    assert isinstance(y, Ref)
    steps = [(sizes[f"{name}_row"], sizes[f"{name}_along"]) for name in "xy"]
    values = [constant(a.tensor) if step == (0, 0) else None for a, step in zip((x, y), steps, strict=True)]
    moving = [a for a, value in zip((x, y), values, strict=True) if value is None]
    whole = (sizes["oc"], 1)
    if not moving or any(step != whole for step, value in zip(steps, values, strict=True) if value is None):
        return None
    first = made.get(root(moving[0].tensor)) or Made(moving[0], kind, lambda: _all_codes(kind))
    if len(moving) == 2:
        second = made.get(root(moving[1].tensor)) or Made(moving[1], kind, lambda: _all_codes(kind))
        if root(first.of.tensor) != root(second.of.tensor) or first.kind != second.kind:
            return None
        return Made(first.of, first.kind, lambda: _computed(launch, first.table(), second.table()))
    left, right = (first.table if value is None else _given(value) for value in values)
    return Made(first.of, first.kind, lambda: _computed(launch, left(), right()))


def _given(value: Array) -> Callable[[], Array]:
    return lambda: value.reshape(-1)


def _all_codes(kind: str) -> Array:
    """Every code, in the order of its bits."""
    return np.arange(256, dtype=np.uint8).view(DTYPES[kind])


def _entries(table: Buffer) -> Array:
    entries = table.make() if isinstance(table, Packed) else table
    assert isinstance(entries, np.ndarray)
    return entries


def _computed(launch: Launch, x: Array, y: Array) -> Array:
    """What the launch makes of these codes."""
    number = {name: int(value) for name, value in launch.scalars.items()}
    left, right = x.astype(np.int32) - np.int32(number["x_zero"]), y.astype(np.int32) - np.int32(number["y_zero"])
    if "PRODUCT" in launch.defines:
        total = left * right
    else:
        a, b = (
            mbqm(codes << np.int32(number["bits"]), number[f"{name}_multiplier"], number[f"{name}_exponent"])
            for name, codes in (("x", left), ("y", right))
        )
        total = a + b if launch.defines["SIGN"] == "+" else a - b
    total = mbqm(total, number["multiplier"], number["exponent"])
    codes = np.clip(total.astype(np.int64) + number["out_zero"], number["low"], number["high"])
    return np.broadcast_to(codes, (256,)).astype(DTYPES[str(launch.defines["OUT_T"])])


def _lookup(launch: Launch, made: Made) -> Launch:
    """The launch as a look-up."""
    inputs: dict[str, Buffer] = {"x": made.of, "table": Packed(made.table)}
    sizes = {name: size for name, size in launch.sizes.items() if not name.startswith(("x_", "y_"))}
    sizes |= {"x_row": sizes["oc"], "x_along": 1}
    defines = {key: value for key, value in launch.defines.items() if key not in ("SUM", "PRODUCT", "SIGN")}
    return replace(launch, inputs=inputs, sizes=sizes, scalars={}, defines=defines | {"X_T": made.kind})
