"""How many plans are kept, for shapes that may come again."""

from __future__ import annotations

from typing import Protocol, TypeVar

from tflgpu.model.graph import Shape

PLANS_KEPT = 4
"""Plans kept at least, by input shapes for a graph and by the shapes that came out for a dynamic node."""

PLANS_NBYTES = 2**24
"""Bytes of tensors up to which more are kept: a loop that grows a tensor comes back to the same shapes."""


class Kept(Protocol):
    @property
    def nbytes(self) -> int: ...


P = TypeVar("P", bound=Kept)


def make_room(plans: dict[tuple[Shape, ...], P], one_plan: bool) -> None:
    """Forgets the oldest plans, for one more to come: beyond PLANS_KEPT while they have over PLANS_NBYTES.

    one_plan: all of them.
    """
    if one_plan:
        plans.clear()
    held = sum(plan.nbytes for plan in plans.values())
    while len(plans) >= PLANS_KEPT and held > PLANS_NBYTES:
        held -= plans.pop(next(iter(plans))).nbytes
