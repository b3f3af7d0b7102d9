"""TFLGPU_DEBUG: 1 prints partitions and what is not delegated, 2 each launch, timed, 3 passes and program texts too."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

PARTITIONS, LAUNCHES, PROGRAMS = 1, 2, 3


def enabled(level: int) -> bool:
    """Whether the environment asks for this level, or a higher one."""
    asked = os.environ.get("TFLGPU_DEBUG", "")
    return asked.isdigit() and int(asked) >= level


def say(level: int, text: str) -> None:
    """Prints text on standard error where the environment asks for this level."""
    if enabled(level):
        print(text, file=sys.stderr)


def pass_in_words(name: str, before: Sequence[str], after: Sequence[str]) -> list[str]:
    """What a pass did: the steps that it took away are marked -, those that it put in their place +."""
    gone, new = set(before) - set(after), set(after) - set(before)
    lines = [*(f"  - {step}" for step in before if step in gone), *(f"  + {step}" for step in after if step in new)]
    counts = f"{len(before)} steps, then {len(after)}" if lines else f"{len(after)} steps, as before"
    return [f"{name}: {counts}", *lines]
