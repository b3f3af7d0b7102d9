"""TFLGPU_DEBUG: 1 prints partitions and what is not delegated, 2 each launch with its time too, 3 program texts too."""

from __future__ import annotations

import os
import sys

PARTITIONS, LAUNCHES, PROGRAMS = 1, 2, 3


def enabled(level: int) -> bool:
    """Whether the environment asks for this level, or a higher one."""
    asked = os.environ.get("TFLGPU_DEBUG", "")
    return asked.isdigit() and int(asked) >= level


def say(level: int, text: str) -> None:
    """Prints text on standard error where the environment asks for this level."""
    if enabled(level):
        print(text, file=sys.stderr)
