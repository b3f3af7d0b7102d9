"""Two models run on the same real inputs, and their nodes compared where they match."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflgpu.comparison.match import Pair, matched
from tflgpu.comparison.measure import Measure
from tflgpu.details import TensorDetails
from tflgpu.interpreter import Interpreter
from tflgpu.model.graph import Array, Node
from tflgpu.quantized import dequantize, quantize

MakeInputs = Callable[[int], Sequence[Array]]
"""The inputs of the first model for an example, by its number."""
_Both = tuple[TensorDetails, TensorDetails]


@dataclass(frozen=True)
class ComparedNode:
    """Two nodes that match. added: the noise-to-signal ratio that the second has beyond that of what it reads."""

    a: Node
    b: Node
    measure: Measure
    added: float

    @property
    def name(self) -> str:
        return f"{self.b.index} {self.b.op}"


@dataclass(frozen=True)
class Comparison:
    """nodes: in the model's order. outputs: by the first model's names. unmatched: nodes of each without a partner."""

    nodes: Sequence[ComparedNode]
    outputs: Mapping[str, Measure]
    unmatched: tuple[int, int]
    examples: int

    @property
    def by_guilt(self) -> list[ComparedNode]:
        """The nodes that add most noise first."""
        return sorted(self.nodes, key=lambda node: -node.added)

    @property
    def most_clipped(self) -> ComparedNode | None:
        """The node with the largest share of values beyond what its output can hold; None where no node has one."""
        return max((n for n in self.nodes if n.measure.beyond), key=lambda n: n.measure.clipped or 0.0, default=None)


def compare_models(a: Interpreter, b: Interpreter, inputs: MakeInputs, examples: int) -> Comparison:
    """Runs both on `examples` inputs of the first, which the second gets in its own types, and compares nodes.

    Both keep every tensor. Raises ValueError where the models' inputs or outputs do not correspond.
    """
    sides = _sides(a.get_input_details(), b.get_input_details(), "input")
    outputs = _sides(a.get_output_details(), b.get_output_details(), "output")
    pairs: list[Pair] | None = None
    measures: dict[tuple[int, int], Measure] = {}
    details: list[dict[int, TensorDetails]] = []
    for number in range(examples):
        _run(a, b, sides, inputs(number))
        if pairs is None:
            graphs = [it._graphs[0] for it in (a, b)]
            shapes = [[spec.shape for spec in graph.specs] for graph in graphs]
            pairs = matched(graphs[0].graph, graphs[1].graph, shapes[0], shapes[1])
            details = [{d["index"]: d for d in it.get_tensor_details()} for it in (a, b)]
            wanted = {(p.a, p.b) for p in pairs} | {(x["index"], y["index"]) for x, y in outputs}
            measures = {key: _measure(details[1].get(key[1])) for key in sorted(wanted)}
        for (i, j), measure in measures.items():
            values = _real(a, details[0].get(i)), _real(b, details[1].get(j))
            if values[0] is not None and values[1] is not None and values[0].shape == values[1].shape:
                measure.add(values[0], values[1])
    nodes = _with_added(pairs or [], measures, b)
    counts = [len(it._graphs[0].graph.nodes) - len(nodes) for it in (a, b)]
    named = {str(x["name"]): measures[x["index"], y["index"]] for x, y in outputs}
    return Comparison(nodes, named, (counts[0], counts[1]), examples)


def _sides(a: Sequence[TensorDetails], b: Sequence[TensorDetails], what: str) -> list[_Both]:
    """What corresponds: by name where all names are the same, else in order."""
    if len(a) != len(b):
        raise ValueError(f"the models have {len(a)} and {len(b)} {what}s: nothing to compare")
    by_name = {d["name"]: d for d in b}
    if by_name.keys() == {d["name"] for d in a} and len(by_name) == len(b):
        return [(d, by_name[d["name"]]) for d in a]
    return list(zip(a, b, strict=True))


def _run(a: Interpreter, b: Interpreter, sides: Sequence[_Both], values: Sequence[Array]) -> None:
    given = {d["index"]: value for d, value in zip(a.get_input_details(), values, strict=True)}
    for mine, theirs in sides:
        shape = given[mine["index"]].shape
        for it, d in ((a, mine), (b, theirs)):
            if len(shape) != len(d["shape"]):
                wanted = f"{mine['shape'].tolist()} and {theirs['shape'].tolist()}"
                raise ValueError(f"input {mine['name']!r}: the models take {wanted}")
            it.resize_tensor_input(d["index"], shape)
    for it in (a, b):
        it.allocate_tensors()
        it.reset_all_variables()
    for mine, theirs in sides:
        value = given[mine["index"]]
        a.set_tensor(mine["index"], value)
        real = dequantize(value, mine)
        b.set_tensor(theirs["index"], quantize(real, theirs) if real.dtype.kind in "fiub" else real)
    a.invoke()
    b.invoke()


def _real(interpreter: Interpreter, details: TensorDetails | None) -> Array | None:
    """A tensor's real values; None where it has none, or no numbers."""
    if details is None:
        return None
    try:
        value = interpreter.get_tensor(details["index"])
    except ValueError:  # folded, or in a graph that did not run
        return None
    if value.dtype.kind not in "fiub":
        return None
    now: Mapping[str, Any] = {**details, "shape": np.array(value.shape)}
    return dequantize(value, now) if value.dtype.itemsize <= 2 else value


def _measure(details: TensorDetails | None) -> Measure:
    return Measure() if details is None else Measure.of(details)


def _with_added(
    pairs: Sequence[Pair], measures: Mapping[tuple[int, int], Measure], b: Interpreter
) -> list[ComparedNode]:
    """The pairs that were measured, with the noise that each adds to the worst of what it reads."""
    ratio: dict[int, float] = {}  # of each tensor of b, that of what it comes from where it has no partner
    partner = {pair.node_b.index: pair for pair in pairs}
    found = []
    for node in b._graphs[0].graph.nodes:
        read = max((ratio.get(spec.index, 0.0) for spec in node.inputs if spec is not None), default=0.0)
        own = read
        pair = partner.get(node.index)
        measure = measures[pair.a, pair.b] if pair is not None else None
        if pair is not None and measure is not None and (measure.signal or measure.noise):
            own = measure.noise_to_signal
            found.append(ComparedNode(pair.node_a, node, measure, max(0.0, own - read)))
        for spec in node.outputs:
            ratio[spec.index] = own
    return found
