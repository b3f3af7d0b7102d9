"""What an interpreter has prepared and keeps for shapes that may come again: one budget for all of its graphs."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from traceback import clear_frames
from typing import Any, Generic, Protocol, TypeVar

from tflgpu.limits import Meter
from tflgpu.model.graph import Shape
from tflgpu.ops.registry import nothing

PLANS = 4
"""Kept at least, of all graphs together, unless memory is short."""

PLANS_NBYTES = 2**26
"""Bytes, of host and devices, up to which more are kept: a loop that grows a tensor comes back to the same shapes."""

Key = tuple[Shape, ...]


class Plan(Protocol):
    """What is prepared for some shapes: an executor or a segment."""

    @property
    def nbytes(self) -> int:
        """Of host and devices, but for constants. It may grow while the plan is in use."""


P = TypeVar("P", bound=Plan)


@dataclass(eq=False)
class _Kept(Generic[P]):
    """A plan, when it was last used by the budget's count, and what it held then."""

    plan: P
    used: int
    nbytes: int


class PlanBudget:
    """What the plan caches of one interpreter may hold together. one_plan: each of them holds one plan alone."""

    def __init__(self, one_plan: bool, meter: Meter):
        self.one_plan, self._meter = one_plan, meter
        self.nbytes = PLANS_NBYTES
        self.uses = count()
        self.caches: weakref.WeakSet[PlanCache[Any]] = weakref.WeakSet()

    def make_room(self, cache: PlanCache[Any], short: bool = False) -> bool:
        """Forgets the least recently used, for one more to come: those beyond the budget, or all where memory is short.

        cache: where it is to come. The last used of each other cache stays, for it is in use. Returns whether any went.
        """
        plans, nbytes = (0, 0) if short else (PLANS, self.nbytes)
        kept = [(one.used, key, one, other) for other in self.caches for key, one in other.kept.items()]
        left, held = len(kept), sum(one.nbytes for _, _, one, _ in kept)
        for _, key, one, other in sorted(kept, key=lambda each: each[0]):
            if left < plans or held <= nbytes:
                break
            if other is cache or one is not other.last:
                other.forget(key)
                left, held = left - 1, held - one.nbytes
        return left < len(kept)

    def is_shortage(self, error: BaseException) -> bool:
        """Whether memory, of the host or of a device, was too short for what raised the error."""
        return self._meter.short or isinstance(error.__cause__, MemoryError)

    def prepared(self, prepare: Callable[[], P]) -> P:
        """What it returns. Where memory is short, whoever keeps the error does not keep what had been prepared."""
        try:
            return prepare()
        except RuntimeError as error:
            if self.is_shortage(error):
                clear_frames(error.__traceback__)
                if error.__cause__ is not None:
                    error.__cause__.__traceback__ = None  # whose frames have closures, which are not cleared
            raise


class PlanCache(Generic[P]):
    """The plans for one graph, or for what follows one dynamic node, by shapes. forgotten: called when one goes."""

    def __init__(self, budget: PlanBudget, forgotten: Callable[[], None] = nothing):
        self._budget, self._forgotten = budget, forgotten
        self.kept: dict[Key, _Kept[P]] = {}
        """The last used is last."""
        budget.caches.add(self)

    @property
    def last(self) -> _Kept[P] | None:
        """What was last used."""
        return next(reversed(self.kept.values()), None)

    def plan(self, key: Key, prepare: Callable[[], P], spare: Callable[[], None] = nothing) -> P:
        """The plan for these shapes, prepared unless it is kept.

        Where memory is too short for it, the others go, `spare` lets go of what else can go, and it is prepared again.
        """
        if key not in self.kept:
            plan = self._prepared(prepare, spare)
            self.kept[key] = _Kept(plan, 0, plan.nbytes)
        one = self.kept[key] = self.kept.pop(key)
        one.used = next(self._budget.uses)
        return one.plan

    def _prepared(self, prepare: Callable[[], P], spare: Callable[[], None]) -> P:
        if self._budget.one_plan:
            self.clear()
        if self.last is not None:
            self.last.nbytes = self.last.plan.nbytes
        self._budget.make_room(self)
        try:
            return self._budget.prepared(prepare)
        except RuntimeError as error:
            if not self._budget.is_shortage(error) or not self._budget.make_room(self, short=True):
                raise
        spare()
        return self._budget.prepared(prepare)

    def forget(self, key: Key) -> None:
        """Lets go of one plan."""
        del self.kept[key]
        self._forgotten()

    def clear(self) -> None:
        """Lets go of all plans."""
        for key in list(self.kept):
            self.forget(key)
