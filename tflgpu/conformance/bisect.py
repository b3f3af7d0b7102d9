"""The first node of a model that a delegate computes differently from a reference, inside its partitions too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflgpu.conformance.random_graphs import smallest
from tflgpu.conformance.reference import feed
from tflgpu.delegation.delegate import Limits
from tflgpu.interpreter import Interpreter
from tflgpu.model.graph import Array

Differs = Callable[[Array, Array], bool]
MOST_PROBES = 200
"""Runs of the model that looking for a group of nodes may take."""


@dataclass(frozen=True)
class Found:
    """node: the first that differs, as "12 CONV_2D"; none where no node differs once every tensor is an output.

    alone: whether it differs when the delegate has nothing else, its inputs being the reference's. together: otherwise
    the smallest group of nodes found whose delegation makes an output of the model differ.
    """

    node: str = ""
    tensor: str = ""
    got: Array | None = None
    want: Array | None = None
    alone: bool = False
    together: tuple[str, ...] = ()

    def __str__(self) -> str:
        group = f"the outputs differ where the delegate has these together, and no fewer: {', '.join(self.together)}"
        if not self.node:
            return group
        first = f"first diverging node: {self.node}, output {self.tensor}: {self._how()}; "
        if self.alone:
            return first + "alone on the delegate it differs too"
        return f"{first}alone on the delegate it does not" + (f"; {group}" if self.together else "")

    def _how(self) -> str:
        if self.got is None or self.want is None or self.got.shape != self.want.shape:
            shapes = [None if a is None else f"{a.dtype} {list(a.shape)}" for a in (self.got, self.want)]
            return f"{shapes[0]} instead of {shapes[1]}"
        if self.got.dtype.kind not in "fiub":
            return "other values"
        with np.errstate(invalid="ignore"):
            apart = np.abs(self.got.astype(np.float64) - self.want.astype(np.float64))
        return f"largest difference {float(np.nanmax(apart, initial=0.0)):.4g}"


def every_value(interpreter: Interpreter, values: Sequence[Array]) -> dict[int, Array]:
    """Runs a model with every tensor of the main graph as an output: their values by index.

    The interpreter must not have been allocated yet.
    """
    runner = interpreter._graphs[0]
    made = {spec.index for node in runner.graph.nodes for spec in node.outputs}
    runner.expose(sorted(made))
    feed(interpreter, values)
    interpreter.invoke()
    found = {}
    for index in sorted(made):
        tensor = runner.tensor(index)
        if tensor is not None:
            found[index] = tensor.read().copy()
    return found


def bisect(
    model: str, delegates: Sequence[Any], values: Sequence[Array], reference: Mapping[int, Array], differs: Differs
) -> Found | None:
    """The first node, in the model's order, whose output differs from the reference's values by tensor index.

    Where none does with every tensor as an output, which also prevents fusion, or where it is right alone, the smallest
    group of nodes whose delegation makes an output of the model differ. None where nothing does.
    """

    def opened(nodes: Sequence[int] | None = None) -> Interpreter:
        chosen = delegates if nodes is None else [Only(d, nodes) for d in delegates]
        return Interpreter(model_path=model, experimental_delegates=list(chosen))

    whole = opened()
    graph = whole._graphs[0].graph
    outputs = graph.outputs
    mine = every_value(whole, values)
    for node in graph.nodes:
        for spec in node.outputs:
            got, want = mine.get(spec.index), reference.get(spec.index)
            if got is None or want is None or not differs(got, want):
                continue
            alone = every_value(opened([node.index]), values).get(spec.index)
            own = alone is not None and differs(alone, want)
            group = () if own else _group(opened, values, reference, differs, outputs)
            return Found(f"{node.index} {node.op}", f"{spec.index} {spec.name!r}", got, want, own, group)
    group = _group(opened, values, reference, differs, outputs)
    return Found(together=group) if group else None


def _group(
    opened: Callable[[Sequence[int] | None], Interpreter],
    values: Sequence[Array],
    reference: Mapping[int, Array],
    differs: Differs,
    outputs: Sequence[int],
) -> tuple[str, ...]:
    """The smallest group of nodes whose delegation makes an output differ; none where all of them do not."""
    probes = 0

    def fails(tried: Sequence[int]) -> bool:
        nonlocal probes
        probes += 1
        if probes > MOST_PROBES:
            return False
        interpreter = opened(tried)
        feed(interpreter, values)
        interpreter.invoke()
        read = ((interpreter.get_tensor(index), reference.get(index)) for index in outputs)
        return any(want is not None and differs(np.asarray(got), want) for got, want in read)

    nodes = opened(None)._graphs[0].graph.nodes
    numbers = [node.index for node in nodes]
    if not fails(numbers):
        return ()
    failing = smallest(numbers, fails)
    return tuple(f"{node.index} {node.op}" for node in nodes if node.index in failing)


class Only:
    """A delegate that takes no other nodes of a main graph than these."""

    def __init__(self, delegate: Any, nodes: Sequence[int]):
        self._inner = delegate
        self.name: str = delegate.name
        self.limits: Limits = replace(delegate.limits, only_nodes=frozenset(nodes), min_nodes=1, require_full=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)
