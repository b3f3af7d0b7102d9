"""How many threads NumPy's BLAS takes, and how many this process may use."""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any, ClassVar, TypeVar

import threadpoolctl

from tflgpu.cgroups import cgroups, text_of

Result = TypeVar("Result")


class _Quiet(threadpoolctl.ThreadpoolController):
    """Does not warn that a process has two OpenMP runtimes: that is none of our doing."""

    def _warn_if_incompatible_openmp(self) -> None:
        pass


class _DirectOpenBlas:
    """OpenBLAS with threads of its own, without threadpoolctl's rule that only the first thread may set their number.

    The calls keep the GIL: they are too short to be worth giving it up.
    """

    def __init__(self, library: Any):
        functions = ctypes.PyDLL(library.filepath)
        affixes = itertools.product(("", "scipy_"), ("", "64_", "_64"))
        before, after = next((b, a) for b, a in affixes if hasattr(functions, f"{b}openblas_get_num_threads{a}"))
        self.get_num_threads = getattr(functions, f"{before}openblas_get_num_threads{after}")
        self.set_num_threads = getattr(functions, f"{before}openblas_set_num_threads{after}")


@cache
def _blas() -> Any:
    """NumPy's BLAS, with get_num_threads and set_num_threads; None where threadpoolctl does not know the library."""
    found = [library for library in _Quiet().lib_controllers if library.user_api == "blas"]
    blas = next((library for library in found if "numpy" in library.filepath), next(iter(found), None))
    if blas is not None and blas.internal_api == "openblas" and blas.threading_layer == "pthreads":
        return _DirectOpenBlas(blas)
    return blas


def blas_threads() -> int | None:
    """The threads that NumPy's BLAS takes now, or None where threadpoolctl does not know it."""
    blas = _blas()
    return None if blas is None else int(blas.get_num_threads())


def usable_processors(root: str | os.PathLike[str] = "/") -> int:
    """How many processors this process may use: by its affinity, Python's own setting and its cgroups' quotas."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        count = os.process_cpu_count() or 1
    else:
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: str | os.PathLike[str]) -> Iterator[float]:
    """The processors' time per time that each cgroup around this process allows, of version 1 or 2."""
    for folder, first_version in cgroups("cpu", root):
        with suppress(OSError, ValueError):  # no such file, or "max"
            yield _quota(folder, first_version)


def _quota(cgroup: str, first_version: bool) -> float:
    """One cgroup's quota. Raises OSError or ValueError where it has none."""
    if first_version:
        quota, period = (text_of(cgroup, f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    else:
        quota, period = text_of(cgroup, "cpu.max").split()
    if int(quota) <= 0:
        raise ValueError(f"{cgroup} has no quota")
    return int(quota) / int(period)


def locked(lock: threading.RLock, call: Callable[[], Result]) -> Result:
    """What the call returns, made while the lock is held; an interrupt at any line leaves it released.

    A `with` statement does not do that: its last line comes after what it guards.
    """
    try:
        lock.acquire()
        result = call()
        lock.release()
    except BaseException:
        with suppress(RuntimeError):  # it was not acquired yet, or released already
            lock.release()
        raise
    return result


class BlasLimit:
    """While it is entered, NumPy's BLAS takes one thread; afterwards as many as before.

    BLAS has one number for the process: it is set by the first to enter, and restored by the last to leave. An
    interrupt at any line leaves no limit in force, if `leave` is called after it.
    """

    _lock = threading.RLock()
    _in_force: ClassVar[dict[object, int]] = {}
    """Who has entered, and the number before the first."""

    def __init__(self) -> None:
        self._blas = _blas()

    def enter(self, owner: object) -> None:
        if self._blas is not None:
            locked(self._lock, lambda: self._enter(owner))

    def leave(self, owner: object) -> None:
        """Ends the limit that `owner` entered; nothing where it has none."""
        if owner in self._in_force:
            locked(self._lock, lambda: self._leave(owner))

    def _enter(self, owner: object) -> None:
        others = next(iter(self._in_force.values()), None)
        self._in_force[owner] = before = self._blas.get_num_threads() if others is None else others
        if others is None and before != 1:
            self._blas.set_num_threads(1)

    def _leave(self, owner: object) -> None:
        before = self._in_force[owner]
        if len(self._in_force) == 1 and before != 1:
            self._blas.set_num_threads(before)
        del self._in_force[owner]
