"""Inputs whose value is what an output was in the run before, such as the caches of a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflgpu.memory import Tensor
from tflgpu.model.graph import Graph, TensorSpec


@dataclass(frozen=True, eq=False)
class Carried:
    """tensor: the input's storage, which signatures share. output: the tensor whose value it gets. in_place: whether
    the output is stored there too, so that nothing is copied."""

    tensor: Tensor
    output: int
    in_place: bool

    def after_run(self, output: Tensor) -> None:
        """Gives the input its next value, unless it has it."""
        if not self.in_place:
            np.copyto(self.tensor.write(), output.read())


def storage_of_carried(carried: Mapping[int, Carried], specs: Sequence[TensorSpec]) -> dict[int, Tensor]:
    """The storage of these inputs, and of the outputs that are stored there, by index.

    Raises RuntimeError where an input has another shape by now.
    """
    found = dict[int, Tensor]()
    for index, one in carried.items():
        if specs[index].shape != one.tensor.spec.shape:
            raise RuntimeError(f"{specs[index]} is bound to an output of shape {list(one.tensor.spec.shape)}. ")
        found |= {index: one.tensor} | ({one.output: one.tensor} if one.in_place else {})
    return found


def updated_in_place(graph: Graph, x: int, output: int) -> bool:
    """Whether output is input x with a slice of it overwritten, and nothing else reads x."""
    readers = [node for node in graph.nodes if any(spec is not None and spec.index == x for spec in node.inputs)]
    if len(readers) != 1 or x in graph.outputs or graph.outputs.count(output) != 1:
        return False
    (node,) = readers
    return node.op == "DYNAMIC_UPDATE_SLICE" and node.input(0).index == x and node.outputs[0].index == output
