"""Random models of several operators, by seed: what delegates fuse, share and plan, in float, quantized and mixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from random_graphs import control, movement, patterns, rows
from random_graphs.draw import CLOSE, CODES, EXACT, Draw, Value, grow
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import DTYPES, Array

PARTS = (control, movement, patterns, rows)
"""Modules whose steps are known by being imported."""

SHAPES = (
    (1, 6, 6, 4),
    (2, 5, 4, 3),
    (1, 8, 8, 8),
    (1, 9, 7, 1),
    (2, 6, 8),
    (3, 4, 16),
    (4, 5),
    (1, 24),
    (7,),
    (2, 3, 1, 5),
)
KINDS = ("FLOAT32", "INT8", "UINT8", "INT16", "mixed")


@dataclass(frozen=True)
class Sample:
    """A model, its inputs for each of several invokes, between which their first dimension may change, and how exact
    each output is: what draw.py's Value says of it. text: the nodes, a line each."""

    model: bytes
    inputs: tuple[tuple[Array, ...], ...]
    exact: tuple[int, ...]
    text: str


def sample(seed: int, nodes: int | None = None) -> Sample:
    """The random model of a seed, with about so many nodes, or 2 to 24."""
    rng = np.random.default_rng([7, seed])
    model = ModelBuilder()
    graph = model.graph()
    kind = KINDS[int(rng.choice(5, p=(0.3, 0.3, 0.1, 0.1, 0.2)))]
    d = Draw(rng, graph, batched=bool(rng.random() < 0.3))
    fed = [_entered(d, f"x{k}", kind) for k in range(d.number(1, 3))]
    d.values += fed
    wanted = nodes or d.number(2, 24)
    for _ in range(4 * wanted):
        if len(graph.nodes) >= wanted:
            break
        grow(d)
    outs = _leaving(d, fed)
    graph.outputs(*(v.index for v in outs))
    batches = [2, 2, 3, 1, 2] if d.batched else [0, 0, 0]
    inputs = tuple(tuple(_fed(rng, v, batch) for v in fed) for batch in batches)
    text = "\n".join([f"seed {seed}", *map(str, fed), *d.log, f"out {[v.index for v in outs]}"])
    return Sample(model.build(), inputs, tuple(v.exact for v in outs), text)


def _entered(d: Draw, name: str, kind: str) -> Value:
    """A new input of the graph."""
    shape = d.among([s for s in SHAPES if len(s) > d.batched])
    shape = (2, *shape[1:]) if d.batched else shape
    type = d.among(("FLOAT32", "FLOAT32", "INT8", "INT32")) if kind == "mixed" else kind
    v = d.quantized(type, shape, 2.0) if type in CODES else Value(-1, type, shape, 3.0)
    signature = {"shape_signature": [-1, *shape[1:]]} if d.batched else {}
    return replace(v, index=d.graph.input(name, type, shape, **v.quantization, **signature))


def _leaving(d: Draw, fed: list[Value]) -> list[Value]:
    """The outputs: what nothing reads and some of the rest; now and then not all, one twice, an input, a constant."""
    read = {i for node in d.graph.nodes for i in node["inputs"]}
    made = [v for v in d.values if v not in fed]
    outs = [v for v in made if v.index not in read or d.chance(0.08)] or made[-1:] or fed[:1]
    if d.chance(0.1):
        outs = outs[1:] or outs
    if d.chance(0.05):
        outs.append(d.among(fed))
    if d.chance(0.05):
        outs.append(outs[0])
    if d.chance(0.04):
        outs.append(Value(d.constant(d.normal(3)), "FLOAT32", (3,)))
    return outs


def _fed(rng: np.random.Generator, v: Value, batch: int) -> Array:
    shape = (batch, *v.shape[1:]) if batch else v.shape
    if v.codes:
        low, high = CODES[v.type]
        return np.asarray(rng.integers(low, high + 1, shape)).astype(DTYPES[v.type])
    if v.type == "INT32":
        return rng.integers(-3, 4, shape).astype(np.int32)
    return np.clip(rng.normal(size=shape), -3, 3).astype(np.float32)


def results(make: Callable[[], Any], of: Sample) -> list[list[Array]] | None:
    """The outputs of every invoke of one interpreter; None where it refuses the model, or its shapes."""
    try:
        interpreter = make()
        interpreter.allocate_tensors()
        return [_invoked(interpreter, values) for values in of.inputs]
    except (RuntimeError, ValueError):
        return None


def _invoked(interpreter: Any, values: tuple[Array, ...]) -> list[Array]:
    details = interpreter.get_input_details()
    resized = [(d["index"], x.shape) for d, x in zip(details, values, strict=True) if tuple(d["shape"]) != x.shape]
    for index, shape in resized:
        interpreter.resize_tensor_input(index, shape)
    if resized:
        interpreter.allocate_tensors()
    for detail, x in zip(details, values, strict=True):
        interpreter.set_tensor(detail["index"], x)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(d["index"])) for d in interpreter.get_output_details()]


def difference(got: Array, want: Array, exact: int) -> str:
    """What is wrong with an output, or nothing.

    Integers, and floats that are only moved or compared, are equal. Other floats are near the largest of them, since
    many operators lie before them. Where floats were rounded to codes in between, half of them are.
    """
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"{got.dtype} {got.shape} instead of {want.dtype} {want.shape}"
    if not want.size:
        return ""
    if exact == EXACT or (exact == CLOSE and want.dtype.kind != "f"):
        wrong = (got != want) & ~((got != got) & (want != want))
    else:
        real = want.astype(np.float64)
        off = np.abs(got.astype(np.float64) - real)
        largest = max(float(np.abs(real).max()), 1e-3)
        if exact == CLOSE:
            wrong = off > 2e-4 * largest + 1e-5
        else:
            wrong = np.array(np.median(off) > 0.1 * max(float(real.std()), 0.1 * largest))
    if not wrong.any():
        return ""
    at = np.unravel_index(int(np.argmax(wrong)), want.shape)
    return f"{int(wrong.sum())} of {want.size} differ, at {tuple(map(int, at))} {got[at]} instead of {want[at]}"


def differences(got: list[list[Array]], want: list[list[Array]], of: Sample) -> list[str]:
    """What is wrong with each output of each invoke, with the graph behind it."""
    found = [
        f"invoke {turn}, output {k}: {text}"
        for turn, pairs in enumerate(zip(got, want, strict=True))
        for k, (g, w) in enumerate(zip(*pairs, strict=True))
        if (text := difference(g, w, of.exact[k]))
    ]
    return [*found, of.text] if found else []
