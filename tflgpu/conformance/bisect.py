"""The first node of a model that a delegate computes otherwise than a reference does, inside its parts too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflgpu.conformance.random_graphs import smallest
from tflgpu.conformance.reference import feed
from tflgpu.delegate import Limits
from tflgpu.graph import Array
from tflgpu.interpreter import Interpreter

Differs = Callable[[Array, Array], bool]
MOST_PROBES = 200
"""Runs of the model that looking for a group of nodes may take."""


@dataclass(frozen=True)
class Found:
    """nodes: the first that differs; or the smallest group found that differs when delegated together.

    alone: whether it differs when the delegate has nothing else, its inputs being the reference's.
    """

    nodes: tuple[int, ...]
    ops: tuple[str, ...]
    tensor: str
    got: Array | None
    want: Array | None
    alone: bool

    def __str__(self) -> str:
        if len(self.nodes) > 1:
            listed = ", ".join(f"{n} {op}" for n, op in zip(self.nodes, self.ops, strict=True))
            return f"the outputs differ where the delegate has these nodes together, and no fewer: {listed}"
        own = (
            "alone on the delegate it differs too"
            if self.alone
            else "alone on the delegate it does not: its inputs differed too little to see, or its neighbours matter"
        )
        return f"first diverging node: {self.nodes[0]} {self.ops[0]}, output {self.tensor}: {self._how()}; {own}"

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
    """Runs a model with every tensor of the main graph as an output, which brings out those inside parts; by index.

    The interpreter must not have been allocated yet.
    """
    runner = interpreter._graphs[0]
    made = {spec.index for node in runner.graph.nodes for spec in node.outputs}
    runner.graph = replace(runner.graph, outputs=tuple(dict.fromkeys((*runner.graph.outputs, *sorted(made)))))
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

    Where none does with every tensor brought out, which also keeps the delegate from fusing, the smallest group of
    nodes whose delegation makes an output differ. None where nothing does.
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
            return Found((node.index,), (node.op,), f"{spec.index} {spec.name!r}", got, want, own)
    return _group(opened, values, reference, differs, [n.index for n in graph.nodes], outputs)


def _group(
    opened: Callable[[Sequence[int] | None], Interpreter],
    values: Sequence[Array],
    reference: Mapping[int, Array],
    differs: Differs,
    nodes: Sequence[int],
    outputs: Sequence[int],
) -> Found | None:
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

    if not fails(nodes):
        return None
    kept = smallest(nodes, fails)
    graph = opened(kept)._graphs[0].graph
    ops = tuple(node.op for node in graph.nodes if node.index in kept)
    return Found(kept, ops, "", None, None, True)


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
