"""Where in memory the nodes' outputs lie: which of them share storage, and the arena that holds most of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tflgpu.limits import Meter
from tflgpu.memory import aligned_zeros, arena, nbytes
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.registry import Op


@dataclass(frozen=True)
class Arena:
    """One block of memory, and the tensors in it: their offsets in bytes, and arrays of their shapes and types."""

    block: Array
    offsets: Mapping[int, int]
    arrays: Mapping[int, Array]


def in_arena(
    specs: Sequence[TensorSpec],
    made: Collection[int],
    order: Sequence[Node],
    cpu: Iterable[tuple[int, Node]],
    ops: Mapping[str, Op],
    over: Mapping[int, int],
    meter: Meter,
) -> Arena:
    """Gives each of the tensors `made`, outputs of nodes that run in this `order`, an offset in one block of memory.

    cpu: the nodes on the CPU, with their positions; only these may have input and output in the same memory. over: as
    `overwriting` returns it. Raises RuntimeError where the meter has too little memory left.
    """
    sizes = {i: nbytes(specs[i]) for i in made}
    first = {s.index: at for at, node in enumerate(order) for s in node.outputs if s.index in sizes}
    last = dict.fromkeys(first, len(order))  # what no node reads stays to be looked at, as in TensorFlow Lite
    for at, node in enumerate(order):
        last.update({s.index: at for s in node.inputs if s is not None and s.index in sizes})
    owners = _owners(sizes, last, cpu, ops, over)
    for i, owner in owners.items():
        last[owner] = max(last[owner], last[i])
    lives = {i: (first[i], last[i]) for i in sizes if owners[i] == i}
    owned, total = arena({i: sizes[i] for i in lives}, lives)
    if total:
        largest = max(sizes, key=lambda i: sizes[i])
        meter.reserve(total, f"what {len(order)} nodes make ({order[first[largest]]}: {specs[largest]})")
    block = aligned_zeros(total)
    meter.hold(block)
    offsets = {i: owned[owner] for i, owner in owners.items()}
    pieces = {i: block[offset : offset + sizes[i]] for i, offset in offsets.items()}
    return Arena(block, offsets, {i: p.view(specs[i].dtype).reshape(specs[i].shape) for i, p in pieces.items()})


def _owners(
    sizes: Mapping[int, int],
    last: Mapping[int, int],
    cpu: Iterable[tuple[int, Node]],
    ops: Mapping[str, Op],
    over: Mapping[int, int],
) -> dict[int, int]:
    """For each tensor the one whose memory it has: its own, what it is an alias of, or what it overwrites."""
    owners = {i: i for i in sizes}
    for at, node in cpu:
        if not node.outputs or node.optional(0) is None:
            continue
        source, made = node.input(0).index, node.outputs[0].index
        if made not in owners or source not in owners or sizes[source] != sizes[made]:
            continue
        owner = owners[source]
        if ops[node.op].style == "alias":
            owners[made] = owner
        elif over.get(made) == source:
            sharing = [i for i, o in owners.items() if o == owner]
            read = {s.index for s in node.inputs[1:] if s is not None}
            if not read & set(sharing) and all(last[i] <= at for i in sharing):
                owners[made] = owner
    return owners


def overwriting(order: Sequence[Node], ops: Mapping[str, Op], live_out: Collection[int]) -> dict[int, int]:
    """For each output that may share memory with its node's first input, which no node reads afterwards, that input.

    live_out: what must not be overwritten besides constants and variables.
    """
    last = {s.index: at for at, node in enumerate(order) for s in node.inputs if s is not None}
    found = {}
    for at, node in enumerate(order):
        if not ops[node.op].overwrites:
            continue
        source, made = node.input(0), node.outputs[0]
        if source.data is not None or source.is_variable or made.is_variable:
            continue
        others = {s.index for s in node.inputs[1:] if s is not None}
        if last[source.index] == at and source.index not in others | set(live_out):
            found[made.index] = source.index
    return found
