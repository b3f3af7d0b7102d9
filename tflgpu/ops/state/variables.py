"""Resource variables: values that outlive an invoke, shared by all graphs and signatures of an interpreter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tflgpu.memory import Variable
from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.registry import OpError, Runtime, function

_ANY = (
    "FLOAT32 FLOAT16 BFLOAT16 FLOAT64 INT4 INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 BOOL COMPLEX64 "
    "COMPLEX128 STRING"
)


def _handle_shape(node: Node, runtime: Runtime) -> list[Shape]:
    return [node.outputs[0].shape]


@function("VAR_HANDLE", inputs=0, shape=_handle_shape, stateful=True)
def var_handle(node: Node, runtime: Runtime) -> Array:
    """The number of the variable that (container, shared_name) names in this interpreter."""
    name = (node.options.container or "", node.options.shared_name or "")
    numbers = runtime.state.setdefault("variable numbers", {})
    return np.full(node.outputs[0].shape, numbers.setdefault(name, len(numbers)), np.int32)


def _read_shape(node: Node, runtime: Runtime) -> list[Shape] | None:
    """The declared one; a scalar declaration says nothing."""
    return [node.outputs[0].shape] if node.outputs[0].shape else None


@function("READ_VARIABLE", inputs=1, types="RESOURCE INT32", shape=_read_shape, stateful=True)
def read_variable(node: Node, runtime: Runtime, handle: Array) -> Array:
    """The value that was assigned last. Raises OpError before any assignment, or where it is of another type."""
    value: Array = assigned(runtime.state.get(("variable", handle.item()))).read()
    spec = node.outputs[0]
    if value.dtype != spec.dtype or (spec.shape and value.shape != spec.shape):
        raise OpError(f"the variable holds {value.dtype} {list(value.shape)}, which does not fit {spec}. ")
    return value


def assigned(variable: Variable | None) -> Variable:
    """The variable. Raises OpError before any assignment, and where another has replaced it."""
    if variable is not None and variable.replaced:
        raise OpError(f"{variable.spec} is of another type or shape by now. ")
    if variable is None or not variable.assigned:
        raise OpError("variable != nullptr was not true: it is read before it was assigned. ")
    return variable


def _no_outputs(node: Node, runtime: Runtime) -> list[Shape]:
    return []


@function("ASSIGN_VARIABLE", inputs=2, outputs=0, types=_ANY, typed_input=1, shape=_no_outputs, stateful=True)
def assign_variable(node: Node, runtime: Runtime, handle: Array, value: Array) -> tuple[Array, ...]:
    """Stores a copy of value, whatever its shape."""
    key = ("variable", handle.item())
    variable: Variable | None = runtime.state.get(key)
    if variable is not None and variable.host.shape == value.shape and variable.host.dtype == value.dtype:
        np.copyto(variable.write(), value)
    else:
        if variable is not None:
            variable.replaced = True
        spec = replace(node.input(1), name=f"variable {handle.item()}", shape=value.shape, data=None, is_variable=True)
        variable = runtime.state[key] = Variable(spec, value.copy())
    variable.assigned = True
    return ()
