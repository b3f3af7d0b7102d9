"""One model on a delegate: its file and expected outputs, its latencies, its kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from architectures import ARCHITECTURES, Network
from gpu_results import WAYS
from models import tflite
from timing import measured

import tflgpu

TINY: Mapping[str, Mapping[str, int]] = {"bert_base": {"tokens": 8, "layers": 1}}


@dataclass(frozen=True)
class Case:
    """One model in one precision. folder: where its file and outputs are made."""

    model: str
    batch: int
    kind: str
    precision: str
    folder: Path
    dry: bool

    def network(self, batch: int) -> Network:
        return ARCHITECTURES[self.model](batch, **(TINY.get(self.model, {"size": 32}) if self.dry else {}))

    def file(self, batch: int) -> Path:
        path = self.folder / f"{self.model}-{batch}-{self.kind}.tflite"
        if not path.exists():
            path.write_bytes(tflite(self.network(batch), self.kind))
        return path

    def input(self) -> Any:
        """The input of one image or text."""
        shape = (1, *self.network(1).input.shape[1:])
        rng = np.random.default_rng(0)
        if self.kind == "int8":
            return rng.integers(-60, 60, shape).astype(np.int8)
        return rng.standard_normal(shape, np.float32)

    def expected(self) -> Any:
        """The CPU's output for that."""
        path = self.folder / f"{self.model}-{self.kind}.npy"
        if not path.exists():
            interpreter = tflgpu.Interpreter(model_path=str(self.file(1)))
            interpreter.allocate_tensors()
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], self.input())
            interpreter.invoke()
            np.save(path, interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
        return np.load(path)

    def prepared(self, delegate: Any) -> Any:
        """An interpreter that is ready to run the model."""
        interpreter = tflgpu.Interpreter(model_path=str(self.file(self.batch)), experimental_delegates=[delegate])
        interpreter.allocate_tensors()
        return interpreter


class Emulated(np.ndarray):
    """An array on the emulator's GPU, which is the CPU."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.__array_interface__, "version": 3}


def times(case: Case, delegate: Any, seconds: float, ways: Sequence[str] = WAYS) -> Any:
    """Latencies with the input set, pinned and bound, share delegated, difference from the CPU's output."""
    interpreter = case.prepared(delegate)
    index, out = (d()[0]["index"] for d in (interpreter.get_input_details, interpreter.get_output_details))
    x = np.repeat(case.input(), case.batch, 0)
    view = interpreter.tensor(index)

    def with_set_tensor() -> None:
        interpreter.set_tensor(index, x)
        interpreter.invoke()

    def with_pinned() -> None:
        view()  # the host's array may have changed: invoke copies it
        interpreter.invoke()

    runs = {"set_tensor": with_set_tensor, "pinned": with_pinned, "bound": interpreter.invoke}
    result: dict[str, Any] = {"report": interpreter.delegation_report().splitlines()[0]}
    with_set_tensor()
    got, want = interpreter.get_tensor(out).astype(np.float64), case.expected().astype(np.float64)
    result["difference"] = float(np.abs(got - want).max() / np.abs(want).max())
    if case.kind == "int8" and result["difference"]:
        result["error"] = "int8 differs from the CPU"
    for way in ways:
        if way == "bound":
            interpreter.bind_input(index, _on_device(x, case.dry))
            interpreter.allocate_tensors()
        result[way] = measured(runs[way], seconds / len(ways))
    return result


def _on_device(x: Any, dry: bool) -> Any:
    if dry:
        return x.view(Emulated)
    import cupy

    return cupy.asarray(x)


def kernels(case: Case, options: Mapping[str, Any]) -> dict[str, Any]:
    """Of one run, by kernel: launches, milliseconds, bytes of buffers."""
    delegate: Any = tflgpu.load_delegate("cuda", {**options, "profile": True})
    interpreter = case.prepared(delegate)
    interpreter.invoke()
    before, given = delegate.device.times(), delegate.device.traffic()
    for _ in range(5):
        interpreter.invoke()
    after, given_after = delegate.device.times(), delegate.device.traffic()
    found: dict[str, Any] = {}
    for name, (runs, ms) in after.items():
        took, nbytes = ms - before[name][1], given_after[name] - given[name]
        found[name] = {"launches": (runs - before[name][0]) / 5, "ms": took / 5, "bytes": nbytes // 5}
        found[name]["bytes_per_s"] = nbytes / took * 1e3
    return found
