"""The state in which an interpreter prepares or runs."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TypeVar

import numpy as np

from tflgpu.limits import Meter
from tflgpu.memory import Loans
from tflgpu.runtime.threads import BlasLimit
from tflgpu.shapes import reraise

_VIEW_ALIVE = """There is at least 1 reference to internal data
      in the interpreter in the form of a numpy array or slice. Be sure to
      only hold the function returned from tensor() if you are using raw
      data access."""

Result = TypeVar("Result")


class Exclusive:
    """Runs one call at a time, in which NumPy does not warn and BLAS keeps to one thread.

    An interrupt at any line, of this file too, ends the call and leaves nothing held: what ends a call can be done
    twice, and is done again where anything is raised.
    """

    def __init__(self, loans: Loans, meter: Meter):
        self._loans = loans
        self._meter = meter
        self._holder: dict[str, object] = {}
        self._limit = BlasLimit()
        # Infinities, NaN and wrapping integers are results, not faults; NumPy would warn of each.
        self._quietly = np.errstate(all="ignore")(_called)

    def beside_views(self) -> Exclusive:
        """The same, but that views do not keep anyone out."""
        other = copy(self)
        other._loans = Loans()
        return other

    def run(self, call: Callable[[], Result]) -> Result:
        """What the call returns. Raises RuntimeError during another call, or while a view of the memory is alive."""
        if self._loans:
            raise RuntimeError(_VIEW_ALIVE)
        owner = object()
        try:
            if self._holder.setdefault("call", owner) is not owner:
                raise RuntimeError("This interpreter is running in another thread; give each thread an interpreter.")
            self._meter.begin()
            self._limit.enter(owner)
            result: Result = self._quietly(call)
            self._leave(owner)
        except BaseException as error:
            self._leave(owner)
            reraise(error, "The model")
        return result

    def _leave(self, owner: object) -> None:
        self._limit.leave(owner)
        if self._holder.get("call") is owner:
            del self._holder["call"]


def _called(call: Callable[[], Result]) -> Result:
    return call()
