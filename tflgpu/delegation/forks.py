"""Whether what was opened may still be used: fork copies a process's memory and none of its threads.

A runtime whose threads are gone waits for them for ever, and a GPU's context belongs to one process.
"""

from __future__ import annotations

import os

_forks = 0
"""How often this process was forked from another since this module was loaded there."""


class ForkedError(RuntimeError):
    """What is used was opened before this process was forked, and cannot be used in it."""


class Opened:
    """Something that this process opened, by its name in errors."""

    def __init__(self, name: str):
        self.name = name
        self._forks = _forks

    @property
    def lost(self) -> bool:
        """Whether it was opened before this process was forked."""
        return self._forks != _forks

    def require(self) -> None:
        """Raises ForkedError where it is lost."""
        if self._forks != _forks:
            raise ForkedError(
                f"{self.name} was opened before this process was forked, and its threads and devices stayed behind: "
                "start processes by spawn, or load the first delegate after the fork"
            )


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
