"""How many inputs and outputs each operator has. A node with others is refused before anything is asked of it."""

from __future__ import annotations

from dataclasses import dataclass

from tflgpu.model.graph import Node
from tflgpu.ops.registry import OpError

_COUNTS = {
    "0 -> 0": "CALL_ONCE",
    "0 -> 1": "HASHTABLE VAR_HANDLE",
    "0+ -> 0+": "STABLEHLO_COMPOSITE WHILE",
    "1 -> 1": (
        "ABS AVERAGE_POOL_2D BITCAST BUCKETIZE CAST CEIL COMPLEX_ABS COS DENSIFY DEPTH_TO_SPACE DEQUANTIZE ELU EXP "
        "FAKE_QUANT FLOOR GELU HARD_SWISH HASHTABLE_SIZE IMAG L2_NORMALIZATION L2_POOL_2D LEAKY_RELU "
        "LOCAL_RESPONSE_NORMALIZATION LOG LOGICAL_NOT LOGISTIC LOG_SOFTMAX MATRIX_DIAG MAX_POOL_2D NEG QUANTIZE "
        "RANDOM_STANDARD_NORMAL RANDOM_UNIFORM RANK READ_VARIABLE REAL RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT "
        "SHAPE SIGN SIN SKIP_GRAM SOFTMAX SPACE_TO_DEPTH SQRT SQUARE SQUEEZE TANH WHERE ZEROS_LIKE"
    ),
    "1 -> 1+": "UNPACK",
    "1 -> 2": "STABLEHLO_RNG_BIT_GENERATOR UNIQUE",
    "1+ -> 0+": "IF STABLEHLO_CASE",
    "1+ -> 1": "ADD_N CONCATENATION PACK",
    "1-2 -> 1": "RESHAPE",
    "12 -> 1-2": "BIDIRECTIONAL_SEQUENCE_RNN",
    "2 -> 0": "ASSIGN_VARIABLE",
    "2 -> 1": (
        "ADD ARG_MAX ARG_MIN ATAN2 BATCH_MATMUL BITWISE_XOR BROADCAST_ARGS BROADCAST_TO CUMSUM DIV EMBEDDING_LOOKUP "
        "EQUAL EXPAND_DIMS FILL FLOOR_DIV FLOOR_MOD GATHER GATHER_ND GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND "
        "LOGICAL_OR MATRIX_SET_DIAG MAXIMUM MEAN MINIMUM MIRROR_PAD MUL MULTINOMIAL NOT_EQUAL PAD POW PRELU REDUCE_ALL "
        "REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_SEQUENCE "
        "REVERSE_V2 RFFT2D RIGHT_SHIFT SEGMENT_SUM SQUARED_DIFFERENCE STABLEHLO_ADD STABLEHLO_AND STABLEHLO_GATHER "
        "STABLEHLO_MAXIMUM STABLEHLO_MINIMUM STABLEHLO_MULTIPLY STABLEHLO_PAD STABLEHLO_REDUCE_WINDOW "
        "STABLEHLO_SHIFT_LEFT SUB SUM TILE TRANSPOSE"
    ),
    "2 -> 1+": "SPLIT",
    "2 -> 2": "TOPK_V2",
    "2-3 -> 1": "CONV_2D CONV_3D DEPTHWISE_CONV_2D LSH_PROJECTION",
    "2-3 -> 1-2": "FULLY_CONNECTED",
    "20-24 -> 1": "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "3 -> 0": "HASHTABLE_IMPORT",
    "3 -> 1": (
        "BATCH_TO_SPACE_ND DILATE DYNAMIC_UPDATE_SLICE HASHTABLE_FIND PADV2 RANGE SCATTER_ND SELECT SELECT_V2 SLICE "
        "SPACE_TO_BATCH_ND STABLEHLO_SCATTER UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_PROD "
        "UNSORTED_SEGMENT_SUM"
    ),
    "3 -> 1+": "SPLIT_V",
    "3 -> 2": "HASHTABLE_LOOKUP",
    "3-4 -> 1": "CONV_3D_TRANSPOSE TRANSPOSE_CONV",
    "4 -> 1": "ONE_HOT SPARSE_TO_DENSE STRIDED_SLICE",
    "48 -> 1-2": "BIDIRECTIONAL_SEQUENCE_LSTM",
    "5 -> 1": "EMBEDDING_LOOKUP_SPARSE REDUCE_WINDOW RNN SVDF UNIDIRECTIONAL_SEQUENCE_RNN",
    "5 -> 2": "NON_MAX_SUPPRESSION_V4",
    "5-24 -> 1-4": "LSTM",
    "6 -> 3": "NON_MAX_SUPPRESSION_V5",
}
"""Operators by how many inputs they take and outputs they make; `+` where there may be more."""


@dataclass(frozen=True)
class _Count:
    least: int
    most: float

    def __str__(self) -> str:
        if self.most == float("inf"):
            return f"at least {self.least}"
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most:.0f}"


def _count(text: str) -> _Count:
    if text.endswith("+"):
        return _Count(int(text[:-1]), float("inf"))
    least, _, most = text.partition("-")
    return _Count(int(least), int(most or least))


ARITY = {
    op: tuple(_count(text) for text in counts.split(" -> ")) for counts, ops in _COUNTS.items() for op in ops.split()
}


def check_arity(node: Node) -> None:
    """Raises OpError where a node has inputs or outputs that its operator has not; of a custom one nothing is known."""
    if node.is_custom or node.op not in ARITY:
        return
    for what, specs, count in zip(("inputs", "outputs"), (node.inputs, node.outputs), ARITY[node.op], strict=True):
        if not count.least <= len(specs) <= count.most:
            raise OpError(f"{node.op} takes {count} {what}, not {len(specs)}. ")
