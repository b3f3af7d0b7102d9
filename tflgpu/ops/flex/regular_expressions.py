"""Regular expressions of RE2's syntax, matched by Python's `re` where that takes no more than a few passes.

RE2 matches in linear time; Python's engine tries all ways to match, which a hostile pattern makes exponentially many.
So a pattern may repeat only single characters, without a bound at most `MOST_LOOPS` times, and match the rest in at
most `MOST_WAYS`; what Python alone understands is refused, as RE2 does.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tflgpu.ops.registry import OpError, require

MOST_LOOPS = 4
"""Repetitions without a bound in one pattern."""
MOST_WAYS = 10_000
"""Alternatives of one pattern, and numbers of its bounded repetitions, times one another."""

_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": "\\x00-\\x7f",
    "blank": "\\t ",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\t\\n\\v\\f\\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_SPACE = "\\t\\n\\f\\r "
_TOKENS = re.compile(r"\\.|\[:(\^?)(\w+):\]|\[\^?\]?|\]|\$|.", re.DOTALL)


def _to_python(pattern: str) -> str:
    """The pattern with what means something else to Python written so that it does not."""
    out, inside = [], False
    for token in _TOKENS.finditer(pattern):
        text = token.group()
        if text.startswith("[:") and inside:
            name = token.group(2)
            if token.group(1) or name not in _CLASSES:
                raise OpError(f"the class {text} of a regular expression is not supported. ")
            text = _CLASSES[name]
        elif text.startswith("[:"):  # a set that begins with a colon
            raise OpError(f"{text} outside of a set in a regular expression is not supported. ")
        elif text.startswith("["):
            text, inside = (text, True) if not inside else ("\\" + "\\".join(text), True)
        elif text == "]":
            inside = False
        elif text == "\\s":
            text = _SPACE if inside else f"[{_SPACE}]"
        elif text == "\\S":
            if inside:
                raise OpError("\\S in a set of a regular expression is not supported. ")
            text = f"[^{_SPACE}]"
        elif text in ("$", "\\z") and not inside:
            text = "\\Z"
        elif text in ("\\Z", "\\C"):
            raise OpError(f"{text} in a regular expression is not supported. ")
        out.append(text)
    return "".join(out)


@lru_cache(maxsize=256)
def compiled(pattern: bytes) -> re.Pattern[str]:
    """The pattern for Python. Raises OpError for what is no pattern of RE2, or not one of those described above."""
    try:
        text = _to_python(pattern.decode())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = re.compile(text, re.ASCII)
        loops, ways = _choices(_tree(text))
    except (re.error, UnicodeDecodeError, Warning, OverflowError, RecursionError) as error:
        raise OpError(f"the regular expression {pattern!r} is not supported: {error}. ") from error
    if loops > MOST_LOOPS or ways > MOST_WAYS:
        raise OpError(
            f"the regular expression {pattern!r} has {loops} unbounded repetitions of at most {MOST_LOOPS}, "
            f"and {ways:,} ways to match besides of at most {MOST_WAYS:,}. "
        )
    return found


def _tree(text: str) -> Any:
    parser: Any = re._parser if hasattr(re, "_parser") else __import__("sre_parse")
    return parser.parse(text, re.ASCII)


_SINGLE = ("LITERAL", "NOT_LITERAL", "IN", "ANY")
_MOST_REPEATED = 1000
"""RE2's own limit."""


def _choices(tree: Iterable[tuple[Any, Any]]) -> tuple[int, int]:
    """The unbounded repetitions, and in how many ways the rest can match.

    Raises re.error for what may take exponential time, or RE2 has not.
    """
    loops, ways = 0, 1
    for op, argument in tree:
        name = str(op)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            more, times = _repeated(*argument)
        elif name == "SUBPATTERN":
            more, times = _choices(argument[-1])
        elif name == "BRANCH":
            branches = [_choices(branch) for branch in argument[1]]
            more, times = (sum(each) for each in zip(*branches, strict=True))
        elif name in (*_SINGLE, "AT"):
            continue
        else:
            raise re.error(name.lower().replace("_", " "))
        loops, ways = loops + more, ways * times
    return loops, ways


def _repeated(low: int, high: int, body: Any) -> tuple[int, int]:
    if len(body) != 1 or str(body[0][0]) not in _SINGLE:
        if (low, int(high)) != (0, 1):
            raise re.error("a repetition of more than single characters")
        loops, ways = _choices(body)
        return loops, ways + 1
    if int(high) <= _MOST_REPEATED:
        return 0, int(high) - low + 1
    if low > _MOST_REPEATED:
        raise re.error(f"a repetition of more than {_MOST_REPEATED}")
    return 1, 1


def replacement(rewrite: bytes, groups: int) -> Callable[[re.Match[str]], str]:
    r"""What a match is replaced by: `rewrite`, in which \0 to \9 stand for groups. Raises OpError."""
    pieces = re.split(r"\\(.?)", rewrite.decode("utf-8", "surrogateescape"), flags=re.DOTALL)
    for escape in pieces[1::2]:
        if escape != "\\" and not (escape.isdecimal() and escape.isascii() and int(escape) <= groups):
            raise OpError(f"Invalid rewrite pattern: {rewrite!r} for {groups} groups. ")

    def replaced(match: re.Match[str]) -> str:
        escapes = (piece if piece == "\\" else match.group(int(piece)) or "" for piece in pieces[1::2])
        return pieces[0] + "".join(e + text for e, text in zip(escapes, pieces[2::2], strict=True))

    return replaced


@dataclass(frozen=True)
class Substitution:
    """What to replace by what: the first match, or all; `most` characters may come of it."""

    pattern: re.Pattern[str]
    by: Callable[[re.Match[str]], str]
    everywhere: bool
    most: int


def substituted(text: bytes, how: Substitution) -> bytes:
    """The text with its matches replaced: as RE2, none of them empty right after another. Raises OpError."""
    subject = text.decode("utf-8", "surrogateescape")
    out, at, last, length = [], 0, -1, 0
    while at <= len(subject):
        match = how.pattern.search(subject, at)
        if match is None:
            break
        out.append(subject[at : match.start()])
        at = match.start()
        if match.end() == match.start() == last:
            out.append(subject[at : at + 1])
            at += 1
            continue
        out.append(how.by(match))
        length += len(out[-1])
        require(length <= how.most, f"a string becomes longer than {how.most:,} characters. ")
        at = last = match.end()
        if not how.everywhere:
            break
    out.append(subject[at:])
    return "".join(out).encode("utf-8", "surrogateescape")
