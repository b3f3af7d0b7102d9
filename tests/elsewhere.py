"""A delegate whose device is NumPy memory of its own, poisoned, and which counts what crosses to it and back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from tflgpu.delegation.delegate import Limits, Partition, Unsupported
from tflgpu.memory import Tensor
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.registry import OPS, prepare

POISON = 0xA5


class Elsewhere:
    """Takes the nodes of these numbers, and runs them with the CPU's kernels on its memory. It is its own Place too."""

    def __init__(self, nodes: Collection[int], name: str = "elsewhere", **limits: Any):
        self.name, self.nodes = name, set(nodes)
        self.limits = Limits(**{"min_nodes": 1, **limits})
        self.compiled: list[Partition] = []
        self.up: list[int] = []
        self.down: list[int] = []
        self._owners: dict[int, int] = {}

    def check(self, node: Node) -> None:
        if node.index not in self.nodes:
            raise Unsupported(f"node {node.index} is not mine")
        if OPS[node.op].stateful:
            raise Unsupported(f"{node.op} needs the interpreter")

    def allocate(self, nbytes: int) -> Array:
        return np.full(nbytes, POISON, np.uint8)

    def upload(self, buffer: Array, host: Array) -> None:
        self.up.append(self._owners.get(id(buffer), -1))
        buffer[: host.nbytes] = np.ascontiguousarray(host).reshape(-1).view(np.uint8)

    def download(self, buffer: Array, host: Array) -> None:
        self.down.append(self._owners.get(id(buffer), -1))
        host.reshape(-1).view(np.uint8)[...] = buffer[: host.nbytes]

    def crossed(self) -> tuple[list[int], list[int]]:
        """The tensors uploaded and those downloaded since the last call, by index."""
        found = sorted(self.up), sorted(self.down)
        self.up, self.down = [], []
        return found

    def compile(self, partition: Partition, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
        self.compiled.append(partition)
        memory = {index: self._memory(tensor) for index, tensor in tensors.items()}

        def array(spec: TensorSpec | None) -> Array | None:
            if spec is None or (spec.data is not None and not spec.is_variable):
                return None if spec is None else spec.data
            if spec.index not in memory:
                memory[spec.index] = self.allocate(max(int(np.prod(spec.shape)) * spec.dtype.itemsize, 1))
            nbytes = int(np.prod(spec.shape)) * spec.dtype.itemsize
            return memory[spec.index][:nbytes].view(spec.dtype).reshape(spec.shape)

        runtime: Any = SimpleNamespace(state={}, ops=OPS)
        steps = [
            prepare(node, [array(s) for s in node.inputs], [array(s) for s in node.outputs], runtime)  # type: ignore[misc]
            for node in partition.nodes
        ]
        states = {s.index for node in partition.nodes for s in node.inputs if s is not None and s.is_variable}
        reads = [tensors[i] for i in sorted(partition.inputs & tensors.keys())]
        writes = [tensors[i] for i in sorted((partition.outputs | states) & tensors.keys())]

        def run() -> None:
            for tensor in reads:
                tensor.read(self)
            for step in steps:
                step()
            for tensor in writes:
                tensor.write(self)

        return run

    def _memory(self, tensor: Tensor) -> Array:
        if self not in tensor.buffers:
            tensor.buffers[self] = self.allocate(max(tensor.host.nbytes, 1))
        self._owners[id(tensor.buffers[self])] = tensor.spec.index
        return tensor.buffers[self]
