"""Every lowered operator has cases, and so has every operator that TensorFlow Lite's own GPU delegates take."""

from __future__ import annotations

from tflgpu.conformance.cases import every
from tflgpu.conformance.cases.case import NO_CASES, T
from tflgpu.delegates import gpu as gpu  # which registers every lowering
from tflgpu.delegates.lowering.registry import _BY_STYLE, LOWERINGS
from tflgpu.ops.registry import OPS

UPSTREAMS = """
    ABS ADD ADD_N ARG_MAX ATAN2 AVERAGE_POOL_2D BATCH_MATMUL BITCAST BITWISE_XOR CAST CEIL CONCATENATION CONV_2D
    COS CUMSUM DENSIFY DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP
    EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER GREATER_EQUAL HARD_SWISH LEAKY_RELU
    LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM
    MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE REDUCE_ALL REDUCE_ANY REDUCE_MAX
    REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
    REVERSE_V2 RIGHT_SHIFT ROUND RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT
    SQUARE SQUARED_DIFFERENCE STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STRIDED_SLICE SUB SUM TANH TILE TOPK_V2
    TRANSPOSE TRANSPOSE_CONV UNPACK
"""
"""What its GPU delegate, or its successor ML Drift, names."""

ELSEWHERE = {
    "DENSIFY": "its input is constant, so that it is folded before any delegate sees it",
    "STABLEHLO_COMPOSITE": "its decomposition is inlined, whose nodes are delegated",
}


def test_every_operator_of_upstreams_gpu_delegates_is_taken() -> None:
    assert set(UPSTREAMS.split()) - {case.op for case in every().values()} == set(ELSEWHERE)


NOT_ALONE = {
    "IF": "a graph: GRAPH[IF between two graphs]",
    "WHILE": "a graph: GRAPH[WHILE over a state]",
    "READ_VARIABLE": "a graph: GRAPH[a variable read, changed and read again]",
    "ASSIGN_VARIABLE": "a graph: GRAPH[a variable read, changed and read again]",
}
"""Lowered operators that no model of one node has."""
REFUSED = {("REDUCE_PROD", "uint8"): "registered as quantized, which its kernel refuses"}


def lowered() -> set[str]:
    return {name for name, op in OPS.items() if name in LOWERINGS or op.style in _BY_STYLE} | LOWERINGS.keys()


def test_every_lowered_operator_has_a_case_of_each_of_its_types() -> None:
    have: dict[str, set[str]] = {}
    for case in every().values():
        kinds = {t.type.lower() for t in case.model.inputs if isinstance(t, T)} if case.model else set()
        have.setdefault(case.op, set()).update({case.type, *kinds})
    without = lowered() - have.keys() - NOT_ALONE.keys()
    assert not without
    missing = {
        (op, kind.lower())
        for op in lowered() & have.keys() & OPS.keys()
        for kind in OPS[op].types - NO_CASES.keys()
        if kind.lower() not in have[op]
    }
    assert missing == set(REFUSED)
