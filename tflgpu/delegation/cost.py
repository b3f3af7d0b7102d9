"""What nodes cost, from their shapes alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tflgpu.memory import nbytes
from tflgpu.model.graph import Node, TensorSpec

_WEIGHTS_INPUT = {
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "TRANSPOSE_CONV": 1,
    "CONV_3D": 1,
    "CONV_3D_TRANSPOSE": 1,
}


@dataclass(frozen=True)
class Estimate:
    """What nodes take, in microseconds, by the cost model that partitioner.py states."""

    cpu_us: float
    delegate_us: float

    @property
    def saved_us(self) -> float:
        """What a delegate saves; negative where it costs more than the CPU."""
        return self.cpu_us - self.delegate_us


def estimate(nodes: Sequence[Node], crossing: Collection[int]) -> Estimate:
    """What nodes take as one partition. crossing: indices of what it reads and writes, constants among them or not."""
    specs = {s.index: s for node in nodes for s in (*node.inputs, *node.outputs) if s is not None}
    # Variables stay where they are.
    crossed = sum(nbytes(specs[i]) for i in crossing if specs[i].data is None and not specs[i].is_variable)
    on_cpu = sum(10 + operations(node) / 1000 for node in nodes)
    return Estimate(on_cpu, 60 + 5 * len(nodes) + crossed / 4000)


def operations(node: Node) -> int:
    """Elements that a node touches, or the multiply-accumulates it does with its weights where those are more."""
    touched = [spec for spec in (*node.inputs, *node.outputs) if spec is not None]
    elements = sum(math.prod(spec.shape) for spec in touched)
    if node.op not in _WEIGHTS_INPUT:
        return elements
    return max(elements, macs(node, {spec.index: spec for spec in touched}))


def macs(node: Node, specs: Sequence[TensorSpec] | Mapping[int, TensorSpec]) -> int:
    """Multiply-accumulates of a convolution, matrix multiplication or recurrent layer; 0 for every other operator.

    specs: the graph's tensors with their present shapes, by index.
    """
    shapes = [None if spec is None else specs[spec.index].shape for spec in node.inputs]
    out = specs[node.outputs[0].index].shape if node.outputs else ()
    if node.op == "BATCH_MATMUL" and shapes[0]:
        return math.prod(out) * shapes[0][-2 if node.options.adj_x else -1]
    if node.op in _WEIGHTS_INPUT:
        weights = shapes[_WEIGHTS_INPUT[node.op]] or (1,)
        if node.op in ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"):
            data = shapes[2] or (1,)
            return math.prod(data[:-1]) * math.prod(weights)
        channels = weights[-1] if node.op in ("DEPTHWISE_CONV_2D", "CONV_3D") else weights[0]
        return math.prod(out) * math.prod(weights) // max(channels, 1)
    if "LSTM" in node.op or "RNN" in node.op:
        steps = math.prod((shapes[0] or (1,))[:-1])
        return steps * sum(math.prod(s) for s in shapes[1:] if s is not None and len(s) == 2)
    return 0
