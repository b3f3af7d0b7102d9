"""Tensors as callers reach them by index: checked, read, written, viewed, bound and resized."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tflgpu.delegation.delegate import Delegate
from tflgpu.memory import Tensor
from tflgpu.model.graph import Array, Shape, TensorSpec, graphs_named
from tflgpu.runtime.binding import bound
from tflgpu.runtime.graph_runner import GraphRunner
from tflgpu.runtime.running import running
from tflgpu.shapes import reraise
from tflgpu.values import from_caller, to_caller

_MOST_BYTES = 2**63 - 1
"""Of one tensor: the most that a signed 64-bit size holds."""


def tensor_at(graph: GraphRunner, index: int) -> TensorSpec:
    """The spec of tensor `index`. Raises ValueError where there is none."""
    if not 0 <= index < len(graph.specs):
        raise ValueError(f"Invalid tensor index {index} exceeds max tensor index {len(graph.specs)}")
    return graph.specs[index]


def check_resize(graph: GraphRunner, index: int, shape: Shape, strict: bool) -> None:
    """Raises RuntimeError, with TensorFlow Lite's text, where tensor `index` cannot take this shape."""
    if not 0 <= index < len(graph.specs):
        raise RuntimeError(
            f"tensor_index {index} < context_.tensors_size && tensor_index >= 0 was not true: "
            f"the graph has {len(graph.specs)} tensors."
        )
    spec = graph.specs[index]
    if spec.data is not None and graph.graph.tensors[index].data is not None:
        raise RuntimeError("Attempting to resize a fixed-size tensor.")
    if any(d < 0 for d in shape):
        raise RuntimeError(
            "tflite/util.cc BytesRequired number of elements overflowed.\n"
            f"Shape {list(shape)} of {spec}: sizes are 0 or more; for a -1 of shape_signature give the size."
        )
    if math.prod(shape) * max(spec.dtype.itemsize, 1) > _MOST_BYTES:
        raise RuntimeError(
            f"tflite/util.cc BytesRequired number of elements overflowed.\nShape {list(shape)} of {spec}."
        )
    if not strict:
        return
    if len(shape) != len(spec.shape):
        raise RuntimeError(f"tensor->dims->size != dims.size() ({len(spec.shape)} != {len(shape)})")
    signature = spec.shape if spec.shape_signature is None else spec.shape_signature
    for axis, (old, new, allowed) in enumerate(zip(spec.shape, shape, signature, strict=True)):
        if allowed != -1 and old != new:
            raise RuntimeError(
                f"Attempting to resize dimension {axis} of tensor {index} with value {old} to {new}. "
                "ResizeInputTensorStrict only allows mutating unknown dimensions identified by -1."
            )


def checked_shape(size: Any) -> Array:
    """A shape as callers give it. Raises ValueError unless it is one-dimensional."""
    try:
        shape = np.array(size, dtype=np.int32)
    except OverflowError as error:
        reraise(error, f"Shape {size}")
    if shape.ndim != 1:
        raise ValueError(f"Shape should be 1D instead of {shape.ndim}.")
    return shape


def resize(graph: GraphRunner, index: int, shape: Array, strict: bool = False) -> None:
    """Gives an input another shape, from the next allocation on. Raises RuntimeError as `check_resize`."""
    size = tuple(int(d) for d in shape)
    check_resize(graph, index, size, strict)
    graph.resize(index, size)


def set_value(graph: GraphRunner, index: int, value: Any) -> None:
    """Copies value into a tensor. Raises ValueError where type, rank, a dimension or the index does not fit."""
    spec = tensor_at(graph, index)
    try:
        array = from_caller(value, spec)
    except Exception as error:
        reraise(error, spec)
    tensor = graph.tensor(index)
    if tensor is None or tensor.host.shape != spec.shape:
        raise ValueError("Cannot set tensor: Tensor is unallocated. Try calling allocate_tensors() first")
    if not tensor.host.flags.writeable:
        raise ValueError(f"Cannot set tensor: {spec} is a constant of the model.")
    if index in graph.bindings:
        raise ValueError(f"Cannot set tensor: {spec} is bound to an array of its caller's; write there.")
    tensor.write()[...] = array


def value_of(graph: GraphRunner, index: int, graphs: Sequence[GraphRunner] = ()) -> Array:
    """A copy of a tensor's value. Raises ValueError where there is none yet, or no such tensor, as `storage_of`."""
    spec = tensor_at(graph, index)
    if graph.tensor(index) is None and graph.ready and index in graph.graph.outputs:
        return to_caller(np.empty((0,), spec.dtype), spec)
    storage = storage_of(graph, index, spec, graphs)
    try:
        return to_caller(storage.read().copy(), spec)
    except Exception as error:
        reraise(error, spec)


def view_of(graph: GraphRunner, index: int, graphs: Sequence[GraphRunner] = ()) -> Array:
    """A tensor's memory at the host, current there, and alone there where it may be written. Raises as `storage_of`."""
    spec = tensor_at(graph, index)
    tensor = storage_of(graph, index, spec, graphs)
    if spec.dtype == object:
        raise ValueError(f"{spec} has no fixed memory to view; use get_tensor() and set_tensor().")
    try:
        tensor.read()
    except Exception as error:
        reraise(error, spec)
    return tensor.write() if tensor.host.flags.writeable else tensor.host


def bind(
    graph: GraphRunner, side: str, index: int, array: Any, stream: int, delegates: Sequence[Delegate] = ()
) -> None:
    """Binds an "input" or "output" to an array on a delegate's device; None ends that. Prepares the graph anew."""
    legal = graph.graph.inputs if side == "input" else graph.graph.outputs
    if index not in legal:
        raise ValueError(f"Tensor {index} is no {side} of the model; those are {list(legal)}.")
    graph.allocate()
    if graph.tensor(index) is None:
        raise ValueError(f"{graph.specs[index]} has no fixed shape before the model runs; it cannot be bound.")
    graph.bind(index, None if array is None else bound(array, graph.specs[index], delegates, stream))


def storage_of(graph: GraphRunner, index: int, spec: TensorSpec, graphs: Sequence[GraphRunner] = ()) -> Tensor:
    """The storage of a tensor. Raises ValueError where it has none yet, or none of its new shape, or where a delegate
    that makes it does not keep it. graphs: all of the model's, of which a delegate may run this one whole.
    """
    tensor = graph.tensor(index)
    runs = not graph.called or graph in running(graphs)
    if runs and tensor is not None and tensor.host.shape == spec.shape:
        return tensor
    inside = _lies_inside(graph, index) if runs else _runs_inside(graphs, graph)
    if inside is None:
        raise ValueError("Tensor data is null. Run allocate_tensors() first")
    raise ValueError(
        f"Tensor data is null. {spec} {inside}, which does not keep it; "
        "Interpreter(experimental_preserve_all_tensors=True) keeps every tensor."
    )


def _lies_inside(graph: GraphRunner, index: int) -> str | None:
    for number, one in enumerate(graph.partitions):
        if one.owner is not None and any(made.index == index for node in one.nodes for made in node.outputs):
            return f"lies inside partition {number}, on the {one.owner.name} delegate"
    return None


def _runs_inside(graphs: Sequence[GraphRunner], graph: GraphRunner) -> str | None:
    for other in graphs:
        for number, one in enumerate(other.partitions):
            if one.owner is not None and any(graph.graph.index in graphs_named(node) for node in one.nodes):
                return f"has no value here: its graph runs inside partition {number}, on the {one.owner.name} delegate"
    return None
