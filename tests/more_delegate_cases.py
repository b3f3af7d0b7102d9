"""More models of one operator that every GPU delegate takes whole: those that have few cases each."""

from __future__ import annotations

import numpy as np
from custom_cases import CUSTOM_CASES
from delegate_cases import Case, f, i32, q, t
from narrow_type_cases import NARROW_CASES

_INDICES = np.array([[0, 2], [3, 1], [0, 2]], np.int32)


def _scattered() -> list[Case]:
    ids = np.array([0, 2, -1, 2, 0], np.int32)
    cases = [
        Case("SCATTER_ND float", "SCATTER_ND", [_INDICES, f(3, 5), i32(4, 3, 5)], [f(4, 3, 5)]),
        Case("SCATTER_ND int8", "SCATTER_ND", [_INDICES, t("INT8", 3), i32(4, 3)], [t("INT8", 4, 3)]),
        Case(
            "SPARSE_TO_DENSE",
            "SPARSE_TO_DENSE",
            [_INDICES, i32(4, 3), t("INT32", 3), np.array([-7], np.int32)[0]],
            [t("INT32", 4, 3)],
        ),
        Case("SEGMENT_SUM", "SEGMENT_SUM", [f(5, 7), np.array([0, 0, 1, 1, 2], np.int32)], [f(3, 7)]),
    ]
    for name in ("SUM", "PROD", "MAX", "MIN"):
        op = f"UNSORTED_SEGMENT_{name}"
        cases.append(Case(f"{op} float", op, [f(5, 3), ids, i32(4)[0]], [f(4, 3)]))
        cases.append(Case(f"{op} int32", op, [t("INT32", 5, 3), ids, i32(4)[0]], [t("INT32", 4, 3)]))
    return cases


def _windows() -> list[Case]:
    window = [np.array(v, np.int64) for v in ([2, 3], [1, 2], [2, 1])]
    cases = []
    for function in ("ADD", "MUL", "MINIMUM", "MAXIMUM"):
        options = {"reduce_function": function}
        x, init = t("INT8", 5, 8), np.array([1], np.int8)
        cases.append(Case(f"REDUCE_WINDOW {function}", "REDUCE_WINDOW", [x, init, *window], [t("INT8", 3, 3)], options))
    gathered = {
        "slice_sizes": [1, 2, 3],
        "collapsed_slice_dims": [0],
        "start_index_map": [0, 2],
        "offset_dims": [1, 2],
        "index_vector_dim": 1,
    }
    x, at = t("INT16", 3, 2, 7), t("INT32", 5, 2)
    return [
        *cases,
        Case("STABLEHLO_GATHER", "STABLEHLO_GATHER", [x, at], [t("INT16", 5, 2, 3)], gathered, below=8),
        Case("REDUCE_WINDOW of floats", "REDUCE_WINDOW", [f(5, 8), np.float32([0]), *window], [f(3, 3)], options),
    ]


def _placed() -> list[Case]:
    padding = {"edge_padding_low": [1, -1], "edge_padding_high": [0, 2], "interior_padding": [1, 0]}
    plain = {"ADD": "INT16", "MULTIPLY": "INT8", "MAXIMUM": "FLOAT32", "AND": "UINT8", "SHIFT_LEFT": "INT16"}
    return [
        Case("MATRIX_DIAG", "MATRIX_DIAG", [f(2, 5)], [f(2, 5, 5)]),
        Case("MATRIX_SET_DIAG", "MATRIX_SET_DIAG", [q("INT8", 2, 3, 5), q("INT8", 2, 3)], [q("INT8", 2, 3, 5)]),
        Case("FILL", "FILL", [i32(3, 5), t("INT32")], [t("INT32", 3, 5)]),
        Case("ZEROS_LIKE", "ZEROS_LIKE", [f(7)], [f(7)]),
        Case("BITCAST", "BITCAST", [t("INT32", 5)], [t("UINT8", 5, 4)]),
        Case("DILATE", "DILATE", [f(3, 4), i32(2, 3), f(1)], [f(5, 10)]),
        Case("PADV2 computed value", "PADV2", [f(2, 3), np.array([[1, 0], [0, 2]], np.int32), f(1)], [f(3, 5)]),
        Case("STABLEHLO_PAD", "STABLEHLO_PAD", [f(3, 4), f()], [f(6, 5)], padding),
        *(Case(f"STABLEHLO_{o}", f"STABLEHLO_{o}", [t(k, 9), t(k, 9)], [t(k, 9)]) for o, k in plain.items()),
        Case("RIGHT_SHIFT", "RIGHT_SHIFT", [t("INT8", 9, 3), t("INT8", 3)], [t("INT8", 9, 3)]),
    ]


def _ordered() -> list[Case]:
    codes, eighth = {"scale": 0.1, "zero_point": -5}, {"scale": 1 / 128, "zero_point": 0}
    sixteenth = {"scale": 1 / 16, "zero_point": 127}
    conv = {"padding": "SAME", "stride_d": 2, "stride_h": 1, "stride_w": 2}
    conv |= {f"dilation_{a}_factor": 1 for a in "dhw"} | {"fused_activation_function": "RELU6"}
    volume, filters = f(1, 5, 4, 3, 2), np.linspace(-1, 1, 2 * 2 * 3 * 2 * 3, dtype=np.float32)
    few = t("INT32", 2, 7)
    return [
        Case("TOPK_V2 float", "TOPK_V2", [f(3, 17), i32(5)[0]], [f(3, 5), t("INT32", 3, 5)]),
        Case("TOPK_V2 of equals", "TOPK_V2", [few, i32(4)[0]], [t("INT32", 2, 4)] * 2, below=3),
        Case("BUCKETIZE", "BUCKETIZE", [f(19)], [t("INT32", 19)], {"boundaries": [-1.5, 0.0, 2.0]}),
        Case("FAKE_QUANT", "FAKE_QUANT", [f(33)], [f(33)], {"min": -1.0, "max": 2.0, "num_bits": 4}),
        Case("RFFT2D", "RFFT2D", [f(2, 5, 9), i32(4, 8)], [t("COMPLEX64", 2, 4, 5)], rtol=1e-5),
        Case("CONV_3D", "CONV_3D", [volume, filters.reshape(2, 2, 3, 2, 3), f(3)], [f(1, 3, 4, 2, 3)], conv),
        Case(
            "CONV_3D_TRANSPOSE",
            "CONV_3D_TRANSPOSE",
            [i32(1, 5, 4, 3, 2), filters.reshape(2, 2, 3, 2, 3), f(1, 3, 4, 2, 3)],
            [volume],
            conv,
        ),
        *(
            Case(f"{op} {kind}", op, [t(kind, 3, 9, **codes)], [t(kind, 3, 9, **out)], options, 2)
            for kind in ("INT8",)
            for op, out, options in (
                ("LOG_SOFTMAX", sixteenth, {}),
                ("L2_NORMALIZATION", eighth, {"fused_activation_function": "NONE"}),
            )
        ),
        Case("ARG_MAX of bools", "ARG_MAX", [t("BOOL", 3, 7), i32(1)[0]], [t("INT32", 3)], {"output_type": "INT32"}),
    ]


def _products() -> list[Case]:
    """Of a hybrid pair; of codes, rescaled after every factor."""
    weights = {"type": "INT8", "value": np.arange(-60, 60, dtype=np.int8).reshape(2, 1, 12, 5), "scale": 0.02}
    wide, keep = {"asymmetric_quantize_inputs": True, "adj_x": True}, {"keep_dims": False}
    x, out = q("INT8", 3, 4, 5), q("INT8", 3, 5, scale=0.04)
    return [
        Case("BATCH_MATMUL hybrid", "BATCH_MATMUL", [f(1, 3, 4, 12), weights], [f(2, 3, 4, 5)], {}, 4),
        Case("BATCH_MATMUL asymmetric", "BATCH_MATMUL", [f(2, 1, 12, 4), weights], [f(2, 1, 4, 5)], wide, 4),
        Case("REDUCE_PROD int8", "REDUCE_PROD", [x, i32(1)], [out], keep, 2),
        Case("REDUCE_PROD bool", "REDUCE_PROD", [t("BOOL", 9, 2), i32(1)], [t("BOOL", 9)], keep, 2),
    ]


def _upstreams() -> list[Case]:
    """What else TensorFlow Lite's own GPU delegates take."""
    kept = {"keep_dims": True}
    masks = {"begin_mask": 1, "end_mask": 0, "shrink_axis_mask": 2}
    strided = [f(4, 5, 6), i32(0, 1, 5), i32(3, 2, 0), i32(2, 1, -2)]
    update = [t("INT16", 3, 5), t("INT16", 2, 2), i32(1, 9)]
    return [
        Case("DEPTH_TO_SPACE", "DEPTH_TO_SPACE", [f(1, 2, 3, 12)], [f(1, 4, 6, 3)], {"block_size": 2}),
        Case("STRIDED_SLICE", "STRIDED_SLICE", strided, [f(2, 3)], masks),
        Case("LESS_EQUAL", "LESS_EQUAL", [t("INT32", 9), t("INT32", 9)], [t("BOOL", 9)], below=3),
        Case("SELECT", "SELECT", [t("BOOL", 3), f(3, 4), f(3, 4)], [f(3, 4)]),
        Case("LOGICAL_OR", "LOGICAL_OR", [t("BOOL", 9), t("BOOL", 9)], [t("BOOL", 9)]),
        Case("LOGICAL_NOT", "LOGICAL_NOT", [t("BOOL", 9)], [t("BOOL", 9)]),
        Case("FLOOR_DIV", "FLOOR_DIV", [f(70), np.float32([-0.7])], [f(70)], version=2),
        Case("REDUCE_ANY", "REDUCE_ANY", [t("BOOL", 5, 2), i32(1)], [t("BOOL", 5, 1)], kept),
        Case("REDUCE_ALL", "REDUCE_ALL", [t("BOOL", 5, 2), i32(1)], [t("BOOL", 5, 1)], kept),
        Case("SPLIT_V", "SPLIT_V", [f(2, 7), i32(3, 4), i32(1)[0]], [f(2, 3), f(2, 4)], {"num_splits": 2}),
        Case("CEIL", "CEIL", [f(70)], [f(70)]),
        Case("RELU_0_TO_1", "RELU_0_TO_1", [f(70)], [f(70)]),
        Case("DYNAMIC_UPDATE_SLICE", "DYNAMIC_UPDATE_SLICE", update, [t("INT16", 3, 5)]),
        Case("BITWISE_XOR", "BITWISE_XOR", [t("INT32", 70), t("INT32", 70)], [t("INT32", 70)]),
    ]


MORE_CASES = [
    *_scattered(),
    *_windows(),
    *_placed(),
    *_ordered(),
    *_products(),
    *_upstreams(),
    *NARROW_CASES,
    *CUSTOM_CASES,
]
