"""What the graphs of one interpreter share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tflgpu.delegation.delegate import ClaimsNodes, CompilesForOneShape, Delegate, MayRefuseDynamicShapes, Partition
from tflgpu.limits import Meter
from tflgpu.model.graph import Node
from tflgpu.ops.registry import Op, Step, Subgraph
from tflgpu.ops.scratch import Memory
from tflgpu.optional import offering
from tflgpu.runtime.plan_cache import PlanBudget
from tflgpu.runtime.workers import Workers

Observer = Callable[["Partition | Node", Step], Step]
"""Given what a step runs, returns the step to run in its place: how a profiler watches."""


class Session:
    """The operators, the delegates and the state of one interpreter; the Runtime of its operators."""

    def __init__(
        self,
        ops: Mapping[str, Op],
        delegates: Sequence[Delegate] = (),
        preserve_all_tensors: bool = False,
        observe: Observer | None = None,
        meter: Meter | None = None,
    ):
        self.ops = ops
        self.delegates = tuple(delegates)
        self.preserve_all_tensors = preserve_all_tensors
        self.observe = observe
        self.meter = meter or Meter()
        self.state: dict[Any, Any] = {}
        self.graphs: Sequence[Subgraph] = ()
        one_plan = any(delegate.one_plan for delegate in offering(delegates, CompilesForOneShape))
        self.plans = PlanBudget(one_plan, self.meter)
        self.delegates_claim = bool(offering(delegates, ClaimsNodes))

    def use_threads(self, count: int) -> None:
        """Shares large nodes out among so many threads, from the next preparation on."""
        self.state["scratch"] = Memory(Workers(count) if count > 1 else None)

    @property
    def static_only(self) -> bool:
        """Whether a delegate refuses graphs with shapes that are known only at run time."""
        return any(delegate.static_only for delegate in offering(self.delegates, MayRefuseDynamicShapes))

    def subgraph(self, index: int) -> Subgraph:
        return self.graphs[index]
