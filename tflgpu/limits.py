"""What an interpreter may use, and the meter that ends a call which uses more."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from time import monotonic
from typing import NamedTuple

import numpy as np

from tflgpu.cgroups import memory_of_the_machine
from tflgpu.hints import did_you_mean
from tflgpu.memory import host_array, nbytes
from tflgpu.model.graph import Array, TensorSpec

CANCELLED = "Client requested cancel during Invoke()."

FOLDED_NBYTES = 2**26
"""Bytes of constants that preparation may compute and keep, besides `FOLDED_PER_BYTE` times the model's file."""

FOLDED_PER_BYTE = 4


@dataclass(frozen=True)
class Limits:
    """What an interpreter may use at most. None is no limit.

    memory_bytes: of its tensors at one time, in all graphs: inputs, outputs, activations, variables, and constants that
    preparation computes; neither the model's file nor the scratch memory of operators. Without it the limit is the
    memory of the machine, or of the process's cgroup.
    seconds: of one call, such as `invoke`, and of the construction. Asked between nodes and between iterations: a node
    that runs is not interrupted.
    loop_iterations: of all loops in one call together; a branch or a composite that runs counts as one. Graphs
    that others call may be prepared for new shapes 1/64 as often in one call, or 256 times. A loop that a device runs
    in one launch may have as many iterations in each launch, and without a limit 2**24, or 2**36 operations.
    tensor_elements: of one tensor.

    A call that would use more raises RuntimeError, which names the limit and the node or the tensor; the interpreter
    stays usable. Raises ValueError for a limit that is negative or no number.
    """

    memory_bytes: int | None = None
    seconds: float | None = None
    loop_iterations: int | None = None
    tensor_elements: int | None = None

    def __post_init__(self) -> None:
        for name, most in ((f.name, getattr(self, f.name)) for f in fields(self)):
            number = isinstance(most, int | float if name == "seconds" else int) and not isinstance(most, bool)
            if most is not None and not (number and most >= 0):
                raise ValueError(f"Limits.{name} takes a number of 0 or more, or None, not {most!r}")


UNTRUSTED = Limits(memory_bytes=2**32, seconds=600.0, loop_iterations=2**16, tensor_elements=2**29)
"""The limits of `tflgpu` commands that open a model, unless they are given others."""


def read_limits(texts: Mapping[str, str], otherwise: Limits = Limits()) -> Limits:
    """Limits from texts by their names, such as {"seconds": "10", "memory_bytes": "2e9", "loop_iterations": "none"}.

    otherwise: those that are not given. Raises ValueError for an unknown name, or for what is no number.
    """
    known = {f.name for f in fields(Limits)}
    given: dict[str, float | int | None] = {}
    for name, text in texts.items():
        if name not in known:
            raise ValueError(f"no limit {name!r}{did_you_mean(name, known)}; the limits are {', '.join(sorted(known))}")
        try:
            given[name] = None if text.lower() == "none" else float(text) if name == "seconds" else int(float(text))
        except (ValueError, OverflowError):
            raise ValueError(f"limit {name} takes a number, or none, not {text!r}") from None
    return replace(otherwise, **given)  # type: ignore[arg-type]


class LimitExceeded(RuntimeError):
    """A call would use more than a limit, or was cancelled. The text ends in a space."""


class _Held(NamedTuple):
    array: weakref.ref[Array]
    nbytes: int
    folded: bool


class Meter:
    """What one interpreter has used of its limits.

    stopped: why the present call is to end, if it is. short: whether the last memory that was asked for was too much.
    """

    def __init__(self, limits: Limits | None = None, file_nbytes: int = 0):
        self.limits = Limits() if limits is None else limits
        self.stopped: list[str] = []
        self._arrays: list[_Held] = []
        self._most_arrays = 1000
        self._held = self._folded = 0  # with those that are gone and not swept
        self.short = False
        self.most_folded_nbytes = FOLDED_NBYTES + FOLDED_PER_BYTE * file_nbytes
        self._end = float("inf")
        self._iterations = self._preparations = 0

    def begin(self) -> None:
        """A call begins."""
        self.stopped.clear()
        self._iterations = self._preparations = 0
        if self.limits.seconds is not None:
            self._end = monotonic() + self.limits.seconds

    def check(self) -> None:
        """Raises LimitExceeded where the present call is to end."""
        if self.stopped:
            raise LimitExceeded(f"{self.stopped[0]} ")
        if monotonic() > self._end:
            raise LimitExceeded(f"It takes longer than limits.seconds = {self.limits.seconds}. ")

    def checked(self, step: Callable[[], object]) -> Callable[[], object]:
        """The step, after a check where there is a limit to a call's time."""
        if self.limits.seconds is None:
            return step

        def run() -> None:
            self.check()
            step()

        return run

    def iteration(self) -> None:
        """An iteration of a loop begins, or another graph. Raises LimitExceeded as `check`."""
        self._iterations += 1
        most = self.limits.loop_iterations
        if most is not None and self._iterations > most:
            raise LimitExceeded(f"More iterations in one call than limits.loop_iterations = {most:,}. ")
        if self.stopped or self.limits.seconds is not None:
            self.check()

    def preparation(self) -> None:
        """A graph that another calls is prepared: for shapes that may double with each level. Raises LimitExceeded."""
        self._preparations += 1
        most = self.limits.loop_iterations
        if most is not None and self._preparations > max(most // 64, 256):
            raise LimitExceeded(f"More graphs to prepare in one call than limits.loop_iterations = {most:,} allows. ")

    @property
    def counter(self) -> Callable[[], object]:
        """What a loop calls at each iteration: `iteration`, or nothing where that has nothing to count."""
        unlimited = self.limits.loop_iterations is None and self.limits.seconds is None
        return (lambda: None) if unlimited else self.iteration

    def admit(self, specs: Iterable[TensorSpec]) -> None:
        """Raises LimitExceeded for a tensor of too many elements, or of more memory than all may have."""
        elements, memory = self.limits.tensor_elements, self.most_nbytes
        for spec in specs:
            size = nbytes(spec)
            if elements is not None and size > elements * spec.dtype.itemsize:
                raise LimitExceeded(f"{spec} has more elements than limits.tensor_elements = {elements:,}. ")
            if size > memory:
                raise LimitExceeded(self._refusal(size, str(spec)))

    @property
    def most_nbytes(self) -> int:
        """Bytes that all tensors may take together."""
        machine, limit = memory_of_the_machine(), self.limits.memory_bytes
        return machine if limit is None else min(limit, machine)

    def reserve(self, needed: int, what: str) -> None:
        """Raises LimitExceeded where so many bytes more are too many."""
        if self._held + needed > self.most_nbytes:
            gc.collect()  # an error that was caught may hold what it was about
            self._sweep()
        self.short = self._held + needed > self.most_nbytes
        if self.short:
            raise LimitExceeded(self._refusal(needed, what))

    def _refusal(self, needed: int, what: str) -> str:
        used = f", besides {self.held_nbytes:,} in use" if self.held_nbytes else ""
        if self.most_nbytes != self.limits.memory_bytes:
            return f"{what} needs {needed:,} bytes{used}; this machine has {self.most_nbytes:,}. "
        return f"{what} needs {needed:,} bytes{used}: more than limits.memory_bytes = {self.limits.memory_bytes:,}. "

    def folds(self, specs: Iterable[TensorSpec]) -> bool:
        """Whether preparation may compute these constants too."""
        needed = sum(map(nbytes, specs))
        if self._folded + needed > self.most_folded_nbytes:
            self._sweep()
        return self._folded + needed <= self.most_folded_nbytes

    def hold(self, *arrays: Array, folded: bool = False) -> None:
        """Counts the memory of arrays for as long as they live. folded: they are constants that were computed."""
        for array in arrays:
            # What views of it have as their base lives as long as any of them.
            owner = array.base if isinstance(array.base, np.ndarray) else array
            self._arrays.append(_Held(weakref.ref(owner), array.nbytes, folded))
            self._held += array.nbytes
            self._folded += array.nbytes if folded else 0
        if len(self._arrays) > self._most_arrays:
            self._sweep()

    def _sweep(self) -> None:
        """Forgets the arrays that are gone. No callbacks of theirs do it: an interrupt in such a one would be lost."""
        self._arrays = [one for one in self._arrays if one.array() is not None]
        self._held = sum(one.nbytes for one in self._arrays)
        self._folded = sum(one.nbytes for one in self._arrays if one.folded)
        self._most_arrays = 2 * len(self._arrays) + 1000

    @property
    def held_nbytes(self) -> int:
        """Bytes of the interpreter's tensors at present."""
        self._sweep()
        return self._held

    @property
    def folded_nbytes(self) -> int:
        """Of these, the constants that preparation has computed."""
        self._sweep()
        return self._folded

    def host_array(self, spec: TensorSpec, delegates: Iterable[object] = ()) -> Array:
        """As memory.host_array, counted. Raises LimitExceeded where it is too much."""
        self.admit([spec])
        self.reserve(nbytes(spec), str(spec))
        array = host_array(spec, tuple(delegates))
        self.hold(array)
        return array
