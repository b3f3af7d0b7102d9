"""The state in which an interpreter prepares or runs."""

from __future__ import annotations

import threading
from copy import copy

import numpy as np

from tflgpu.memory import Loans
from tflgpu.runtime.threads import BlasLimit

_VIEW_ALIVE = """There is at least 1 reference to internal data
      in the interpreter in the form of a numpy array or slice. Be sure to
      only hold the function returned from tensor() if you are using raw
      data access."""


class Exclusive:
    """A context for one call at a time, in which NumPy does not warn and BLAS keeps to `num_threads`.

    Entering raises RuntimeError while another thread is within, or a view of the interpreter's memory alive.
    """

    def __init__(self, loans: Loans, num_threads: int):
        self._loans = loans
        self._busy = threading.Lock()
        self._limit = BlasLimit(num_threads)

    def beside_views(self) -> Exclusive:
        """The same context, but that views do not keep anyone out."""
        other = copy(self)
        other._loans = Loans()
        return other

    def __enter__(self) -> None:
        if self._loans:
            raise RuntimeError(_VIEW_ALIVE)
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("This interpreter is running in another thread; give each thread an interpreter.")
        # Infinities, NaN and wrapping integers are results, not faults; NumPy would warn of each.
        self._silence = np.errstate(all="ignore")
        self._silence.__enter__()
        self._limit.__enter__()

    def __exit__(self, *error: object) -> None:
        self._limit.__exit__()
        self._silence.__exit__(None, None, None)
        self._busy.release()
