"""Operators whose output types TensorFlow Lite sets itself, whatever the model declares: `Op.output_type`."""

from __future__ import annotations

from dataclasses import replace

from tflgpu.model.graph import Node
from tflgpu.ops.registry import OPS


def retyped(node: Node) -> Node:
    """The node with its outputs' types corrected; the same node where the model declares them right."""
    types = _types(node)
    if all(spec.type == type for spec, type in zip(node.outputs, types, strict=False)):
        return node
    known = [replace(spec, type=type) for spec, type in zip(node.outputs, types, strict=False)]
    return replace(node, outputs=(*known, *node.outputs[len(known) :]))


def _types(node: Node) -> list[str]:
    """The types of the first outputs, as many as the operator sets."""
    operator = OPS.get(node.op)
    declared = None if operator is None else operator.output_type
    if declared is None:
        return []
    if isinstance(declared, int):
        source = node.optional(declared)
        return [] if source is None else [source.type]
    if declared.islower():
        chosen = getattr(node.options, declared)
        return [chosen] if chosen in ("INT32", "INT64") else []
    return declared.split()
