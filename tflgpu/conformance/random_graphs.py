"""Random models: seeded, valid, of 1 to 60 nodes; any of their nodes make a model too, which is how they shrink."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from tflgpu.conformance.cases.case import Case, Sample, T, seed_of
from tflgpu.conformance.random_steps import Recipe, grown
from tflgpu.interpreter import Interpreter
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import Array

MOST_NODES = 60


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


@lru_cache(8)
def recipe(seed: int) -> Recipe:
    """The random graph of a seed, as data: the same for ever."""
    rng = np.random.default_rng([20, seed])
    return grown(rng, int(rng.integers(1, MOST_NODES + 1)))


def nodes_of(seed: int) -> list[int]:
    return list(range(len(recipe(seed).steps)))


def sample(seed: int, nodes: tuple[int, ...] = ()) -> Sample:
    """The model with all its nodes; with a subset of them, what these read from others is fed as it was there."""
    made = recipe(seed)
    if not nodes:
        fed = [
            T(v.type, v.shape, made.filled, scale=v.scale, zero_point=v.zero_point) for v in made.values[: made.inputs]
        ]
        model = built(made, range(len(made.steps)), lambda index: index < made.inputs)
        return Sample(model, fed, seed_of(name_of(seed)))
    values = _values(seed)
    written = {out for n in nodes for out in made.steps[n].outputs}
    read = {i for n in nodes for i in made.steps[n].inputs}
    entering = sorted(read - written)
    fed = [T(made.values[i].type, made.values[i].shape, values[i]) for i in entering]
    return Sample(built(made, nodes, lambda index: index in entering), fed, seed_of(name_of(seed)))


def built(made: Recipe, nodes: Sequence[int], enters: Callable[[int], bool]) -> bytes:
    """The model of these nodes. Its outputs: what they make and none of them reads, and what was an output before."""
    model = ModelBuilder()
    graph = model.graph()
    tensors: dict[int, int] = {}
    for index, value in enumerate(made.values):
        if enters(index):
            tensors[index] = graph.input(f"v{index}", value.type, value.shape, **value.quantization())
    read: set[int] = set()
    written: list[int] = []
    for number in nodes:
        step = made.steps[number]
        for out in step.outputs:
            value = made.values[out]
            tensors[out] = graph.tensor(f"v{out}", value.type, value.shape, **value.quantization())
        constants = [
            graph.constant(f"c{number}_{k}", c.value, **c.quantization()) for k, c in enumerate(step.constants)
        ]
        operands = [tensors[i] for i in step.inputs]
        ordered = constants + operands if step.constants_first else operands + constants
        graph.node(step.op, ordered, [tensors[i] for i in step.outputs], version=step.version, **step.options)
        read |= set(step.inputs)
        written += step.outputs
    graph.outputs(*(tensors[i] for i in written if i not in read or i in made.outputs))
    return model.build()


@lru_cache(4)
def _values(seed: int) -> dict[int, Array]:
    """Every value of the whole graph, as the CPU computes it."""
    made, whole = recipe(seed), sample(seed)
    interpreter = Interpreter(model_content=whole.model, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    names = {d["name"]: d["index"] for d in interpreter.get_tensor_details()}
    for detail, value in zip(interpreter.get_input_details(), whole.values(0), strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return {i: np.asarray(interpreter.get_tensor(names[f"v{i}"])) for i in range(len(made.values))}


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
