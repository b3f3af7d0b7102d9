"""Pieces of a PTX program as text, and what they are called in C++."""

from __future__ import annotations

import re

from tflgpu.delegates.emulator.ptx_instructions import C_TYPES


def body_of(ptx: str, start: int) -> str:
    """What is between the braces of which the first ends at start."""
    depth = 1
    for brace in re.compile("[{}]").finditer(ptx, start):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return ptx[start : brace.start()]
    return ptx[start:]


def size_of(kind: str) -> int:
    """Bytes of a type."""
    return int(re.sub(r"\D", "", kind)) // 8


def array_of(space: str, align: str, kind: str, name: str, count: str, values: str = "") -> str:
    """The definition of an array in memory."""
    where = {"shared": "__shared__ ", "local": ""}.get(space, "static ")
    given = f" = {{{values}}}" if values else ""
    return f"{where}__attribute__((aligned({max(int(align), 16)}))) {C_TYPES[kind]} {name_of(name)}[{count}]{given};"


def name_of(of: str) -> str:
    """A name in C++."""
    return "r_" + re.sub(r"\W", "_", of)


def statements_of(body: str) -> list[str]:
    """A body's labels and instructions; braces around a scope go, those of vectors stay."""
    body = re.sub(r"^\s*[{}]\s*$|^\s*\{(?= *[a-z])|(?<=;)\s*\}\s*$", "", body, flags=re.M)
    body = re.sub(r"^\s*([\w$]+):", r"\1:;", body, flags=re.M)
    return [" ".join(one.split()) for one in body.split(";") if one.strip()]


def operands_of(text: str) -> list[str]:
    """Separated by commas that are in no braces."""
    return [one.strip() for one in re.findall(r"(?:\{[^}]*\}|[^,{])+", text)]
