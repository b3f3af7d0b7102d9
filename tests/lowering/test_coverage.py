"""Every operator that TensorFlow Lite's own GPU delegates take has a case that ours take whole, on both devices."""

from __future__ import annotations

from delegate_cases import CASES
from lowering.test_delegates_more import RECURRENT
from more_delegate_cases import MORE_CASES

from tflgpu.model.loader import load

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
    "STABLEHLO_COMPOSITE": "it runs as the graph that it names, whose nodes are delegated",
}


def test_every_operator_of_upstreams_gpu_delegates_is_taken() -> None:
    models = [*(case.model() for case in (*CASES, *MORE_CASES)), *(data for data, _ in RECURRENT.values())]
    taken = {node.op for data in models for graph in load(path=None, content=data).graphs for node in graph.nodes}
    assert set(UPSTREAMS.split()) - taken == set(ELSEWHERE)
