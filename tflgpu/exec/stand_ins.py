"""What stands in for TensorFlow Lite's classes in a program that `tflgpu exec` runs."""

from __future__ import annotations

import inspect
import os
import threading
from functools import partial
from types import ModuleType
from typing import Any

import tflgpu
from tflgpu.exec.report import Record, watched
from tflgpu.exec.settings import Settings, from_environment
from tflgpu.limits import read_limits
from tflgpu.runtime.graph_runner import GraphRunner

SETTINGS = from_environment()
_LOCK = threading.Lock()
_MADE: dict[int, tflgpu.Delegate] = {}
ARGUMENTS = inspect.signature(tflgpu.Interpreter)


class Interpreter(tflgpu.Interpreter):
    """tflgpu's Interpreter, with what the settings of `tflgpu exec` add to the program's arguments."""

    _record: Record | None = None

    def __init__(self, *positional: Any, **named: Any):
        given = ARGUMENTS.bind(*positional, **named).arguments
        super().__init__(**with_settings(given, SETTINGS))
        if SETTINGS.report:
            self._record = watched(self, given)

    def _invoke(self, graph: GraphRunner) -> None:
        if self._record is None:
            super()._invoke(graph)
        else:
            self._record.timed(partial(super()._invoke, graph))

    def get_signature_runner(self, signature_key: str | None = None) -> tflgpu.SignatureRunner:
        return SignatureRunner(self, super().get_signature_runner(signature_key)._signature.key)


class InterpreterWithCustomOps(tflgpu.InterpreterWithCustomOps, Interpreter):
    """As Interpreter, with custom operators of its own."""


class SignatureRunner(tflgpu.SignatureRunner):
    """tflgpu's SignatureRunner, whose calls the report counts."""

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        record: Record | None = getattr(self._interpreter, "_record", None)
        run = partial(super().__call__, **inputs)
        return run() if record is None else record.timed(run)


class CompiledModel(tflgpu.CompiledModel):
    """tflgpu's CompiledModel, over the Interpreter that stands in."""

    _make = Interpreter


INTERPRETER = {
    "Interpreter": Interpreter,
    "InterpreterWithCustomOps": InterpreterWithCustomOps,
    "SignatureRunner": SignatureRunner,
    "load_delegate": tflgpu.load_delegate,
}
"""What stands in for each name of an interpreter module."""


def patch(module: ModuleType) -> None:
    """Replaces what the module has of these names by the stand-ins."""
    stand_ins = {"CompiledModel": CompiledModel} if module.__name__.endswith(".compiled_model") else INTERPRETER
    for name, stand_in in stand_ins.items():
        if hasattr(module, name):
            setattr(module, name, stand_in)


def provide(module: ModuleType) -> None:
    """Fills tflite_runtime, or its interpreter module, where none is installed."""
    module.__doc__ = "Provided by tflgpu exec --provide-tflite-runtime."
    if module.__name__ == "tflite_runtime.interpreter":
        names = {**INTERPRETER, "Delegate": tflgpu.Delegate, "OpResolverType": tflgpu.OpResolverType}
        vars(module).update(names)


def with_settings(given: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The arguments of Interpreter that the program gave, and what the settings add."""
    added = dict(given)
    if settings.delegate and not given.get("experimental_delegates"):
        added["experimental_delegates"] = [_delegate()]
    if settings.threads:
        added["num_threads"] = settings.threads
    if settings.limits:
        added["limits"] = read_limits(settings.limits, given.get("limits") or tflgpu.Limits())
    if settings.preserve_all:
        added["experimental_preserve_all_tensors"] = True
    return added


def _delegate() -> tflgpu.Delegate:
    """The named delegate, one for each process: a device's runtime does not outlive fork."""
    with _LOCK:
        if os.getpid() not in _MADE:
            assert SETTINGS.delegate is not None
            _MADE[os.getpid()] = tflgpu.load_delegate(SETTINGS.delegate, SETTINGS.options)
        return _MADE[os.getpid()]
