"""Which node makes each tensor of a partition and which read it, and how tensors lie in those that they view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tflgpu.delegates.lowering.strided_index import is_view, standin
from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.registry import OPS

FOLLOWED = ("TRANSPOSE", "SLICE", "STRIDED_SLICE")
"""Operators, besides those that keep all bytes, whose output is read where their input lies."""


@dataclass(eq=False)
class DefUse:
    """The nodes of a partition by the tensors between them. live_out: whether a tensor's value is wanted outside."""

    nodes: Sequence[Node]
    live_out: Callable[[int], bool]
    makers: dict[int, Node] = field(init=False, default_factory=dict)
    readers: dict[int, list[Node]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.nodes:
            self.makers.update((spec.index, node) for spec in node.outputs if spec is not None)
            for index in {spec.index for spec in node.inputs if spec is not None}:
                self.readers.setdefault(index, []).append(node)

    def maker(self, spec: TensorSpec) -> Node | None:
        """The node of this partition that computes it."""
        return None if spec.data is not None else self.makers.get(spec.index)

    def only_reader(self, spec: TensorSpec) -> Node | None:
        """The one node that reads it, where nothing else wants it."""
        readers = self.readers.get(spec.index, [])
        return readers[0] if len(readers) == 1 and not self.live_out(spec.index) else None

    def unread(self, candidates: Sequence[Node], gone: set[int], read: set[int]) -> set[int]:
        """gone, nodes by number, and those of the candidates that nobody needs without them. read: tensors in use."""
        gone = set(gone)
        for node in reversed(candidates):
            outputs = [spec.index for spec in node.outputs if spec is not None]
            readers = {reader.index for index in outputs for reader in self.readers.get(index, [])}
            if readers <= gone and not any(index in read or self.live_out(index) for index in outputs):
                gone.add(node.index)
        return gone


def is_alias(node: Node) -> bool:
    """Whether its output is its first input's bytes under another shape."""
    return node.op in OPS and OPS[node.op].style == "alias"


@dataclass(frozen=True, eq=False)
class Viewed:
    """A tensor as a view of another: `view` has the first one's shape and strides in `base`, which stands for `source`.

    past: the nodes between the two.
    """

    source: TensorSpec
    base: Array
    view: Array
    past: tuple[Node, ...] = ()


def viewed(spec: TensorSpec, def_use: DefUse) -> Viewed:
    """The tensor as a view of the farthest one before it of which it is."""
    past: list[Node] = []
    found = Viewed(spec, base := standin(spec.shape, spec.dtype), base)
    while (node := def_use.maker(spec)) is not None and (is_alias(node) or node.op in FOLLOWED):
        if node.input(0).type != spec.type:
            break
        past.insert(0, node)
        spec = node.input(0)
        base = standin(spec.shape, spec.dtype)
        view = base
        for step in past:
            view = view.reshape(step.outputs[0].shape) if is_alias(step) else OPS[step.op].run(step, view)
        if not is_view(view, base):
            break
        found = Viewed(spec, base, view, tuple(past))
    return found


def written(spec: TensorSpec, def_use: DefUse) -> Viewed:
    """The same of a tensor that is written: of the farthest one after it whose bytes can be put in place at once."""
    past: list[Node] = []
    found = Viewed(spec, base := standin(spec.shape, spec.dtype), base)
    while (node := def_use.only_reader(spec)) is not None and (is_alias(node) or node.op == "TRANSPOSE"):
        if node.op == "TRANSPOSE" and node.input(1).data is None:
            break
        past.append(node)
        spec = node.outputs[0]
        base = standin(spec.shape, spec.dtype)
        view = base
        for step in reversed(past):
            view = view.reshape(step.input(0).shape) if is_alias(step) else view.transpose(_inverse(step))
        if not is_view(view, base):
            break
        found = Viewed(spec, base, view, tuple(past))
    return found


def _inverse(transpose: Node) -> Shape:
    rank = len(transpose.input(0).shape)
    order = transpose.input(1).data
    assert order is not None
    return tuple(int(axis) for axis in np.argsort(order.reshape(-1) % rank))
