"""The epilogues of a launch in C: the macros EPILOGUE, EPILOGUE_PARAMS, EPILOGUE_ARGS of its kernel.

The kernel has an output, or a vector of outputs of neighbouring channels, as `acc`: that of pixel m and channel n of
oc. `room` outputs from there on are in the tensor. Inputs of the n-th epilogue have names that end in _n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.delegates.expression import FIRST, IDENTITY, VECTORS, IndexMap, Term, c_text, types_macro
from tflgpu.delegates.ir import Elementwise, Epilogue, Lookup, Rescaled
from tflgpu.delegates.launch import Buffer, Launch
from tflgpu.delegates.lowering.gemm.problem import Gemm
from tflgpu.delegates.render import rows_of, value_of

CHANNELS = {
    "gemm_register_tiles": "oc",
    "depthwise_rows": "c",
    "depthwise_vnni": "c",
    "gemm_vnni": "oc",
    "elementwise_int8": "oc",
}
"""Kernels that compute vectors of channels, and take epilogues on them; and the size that is the number of channels."""

SINGLE = ("gemm", "gemm_mma", "gemm_epilogue", "depthwise_strips")
"""Kernels that compute single outputs, so that what is done to them may be any C."""

TABLES_LAST = ("gemm_vnni", "depthwise_vnni", "depthwise_rows", "elementwise_int8")
"""Kernels that look values up after they have stored them, where that is the last that is done to them."""


def channels_of(launch: Launch) -> int:
    """Channels that the kernel computes vectors of; 0 where it does not."""
    size = launch.sizes[CHANNELS[launch.name]] if launch.name in CHANNELS else 0
    assert isinstance(size, int)
    return size


def makes_floats(launch: Launch) -> bool:
    """Whether the kernel takes epilogues on floats."""
    return isinstance(launch.computes, Gemm) and launch.computes.arithmetic != "quantized"


def makes_int8(launch: Launch) -> bool:
    """Whether the kernel takes epilogues on 8-bit values."""
    op = launch.computes
    if isinstance(op, Gemm):
        return op.arithmetic == "quantized" and op.x.spec.type != "INT16"
    return isinstance(op, Lookup | Rescaled)


def with_rendered_epilogues(launch: Launch) -> Launch:
    """The launch, its variants and those before it, with their epilogues in macros and arguments."""
    variants = tuple(with_rendered_epilogues(variant) for variant in launch.variants)
    launch = replace(launch, variants=variants)
    if not launch.epilogues:
        op = launch.computes
        copies = isinstance(op, Lookup) and op.kinds[0] == op.kinds[1]
        return _with_macros(launch, {"COPY": 1, "OUTPUT_LUT": "table"}) if copies else launch
    epilogues: list[Any] = list(launch.epilogues)
    last = epilogues[-1].op if launch.name in TABLES_LAST and makes_int8(launch) else None
    texts, parameters = [], dict[str, tuple[str, Buffer | np.generic]]()
    for number, epilogue in enumerate(epilogues):
        text, more = _rendered(epilogue, number, channels_of(launch))
        texts.append(text)
        parameters |= more
    macros: dict[str, object] = {}
    if isinstance(last, Lookup):
        texts.pop()
        macros["OUTPUT_LUT"] = f"table_{len(epilogues) - 1}"
    for epilogue in epilogues:
        macros |= types_macro(*epilogue.op.expressions()) if isinstance(epilogue.op, Elementwise) else {}
    macros |= {
        "EPILOGUE": " ".join(texts),
        "EPILOGUE_PARAMS": "".join(f", {kind} {name}" for name, (kind, _) in parameters.items()),
        "EPILOGUE_ARGS": "".join(f", {name}" for name in parameters),
    }
    extra = {name: argument for name, (_, argument) in parameters.items()}
    return replace(_with_macros(launch, macros), extra={**launch.extra, **extra}, epilogues=())


def _with_macros(launch: Launch, macros: Mapping[str, object]) -> Launch:
    return replace(launch, defines={**launch.defines, **macros})


Parameters = dict[str, tuple[str, Buffer | np.generic]]


def _rendered(epilogue: Epilogue, number: int, channels: int) -> tuple[str, Parameters]:
    """Statements on `acc`, and the parameters that they name: name, C type, argument."""
    op = epilogue.op
    if isinstance(op, Lookup):
        table = f"table_{number}"
        return f"acc = looked_up({table}, acc);", {table: ("IN(OUT_T)", op.table)}
    if isinstance(op, Rescaled):
        return _rescaled(op, epilogue.own[0], number, channels)
    return _elementwise(op, epilogue.own, number, channels)


def _elementwise(op: Elementwise, own: tuple[int, ...], number: int, channels: int) -> tuple[str, Parameters]:
    parameters: Parameters = {}
    statements: list[str] = []
    plain = True
    for k, operand in enumerate(op.inputs):
        value = "acc"
        if k not in own:
            name = f"other{k}_{number}"
            parameters[name] = ("IN(f32)", operand.buffer)
            value, vector = _other(name, operand.at, channels)
            plain &= vector
        statements.append(f"VF {value_of(k)} = {value};")
    if not plain:
        statements.insert(0, "i32 i = m * oc + n;")
    statements += [f"VF t{k} = {c_text(value, value_of, VECTORS)};" for k, (_, value) in enumerate(op.values)]
    return " ".join([*statements, f"acc = {c_text(op.expression, value_of, VECTORS)};"]), parameters


def _other(name: str, at: IndexMap, channels: int) -> tuple[str, bool]:
    """C for an input's values beside `acc`; and whether it needs no index of single outputs."""
    if at == IDENTITY:
        return f"some_floats({name} + m * oc + n, room)", True
    if at == FIRST:
        return f"{name}[0]", True
    if channels and at == IndexMap(terms=(Term(modulo=channels),)):
        return f"some_floats({name} + n, room == ALL ? ALL : oc - n)", True
    return f"{name}[{at}]", False


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


def _rescaled(op: Rescaled, own: int, number: int, channels: int) -> tuple[str, Parameters]:
    other = f"other_{number}"
    value = rescaled_other(op, own, channels, other)
    assert value is not None
    first, second = ("acc", value) if own == 0 else (value, "acc")
    parameters: Parameters = {other: ("IN(OUT_T)", op.reads[1 - own])}
    parameters |= {f"{name}_{number}": ("i32", scalar) for name, scalar in op.numbers.items()}
    text = PRODUCT if op.operator == "*" else SUM.replace("SIGN", op.operator)
    return text.replace("#", str(number)).replace("FIRST", first).replace("SECOND", second), parameters


def rescaled_other(op: Rescaled, own: int, channels: int, name: str) -> str | None:
    """C for the values of its input that is not `own`, beside those of pixel m from channel n on.

    None where they do not go by rows, or where the own input is not of the output's shape.
    """
    found = rows_of(op)
    if found is None:
        return None
    inner, walks = found
    whole = (inner, 1)
    if walks[own] != whole:
        return None
    if walks[1 - own] == whole:
        return f"some_ints({name} + m * oc + n, room)"
    row, along = walks[1 - own]
    if (row, along) == (0, 0):
        return f"(VI)(i32){name}[0]"
    if not channels or inner % channels:
        return None
    pixels = inner // channels
    if along:
        return f"some_ints({name} + {f'm % {pixels} * oc + ' if pixels > 1 else ''}n, oc - n)"
    return f"(VI)(i32){name}[{f'm / {pixels}' if pixels > 1 else 'm'}]"
