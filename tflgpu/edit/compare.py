"""An edited model beside its original, on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflgpu.edit.document import Document
from tflgpu.interpreter import Interpreter
from tflgpu.limits import UNTRUSTED
from tflgpu.model.graph import Array, Shape

RTOL = 1e-4
"""Of an output's largest value: sums of floats may be taken in another order at another batch size."""

MakeInput = Callable[[Mapping[str, Any]], Array]
"""A value for an input, by its details."""


@dataclass(frozen=True)
class Compared:
    """One output of the edited model. largest: the largest difference; None where the original has nothing like it."""

    name: str
    shape: Shape
    largest: float | None
    agrees: bool

    def __str__(self) -> str:
        if self.largest is None:
            return f"output {self.name!r} {list(self.shape)}: the original has no value of this shape to compare with"
        how = "equal" if self.largest == 0 else f"largest difference {self.largest:.3g}"
        return f"output {self.name!r} {list(self.shape)}: {how if self.agrees else f'DIFFERS, {how}'}"


def compare(original: bytes, document: Document, edited: bytes, make: MakeInput, examples: int = 1) -> list[Compared]:
    """The edited model's outputs beside the tensors of the original that they come from.

    The original runs on values of `make`, keeping every tensor; the edited model gets those that its inputs come from.
    examples: of the original's, put together in one run of the edited model, whose batch is that many times as large.
    Raises ValueError where an input of the edited model has no value in the original.
    """
    mine, theirs = Interpreter(model_content=edited, limits=UNTRUSTED), _Original(original)
    origins = document.origins
    details = mine.get_input_details()
    if examples == 1:
        theirs.resize({origins[d["index"]]: d["shape"] for d in details})
    sources = [origins[i] for i in (*document.main["inputs"], *document.main["outputs"])]
    runs = [theirs.run(make, sources) for _ in range(examples)]
    for d in details:
        source = origins[d["index"]]
        if any(source not in run for run in runs):
            raise ValueError(f"input {d['name']!r} has no value in the original to compare with")
    values = [_fitted([run[origins[d["index"]]] for run in runs], d["shape_signature"]) for d in details]
    for d, value in zip(details, values, strict=True):
        if value.shape != tuple(d["shape"]):
            mine.resize_tensor_input(d["index"], value.shape)
    mine.allocate_tensors()
    for d, value in zip(details, values, strict=True):
        mine.set_tensor(d["index"], value)
    mine.invoke()
    return [_beside(mine, d, [run.get(origins[d["index"]]) for run in runs]) for d in mine.get_output_details()]


def _fitted(values: Sequence[Array], signature: Array) -> Array:
    """Examples put together along the first dimension, as many as the signature has there."""
    if len(values) == 1 or values[0].ndim == 0 or values[0].shape == tuple(signature):
        return values[0]
    whole = np.concatenate(values)
    return whole if signature[0] < 0 else whole[: signature[0]]


def _beside(mine: Interpreter, details: Mapping[str, Any], theirs: Sequence[Array | None]) -> Compared:
    got = mine.get_tensor(details["index"])
    name, known = str(details["name"]), [value for value in theirs if value is not None]
    if len(known) == len(theirs):
        if len(known) > 1 and known[0].shape == got.shape:  # the batch does not reach it: all examples must have it
            apart = [_difference(got, want) for want in known]
            return Compared(name, got.shape, max(a for a, _ in apart), all(same for _, same in apart))
        for axis in range(max(got.ndim, 1)):
            want = np.concatenate(known, axis) if len(known) > 1 and got.ndim else known[0]
            want = want[(slice(None),) * axis + (slice(got.shape[axis]),)] if got.ndim and want.ndim > axis else want
            if want.shape == got.shape:
                return Compared(name, got.shape, *_difference(got, want))
    return Compared(name, got.shape, None, True)


def _difference(got: Array, want: Array) -> tuple[float, bool]:
    """(the largest difference, whether it is one that another order of sums explains)."""
    if got.dtype.kind not in "fc":
        same = np.array_equal(got, want)
        numbers = got.dtype.kind in "iub"
        apart = np.abs(got.astype(np.float64) - want.astype(np.float64)).max(initial=0) if numbers else float(not same)
        return float(apart), same
    if got.tobytes() == want.tobytes():
        return 0.0, True
    finite = np.isfinite(want)
    largest = float(np.abs(np.where(finite, got, 0) - np.where(finite, want, 0)).max(initial=0))
    scale = float(np.abs(np.where(finite, want, 0)).max(initial=0))
    others = np.array_equal(got[~finite], want[~finite], equal_nan=True)
    return largest, others and largest <= RTOL * max(scale, 1e-6)


class _Original:
    """The original model, every tensor of which can be read."""

    def __init__(self, content: bytes):
        self._interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True, limits=UNTRUSTED)

    def resize(self, shapes: Mapping[int, Array]) -> None:
        for d in self._interpreter.get_input_details():
            shape = shapes.get(d["index"])
            if shape is not None and not np.array_equal(shape, d["shape"]):
                self._interpreter.resize_tensor_input(d["index"], shape)

    def run(self, make: MakeInput, tensors: Sequence[int]) -> dict[int, Array]:
        """The values of these tensors, by index, as far as they have one."""
        interpreter = self._interpreter
        interpreter.allocate_tensors()
        interpreter.reset_all_variables()
        for d in interpreter.get_input_details():
            interpreter.set_tensor(d["index"], make(d))
        interpreter.invoke()
        found = {}
        for index in set(tensors) - {-1}:
            try:
                found[index] = interpreter.get_tensor(index)
            except ValueError:  # in no partition that ran
                continue
        return found
