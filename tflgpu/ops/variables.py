"""Resource variables: values that outlive an invoke, shared by all graphs and signatures of an interpreter."""

from __future__ import annotations

import numpy as np

from tflgpu.graph import Array, Node, Shape
from tflgpu.ops.registry import OpError, Runtime, function

_ANY = (
    "FLOAT32 FLOAT16 BFLOAT16 FLOAT64 INT4 INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 BOOL COMPLEX64 "
    "COMPLEX128 STRING"
)


def _handle_shape(node: Node, runtime: Runtime) -> list[Shape]:
    return [node.outputs[0].shape]


@function("VAR_HANDLE", shape=_handle_shape, stateful=True)
def var_handle(node: Node, runtime: Runtime) -> Array:
    """The number of the variable that (container, shared_name) names in this interpreter."""
    name = (node.options.container or "", node.options.shared_name or "")
    numbers = runtime.state.setdefault("variable numbers", {})
    return np.full(node.outputs[0].shape, numbers.setdefault(name, len(numbers)), np.int32)


def _read_shape(node: Node, runtime: Runtime) -> list[Shape] | None:
    """The declared one; a scalar declaration says nothing."""
    return [node.outputs[0].shape] if node.outputs[0].shape else None


@function("READ_VARIABLE", types="RESOURCE INT32", shape=_read_shape, stateful=True)
def read_variable(node: Node, runtime: Runtime, handle: Array) -> Array:
    """The value that was assigned last. Raises OpError before any assignment, or where it is of another type."""
    key = ("variable", handle.item())
    if key not in runtime.state:
        raise OpError("variable != nullptr was not true: it is read before it was assigned. ")
    value: Array = runtime.state[key]
    spec = node.outputs[0]
    if value.dtype != spec.dtype or (spec.shape and value.shape != spec.shape):
        raise OpError(f"the variable holds {value.dtype} {list(value.shape)}, which does not fit {spec}. ")
    return value


def _no_outputs(node: Node, runtime: Runtime) -> list[Shape]:
    return []


@function("ASSIGN_VARIABLE", types=_ANY, typed_input=1, shape=_no_outputs, stateful=True)
def assign_variable(node: Node, runtime: Runtime, handle: Array, value: Array) -> tuple[Array, ...]:
    """Keeps a copy of value, whatever its shape."""
    key = ("variable", handle.item())
    kept = runtime.state.get(key)
    if kept is not None and kept.shape == value.shape and kept.dtype == value.dtype:
        np.copyto(kept, value)
    else:
        runtime.state[key] = value.copy()
    return ()
