"""What element-wise operators on codes do to codes that a kernel has just made, on its registers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tflgpu.delegates.fusion.fuse_lookups import is_byte_table
from tflgpu.delegates.launch import Argument, Launch, Ref

ROWS_AT = 3
"""Where the numbers of a launch of int8_rows.py begin: pieces, share, pieces of a row, their length, a row's
elements, all elements, and how each input goes. Before them are two inputs, or an input and a table, and the output."""

Parameters = tuple[tuple[str, str, Argument], ...]

SUM_NAMES = ("x_zero", "y_zero", "bits", "x_by", "x_exp", "y_by", "y_exp", "by", "exp", "zero", "low", "high")
PRODUCT_NAMES = ("x_zero", "y_zero", "by", "exp", "zero", "low", "high")


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
        return _arithmetic(launch, launch.args[4:], [WHOLE, WHOLE], ready, channels, root)
    if is_byte_table(launch):
        return _table(launch, ready, channels)
    if launch.kernel != "codes.code_rows":
        return None
    numbers = [int(a) for a in launch.args[ROWS_AT : ROWS_AT + 6]]  # type: ignore[arg-type]
    inner, steps = numbers[4], launch.args[ROWS_AT + 6 :]
    if "SUM" in launch.defines or "PRODUCT" in launch.defines:
        ways = [(inner, int(steps[k]), int(steps[k + 1])) for k in (0, 2)]  # type: ignore[arg-type]
        return _arithmetic(launch, steps[4:], ways, ready, channels, root)
    x, table, out = launch.args[:3]
    assert isinstance(x, Ref) and isinstance(out, Ref)
    if launch.defines["X_T"] != launch.defines["OUT_T"] or not ready(x.tensor):
        return None
    return Epilogue(x.tensor, "acc = looked_up(table_#, acc);", (("IN(OUT_T)", "table_#", table),), out)


def _table(launch: Launch, ready: Callable[[int], bool], channels: Callable[[int], int]) -> Epilogue | None:
    """A look-up of single codes, behind a kernel that computes single outputs."""
    x, table, out = launch.args[:3]
    assert isinstance(x, Ref) and isinstance(out, Ref)
    if not ready(x.tensor) or channels(x.tensor):
        return None
    return Epilogue(x.tensor, "acc = looked_up(table_#, acc);", (("IN(OUT_T)", "table_#", table),), out)


WHOLE = (0, 0, 1)
"""How an input of the output's shape goes: the elements of a row, and its steps as int8_rows.py has them."""


def _arithmetic(
    launch: Launch,
    numbers: Any,
    ways: list[tuple[int, int, int]],
    ready: Callable[[int], bool],
    channels: Callable[[int], int],
    root: Callable[[int], int],
) -> Epilogue | None:
    """ADD, SUB and MUL."""
    x, y, out = launch.args[:3]
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
        names = [f"{name}_#" for name in (PRODUCT_NAMES if product else SUM_NAMES)]
        parameters = [("IN(OUT_T)", "other_#", other)]
        parameters += [("i32", name, number) for name, number in zip(names, numbers, strict=True)]
        text = PRODUCT if product else SUM.replace("SIGN", str(launch.defines.get("SIGN")))
        text = text.replace("FIRST", values[0]).replace("SECOND", values[1])
        return Epilogue(made.tensor, text, tuple(parameters), out)
    return None


SUM = (
    "VI a_# = mbqm_v((FIRST - x_zero_#) * (1 << bits_#), (VI)x_by_#, (VI)x_exp_#); "
    "VI b_# = mbqm_v((SECOND - y_zero_#) * (1 << bits_#), (VI)y_by_#, (VI)y_exp_#); "
    "acc = clamp(mbqm_v(a_# SIGN b_#, (VI)by_#, (VI)exp_#) + zero_#, (VI)low_#, (VI)high_#);"
)
PRODUCT = (
    "acc = mbqm_v((FIRST - x_zero_#) * (SECOND - y_zero_#), (VI)by_#, (VI)exp_#); "
    "acc = clamp(add_sat(acc, (VI)zero_#), (VI)low_#, (VI)high_#);"
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
