"""How a case that is a model of several nodes is registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tflgpu.conformance.cases.case import Case, Sample, T
from tflgpu.model.builder import GraphBuilder, ModelBuilder

Builder = Callable[[ModelBuilder], list[T]]
GRAPHS: dict[str, Case] = {}
"""Those registered, by name."""
F = "FLOAT32"
SHAPE = (2, 3, 4)


def graph(name: str, type: str = "float32", refused: bool = False) -> Callable[[Builder], Builder]:
    """Registers what builds a model and says how its inputs are filled, under GRAPH[name]. refused: as OneOp has it."""

    def register(build: Builder) -> Builder:
        full = f"GRAPH[{name}]"
        GRAPHS[full] = Case(full, "graphs", "GRAPH", type, _sampling(build, refused))
        return build

    return register


def _sampling(build: Builder, refused: bool) -> Callable[[int], Sample]:
    def make(seed: int) -> Sample:
        model = ModelBuilder()
        inputs = build(model)
        return Sample(model.build(), inputs, seed, refused)

    return make


def then(
    g: GraphBuilder, op: str, inputs: list[int], shape: tuple[int, ...] = SHAPE, type: str = F, **options: Any
) -> int:
    """The output of a new node. scale and zero_point are its tensor's, other options the node's."""
    quantization = {key: options.pop(key) for key in ("scale", "zero_point") if key in options}
    out = g.tensor(f"t{len(g.tensors)}", type, shape, **quantization)
    g.node(op, inputs, [out], **options)
    return out
