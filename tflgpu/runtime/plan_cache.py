"""How many preparations are cached, for shapes that may come again."""

from __future__ import annotations

from typing import Protocol, TypeVar

from tflgpu.model.graph import Shape

PLANS = 4
"""Cached at least, by input shapes for a graph and by output shapes for a dynamic node."""

PLANS_NBYTES = 2**24
"""Bytes of tensors up to which more are cached: a loop that grows a tensor comes back to the same shapes."""


class Plan(Protocol):
    """What is prepared for some shapes: an executor or a segment."""

    @property
    def nbytes(self) -> int: ...


P = TypeVar("P", bound=Plan)


def make_room(plans: dict[tuple[Shape, ...], P], one_plan: bool) -> None:
    """Forgets the oldest, for one more to come: beyond PLANS while they hold over PLANS_NBYTES.

    one_plan: all of them.
    """
    if one_plan:
        plans.clear()
    held = sum(plan.nbytes for plan in plans.values())
    while len(plans) >= PLANS and held > PLANS_NBYTES:
        held -= plans.pop(next(iter(plans))).nbytes
