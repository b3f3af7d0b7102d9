"""Delegates that are wrong in one way each, to test the kit with, and the right one that they are made of.

`tflgpu conformance --delegate tflgpu.conformance.broken:load --options fault=padding`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from tflgpu.conformance import faults, partition_faults
from tflgpu.delegation.delegate import Limits, Partition, Unsupported
from tflgpu.delegation.options import LIMIT_OPTIONS, Option, read_limits, read_options
from tflgpu.memory import Tensor, synchronized
from tflgpu.model.graph import Array, Node
from tflgpu.ops.cache_blocks import in_order
from tflgpu.ops.registry import OPS, Step, prepare


@dataclass(frozen=True)
class Fault:
    """caught_by: cases of which one must fail, as a pattern of their names. verdict: what it is found to be.

    node: given a node, its step and its arrays, the step that runs instead. partition: the same for a partition.
    claims: whether it takes what it cannot run. ignores_options: whether it leaves its limits at their defaults.
    """

    caught_by: str
    verdict: str = "failed"
    node: Callable[[Node, Step, list[Array], list[Array]], Step] | None = None
    partition: Callable[[Any, Partition, Mapping[int, Tensor], Step], Step] | None = None
    claims: bool = False
    ignores_options: bool = False


FAULTS: Mapping[str, Fault] = {
    "padding": Fault(r"^MAX_POOL_2D\[float32,2x5x7x3.*same", node=faults.padding_off_by_one),
    "rounding": Fault(r"^QUANTIZE\[float32,67,to=int8,ties", node=faults.half_to_even),
    "nan": Fault(r"^RELU\[float32,61,special", node=faults.nan_swallowed),
    "after": Fault("outside its outputs", partition=partition_faults.writes_after),
    "before": Fault("outside its outputs", partition=partition_faults.writes_before),
    "stale": Fault("each invoke computes anew", partition=partition_faults.runs_once),
    "broadcast": Fault(r"^ADD\[float32,2x3x5,5\]", node=faults.wrong_broadcast),
    "resize": Fault("inputs may be resized", partition=partition_faults.forgets_resize),
    "leak": Fault("memory is flat", partition=partition_faults.leaks_a_tensor),
    "objects": Fault("memory is flat", partition=partition_faults.leaks_objects),
    "outlives": Fault("that is gone leaves nothing", partition=partition_faults.outlives),
    "crash": Fault(r"^SOFTMAX\[float32,3x10,beta=1\]", "crashed", node=faults.crashes),
    "hang": Fault(r"^SOFTMAX\[float32,3x10,beta=1\]", "timed out", node=faults.hangs),
    "claims": Fault(r"^RNN\[float32,1x3", "error", claims=True),
    "skips": Fault("chain of element-wise", partition=partition_faults.skips_the_last),
    "in_place": Fault(r"^RELU\[float32,7\]", node=faults.changes_its_input),
    "random": Fault("always give the same bits", partition=partition_faults.adds_noise),
    "half": Fault(r"^FULLY_CONNECTED\[float32,3x17", node=faults.half_precision),
    "through_float": Fault(r"^MAXIMUM\[int64,61,61,special", node=faults.integers_through_floats),
    "activation": Fault(r"^ADD\[float32,2x3x5,5,relu6\]", node=faults.ignores_activation),
    "ties": Fault(r"^ARG_MAX\[float32,5x11,axis=1,ties", node=faults.last_of_ties),
    "saturates": Fault(r"^ADD\[int32,61,61,special", node=faults.saturates),
    "shared": Fault("alternately", partition=partition_faults.one_for_all),
    "after_error": Fault("an error leaves", "error", partition=partition_faults.dies_of_an_error),
    "threads": Fault("in two threads", partition=partition_faults.not_for_threads),
    "options": Fault("options set the limits", ignores_options=True),
    "axis": Fault(r"^SOFTMAX\[float32,3x10,beta=1\]", node=faults.wrong_axis),
    "empty": Fault(r"^ABS\[float32,0\]", "error", node=faults.fails_of_empty),
    "mistake": Fault(r"^GATHER\[float32,5x3,4,index at the bound", "error", node=faults.refuses_by_a_mistake),
    "last_row": Fault(r"^FULLY_CONNECTED\[float32,3x17", node=faults.forgets_the_last),
    "passed_on": Fault("an inner tensor that is an output", partition=partition_faults.forgets_inner_outputs),
}
"""By the name of the option `fault`."""

OPTIONS = {**LIMIT_OPTIONS, "fault": Option("", str, "one of broken.FAULTS, or none for a delegate that is right")}


def load(options: Mapping[str, Any]) -> Numpy:
    """The delegate with the fault that the options name. Raises ValueError for one that there is not."""
    read = read_options("numpy", options, OPTIONS)
    fault = read["fault"]
    if fault and fault not in FAULTS:
        raise ValueError(f"no fault {fault!r}; there are {', '.join(FAULTS)}")
    chosen = FAULTS[fault] if fault else Fault("")
    return Numpy(Limits() if chosen.ignores_options else read_limits(read), chosen)


class Numpy:
    """A delegate that runs nodes with the CPU's own operators, right but for its fault."""

    name = "numpy"

    def __init__(self, limits: Limits, fault: Fault):
        self.limits = limits
        self.fault = fault
        self.dead = False

    def check(self, node: Node) -> None:
        if self.fault.claims:
            return
        op = OPS.get(node.op)
        if op is None or op.stateful or op.custom:
            raise Unsupported(f"no kernel for {node.op}")
        for spec in (*node.inputs, *node.outputs):
            if spec is not None and (spec.dtype == object or spec.is_variable or spec.sparsity is not None):
                raise Unsupported(f"{spec}")

    def compile(self, partition: Partition, tensors: Mapping[int, Tensor]) -> Callable[[], None]:
        arrays = {index: tensor.host for index, tensor in tensors.items()}
        steps = [self._step(node, arrays) for node in partition.nodes]
        reads = [tensors[i] for i in sorted(partition.inputs) if i in tensors]
        writes = [tensors[i] for i in sorted(partition.outputs)]
        run, fault = synchronized(in_order(steps), reads, writes), self.fault.partition
        return run if fault is None else fault(self, partition, tensors, run)  # type: ignore[return-value]

    def _step(self, node: Node, arrays: dict[int, Array]) -> Step:
        if any(spec is not None and spec.is_variable for spec in node.inputs):
            raise RuntimeError("no variables here")
        runtime: Any = SimpleNamespace(state={}, ops=OPS)
        inputs = [None if s is None else arrays[s.index] if s.data is None else s.data for s in node.inputs]
        for spec in node.outputs:
            arrays.setdefault(spec.index, np.zeros(spec.shape, spec.dtype))
        outputs = [arrays[spec.index] for spec in node.outputs]
        step = prepare(node, inputs, outputs, runtime)
        if self.fault.node is None:
            return step
        return self.fault.node(node, step, [x for x in inputs if x is not None], outputs)
