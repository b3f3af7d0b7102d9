"""Operators whose output TensorFlow Lite gives the type of an input, whatever the model declares for it."""

from __future__ import annotations

from dataclasses import replace

from tflgpu.graph import Node

_BY_INPUT = {
    0: (
        "PRELU LEAKY_RELU ADD_N BITWISE_XOR CEIL DENSIFY DYNAMIC_UPDATE_SLICE EXP EXPAND_DIMS FAKE_QUANT FLOOR "
        "FLOOR_DIV FLOOR_MOD GATHER GATHER_ND MATRIX_DIAG MATRIX_SET_DIAG MAXIMUM MINIMUM NEG POW RESIZE_BILINEAR "
        "RESIZE_NEAREST_NEIGHBOR RIGHT_SHIFT ROUND STABLEHLO_SHIFT_LEFT ZEROS_LIKE"
    ),
    1: "ADD DIV FILL SCATTER_ND SELECT SELECT_V2 SQUARED_DIFFERENCE SUB",
    2: "SPARSE_TO_DENSE",
}
LIKE_INPUT = {op: position for position, ops in _BY_INPUT.items() for op in ops.split()}


def retyped(node: Node) -> Node:
    """The node with its output's type corrected; the same node where the model declares it right."""
    position = LIKE_INPUT.get(node.op)
    source = None if position is None else node.optional(position)
    if source is None or node.outputs[0].type == source.type:
        return node
    return replace(node, outputs=(replace(node.outputs[0], type=source.type), *node.outputs[1:]))
