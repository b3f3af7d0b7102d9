"""Options of delegates: how each is read, from text too, and the ones that limit what a delegate takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tflgpu.delegation.delegate import Limits
from tflgpu.hints import did_you_mean


@dataclass(frozen=True)
class Option:
    """One option of a delegate: how its value is read, from a string too, and what it means."""

    default: Any
    read: Callable[[Any], Any]
    meaning: str


def boolean(value: Any) -> bool:
    """True or False, 1 or 0, "true", "yes", "on", "1" or their opposites. Raises ValueError for anything else."""
    text = str(value).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    raise ValueError("expected true or false")


def count(value: Any) -> int:
    """A whole number of 0 or more. Raises ValueError for anything else."""
    number = int(str(value).strip())
    if number < 0:
        raise ValueError("expected a number of 0 or more")
    return number


def one_of(*choices: str) -> Callable[[Any], str]:
    """A reader that accepts these words."""

    def read(value: Any) -> str:
        if str(value) not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}{did_you_mean(str(value), choices)}")
        return str(value)

    return read


def names(value: Any) -> frozenset[str]:
    """Names in upper case, from "ADD,MUL" or from a sequence."""
    texts = value.replace(";", ",").split(",") if isinstance(value, str) else value
    return frozenset(str(text).strip() for text in texts if str(text).strip())


def numbers(value: Any) -> frozenset[int]:
    """Node numbers, from "3,7-9" or from a sequence or a number. Raises ValueError for anything else."""
    if isinstance(value, int):
        return frozenset([value])
    out: set[int] = set()
    for text in names(value):
        first, dash, last = text.partition("-")
        out.update(range(int(first), int(last) + 1) if dash else [int(first)])
    return frozenset(out)


LIMIT_OPTIONS: Mapping[str, Option] = {
    "max_partitions": Option(0, count, "take at most this many partitions, those that save most; 0: any number"),
    "min_nodes_per_partition": Option(None, count, "leave smaller partitions to the CPU; unset asks the cost model"),
    "only_ops": Option(frozenset(), names, "take only these operators, e.g. CONV_2D,ADD"),
    "skip_ops": Option(frozenset(), names, "leave these operators to the CPU"),
    "only_nodes": Option(frozenset(), numbers, "take only these nodes, e.g. 0,4-9"),
    "skip_nodes": Option(frozenset(), numbers, "leave these nodes to the CPU"),
    "require_full": Option(False, boolean, "raise an error where a node stays on the CPU"),
}
"""The options that any delegate can offer through `limits`."""


def read_options(delegate: str, given: Mapping[str, Any], known: Mapping[str, Option]) -> dict[str, Any]:
    """Every known option with its given value or its default. Raises ValueError that lists the legal ones."""
    legal = "; ".join(f"{key} ({option.meaning})" for key, option in sorted(known.items()))
    out = {key: option.default for key, option in known.items()}
    for key, value in given.items():
        if key not in known:
            raise ValueError(
                f"{delegate} delegate: unknown option {key!r}{did_you_mean(key, known)}. Legal options: {legal}"
            )
        try:
            out[key] = known[key].read(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{delegate} delegate: option {key}={value!r}: {error}. {key}: {known[key].meaning}"
            ) from error
    return out


def read_limits(options: Mapping[str, Any]) -> Limits:
    """The Limits that options, as returned by read_options, ask for."""
    return Limits(
        max_partitions=options["max_partitions"],
        min_nodes=options["min_nodes_per_partition"],
        only_ops=options["only_ops"],
        skip_ops=options["skip_ops"],
        only_nodes=options["only_nodes"],
        skip_nodes=options["skip_nodes"],
        require_full=options["require_full"],
    )
