"""One model on a delegate: its file and expected outputs, its latencies, its kernels."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from architectures import ARCHITECTURES, Network
from gpu_results import WAYS
from models import tflite
from timing import measured

import tflgpu
from tflgpu.delegates.cache import write_whole

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
        return _network(self.model, batch, self.dry)

    def file(self, batch: int) -> Path:
        path = self.folder / f"{self.model}-{batch}-{self.kind}.tflite"
        if not path.exists():
            write_whole(path, tflite(self.network(batch), self.kind), sync=False)
        return path

    def input(self, shape: Sequence[int]) -> Any:
        """One image or text, the same whatever the batch, as often as it asks."""
        rng, one = np.random.default_rng(0), (1, *shape[1:])
        x = rng.integers(-60, 60, one).astype(np.int8) if self.kind == "int8" else rng.standard_normal(one, np.float32)
        return np.repeat(x, shape[0], 0)

    def expected(self) -> Any:
        """The CPU's output for that."""
        path = self.folder / f"{self.model}-{self.kind}.npy"
        if not path.exists():
            interpreter = tflgpu.Interpreter(model_path=str(self.file(1)))
            interpreter.allocate_tensors()
            given = interpreter.get_input_details()[0]
            interpreter.set_tensor(given["index"], self.input(given["shape"]))
            interpreter.invoke()
            output = io.BytesIO()
            np.save(output, interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
            write_whole(path, output.getvalue(), sync=False)
        return np.load(path)

    def prepared(self, delegate: Any) -> Any:
        """An interpreter that is ready to run the model."""
        interpreter = tflgpu.Interpreter(model_path=str(self.file(self.batch)), experimental_delegates=[delegate])
        interpreter.allocate_tensors()
        return interpreter


@cache
def _network(model: str, batch: int, dry: bool) -> Network:
    """Kept, since drawing the weights takes as long as hundreds of runs."""
    return ARCHITECTURES[model](batch, **(TINY.get(model, {"size": 32}) if dry else {}))


class Emulated(np.ndarray):
    """An array on the emulator's GPU, which is the CPU."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.__array_interface__, "version": 3}


def times(case: Case, delegate: Any, seconds: float, ways: Sequence[str] = WAYS) -> Any:
    """Latencies with the input set, pinned and bound, share delegated, difference from the CPU's output."""
    interpreter = case.prepared(delegate)
    given, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
    index, x = given["index"], case.input(given["shape"])
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
