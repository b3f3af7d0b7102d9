"""Random models: seeded, valid, of 1 to 60 nodes; any of their nodes make a model too, which is how they shrink."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from tflgpu.conformance.cases.case import Case, Sample, T, seed_of
from tflgpu.conformance.random_graphs import control, movement, patterns, rows
from tflgpu.conformance.random_graphs.draw import QUANTIZED, Draw, Value, grow
from tflgpu.interpreter import Interpreter
from tflgpu.model.builder import GraphBuilder, ModelBuilder
from tflgpu.model.graph import Array
from tflgpu.model.loader import load

STEP_MODULES = (control, movement, patterns, rows)
"""Which register the steps that a graph grows by."""
MOST_NODES = 60
SHAPES = ((1, 8, 8, 8), (1, 9, 7, 1), (2, 6, 8), (3, 4, 16), (4, 5), (1, 24), (7,), (2, 3, 1, 5))
KINDS = ("FLOAT32", "INT8", "UINT8", "INT16", "mixed")


@dataclass(frozen=True, eq=False)
class Grown:
    """A random graph. fed: its inputs; outs: its outputs. batched: whether its first dimension may be resized.

    log: its nodes, a line each.
    """

    model: ModelBuilder
    graph: GraphBuilder
    fed: tuple[Value, ...]
    outs: tuple[Value, ...]
    batched: bool
    log: tuple[str, ...]


def name_of(seed: int, nodes: Sequence[int] = ()) -> str:
    """The name of a random graph, or of these of its nodes alone."""
    return f"RANDOM[seed={seed}" + (f",nodes={'+'.join(map(str, nodes))}" if nodes else "") + "]"


def parsed(name: str) -> tuple[int, tuple[int, ...]] | None:
    """Seed and nodes (none for all) of a random graph's name; None for another name."""
    found = re.fullmatch(r"RANDOM\[seed=(\d+)(?:,nodes=([\d+]+))?\]", name)
    if found is None:
        return None
    return int(found[1]), tuple(int(n) for n in (found[2] or "").split("+") if n)


def case(seed: int, nodes: tuple[int, ...] = ()) -> Case:
    """A random graph as a case."""
    return Case(name_of(seed, nodes), "random", "RANDOM", "mixed", lambda _: sample(seed, nodes))


def grown(seed: int, most: int = MOST_NODES, variables: bool = False) -> Grown:
    """The random graph of a seed, of at most about so many nodes: the same for ever. variables: as Draw has them."""
    rng = np.random.default_rng([7, seed])
    model = ModelBuilder()
    graph = model.graph()
    kind = KINDS[int(rng.choice(5, p=(0.3, 0.3, 0.1, 0.1, 0.2)))]
    d = Draw(rng, graph, batched=bool(rng.random() < 0.3), variables=variables)
    fed = [_entered(d, f"x{k}", kind) for k in range(d.number(1, 3))]
    d.values += fed
    wanted = d.number(1, most)
    for _ in range(4 * wanted):
        if len(graph.nodes) >= wanted:
            break
        grow(d)
    outs = _leaving(d, fed)
    graph.outputs(*(v.index for v in outs))
    log = [f"seed {seed}", *map(str, fed), *d.log, f"out {[v.index for v in outs]}"]
    return Grown(model, graph, tuple(fed), tuple(outs), d.batched, tuple(log))


def nodes_of(seed: int) -> list[int]:
    return list(range(len(grown(seed).graph.nodes)))


def operators(model: bytes) -> list[str]:
    """The names of a model's main nodes."""
    return [node.op for node in load(content=model).graphs[0].nodes]


def sample(seed: int, nodes: tuple[int, ...] = ()) -> Sample:
    """The model with all its nodes; with a subset of them, what these read from others is fed as it was there."""
    made = grown(seed)
    if not nodes:
        return Sample(made.model.build(), [_filled(v) for v in made.fed], seed_of(name_of(seed)))
    graph = made.graph
    written = [out for n in nodes for out in graph.nodes[n]["outputs"]]
    read = {i for n in nodes for i in graph.nodes[n]["inputs"]}
    elsewhere = {out for node in graph.nodes for out in node["outputs"]} | {v.index for v in made.fed}
    entering = sorted((read & elsewhere) - set(written))
    values = _values(seed)
    fed = [T(graph.tensors[i]["type"], values[i].shape, values[i]) for i in entering]
    before = set(graph.interface["outputs"])
    graph.nodes = [graph.nodes[n] for n in nodes]
    graph.interface = {"inputs": entering, "outputs": [i for i in written if i not in read or i in before]}
    return Sample(made.model.build(), fed, seed_of(name_of(seed)))


@lru_cache(4)
def _values(seed: int) -> dict[int, Array]:
    """Every value of the whole graph, as the CPU computes it."""
    whole = sample(seed)
    interpreter: Any = Interpreter(model_content=whole.model, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), whole.values(0), strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    made = grown(seed)
    outs = {out for node in made.graph.nodes for out in node["outputs"]} | {v.index for v in made.fed}
    numbers = [i for i in outs if made.graph.tensors[i]["type"] != "RESOURCE"]
    return {i: np.asarray(interpreter.get_tensor(i)) for i in numbers}


def _filled(v: Value) -> T:
    values = "normal" if v.quantized else "within:-3:3"
    return T(v.type, v.shape, values, scale=v.scale, zero_point=v.zero_point)


def _entered(d: Draw, name: str, kind: str) -> Value:
    """A new input of the graph."""
    shape = d.among([s for s in SHAPES if len(s) > d.batched])
    shape = (2, *shape[1:]) if d.batched else shape
    type = d.among(("FLOAT32", "FLOAT32", "INT8", "INT32")) if kind == "mixed" else kind
    v = d.quantize(type, shape, 2.0) if type in QUANTIZED else Value(-1, type, shape, 3.0)
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


def smallest(items: Sequence[int], fails: Callable[[tuple[int, ...]], bool]) -> tuple[int, ...]:
    """Items of which none can be left out without `fails` ceasing to hold. It must hold for all of them."""
    kept = tuple(items)
    size = max(1, len(kept) // 2)
    while True:
        start, shrunk = 0, False
        while start < len(kept):
            tried = kept[:start] + kept[start + size :]
            if tried and fails(tried):
                kept, shrunk = tried, True
            else:
                start += size
        if size == 1 and not shrunk:
            return kept
        if not shrunk or size > len(kept) // 2:
            size = max(1, size // 2)
