"""SELECT and SELECT_V2: elements of one tensor or of another, as a third says."""

from __future__ import annotations

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.cache_blocks import blocked
from tflgpu.ops.registry import Step, kernel, require
from tflgpu.ops.shape_rules import broadcast


def _select_shape(node: Node) -> list[Shape]:
    condition, x, y = (node.input(i).shape for i in range(3))
    declared = node.outputs[0].shape
    if all(int(np.prod(s)) == 1 for s in (condition, x, y, declared)):
        return [declared]
    if condition == x == y:
        return [x]
    if node.op == "SELECT_V2":
        return [broadcast(condition, x, y)]
    row_wise = condition == () or (len(condition) == 1 and len(x) > 0 and condition[0] == x[0])
    require(row_wise, "data->has_low_rank_input_condition was not true. ")
    require(x == y, "HaveSameShapes(input_x, input_y) was not true. ")
    return [x]


def _check(node: Node) -> None:
    require(node.input(0).type == "BOOL", f"input_condition->type != kTfLiteBool ({node.input(0).type}). ")
    require(node.input(1).type == node.input(2).type, f"{node.op}: {node.input(1)} and {node.input(2)} differ. ")


def _select(node: Node, inputs: tuple[Array, Array, Array], outputs: tuple[Array]) -> Step:
    """x where the condition holds, else y. SELECT's condition may also have one entry a row, SELECT_V2 broadcasts."""
    condition, x, y = inputs
    (out,) = outputs
    if out.size == 1:
        condition, x, y = (a.reshape(out.shape) for a in inputs)
    elif node.op == "SELECT" and condition.ndim == 1:
        condition = condition.reshape(-1, *[1] * (x.ndim - 1))

    def select(c: Array, a: Array, b: Array, result: Array) -> None:
        np.copyto(result, b)
        np.copyto(result, a, where=c)

    return blocked(select, (condition, x, y), out)


_TYPES = "FLOAT32 FLOAT16 BFLOAT16 FLOAT64 COMPLEX64 BOOL INT8 UINT8 INT16 UINT16 INT32 UINT32 INT64 UINT64"
for _name, _version in (("SELECT", 4), ("SELECT_V2", 2)):
    _register = kernel(
        _name, inputs=3, output_type=1, version=_version, types=_TYPES, typed_input=1, shape=_select_shape, check=_check
    )
    _register(_select)
