"""A node that must run before the shapes behind it are known, and what is kept of its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tflgpu.memory import Tensor, host_array, nbytes, refuse_beyond_memory
from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.output_types import retyped
from tflgpu.ops.registry import NeedsValue, Step, evaluate, output_shapes, prepare
from tflgpu.runtime.plan_cache import make_room
from tflgpu.shapes import failed, shaped, with_specs

if TYPE_CHECKING:
    from tflgpu.runtime.plan import Plan, Session

DECIDING = 64
"""Elements of a tensor up to which a dynamic node's step is kept by its value."""

SETTLED = 1 << 10
"""Steps of a dynamic node kept by such values."""


class WaitingNode:
    """The node with which a plan ends, and the plans behind it by the shapes that came.

    specs, storage: the plan's, of all tensors; of the node's inputs none lacks storage. prepared: makes the plan of the
    nodes after this one, from the specs and the storage that it gets.
    """

    def __init__(
        self,
        node: Node,
        session: Session,
        specs: Sequence[TensorSpec],
        storage: Mapping[int, Tensor],
        prepared: Callable[[list[TensorSpec], dict[int, Tensor]], Plan],
    ):
        self._node = node
        self._session = session
        self._specs = specs
        self._storage = storage
        self._prepared = prepared
        self._following: dict[tuple[Shape, ...], Plan] = {}
        self._settled: dict[tuple[bytes, ...], tuple[Step, Plan]] = {}
        self._deciding = self._values_that_decide()

    def run(self) -> Plan:
        """Runs the node, and returns the plan behind it, prepared for the shapes that came."""
        key = tuple(tensor.read().tobytes() for tensor in self._deciding)
        known = self._settled.get(key) if self._deciding else None
        if known is not None:
            step, plan = known
            try:
                step()
            except Exception as error:
                raise failed(self._node, "invoke", error) from error
            return plan
        return self._run_anew(key)

    def _run_anew(self, key: tuple[bytes, ...]) -> Plan:
        base = self._node
        try:
            node = retyped(with_specs(base, self._with_values(base)))
            for spec in variables_of(node) if self._session.ops[node.op].variables else ():
                if spec.index in self._storage:
                    self._storage[spec.index].write()
            inputs = [self._array(spec) for spec in node.inputs]
            shapes = self._shapes(node)
            results = evaluate(node, inputs, self._session) if shapes is None else ()
            node = shaped(node, [result.shape for result in results] if shapes is None else shapes)
        except Exception as error:
            raise failed(base, "invoke", error) from error
        plan = self._behind(node)
        outputs = [plan.storage[spec.index].write() for spec in node.outputs]
        try:
            if shapes is not None:
                step = prepare(self._by_value(node), inputs, outputs, self._session)
                step()
                if self._deciding and len(self._settled) < SETTLED:
                    self._settled[key] = self._at_the_host(step, node, plan), plan
            for out, result in zip(outputs, results, strict=False):
                out[...] = result
        except Exception as error:
            raise failed(base, "invoke", error) from error
        return plan

    def _array(self, spec: TensorSpec | None) -> Array | None:
        if spec is None or (spec.data is not None and not spec.is_variable):
            return None if spec is None else spec.data
        return self._storage[spec.index].host

    def _at_the_host(self, step: Step, node: Node, plan: Plan) -> Step:
        """The step, between what it reads from here and what it writes for the plan behind it."""
        reads = [self._storage[s.index] for s in node.inputs if s is not None and s.index in self._storage]
        writes = [plan.storage[spec.index] for spec in node.outputs]

        def settled() -> None:
            for tensor in reads:
                tensor.read()
            for tensor in writes:
                tensor.write()
            step()

        return settled

    def _by_value(self, node: Node) -> Node:
        """The node with copies of the values that decide, so that what is prepared from them stays right."""
        deciding = {tensor.spec.index for tensor in self._deciding}
        return replace(
            node,
            inputs=tuple(
                replace(s, data=s.data.copy()) if s is not None and s.data is not None and s.index in deciding else s
                for s in node.inputs
            ),
        )

    def _values_that_decide(self) -> list[Tensor]:
        """The tensors by whose bytes the step of the waiting node can be kept; none where it cannot be.

        They are its inputs that only running gives, if all of them are small or it takes the others as they come.
        """
        if self._session.ops[self._node.op].style != "view":
            return []
        specs = [s for s in self._node.inputs[1:] if s is not None and self._specs[s.index].data is None]
        if any(s.index not in self._storage or self._storage[s.index].host.size > DECIDING for s in specs):
            return []
        return [self._storage[s.index] for s in specs]

    def _shapes(self, node: Node) -> Sequence[Shape] | None:
        try:
            return output_shapes(node, self._session)
        except NeedsValue:
            return None

    def _with_values(self, node: Node) -> list[TensorSpec]:
        """The specs, those of the node's inputs with their present values as data."""
        specs = list(self._specs)
        for spec in node.inputs:
            if spec is not None and specs[spec.index].data is None and spec.index in self._storage:
                specs[spec.index] = replace(specs[spec.index], data=self._storage[spec.index].read())
        return specs

    def _behind(self, node: Node) -> Plan:
        """The plan of what follows the waiting node, whose outputs' shapes are now known."""
        key = tuple(spec.shape for spec in node.outputs)
        if key not in self._following:
            before = len(self._following)
            make_room(self._following, self._session.one_plan)
            if len(self._following) < before:
                self._settled.clear()
            specs = list(self._specs)
            storage = dict(self._storage)
            for spec in node.outputs:
                refuse_beyond_memory(nbytes(spec), str(spec))
                specs[spec.index] = spec
                storage[spec.index] = Tensor(spec, host_array(spec))
            self._following[key] = self._prepared(specs, storage)
        return self._following[key]


def variables_of(node: Node) -> list[TensorSpec]:
    """The inputs that a node may write to."""
    return [spec for spec in node.inputs if spec is not None and spec.is_variable]
