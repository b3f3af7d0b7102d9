"""More models of one operator that every GPU delegate takes whole: those that have few cases each."""

from __future__ import annotations

import numpy as np
from delegate_cases import Case, f, i32, q, t

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


MORE_CASES = [*_scattered(), *_windows(), *_placed()]
