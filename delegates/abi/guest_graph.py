"""A runtime's context as one of our Graphs: what a delegate of ours is told inside Google's interpreter."""

from __future__ import annotations

import ctypes as c
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from tflgpu.delegates.abi import builtin_data, structs
from tflgpu.delegates.lowering.reduction.reduction_bodies import NAMED_BY
from tflgpu.limits import Meter
from tflgpu.memory import Tensor
from tflgpu.model.constants import Budget, decode
from tflgpu.model.graph import BITS, Array, Graph, Node, Options, Quantization, Shape, Sparsity, TensorSpec
from tflgpu.model.schema import BUILTIN_OPERATORS
from tflgpu.ops.registry import OPS
from tflgpu.shapes import infer_stage

_RUNTIME: Any = SimpleNamespace(state={}, ops=OPS, meter=Meter())
_SPARSE = Sparsity((), (), ())
_UNKNOWN = "a tensor whose shape is known only when the model runs"


class GuestGraph:
    """The nodes of a context, which of them cannot be taken and why, and the tensors that our partitions share.

    unreadable: reasons by the number of a node. tensors: storage of what crosses to and from our partitions.
    all_at_the_host: whether each partition gives its outputs to the runtime, and leaves none on a device.
    """

    def __init__(self, context: structs.Context):
        self.context = context
        self.unreadable: dict[int, str] = {}
        plan = structs.Pointer()
        if context.GetExecutionPlan(c.addressof(context), c.byref(plan)) != structs.OK:
            raise RuntimeError("the runtime does not tell its execution plan. ")
        order = structs.ints(plan.value)
        self._specs = [self._spec(index) for index in range(context.tensors_size)]
        self._nodes = [self._node(index) for index in order]
        made = {spec.index for node in self._nodes for spec in node.outputs}
        read = {spec.index for node in self._nodes for spec in node.inputs if spec is not None}
        self._sources = sorted(i for i in read - made if self._specs[i].data is None)
        self._outputs = tuple(sorted(made - read))
        self._inferred: tuple[Any, Graph] | None = None
        self.tensors: dict[int, Tensor] = {}
        self.made_by_us: set[int] = set()
        self.kernels = 0
        self.all_at_the_host = False

    def shape(self, index: int) -> Shape:
        """The present shape of a tensor."""
        return tuple(structs.ints(structs.tensor_at(self.context, index).dims))

    def inferred(self) -> Graph:
        """The graph with the shapes that follow from those of its inputs, and the constants that follow from all."""
        key = tuple(self.shape(index) for index in self._sources)
        if self._inferred is None or self._inferred[0] != key:
            self._inferred = key, self._infer(key)
        return self._inferred[1]

    def _infer(self, shapes: Iterable[Shape]) -> Graph:
        specs = list(self._specs)
        for index, shape in zip(self._sources, shapes, strict=True):
            specs[index] = replace(specs[index], shape=shape)
        nodes = []
        unknown: set[int] = set()
        for base in self._nodes:
            op = OPS.get(base.op)
            waits = any(spec is not None and spec.index in unknown for spec in base.inputs)
            if not waits and base.index not in self.unreadable and op is not None and not op.stateful:
                try:
                    waits = not infer_node(base, specs)
                except RuntimeError as error:  # the runtime's own may take it; its shapes stay as they are
                    self.unreadable[base.index] = f"our operator refuses it: {str(error).strip()}"
            if waits:
                self.unreadable.setdefault(base.index, _UNKNOWN)
                unknown.update(spec.index for spec in base.outputs)
            nodes.append(over(base, specs))
        return Graph(0, "main", tuple(specs), tuple(nodes), tuple(self._sources), self._outputs)

    def _spec(self, index: int) -> TensorSpec:
        tensor = structs.tensor_at(self.context, index)
        shape = tuple(structs.ints(tensor.dims))
        # A type that came after ours is one that no operator takes.
        name = structs.TYPES[tensor.type] if 0 < tensor.type < len(structs.TYPES) else "VARIANT"
        spec = TensorSpec(
            index,
            (tensor.name or b"").decode("utf-8", "replace"),
            name,
            shape,
            tuple(structs.ints(tensor.dims_signature)) or None,
            _quantization(tensor),
            None,
            tensor.is_variable,
            _SPARSE if tensor.sparsity else None,
        )
        if tensor.allocation_type != structs.MMAP_RO or tensor.sparsity:
            return spec
        return replace(spec, data=_constant(tensor, spec))

    def _node(self, index: int) -> Node:
        node, registration = structs.node_at(self.context, index)
        number = registration.builtin_code
        is_custom = number == structs.CUSTOM
        op = (registration.custom_name or b"").decode() if is_custom else _operator(number)
        inputs = tuple(None if i < 0 else self._specs[i] for i in structs.ints(node.inputs))
        outputs = tuple(self._specs[i] for i in structs.ints(node.outputs))
        options, content = Options(), b""
        try:
            if is_custom and node.custom_initial_data:
                content = c.string_at(node.custom_initial_data, node.custom_initial_data_size)
            elif number == structs.DELEGATE:
                raise RuntimeError("another delegate has it")
            elif not is_custom:
                first = next((spec for spec in inputs if spec is not None), None)
                options = builtin_data.read(op, node.builtin_data, 0 if first is None else len(first.shape))
                if op in NAMED_BY:
                    options = SimpleNamespace(**vars(options), body=self._body(getattr(options, NAMED_BY[op])))
        except RuntimeError as error:
            self.unreadable[index] = str(error).strip()
        text = next((s for s in (*inputs, *outputs) if s is not None and s.type == "STRING"), None)
        if text is not None:
            self.unreadable.setdefault(index, f"{text} cannot cross from the runtime's memory")
        return Node(
            index,
            op,
            registration.version,
            options,
            inputs,
            outputs,
            tuple(self._specs[i] for i in structs.ints(node.intermediates)),
            is_custom,
            content,
        )

    def _body(self, number: int) -> Graph | None:
        """Another of the model's graphs, its inputs in no certain order; None where the runtime does not show it."""
        context, address, other = self.context, c.addressof(self.context), structs.Pointer()
        if not context.AcquireSubgraphContext:
            return None
        if context.AcquireSubgraphContext(address, number, c.byref(other)) != structs.OK or not other.value:
            return None
        try:
            return GuestGraph(structs.Context.from_address(other.value)).inferred()
        finally:
            context.ReleaseSubgraphContext(address, number)


def infer_node(node: Node, specs: list[TensorSpec]) -> bool:
    """Sets the outputs of a node in specs, from its inputs there; False where their shapes are known only at run time.

    Raises RuntimeError where our operator refuses the node.
    """
    return not infer_stage([node], specs, _RUNTIME).dynamic


def over(node: Node, specs: list[TensorSpec]) -> Node:
    """The node over the present specs of its tensors."""
    return replace(
        node,
        inputs=tuple(None if spec is None else specs[spec.index] for spec in node.inputs),
        outputs=tuple(specs[spec.index] for spec in node.outputs),
        intermediates=tuple(specs[spec.index] for spec in node.intermediates),
    )


def _operator(number: int) -> str:
    return BUILTIN_OPERATORS[number] if 0 <= number < len(BUILTIN_OPERATORS) else f"operator {number}"


def _quantization(tensor: structs.Tensor) -> Quantization | None:
    if tensor.quantization.type != 1 or not tensor.quantization.params:
        return None
    affine = structs.AffineQuantization.from_address(tensor.quantization.params)
    scale = np.array(structs.floats(affine.scale), np.float32)
    zero_point = np.array(structs.ints(affine.zero_point), np.int32)
    return Quantization(scale, zero_point, affine.quantized_dimension) if scale.size else None


def _constant(tensor: structs.Tensor, spec: TensorSpec) -> Array | None:
    """The value of a constant, in the runtime's memory where it can stay as it is."""
    if not tensor.data or spec.dtype == object:
        return None
    if spec.type in BITS or spec.type == "BOOL":
        raw = structs.memory(tensor.data, tensor.bytes)
        value = decode(raw, spec.type, spec.shape, None, Budget(8 * tensor.bytes))
    else:
        found = structs.array_at(tensor, spec)
        if found is None:
            return None
        value = found
    value.flags.writeable = False
    return value
