"""Resource variables as tensors that delegates can hold: READ_VARIABLE and ASSIGN_VARIABLE over the variable itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tflgpu.memory import Variable
from tflgpu.model.graph import Node, TensorSpec
from tflgpu.ops.registry import Runtime

FIRST = 1 << 30
"""The index of the first variable's tensor, beyond those of any graph."""

_VALUE = {
    "READ_VARIABLE": lambda node: node.outputs[0],
    "ASSIGN_VARIABLE": lambda node: node.input(1),
}


def over_variables(nodes: Sequence[Node], runtime: Runtime) -> tuple[Node, ...]:
    """The nodes, those on known variables with the variable as input 0 in place of its handle.

    A variable is known where its handle is constant and all the nodes agree on its type and shape, and so does what
    it holds by now. `variable_of` gives its storage.
    """
    used: dict[int, set[tuple[str, tuple[int, ...]]]] = {}
    for node in nodes:
        if node.op in _VALUE and (number := _number(node)) is not None:
            spec = _VALUE[node.op](node)
            used.setdefault(number, set()).add((spec.type, spec.shape))
    variables = {}
    for number, forms in used.items():
        found = _variable(number, forms, runtime)
        if found is not None:
            variables[number] = found
    return tuple(_over(node, variables) for node in nodes)


def variable_of(index: int, runtime: Runtime) -> Variable:
    """The storage of a variable by the index of its tensor, FIRST or more."""
    found: Variable = runtime.state[("variable", index - FIRST)]
    return found


def _number(node: Node) -> int | None:
    handle = node.input(0)
    if handle.type not in ("RESOURCE", "INT32") or handle.data is None or handle.data.size != 1:
        return None
    number = int(handle.data.reshape(-1)[0])
    return number if number >= 0 else None


def _variable(number: int, forms: set[tuple[str, tuple[int, ...]]], runtime: Runtime) -> Variable | None:
    if len(forms) > 1:
        return None
    ((kind, shape),) = forms
    spec = TensorSpec(FIRST + number, f"variable {number}", kind, shape, is_variable=True)
    known = runtime.state.get(("variable", number))
    if known is None and spec.dtype != object:
        known = runtime.state[("variable", number)] = Variable(spec, runtime.meter.host_array(spec))
    fits = known is not None and known.host.dtype == spec.dtype != object and known.host.shape == shape
    return known if fits else None


def _over(node: Node, variables: Mapping[int, Variable]) -> Node:
    number = _number(node) if node.op in _VALUE else None
    if number is None or number not in variables:
        return node
    value: TensorSpec = _VALUE[node.op](node)
    # The number of the tensor is the variable's, whatever the first graph to name it called it.
    spec = replace(variables[number].spec, index=FIRST + number, type=value.type)
    return replace(node, inputs=(spec, *node.inputs[1:]))
