"""How many threads the matrix products of NumPy's BLAS may take, where threadpoolctl is installed to say so."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, ClassVar


@cache
def _blas() -> Any:
    """NumPy's BLAS, as threadpoolctl steers it; None where that is not installed or does not know the library."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    found = [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]
    return next((library for library in found if "numpy" in library.filepath), next(iter(found), None))


def blas_threads() -> int | None:
    """The threads that NumPy's BLAS takes now, or None where threadpoolctl is missing or does not know it."""
    blas = _blas()
    return None if blas is None else int(blas.get_num_threads())


class BlasLimit:
    """While it is entered, NumPy's BLAS takes `count` threads; afterwards as many as before.

    Without threadpoolctl it does nothing. BLAS has one number for the process: where limits of several threads overlap,
    the one entered last of those still in force holds for all.
    """

    _lock = threading.Lock()
    _in_force: ClassVar[list[int]] = []
    """The number before any limit, and those of the limits entered, in order."""

    def __init__(self, count: int):
        self._count = count
        self._blas = _blas()

    def __enter__(self) -> None:
        blas, in_force = self._blas, self._in_force
        if blas is None:
            return
        with self._lock:
            if not in_force:
                in_force.append(blas.get_num_threads())
            if in_force[-1] != self._count:
                blas.set_num_threads(self._count)
            in_force.append(self._count)

    def __exit__(self, *error: object) -> None:
        blas, in_force = self._blas, self._in_force
        if blas is None:
            return
        with self._lock:
            present = in_force[-1]
            if present == self._count:
                in_force.pop()
            else:
                del in_force[len(in_force) - 1 - in_force[::-1].index(self._count)]
            if in_force[-1] != present:
                blas.set_num_threads(in_force[-1])
            if len(in_force) == 1:
                in_force.clear()
