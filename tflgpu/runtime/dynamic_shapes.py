"""A node whose outputs' shapes are known only when it has run, and what is cached of its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tflgpu.memory import Tensor, synchronized
from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.output_types import retyped
from tflgpu.ops.registry import NeedsValue, Step, evaluate, output_shapes, prepare
from tflgpu.runtime.plan_cache import PlanCache
from tflgpu.runtime.segment import Segment
from tflgpu.runtime.session import Session
from tflgpu.runtime.storage import new_tensor, variables_written
from tflgpu.shapes import failed, shaped, with_specs

MOST_KEY_ELEMENTS = 64
"""Elements of a tensor up to which a dynamic node's step is cached by its value."""

MOST_STEPS = 1 << 10
"""Steps of a dynamic node that are cached by such values."""


class DynamicNode:
    """The node with which a segment ends, and the segments after it by the shapes that came.

    specs, storage: the segment's, of all tensors; of the node's inputs none lacks storage. resume: prepares the nodes
    after this one, from the specs and the storage that it gets.
    """

    def __init__(
        self,
        node: Node,
        session: Session,
        specs: Sequence[TensorSpec],
        storage: Mapping[int, Tensor],
        resume: Callable[[Sequence[TensorSpec], Mapping[int, Tensor]], Segment],
    ):
        self._node = node
        self._session = session
        self._specs = specs
        self._storage = storage
        self._resume = resume
        self._steps: dict[tuple[bytes, ...], tuple[Step, Segment]] = {}
        self._segments: PlanCache[Segment] = PlanCache(session.plans, self._steps.clear)
        self._keys = self._key_tensors()

    def run(self) -> Segment:
        """Runs the node. Returns the segment after it, prepared for the shapes that came."""
        key = tuple(tensor.read().tobytes() for tensor in self._keys)
        cached = self._steps.get(key) if self._keys else None
        if cached is not None:
            step, segment = cached
            try:
                step()
            except Exception as error:
                raise failed(self._node, "invoke", error) from error
            return segment
        return self._run_anew(key)

    def _run_anew(self, key: tuple[bytes, ...]) -> Segment:
        base = self._node
        try:
            node = retyped(with_specs(base, self._with_values(base)))
            for spec in variables_written(node, self._session):
                if spec.index in self._storage:
                    self._storage[spec.index].write()
            inputs = [self._array(spec) for spec in node.inputs]
            shapes = self._shapes(node)
            results = evaluate(node, inputs, self._session) if shapes is None else ()
            node = shaped(node, [result.shape for result in results] if shapes is None else shapes)
        except Exception as error:
            raise failed(base, "invoke", error) from error
        segment = self._segment_after(node)
        outputs = [segment.storage[spec.index].write() for spec in node.outputs]
        try:
            if shapes is not None:
                self._session.ops[node.op].require_valid(node)
                step = prepare(self._with_copied_keys(node), inputs, outputs, self._session)
                step()
                if self._keys and len(self._steps) < MOST_STEPS:
                    self._steps[key] = self._synchronized(step, node, segment), segment
            for out, result in zip(outputs, results, strict=False):
                out[...] = result
        except Exception as error:
            raise failed(base, "invoke", error) from error
        return segment

    def _array(self, spec: TensorSpec | None) -> Array | None:
        if spec is None or (spec.data is not None and not spec.is_variable):
            return None if spec is None else spec.data
        return self._storage[spec.index].host

    def _synchronized(self, step: Step, node: Node, segment: Segment) -> Step:
        """The step, with its inputs brought to the host and its outputs made current there."""
        reads = [self._storage[s.index] for s in node.inputs if s is not None and s.index in self._storage]
        writes = [segment.storage[spec.index] for spec in node.outputs]
        return synchronized(step, reads, writes)

    def _with_copied_keys(self, node: Node) -> Node:
        """The node with copies of the values that its step is cached by, so that what is prepared stays right."""
        keys = {tensor.spec.index for tensor in self._keys}
        return replace(
            node,
            inputs=tuple(
                replace(s, data=s.data.copy()) if s is not None and s.data is not None and s.index in keys else s
                for s in node.inputs
            ),
        )

    def _key_tensors(self) -> list[Tensor]:
        """The tensors by whose bytes the node's step can be cached; none where it cannot be.

        They are its inputs that are known only at run time, if all of them are small, besides the first, which a step
        reads anew each time.
        """
        if self._session.ops[self._node.op].style != "view":
            return []
        specs = [s for s in self._node.inputs[1:] if s is not None and self._specs[s.index].data is None]
        if any(s.index not in self._storage or self._storage[s.index].host.size > MOST_KEY_ELEMENTS for s in specs):
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

    def _segment_after(self, node: Node) -> Segment:
        """The segment that follows the node, whose outputs' shapes are now known."""

        def prepare() -> Segment:
            specs = list(self._specs)
            storage = dict(self._storage)
            for spec in node.outputs:
                specs[spec.index] = spec
                storage[spec.index] = new_tensor(spec, self._session.meter)
            return self._resume(specs, storage)

        return self._segments.plan(tuple(spec.shape for spec in node.outputs), prepare)
