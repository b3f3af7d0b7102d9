"""What a model's outputs should be, and how far from that each may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflgpu.conformance.tolerances import BOUNDS, EXACT, unit_of
from tflgpu.delegation.delegate import Partition
from tflgpu.interpreter import Interpreter
from tflgpu.model.graph import Array, Node
from tflgpu.ops.registry import Step

NOISES = 3


@dataclass(frozen=True, eq=False)
class Expected:
    """outputs, and for each the size of a unit (None: exact) and the units that it may be off; slack: of integers."""

    outputs: list[Array]
    units: list[Array | None]
    bounds: list[float]
    slack: list[int]


class Reference:
    """A model on the CPU, fed one set of values after another."""

    def __init__(self, model: bytes, litert: bool = False):
        self._model = model
        self._interpreter = Interpreter(model_content=model)
        self._litert = _litert(model) if litert else None
        self._noisy: list[Interpreter] = []

    def expected(self, values: Sequence[Array]) -> Expected:
        outputs = answer(self._interpreter, values)
        runner = self._interpreter._graphs[0]
        nodes = [node for partition in runner.partitions for node in partition.nodes]
        single = len(runner.graph.nodes) == 1 and len(nodes) == 1
        slack = [0] * len(outputs)
        if single:
            units = self._units(nodes[0], outputs)
            bounds = [BOUNDS.get(nodes[0].op, EXACT).ulps(nodes[0]) if u is not None else 0.0 for u in units]
        elif all(w.dtype.kind not in "f" for w in outputs) and not _inexact(nodes):
            units, bounds = [None] * len(outputs), [0.0] * len(outputs)
        else:
            units, bounds, slack = self._by_noise(values, outputs)
        if self._litert is not None:
            outputs = answer(self._litert, values)
        return Expected(outputs, units, bounds, slack)

    def reset(self) -> None:
        for interpreter in (self._interpreter, self._litert, *self._noisy):
            if interpreter is not None:
                interpreter.allocate_tensors()
                interpreter.reset_all_variables()

    def milliseconds(self, values: Sequence[Array]) -> float:
        return timed(self._interpreter, values)

    def _units(self, node: Node, outputs: Sequence[Array]) -> list[Array | None]:
        runner = self._interpreter._graphs[0]
        inputs: list[Array | None] = []
        for spec in node.inputs:
            tensor = None if spec is None else runner.tensor(spec.index)
            inputs.append(None if tensor is None else tensor.read())
        return [unit_of(node, inputs, want) for want in outputs]

    def _by_noise(
        self, values: Sequence[Array], outputs: Sequence[Array]
    ) -> tuple[list[Array | None], list[float], list[int]]:
        """The outputs' sensitivity: how far they go when every node's result is off by as much as it may be."""
        if not self._noisy:
            self._noisy = [_with_noise(self._model, seed) for seed in range(NOISES)]
        runs = [answer(interpreter, values) for interpreter in self._noisy]
        units: list[Array | None] = []
        slack = []
        for k, want in enumerate(outputs):
            if want.dtype.kind != "f":
                units.append(None)
                apart = [
                    np.abs(r[k].astype(np.int64) - want.astype(np.int64)).max(initial=0)
                    for r in runs
                    if _alike(r[k], want)
                ]
                slack.append(int(max(apart, default=0)) * 2)
                continue
            off = np.zeros(want.shape)
            with np.errstate(all="ignore"):
                for run in runs:
                    if run[k].shape == want.shape:
                        off = np.fmax(off, np.abs(run[k].astype(np.float64) - want.astype(np.float64)))
                spread = float(np.sqrt(np.nanmean(np.where(np.isfinite(off), off, 0.0) ** 2))) if off.size else 0.0
                info = np.finfo(want.dtype)
                finite = np.where(np.isfinite(want), np.abs(want), 0).astype(np.float64)
                ulp = np.maximum(finite, float(info.tiny)) * float(info.eps)
                units.append(np.maximum(np.where(np.isfinite(off), off, np.inf), spread) * 4 + ulp)
            slack.append(0)
        return units, [1.0] * len(outputs), slack


def _alike(got: Array, want: Array) -> bool:
    return got.shape == want.shape and want.dtype.kind in "iub"


def _inexact(nodes: Sequence[Node]) -> bool:
    floats = [node for node in nodes if node.outputs and node.outputs[0].dtype.kind == "f"]
    return any(BOUNDS.get(node.op, EXACT).ulps(node) > 0 for node in floats)


def _with_noise(model: bytes, seed: int) -> Interpreter:
    """An interpreter whose every float result is off by up to its operator's bound, in the main graph."""
    rng = np.random.default_rng(seed)

    def observe(what: Partition | Node, step: Step) -> Step:
        if isinstance(what, Partition) or what.op not in BOUNDS or what.outputs[0].dtype.kind != "f":
            return step
        node, bound = what, BOUNDS[what.op].ulps(what)

        def disturbed() -> None:
            step()
            runner = interpreter._graphs[0]
            # Of the graphs, only the main one's tensors can be found by index from here.
            ran = [s for s in runner.segments if any(n is node for partition in s.partitions for n in partition.nodes)]
            if not ran:
                return
            storage = ran[0].storage
            inputs = [
                None if s is None else s.data if s.data is not None else storage[s.index].host for s in node.inputs
            ]
            for spec in node.outputs:
                out = storage[spec.index].host
                unit = unit_of(node, inputs, out)
                if unit is not None and out.size:
                    with np.errstate(all="ignore"):
                        out += (unit * bound * rng.uniform(-1, 1, out.shape)).astype(out.dtype)

        return disturbed

    interpreter = Interpreter(model_content=model, _observe=observe)
    return interpreter


def answer(interpreter: Any, values: Sequence[Array]) -> list[Array]:
    """The outputs for these inputs, resized to where their shapes differ."""
    feed(interpreter, values)
    interpreter.invoke()
    return outputs_of(interpreter)


def feed(interpreter: Any, values: Sequence[Array]) -> None:
    details = interpreter.get_input_details()
    for detail, value in zip(details, values, strict=True):
        if tuple(detail["shape"]) != value.shape:
            interpreter.resize_tensor_input(detail["index"], value.shape)
    interpreter.allocate_tensors()
    for detail, value in zip(details, values, strict=True):
        interpreter.set_tensor(detail["index"], value)


def outputs_of(interpreter: Any) -> list[Array]:
    return [np.asarray(interpreter.get_tensor(d["index"])) for d in interpreter.get_output_details()]


def timed(interpreter: Any, values: Sequence[Array], runs: int = 7) -> float:
    """Milliseconds of an invoke: the median of some, inputs set anew before each."""
    import time

    feed(interpreter, values)
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        interpreter.invoke()
        found.append((time.perf_counter() - start) * 1e3)
    return float(np.median(found))


def _litert(model: bytes) -> Any:
    """LiteRT's interpreter of a model, with its reference kernels as far as there are such."""
    from importlib import import_module

    litert = import_module("ai_edge_litert.interpreter")
    types = litert.OpResolverType
    try:
        return litert.Interpreter(model_content=model, experimental_op_resolver_type=types.BUILTIN_REF)
    except ValueError:  # what the reference resolver lacks, the other has
        other = types.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return litert.Interpreter(model_content=model, experimental_op_resolver_type=other)
