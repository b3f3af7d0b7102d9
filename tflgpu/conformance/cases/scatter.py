"""Scatters, sums of segments, windows by a function, and what sets or spreads elements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tflgpu.conformance.cases.case import Case, Sample, T, beside, i32, row, scalar, shaped
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import DTYPES

FAMILY = "scatter"
F = "FLOAT32"
INDICES = np.array([[0, 2], [3, 1], [0, 2]], np.int32)
"""Of (4, 3), one of them twice."""
WINDOW = tuple(np.array(v, np.int64) for v in ([2, 3], [1, 2], [2, 1]))
"""Sizes, strides and dilations over (5, 8)."""
ROWS: dict[str, Any] = {"scatter_dims_to_operand_dims": [0], "index_vector_dim": 1}
STABLEHLO_WINDOW: dict[str, Any] = {"window_dimensions": [2, 3], "window_strides": [1, 2], "window_dilations": [2, 1]}
EDGES: dict[str, Any] = {"base_dilations": [1, 2], "padding": [1, 0, -1, 2]}


def cases() -> Iterator[Case]:
    yield from _scattered()
    yield from _segments()
    yield from _windows()
    yield from _spread()
    yield from _looked_up()


def _scattered() -> Iterator[Case]:
    for type in beside("SCATTER_ND", ""):
        yield row(FAMILY, "SCATTER_ND", [INDICES, T(type, (3, 5)), i32(4, 3, 5)], [T(type)], "one twice")
    for type in beside("SPARSE_TO_DENSE", ""):
        inputs = [INDICES, i32(4, 3), T(type, (3,)), np.array(7, type.lower())]
        yield row(FAMILY, "SPARSE_TO_DENSE", inputs, [T(type)])
    inputs = [INDICES, i32(4, 3), T(F), np.array(7, np.float32)]
    yield row(FAMILY, "SPARSE_TO_DENSE", inputs, [T(F)], "one value")
    for type in beside("STABLEHLO_SCATTER", ""):
        for body in (None, "STABLEHLO_ADD", "STABLEHLO_MAXIMUM", "STABLEHLO_MINIMUM") if type == F else (None,):
            yield _stablehlo_scatter(type, (6, 5), body, update_window_dims=[1], inserted_window_dims=[0])
    yield _stablehlo_scatter("INT8", (4, 2), "STABLEHLO_MULTIPLY", update_window_dims=[1], inserted_window_dims=[0])
    yield _stablehlo_scatter(
        "INT8", (4, 1, 2), "STABLEHLO_MULTIPLY", update_window_dims=[1, 2], inserted_window_dims=[]
    )


def _stablehlo_scatter(type: str, updates: tuple[int, ...], body: str | None, **dimensions: Any) -> Case:
    """Updates of rows of (4, 5), one twice and one outside, joined by the operator of the model's second graph."""
    values = "special" if body in ("STABLEHLO_MAXIMUM", "STABLEHLO_MINIMUM") else "small"
    fed = [T(type, (4, 5), values), T("INT32", (updates[0], 1), "within:-1:4"), T(type, updates, values)]

    def make(seed: int) -> Sample:
        model = ModelBuilder()
        g, inner = model.graph(), model.graph("body")
        ins = [g.input(f"in{k}", t.type, t.shape) for k, t in enumerate(fed)]
        out = g.tensor("out", type, (4, 5))
        g.node("STABLEHLO_SCATTER", ins, [out], update_computation_subgraph_index=1, **ROWS, **dimensions)
        g.outputs(out)
        a, b = inner.input("a", type, []), inner.input("b", type, [])
        if body is None:
            inner.outputs(b)
        else:
            joined = inner.tensor("joined", type, [])
            inner.node(body, [a, b], [joined])
            inner.outputs(joined)
        return Sample(model.build(), fed, seed)

    name = f"STABLEHLO_SCATTER[{type.lower()},{shaped(*(t.shape for t in fed))},{body or 'replaced'}]"
    return Case(name, FAMILY, "STABLEHLO_SCATTER", type.lower(), make)


def _segments() -> Iterator[Case]:
    ids = i32(0, 2, -1, 2, 0)
    for type in (F, "INT32"):
        yield row(FAMILY, "SEGMENT_SUM", [T(type, (5, 7)), i32(0, 0, 1, 1, 2)], [T(type)])
        for name in ("SUM", "PROD", "MAX", "MIN"):
            yield row(FAMILY, f"UNSORTED_SEGMENT_{name}", [T(type, (5, 3)), ids, scalar(4)], [T(type)])


def _windows() -> Iterator[Case]:
    for type in beside("REDUCE_WINDOW", ""):
        functions = ("ALL", "ANY") if type == "BOOL" else ("ADD", "MUL", "MINIMUM", "MAXIMUM")
        for function in functions if type in ("BOOL", "INT8") else functions[-1:]:
            inputs = [T(type, (5, 8)), np.ones(1, "?" if type == "BOOL" else type.lower()), *WINDOW]
            yield row(FAMILY, "REDUCE_WINDOW", inputs, [T(type)], function.lower(), reduce_function=function)
    for function in ("MINIMUM", "MAXIMUM"):
        inputs = [T(F, (5, 8), "special"), np.zeros(1, np.float32), *WINDOW]
        yield row(FAMILY, "REDUCE_WINDOW", inputs, [T(F)], f"{function.lower()},special", reduce_function=function)
    for type in beside("STABLEHLO_REDUCE_WINDOW", ""):
        yield _stablehlo_window(type, "LOGICAL_OR" if type == "BOOL" else "STABLEHLO_ADD")


def _stablehlo_window(type: str, body: str) -> Case:
    x = T(type, (5, 4), "small")

    def make(seed: int) -> Sample:
        model = ModelBuilder()
        g, inner = model.graph(), model.graph("body")
        ins = [g.input("x", type, x.shape), g.constant("init", np.ones((), "?" if type == "BOOL" else type.lower()))]
        out = g.tensor("out", type, ())
        g.node("STABLEHLO_REDUCE_WINDOW", ins, [out], body_subgraph_index=1, **STABLEHLO_WINDOW, **EDGES)
        g.outputs(out)
        joined = inner.tensor("joined", type, [])
        inner.node(body, [inner.input("a", type, []), inner.input("b", type, [])], [joined])
        inner.outputs(joined)
        return Sample(model.build(), [x], seed)

    name = f"STABLEHLO_REDUCE_WINDOW[{type.lower()},5x4,{body}]"
    return Case(name, FAMILY, "STABLEHLO_REDUCE_WINDOW", type.lower(), make)


def _spread() -> Iterator[Case]:
    gather: dict[str, Any] = {"slice_sizes": [1, 2, 3], "collapsed_slice_dims": [0], "start_index_map": [0, 2]}
    gather |= {"offset_dims": [1, 2], "index_vector_dim": 1}
    padding = {"edge_padding_low": [1, -1], "edge_padding_high": [0, 2], "interior_padding": [1, 0]}
    for type in beside("STABLEHLO_GATHER", ""):
        inputs: list[Any] = [T(type, (3, 2, 7)), T("INT32", (5, 2), "within:-1:7")]
        yield row(FAMILY, "STABLEHLO_GATHER", inputs, [T(type, (5, 2, 3))], **gather)
    for type in beside("STABLEHLO_PAD", ""):
        yield row(FAMILY, "STABLEHLO_PAD", [T(type, (3, 4)), T(type)], [T(type, (6, 5))], **padding)
    for type in beside("DILATE", ""):
        yield row(FAMILY, "DILATE", [T(type, (3, 4)), i32(2, 3), T(type, (1,))], [T(type)])
    for type in beside("MATRIX_DIAG", ""):
        yield row(FAMILY, "MATRIX_DIAG", [T(type, (2, 5))], [T(type)])
        yield row(FAMILY, "MATRIX_SET_DIAG", [T(type, (2, 3, 5)), T(type, (2, 3))], [T(type)])
    for type in beside("BITCAST", ""):
        nbytes = DTYPES[type].itemsize
        packed = type in ("INT2", "INT4", "UINT4")  # which become nothing else
        shape, target = ((5,), type if packed else "INT8") if nbytes == 1 else ((5, nbytes), "UINT8")
        yield row(FAMILY, "BITCAST", [T(type, (5,))], [T(target, shape)], f"to={target.lower()}")
    yield row(FAMILY, "BITCAST", [T("UINT8", (5, 4))], [T("INT32", (5,))], "to=int32")
    pads = np.array([[1, 0], [0, 2]], np.int32)
    yield row(FAMILY, "PADV2", [T(F, (2, 3)), pads, T(F, (1,))], [T(F)], "computed value")
    for type in beside("REVERSE_SEQUENCE", ""):
        inputs = [T(type, (4, 3, 5)), i32(1, 4, 2)]
        yield row(FAMILY, "REVERSE_SEQUENCE", inputs, [T(type)], seq_dim=0, batch_dim=1)
    for type in ("INT32", "INT64"):
        dims = T(type, (2,), np.array([1, 3], type.lower())), T(type, (4,), np.array([5, 1, 7, 1], type.lower()))
        yield row(FAMILY, "BROADCAST_ARGS", [*dims], [T(type)])
    inputs = [T(F, (4, 5, 6)), T("INT32", (3,), i32(2, 0, 3)), i32(2, 1, 3)]
    yield row(FAMILY, "SLICE", inputs, [T(F, (2, 1, 3))], "computed begin")
    yield row(
        FAMILY, "DYNAMIC_UPDATE_SLICE", [T("INT16", (3, 5)), T("INT16", (2, 2)), i32(1, 9)], [T("INT16")], "at 1x9"
    )
    yield row(FAMILY, "REDUCE_MIN", [T(F, (3, 0, 4)), i32(1)], [T(F)], "of nothing", keep_dims=False)


def _looked_up() -> Iterator[Case]:
    for type in beside("BUCKETIZE", ""):
        yield row(FAMILY, "BUCKETIZE", [T(type, (19,), "small")], [T("INT32")], boundaries=[-1.5, 0.0, 2.0])
    for type in beside("HASHTABLE_LOOKUP", ""):
        inputs: list[Any] = [T("INT32", (4,), i32(9, 1, -5, 3)), i32(-5, 0, 3, 9), T(type, (4, 3))]
        yield row(FAMILY, "HASHTABLE_LOOKUP", inputs, [T(type), T("UINT8")])
    scales = np.linspace(0.1, 0.9, 9).astype(np.float32)
    for kind, scale, zeros in ((F, scales, np.zeros(9, np.int64)), ("FLOAT16", 0.3, 0)):
        table = T("INT8", (9, 5), "within:-127:127", True, scale, zeros)
        inputs = [T("INT32", (4,), i32(8, 0, 3, 3)), table]
        yield row(FAMILY, "EMBEDDING_LOOKUP", inputs, [T(kind, (4, 5))], f"to={kind.lower()}")
    ties = T("INT32", (2, 7), "below:3")
    yield row(FAMILY, "TOPK_V2", [ties, scalar(4)], [T("INT32"), T("INT32")], "ties")
    for type in beside("TOPK_V2", "FLOAT32 INT32 INT64 INT8 UINT8"):
        yield row(FAMILY, "TOPK_V2", [T(type, (3, 17)), scalar(5)], [T(type), T("INT32")])
    for type in beside("FILL", "FLOAT32 INT32 INT64 INT8 BOOL"):
        yield row(FAMILY, "FILL", [i32(3, 5), T(type)], [T(type)])
    for type in beside("EMBEDDING_LOOKUP", "FLOAT32 INT8 UINT8"):
        table = T(type, (7, 3), constant=True)
        yield row(FAMILY, "EMBEDDING_LOOKUP", [T("INT32", (5,), "below:7"), table], [T(type)], type.lower())
