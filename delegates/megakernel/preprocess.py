"""The C preprocessor's conditions, as far as the kernels use them: which lines of a text are left under its defines."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping

_DIRECTIVE = re.compile(r"\s*#\s*(ifdef|ifndef|if|elif|else|endif|define)\b\s*(.*)")
_COMPARISON = {"==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt}


def active_lines(text: str, defines: Mapping[str, object]) -> list[str]:
    """The lines whose conditions hold, without the conditions; lines that a backslash continues are one.

    Raises ValueError for a condition that is not of `defined` and comparisons with numbers.
    """
    known = {name.split("(")[0]: str(value) for name, value in defines.items()}
    stack: list[tuple[bool, bool]] = []  # whether the present branch is in force, and whether one has been
    out: list[str] = []
    for line in re.sub(r"[ ]*\\\n\s*", " ", text).splitlines():
        found = _DIRECTIVE.match(line)
        word, rest = (found[1], found[2].split("//")[0].strip()) if found else ("", "")
        around = stack[:-1] if word in ("elif", "else", "endif") else stack
        outside = all(holds for holds, _ in around)
        if word in ("if", "ifdef", "ifndef"):
            holds = outside and _holds(word, rest, known)
            stack.append((holds, holds))
        elif word in ("elif", "else"):
            _, taken = stack.pop()
            holds = outside and not taken and (word == "else" or _holds("if", rest, known))
            stack.append((holds, taken or holds))
        elif word == "endif":
            stack.pop()
        elif outside:
            out.append(line)
            if word == "define":
                name, _, value = rest.partition(" ")
                known[name.split("(")[0]] = value.strip()
    return out


def _holds(word: str, condition: str, known: Mapping[str, str]) -> bool:
    if word != "if":
        return (condition in known) == (word == "ifdef")
    return any(all(_atom(a.strip(), known) for a in either.split("&&")) for either in condition.split("||"))


def _atom(text: str, known: Mapping[str, str]) -> bool:
    if found := re.fullmatch(r"(!?)\s*defined\s*\(?\s*(\w+)\s*\)?", text):
        return (found[2] in known) != bool(found[1])
    found = re.fullmatch(r"(\w+)\s*(==|!=|>|<)\s*(\d+)", text)
    value = known.get(found[1], "0") if found else ""
    if found is None or not re.fullmatch(r"\d+", value):
        raise ValueError(f"#if {text}")
    return bool(_COMPARISON[found[2]](int(value), int(found[3])))
