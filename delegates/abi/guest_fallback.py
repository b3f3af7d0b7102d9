"""A partition of ours in Google's interpreter on our CPU kernels, where the delegate does not take it at new shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from tflgpu.limits import Meter
from tflgpu.memory import Tensor, host_array, synchronized
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.cache_blocks import in_order
from tflgpu.ops.registry import OPS, prepare
from tflgpu.runtime.storage import variables_written


def on_the_cpu(nodes: Sequence[Node], tensors: Mapping[int, Tensor], made: frozenset[int]) -> Callable[[], None]:
    """The nodes as a callable over what crosses the partition's boundary, as `Delegate.compile` returns it.

    made: which of these tensors the nodes make. Raises RuntimeError where our CPU kernels do not take a node either.
    """
    runtime: Any = SimpleNamespace(state={}, ops=OPS, meter=Meter())
    inside: dict[int, Array] = {}

    def array(spec: TensorSpec) -> Array:
        if spec.index in tensors:
            return tensors[spec.index].host
        return inside.setdefault(spec.index, host_array(spec))

    steps = []
    for node in nodes:
        inputs = [None if s is None else s.data if s.data is not None else array(s) for s in node.inputs]
        OPS[node.op].require_valid(node)
        steps.append(prepare(node, inputs, [array(s) for s in node.outputs], runtime))
    variables = {spec.index for node in nodes for spec in variables_written(node, runtime)}
    reads = [tensor for index, tensor in tensors.items() if index not in made]
    writes = [tensor for index, tensor in tensors.items() if index in made | variables]
    return synchronized(in_order(steps), reads, writes)
