"""Shape inference: nodes and the shapes of what they read -> the same nodes with all shapes that can be known.

Nodes with constant inputs are computed at once, so that chains of SHAPE, GATHER, PACK that compute shapes disappear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from tflgpu.model.graph import Array, Graph, Node, Shape, TensorSpec
from tflgpu.ops.output_types import retyped
from tflgpu.ops.registry import NeedsValue, Op, OpError, Runtime, evaluate, output_shapes

MAX_ELEMENTS = 2**40
"""A tensor of more elements is a mistake or an attack; refused before anything is allocated for it."""


@dataclass(frozen=True, eq=False, slots=True)
class Inferred:
    """A graph whose shapes are known.

    graph: with what is known of all its tensors, and the nodes whose shapes are known before any of them runs,
    constants folded away. dynamic: its nodes from the first whose outputs' shapes are known only at run time, in order.
    """

    graph: Graph
    dynamic: tuple[Node, ...]

    @property
    def read_later(self) -> frozenset[int]:
        """The tensors that the dynamic nodes read."""
        return frozenset(spec.index for node in self.dynamic for spec in node.inputs if spec is not None)


def infer_shapes(graph: Graph, runtime: Runtime, keep_handles: bool = False) -> Inferred:
    """The graph with all shapes that can be known; its inputs' are. Raises RuntimeError as `infer_stage`."""
    specs = list(graph.tensors)
    stage = infer_stage(graph.nodes, specs, runtime, keep_handles)
    return Inferred(replace(graph, tensors=tuple(specs), nodes=stage.nodes), stage.dynamic)


@dataclass(frozen=True, eq=False, slots=True)
class Stage:
    """nodes: those whose shapes are known before any of them runs, constants folded away.

    dynamic: the nodes from the first whose outputs' shapes are known only at run time, in order.
    """

    nodes: tuple[Node, ...]
    dynamic: tuple[Node, ...]


def infer_stage(nodes: Sequence[Node], specs: list[TensorSpec], runtime: Runtime, keep_handles: bool = False) -> Stage:
    """Infers nodes in order until a shape depends on an unknown value; updates specs.

    specs: all tensors of the graph by index, the ones that the nodes read already known. keep_handles: whether a node
    that names a variable stays one, for delegates that look for it. Raises RuntimeError, with the node's number and
    name, where inputs do not fit.
    """
    known: list[Node] = []
    meter = runtime.meter
    for position, base in enumerate(nodes):
        node = with_specs(base, specs)
        try:
            meter.check()
            operator = _operator(node, runtime)
            operator.check_arity(node)
            node = retyped(node)
            operator.check_type(node)
            node = shaped(node, output_shapes(node, runtime))
            operator.require_valid(node)
            meter.admit(node.outputs)
        except (NeedsValue, _OnlyAtRunTime):
            return Stage(tuple(known), tuple(nodes[position:]))
        except Exception as error:
            raise failed(node, "prepare", error) from error
        folded = _fold(node, runtime, keep_handles) if meter.folds(node.outputs) else None  # else it runs in the arena
        for spec in folded or node.outputs:
            specs[spec.index] = spec
        if folded is None:
            known.append(node)
        else:
            meter.hold(*(spec.data for spec in folded if spec.data is not None), folded=True)
    return Stage(tuple(known), ())


def _operator(node: Node, runtime: Runtime) -> Op:
    operator = runtime.ops.get(node.op)
    if operator is not None:
        return operator
    if node.op.startswith("Flex"):
        from tflgpu.ops.flex import by_tensorflow  # most models do without

        if by_tensorflow.provide(node.op):
            return runtime.ops[node.op]
        raise OpError(
            "Select TensorFlow op(s), included in the given model, is(are) not supported by this interpreter. "
            "Make sure you apply/link the Flex delegate before inference. "
            f"\n({node.op} is TensorFlow's own, and none of those that tflgpu has too. Install TensorFlow, which then "
            f"runs it (pip install 'tflgpu[flex]'), or write it in Python: tflgpu.custom_op({node.op!r}, …).) "
        )
    raise OpError(
        f"Encountered unresolved custom op: {node.op}.\n"
        f"See instructions: https://www.tensorflow.org/lite/guide/ops_custom "
    )


class _OnlyAtRunTime(Exception):
    """The shapes of a node's outputs are known only at run time."""


def with_specs(node: Node, specs: Sequence[TensorSpec]) -> Node:
    """The node over the present specs of its tensors; the same node where these are its own."""
    inputs = tuple([None if spec is None else specs[spec.index] for spec in node.inputs])
    outputs = tuple([specs[spec.index] for spec in node.outputs])
    intermediates = tuple([specs[spec.index] for spec in node.intermediates])
    if (inputs, outputs, intermediates) == (node.inputs, node.outputs, node.intermediates):
        return node
    return replace(node, inputs=inputs, outputs=outputs, intermediates=intermediates)


def shaped(node: Node, shapes: Sequence[Shape] | None) -> Node:
    """The node with its outputs' shapes set; the same node where it has them.

    Raises OpError for a shape that no tensor can have.
    """
    if shapes is None:
        raise _OnlyAtRunTime
    for shape in shapes:
        if any(not 0 <= d < 2**31 for d in shape) or math.prod(shape) > MAX_ELEMENTS:
            raise OpError(f"output shape {list(shape)}: BytesRequired number of elements overflowed.\n")
    outputs = tuple(
        spec if spec.shape == shape else replace(spec, shape=tuple(int(d) for d in shape))
        for spec, shape in zip(node.outputs, shapes, strict=True)
    )
    return node if outputs == node.outputs else replace(node, outputs=outputs)


def _fold(node: Node, runtime: Runtime, keep_handles: bool) -> tuple[TensorSpec, ...] | None:
    """The outputs as constants where every input is one, or None.

    SHAPE and RANK need no value. A node that fails is left to fail when it runs, as in TensorFlow Lite.
    """
    # What a handle names is as good as constant.
    foldable = not runtime.ops[node.op].stateful or (node.op == "VAR_HANDLE" and not keep_handles)
    if not foldable or any(spec.is_variable for spec in node.outputs):
        return None
    by_shape_alone = node.op in ("SHAPE", "RANK")
    if not by_shape_alone and not all(spec is None or spec.data is not None for spec in node.inputs):
        return None
    inputs = [
        None if spec is None else np.empty(spec.shape, spec.dtype) if by_shape_alone else spec.data
        for spec in node.inputs
    ]
    try:
        values = evaluate(node, inputs, runtime)
    except Exception:
        return None
    return tuple(replace(spec, data=_read_only(v), shape=v.shape) for spec, v in zip(node.outputs, values, strict=True))


def _read_only(array: Array) -> Array:
    array = np.ascontiguousarray(array) if array.ndim else array
    array.flags.writeable = False
    return array


_TOLD = (RuntimeError, ValueError, TypeError, AttributeError)


def reraise(error: BaseException, what: object) -> NoReturn:
    """Raises the error, where it is of a kind that callers are told of; any other as a RuntimeError that names `what`.

    Memory that is not there, numbers too large, drivers' errors and mistakes of our own are such others.
    """
    try:
        if isinstance(error, _TOLD) or not isinstance(error, Exception):
            raise error
        raise RuntimeError(f"{what}: {str(error).strip() or 'it failed'} ({type(error).__name__}). ") from error
    finally:
        del error  # else the error and this call hold one another, and what the caller's frames hold stays too


class DelegateError(RuntimeError):
    """A native delegate failed; the text already names its node."""


def failed(node: Node, what: str, error: Exception) -> RuntimeError:
    """The RuntimeError that TensorFlow Lite raises for a node that failed to prepare or to invoke."""
    if isinstance(error, DelegateError):
        return DelegateError(*error.args)
    text = str(error) or type(error).__name__
    if isinstance(error, (AttributeError, LookupError, TypeError)):
        text = f"what it has does not fit the operator ({type(error).__name__}: {text})."
    kind = type(error) if isinstance(error, OpError) else RuntimeError
    number = node.index if node.composite is None else node.composite.inner
    text = f"{text}{'' if text[-1:].isspace() else ' '}Node number {number} ({node.op}) failed to {what}."
    if node.composite is not None:
        text += f"\nNode number {node.composite.node} (STABLEHLO_COMPOSITE) failed to {what}."
    return kind(text)
