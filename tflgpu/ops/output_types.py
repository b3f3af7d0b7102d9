"""Operators whose output types TensorFlow Lite sets itself, whatever the model declares."""

from __future__ import annotations

from dataclasses import replace

from tflgpu.model.graph import Node, TensorSpec

_BY_INPUT = {
    0: (
        "PRELU LEAKY_RELU ADD_N BITWISE_XOR CEIL DENSIFY DYNAMIC_UPDATE_SLICE EXP EXPAND_DIMS FAKE_QUANT FLOOR "
        "FLOOR_DIV FLOOR_MOD GATHER GATHER_ND MATRIX_DIAG MATRIX_SET_DIAG MAXIMUM MINIMUM NEG POW RANGE "
        "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RIGHT_SHIFT ROUND STABLEHLO_SHIFT_LEFT ZEROS_LIKE"
    ),
    1: "ADD DIV FILL SCATTER_ND SELECT SELECT_V2 SQUARED_DIFFERENCE SUB",
    2: "ONE_HOT SPARSE_TO_DENSE",
}
LIKE_INPUT = {op: position for position, ops in _BY_INPUT.items() for op in ops.split()}


_FIXED = {
    "BOOL": "EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_OR NOT_EQUAL",
    "COMPLEX64": "RFFT2D",
    "FLOAT32": "DEQUANTIZE NumericVerify",
    "INT32": "BUCKETIZE RANK",
    "INT32 FLOAT32 INT32": "NON_MAX_SUPPRESSION_V5",
    "INT32 INT32": "NON_MAX_SUPPRESSION_V4",
    "INT64": "WHERE",
}
OF_TYPE = {op: types.split() for types, ops in _FIXED.items() for op in ops.split()}

BY_OPTION = {"ARG_MAX": "output_type", "ARG_MIN": "output_type", "SHAPE": "out_type"}


def retyped(node: Node) -> Node:
    """The node with its outputs' types corrected; the same node where the model declares them right."""
    types = _types(node)
    if all(spec.type == type for spec, type in zip(node.outputs, types, strict=False)):
        return node
    known = [_of_type(spec, type) for spec, type in zip(node.outputs, types, strict=False)]
    return replace(node, outputs=(*known, *node.outputs[len(known) :]))


def _types(node: Node) -> list[str]:
    """The types of the first outputs, as many as the operator sets."""
    if node.op in OF_TYPE:
        return OF_TYPE[node.op]
    if node.op in BY_OPTION:
        chosen = getattr(node.options, BY_OPTION[node.op])
        return [chosen] if chosen in ("INT32", "INT64") else []
    position = LIKE_INPUT.get(node.op)
    source = None if position is None else node.optional(position)
    return [] if source is None else [source.type]


def _of_type(spec: TensorSpec, type: str) -> TensorSpec:
    return spec if spec.type == type else replace(spec, type=type)
