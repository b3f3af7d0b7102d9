"""Optional members of delegates and devices: each is declared by a Protocol, and asked for through these functions."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Protocol, TypeGuard, TypeVar

P = TypeVar("P")


def offers(thing: object, protocol: type[P]) -> TypeGuard[P]:
    """Whether the object has every member that the Protocol declares, and none of them is None.

    Unlike isinstance, it asks the object itself, so that a wrapper with `__getattr__` offers what it wraps.
    """
    return not lacking(thing, protocol)


def lacking(thing: object, protocol: Any) -> list[str]:
    """The members that the Protocol declares and the object does not offer."""
    return [name for name in _members(protocol) if getattr(thing, name, None) is None]


def offering(things: Iterable[object], protocol: type[P]) -> list[P]:
    """Those of the objects that offer what the Protocol declares."""
    return [thing for thing in things if offers(thing, protocol)]


class _Empty(Protocol):
    pass


@cache
def _members(protocol: Any) -> tuple[str, ...]:
    declared = {**protocol.__annotations__, **vars(protocol)}
    return tuple(name for name in declared if name not in vars(_Empty) and not name.startswith("__"))
