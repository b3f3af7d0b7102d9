"""What element-wise operators on codes do to codes that a kernel has just made, on its registers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflgpu.delegates.fusion.fuse_lookups import is_byte_table
from tflgpu.delegates.launch import Buffer, Launch, Ref

Parameters = tuple[tuple[str, str, Buffer | np.generic], ...]


@dataclass(frozen=True, eq=False)
class Epilogue:
    """What a kernel does to its outputs `acc` before it stores them as `out`, with parameters of its own.

    made: the tensor whose values `acc` are. `#` in names stands for a number that no other epilogue of the kernel has.
    """

    made: int
    statements: str
    parameters: Parameters
    out: Ref


def code_step(
    launch: Launch, ready: Callable[[int], bool], channels: Callable[[int], int], root: Callable[[int], int]
) -> Epilogue | None:
    """The launch as a step behind the kernel that makes one of its inputs, or None where there is no such kernel."""
    if launch.kernel == "quantized.sum" and {launch.defines["X_AT"], launch.defines["Y_AT"]} == {"(i)"}:
        return _arithmetic(launch, [WHOLE, WHOLE], ready, channels, root)
    if is_byte_table(launch):
        return _table(launch, ready, channels)
    if launch.kernel != "codes.code_rows":
        return None
    if "y" in launch.inputs:
        sizes: Any = launch.sizes
        ways = [(sizes["oc"], sizes[f"{name}_row"], sizes[f"{name}_along"]) for name in "xy"]
        return _arithmetic(launch, ways, ready, channels, root)
    x, table, out = launch.inputs["x"], launch.inputs["table"], launch.outputs["out"]
    assert isinstance(x, Ref) and isinstance(out, Ref)
    if launch.defines["X_T"] != launch.defines["OUT_T"] or not ready(x.tensor):
        return None
    return Epilogue(x.tensor, "acc = looked_up(table_#, acc);", (("IN(OUT_T)", "table_#", table),), out)


def _table(launch: Launch, ready: Callable[[int], bool], channels: Callable[[int], int]) -> Epilogue | None:
    """A look-up of single codes, behind a kernel that computes single outputs."""
    x, table, out = launch.inputs["x"], launch.inputs["table"], launch.outputs["out"]
    assert isinstance(x, Ref) and isinstance(out, Ref)
    if not ready(x.tensor) or channels(x.tensor):
        return None
    return Epilogue(x.tensor, "acc = looked_up(table_#, acc);", (("IN(OUT_T)", "table_#", table),), out)


WHOLE = (0, 0, 1)
"""How an input of the output's shape goes: the elements of a row, and its steps as int8_rows.py has them."""


def _arithmetic(
    launch: Launch,
    ways: list[tuple[int, int, int]],
    ready: Callable[[int], bool],
    channels: Callable[[int], int],
    root: Callable[[int], int],
) -> Epilogue | None:
    """ADD, SUB and MUL."""
    x, y, out = launch.inputs["x"], launch.inputs["y"], launch.outputs["out"]
    assert isinstance(x, Ref) and isinstance(y, Ref) and isinstance(out, Ref)
    if root(x.tensor) == root(y.tensor):
        return None
    for mine, theirs, made, other in ((0, 1, x, y), (1, 0, y, x)):
        if not _goes_along(ways[mine]) or not ready(made.tensor):
            continue
        value = _other(ways[theirs], channels(made.tensor), "other_#")
        if value is None:
            continue
        values = ("acc", value) if mine == 0 else (value, "acc")
        product = "PRODUCT" in launch.defines
        parameters: list[tuple[str, str, Buffer | np.generic]] = [("IN(OUT_T)", "other_#", other)]
        parameters += [("i32", f"{name}_#", number) for name, number in launch.scalars.items()]
        text = PRODUCT if product else SUM.replace("SIGN", str(launch.defines.get("SIGN")))
        text = text.replace("FIRST", values[0]).replace("SECOND", values[1])
        return Epilogue(made.tensor, text, tuple(parameters), out)
    return None


SUM = (
    "VI a_# = mbqm_v((FIRST - x_zero_#) * (1 << bits_#), (VI)x_multiplier_#, (VI)x_exponent_#); "
    "VI b_# = mbqm_v((SECOND - y_zero_#) * (1 << bits_#), (VI)y_multiplier_#, (VI)y_exponent_#); "
    "acc = mbqm_v(a_# SIGN b_#, (VI)multiplier_#, (VI)exponent_#); "
    "acc = clamp(acc + out_zero_#, (VI)low_#, (VI)high_#);"
)
PRODUCT = (
    "acc = mbqm_v((FIRST - x_zero_#) * (SECOND - y_zero_#), (VI)multiplier_#, (VI)exponent_#); "
    "acc = clamp(add_sat(acc, (VI)out_zero_#), (VI)low_#, (VI)high_#);"
)


def _goes_along(way: tuple[int, int, int]) -> bool:
    """Whether an input has the output's shape."""
    inner, down, along = way
    return way == WHOLE or (along == 1 and down == inner)


def _other(way: tuple[int, int, int], channels: int, name: str) -> str | None:
    """C for the other input's codes beside those of place m from channel n on, or None where they do not go by rows."""
    inner, down, along = way
    if _goes_along(way):
        return f"some_codes({name} + m * oc + n, room)"
    if (down, along) == (0, 0):
        return f"(VI)(i32){name}[0]"
    if not channels or inner % channels:
        return None
    places = inner // channels
    if along:
        return (
            f"some_codes({name} + m % {places} * oc + n, oc - n)" if places > 1 else f"some_codes({name} + n, oc - n)"
        )
    return f"(VI)(i32){name}[m / {places}]" if places > 1 else f"(VI)(i32){name}[m]"


LAST = re.compile(r"(.*)acc = looked_up\((table_\d+), acc\);")
TABLES_LAST = ("dot_tiles", "depthwise_dot", "depthwise_rows", "code_rows")


def with_last_table(launch: Launch) -> Launch:
    """The launch, which looks its codes up after it has stored them where this is the last that it does to them."""
    if launch.name not in TABLES_LAST or "CODES" not in launch.defines:
        return launch
    last = LAST.fullmatch(str(launch.defines.get("AFTER", "")))
    if last is not None:
        return replace(launch, defines={**launch.defines, "AFTER": last[1], "LAST_TABLE": last[2]})
    of_bytes = launch.defines["X_T"] == launch.defines["OUT_T"]
    arithmetic = {"AFTER", "SUM", "PRODUCT"} & launch.defines.keys()
    if launch.name == "code_rows" and of_bytes and not arithmetic:
        return replace(launch, defines={**launch.defines, "COPY": 1, "LAST_TABLE": "table"})
    return launch
