"""Inputs of Flex operators that must be one number or string, or a vector of sizes."""

from __future__ import annotations

from typing import Any

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.registry import require, value
from tflgpu.ops.shape_rules import sized


def one_element(node: Node, position: int, x: Array) -> Any:
    """The element of the input at a position. Raises OpError where it has not just one."""
    require(x.size == 1, f"{node.op}: {node.input(position)} must have one element. ")
    return x.item()


def one_string(node: Node, position: int, x: Array) -> bytes:
    """As `one_element`. Raises OpError where that is no string."""
    given = one_element(node, position, x)
    require(isinstance(given, bytes), f"{node.op}: {node.input(position)} must be a STRING. ")
    return bytes(given)


def one_number(node: Node, position: int, x: Array) -> float:
    """As `one_element`. Raises OpError where that is no real number."""
    require(x.dtype.kind in "fiu", f"{node.op}: {node.input(position)} must be a number. ")
    return float(one_element(node, position, x))


def one_integer(node: Node, position: int, x: Array) -> int:
    """As `one_element`. Raises OpError where that is no integer."""
    require(x.dtype.kind in "iu", f"{node.op}: {node.input(position)} must be an integer. ")
    return int(one_element(node, position, x))


def sizes(node: Node, position: int) -> Shape:
    """The shape that an input gives. Raises OpError, and NeedsValue where it is known only at run time."""
    spec = node.input(position)
    vector = len(spec.shape) == 1 and spec.dtype.kind in "iu"
    require(vector, f"{node.op}: {spec} must be a vector of integers. ")
    return sized(value(spec).tolist())
