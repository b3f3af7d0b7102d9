"""What preparation returns, as data: the steps of a graph up to the next shape that is known only at run time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tflgpu.delegation.delegate import HoldsDeviceMemory, Partition
from tflgpu.memory import Tensor
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.registry import Step
from tflgpu.optional import offering


class Resumes(Protocol):
    """A node whose outputs' shapes are known only when it has run, and the preparation of what follows it."""

    def run(self) -> Segment:
        """Runs the node. Returns the segment after it, prepared for the shapes that came."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Nodes of a graph, prepared to run.

    specs: what is known of all the graph's tensors when the steps run. storage: theirs, by index, as far as they have
    any: not the constants, nor what lives only inside a delegated partition. steps: in order, and made_by: the node
    that each begins with. outputs: the arrays of the graph's outputs, where nothing follows. arena_nbytes,
    arena_offsets: the memory that most activations share, and where in it they lie. host_nbytes: what the segment holds
    of the host's memory. dynamic: the nodes that follow, from the first whose outputs' shapes are known only at run
    time. following: runs the first of them, once `brought_back`, what delegates made of its inputs and those of later
    nodes, is on the host.
    """

    specs: Sequence[TensorSpec]
    partitions: Sequence[Partition]
    storage: Mapping[int, Tensor]
    steps: Sequence[Step]
    made_by: Sequence[Node]
    outputs: tuple[Array, ...] | None
    arena_nbytes: int
    arena_offsets: Mapping[int, int]
    host_nbytes: int
    dynamic: Sequence[Node] = ()
    brought_back: Sequence[Tensor] = ()
    following: Resumes | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it holds, on devices too."""
        on_devices = [step.device_nbytes for step in offering(self.steps, HoldsDeviceMemory)]
        return self.host_nbytes + sum(on_devices)
