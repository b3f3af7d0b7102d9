"""printf over the arguments of a variadic C call, as a callback of ctypes is handed them."""

from __future__ import annotations

import ctypes as c
import re
from collections.abc import Iterator
from typing import Any

_DIRECTIVE = re.compile(r"%([-+ #0-9.*]*)(hh|h|ll|l|z|j|t|L)?([diuxXocfFeEgGaAsp%])")
_WIDE = ("l", "ll", "z", "j", "t")


def formatted(text: str, arguments: tuple[Any, ...]) -> str:
    """The text with its directives filled in; as it is where there are no arguments, as on machines that pass them
    otherwise than structs.VARIADIC has them.

    arguments: four integer registers, eight of floats, then words of the stack.
    """
    if not arguments:
        return text
    integers, reals, stack = iter(arguments[:4]), iter(arguments[4:12]), iter(arguments[12:])

    def directive(match: re.Match[str]) -> str:
        flags, length, kind = match.group(1), match.group(2), match.group(3)
        if kind == "%":
            return "%"
        while "*" in flags:
            flags = flags.replace("*", str(c.c_int32(_next(integers, stack)).value), 1)
        if kind in "fFeEgGaA":
            real = next(reals, None)
            if real is None:
                real = c.c_double.from_buffer(c.c_uint64(next(stack, 0))).value
            return f"%{flags}{'g' if kind in 'aA' else kind}" % real
        word = _next(integers, stack)
        if kind == "s":
            precision = re.search(r"\.(\d+)", flags)
            return f"%{flags}s" % _string(word, int(precision.group(1)) if precision else None)
        if kind == "p":
            return f"{word:#x}"
        if kind == "c":
            return chr(word & 255)
        bits = 64 if length in _WIDE else 32
        word &= (1 << bits) - 1
        if kind in "di" and word >> (bits - 1):
            word -= 1 << bits
        return f"%{flags}{'d' if kind in 'diu' else kind}" % word

    return _DIRECTIVE.sub(directive, text)


def _next(registers: Iterator[int], stack: Iterator[int]) -> int:
    word = next(registers, None)
    return next(stack, 0) if word is None else word


def _string(address: int, limit: int | None) -> str:
    """The C string at an address; at most limit bytes of it are read, since it need not end there."""
    if not address:
        return "(null)"
    if limit is None:
        return c.string_at(address).decode("utf-8", "replace")
    content = bytearray()
    while len(content) < limit and (byte := c.c_uint8.from_address(address + len(content)).value):
        content.append(byte)
    return content.decode("utf-8", "replace")
