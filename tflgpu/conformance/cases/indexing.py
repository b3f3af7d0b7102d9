"""Joins and splits, look-ups by index, and what makes tensors of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tflgpu.conformance.cases.case import Case, OneOp, T, beside, i32, one, q, scalar, shaped, words
from tflgpu.ops.registry import OPS

FAMILY = "indexing"
Shape = tuple[int, ...]
TYPES = "FLOAT32 INT8 UINT8 INT16 INT32 INT64 BOOL"

JOINED: tuple[tuple[tuple[Shape, ...], int], ...] = (
    (((2, 3), (2, 5), (2, 1)), -1),
    (((2, 3), (1, 3)), 0),
    (((1, 2, 3, 5), (1, 2, 3, 7), (1, 2, 3, 1)), 3),
    (((2, 3, 5), (2, 4, 5)), 1),
    (((7,),), 0),
    (((0, 3), (2, 3)), 0),
    (((1, 4, 3, 2), (1, 1, 3, 2), (1, 2, 3, 2), (1, 1, 3, 2)), 1),
    (((65,), (1,), (64,)), 0),
    (((1, 2, 1, 2, 3), (1, 2, 1, 2, 2)), 4),
)
PACKED: tuple[tuple[Shape, int, int], ...] = (
    ((2, 3), 2, 1), ((2, 3), 3, 0), ((5,), 4, -1), ((), 3, 0), ((2, 3, 5), 2, 3), ((0,), 2, 0), ((65,), 1, 0)
)  # fmt: skip
SPLITS: tuple[tuple[Shape, int, int], ...] = (
    ((2, 6), 1, 2), ((2, 6), -1, 3), ((4, 3, 5), 0, 2), ((1, 2, 3, 8), 3, 4), ((7,), 0, 1), ((65, 2), 0, 5)
)  # fmt: skip
CUTS: tuple[tuple[Shape, int, Shape], ...] = (
    ((2, 6), 1, (1, 2, 3)), ((7,), 0, (3, 4)), ((7,), 0, (3, -1)), ((2, 3, 5), 2, (1, 0, 4)), ((2, 3, 5), 1, (3,))
)  # fmt: skip
GATHERS: tuple[tuple[Shape, Shape, int, int], ...] = (
    ((2, 3, 17), (2, 4), 1, 1),  # rows
    ((7, 3), (5,), 0, 0), ((7,), (2, 3), 0, 0), ((2, 5, 3), (4,), 1, 0), ((2, 5, 3), (2, 4), 1, 1), ((7, 3), (), 0, 0),
    ((2, 5, 3), (2, 4), 1, -1), ((3, 4, 2), (2,), -1, 0), ((7, 65), (1,), 0, 0), ((5, 3), (0,), 0, 0),
)  # fmt: skip


def cases() -> Iterator[Case]:
    for op in ("CONCATENATION", "PACK", "UNPACK", "SPLIT", "SPLIT_V", "GATHER", "GATHER_ND", "ONE_HOT"):
        for type in TYPES.split():
            if type in OPS[op].types:
                yield from _MAKERS[op](type)
        for type in beside(op, TYPES):
            yield next(iter(_MAKERS[op](type)))
    for type in (*TYPES.split(), *beside("DYNAMIC_UPDATE_SLICE", TYPES)):
        if type in OPS["DYNAMIC_UPDATE_SLICE"].types:
            yield from _updates(type)
    for type in ("FLOAT32", "INT8", "INT16", "INT32", "INT64", "BOOL"):
        yield from _picks(type)
    yield from _concatenation_rescaled()
    yield from _lookups()
    yield from _numbers()


def _t(type: str, *shape: int, **fields: Any) -> T:
    return q(type, *shape, **fields) if type in ("INT8", "UINT8") else T(type, shape, **fields)


def _concatenation(type: str) -> Iterator[Case]:
    for shapes, axis in JOINED:
        detail = [shaped(*shapes), f"axis={axis}"]
        options = {"axis": axis, "fused_activation_function": "NONE"}
        inputs = [_t(type, *shape) for shape in shapes]
        yield one(FAMILY, type, detail, OneOp("CONCATENATION", inputs, [_t(type)], options))


def _concatenation_rescaled() -> Iterator[Case]:
    options = {"axis": -1, "fused_activation_function": "NONE"}
    for shapes in (((2, 3), (2, 5)), ((1, 2, 3, 5), (1, 2, 3, 7))):
        inputs = [q("UINT8", *shape, scale=0.05 + 0.02 * k, zero_point=100 + k) for k, shape in enumerate(shapes)]
        yield one(FAMILY, "UINT8", [shaped(*shapes), "rescaled"], OneOp("CONCATENATION", inputs, [q("UINT8")], options))


def _pack(type: str) -> Iterator[Case]:
    for shape, count, axis in PACKED:
        options = {"axis": axis, "values_count": count}
        model = OneOp("PACK", [_t(type, *shape)] * count, [_t(type)], options)
        yield one(FAMILY, type, [shaped(shape), f"n={count}", f"axis={axis}"], model)


def _unpack(type: str) -> Iterator[Case]:
    for shape, axis in (((2, 3), 1), ((2, 3), 0), ((4, 2, 3), -1), ((5,), 0), ((2, 1, 3), 1)):
        count = shape[axis]
        model = OneOp("UNPACK", [_t(type, *shape)], [_t(type)] * count, {"axis": axis, "num": count})
        yield one(FAMILY, type, [shaped(shape), f"axis={axis}"], model)


def _split(type: str) -> Iterator[Case]:
    for shape, axis, count in SPLITS:
        model = OneOp("SPLIT", [scalar(axis), _t(type, *shape)], [_t(type)] * count, {"num_splits": count})
        yield one(FAMILY, type, [shaped(shape), f"axis={axis}", f"n={count}"], model)


def _split_v(type: str) -> Iterator[Case]:
    for shape, axis, sizes in CUTS:
        model = OneOp(
            "SPLIT_V",
            [_t(type, *shape), i32(*sizes), scalar(axis)],
            [_t(type)] * len(sizes),
            {"num_splits": len(sizes)},
        )
        yield one(FAMILY, type, [shaped(shape), f"axis={axis}", f"sizes={shaped(sizes)}"], model)


def _gather(type: str) -> Iterator[Case]:
    for shape, indices, axis, batch in GATHERS:
        for index_type in ("INT32", "INT64") if type == "FLOAT32" else ("INT32",):
            inputs = [_t(type, *shape), T(index_type, indices, f"below:{shape[axis]}")]
            model = OneOp("GATHER", inputs, [_t(type)], {"axis": axis, "batch_dims": batch})
            note = [] if index_type == "INT32" else [index_type.lower()]
            detail = [shaped(shape, indices), f"axis={axis}", f"batch={batch}", *note]
            yield one(FAMILY, type, detail, model)


def _gather_nd(type: str) -> Iterator[Case]:
    for shape, indices in (
        ((7,), (3, 1)),
        ((4, 5), (4, 2)),
        ((5, 5), (3, 1)),
        ((3, 4, 2), (2, 2, 3)),
        ((5, 3), (5, 1)),
    ):
        inputs = [_t(type, *shape), T("INT32", indices, f"below:{min(shape[: indices[-1]])}")]
        yield one(FAMILY, type, [shaped(shape, indices)], OneOp("GATHER_ND", inputs, [_t(type)]))


def _one_hot(type: str) -> Iterator[Case]:
    on, off = T(type, (), "small", True), T(type, (), "small", True)
    for shape, depth, axis in (
        ((4,), 5, -1),
        ((2, 3), 4, -1),
        ((2, 3), 4, 0),
        ((2, 3), 4, 1),
        ((), 3, -1),
        ((5,), 1, -1),
        ((0,), 3, -1),
    ):
        model = OneOp(
            "ONE_HOT", [T("INT32", shape, f"within:-1:{depth}"), scalar(depth), on, off], [T(type)], {"axis": axis}
        )
        yield one(FAMILY, type, [shaped(shape), f"depth={depth}", f"axis={axis}"], model)


def _updates(type: str) -> Iterator[Case]:
    for shape, update in (
        ((7,), (3,)),
        ((5, 5), (2, 3)),
        ((1, 8, 4), (1, 1, 4)),
        ((2, 3, 5, 7), (1, 3, 2, 7)),
        ((3,), (0,)),
    ):
        starts = T("INT32", (len(shape),), "within:-1:9")
        model = OneOp("DYNAMIC_UPDATE_SLICE", [T(type, shape), T(type, update), starts], [T(type)])
        yield one(FAMILY, type, [shaped(shape, update)], model)


def _picks(type: str) -> Iterator[Case]:
    """x[i], x[:, i] and their like by STRIDED_SLICE, where i is known only at run time."""
    for shape, picked, turned in (((5,), 1, 0), ((3, 5), 2, 0), ((3, 5), 3, 0), ((2, 3, 65), 2, 5), ((2, 3, 7), 5, 2)):
        rank = len(shape)
        whole = (1 << rank) - 1 - picked
        strides = i32(*(-1 if turned >> k & 1 else 1 for k in range(rank)))
        inputs: list[Any] = [T(type, shape), T("INT32", (rank,), "within:-2:1"), i32(*[0] * rank), strides]
        masks = {"begin_mask": whole, "end_mask": whole, "shrink_axis_mask": picked}
        detail = [shaped(shape), f"picked={picked}", f"turned={turned}"]
        yield one(FAMILY, type, detail, OneOp("STRIDED_SLICE", inputs, [T(type)], masks))


def _lookups() -> Iterator[Case]:
    for type in ("FLOAT32", "INT8", "UINT8"):
        for count, table in ((5, (7, 3)), (1, (3, 65)), (3, (4, 2, 3)), (65, (11, 4))):
            constant = T(type, table, constant=True)
            model = OneOp("EMBEDDING_LOOKUP", [T("INT32", (count,), f"below:{table[0]}"), constant], [T(type)])
            yield one(FAMILY, type, [shaped((count,), table)], model)
    for type in ("FLOAT32", "INT32", "INT64", "INT8", "UINT8"):
        for k, shape in ((3, (7,)), (1, (2, 5)), (5, (3, 5)), (2, (2, 3, 65))):
            model = OneOp("TOPK_V2", [T(type, shape), scalar(k)], [T(type), T("INT32")])
            yield one(FAMILY, type, [shaped(shape), f"k={k}"], model)
    for type in ("FLOAT32", "INT32", "INT64", "INT8", "UINT8", "BOOL"):
        for indices, update, shape in (((4, 1), (4,), (8,)), ((2, 1), (2, 3, 4), (4, 3, 4)), ((3, 2), (3,), (5, 5))):
            given = T("INT32", indices, f"below:{min(shape[: indices[-1]])}")
            model = OneOp("SCATTER_ND", [given, T(type, update), i32(*shape)], [T(type)])
            yield one(FAMILY, type, [shaped(indices, update, shape)], model)


def _numbers() -> Iterator[Case]:
    for type in ("FLOAT32", "INT32", "INT64"):
        for shape, axis in (((7,), 0), ((3, 5), 1), ((3, 5), 0), ((2, 3, 5), -2), ((65,), 0), ((0, 3), 1)):
            for options in ({}, {"exclusive": True}, {"reverse": True}, {"exclusive": True, "reverse": True}):
                model = OneOp("CUMSUM", [T(type, shape), scalar(axis)], [T(type)], options)
                yield one(FAMILY, type, [shaped(shape), f"axis={axis}", *words(options)], model)
    for type in ("FLOAT32", "INT32", "INT64", "INT8", "BOOL"):
        for size in ((7,), (2, 3), (0,), (65,), (1, 2, 3, 4)):
            model = OneOp("FILL", [i32(*size), T(type, ())], [T(type)])
            yield one(FAMILY, type, [shaped(size)], model)
    for type in ("FLOAT32", "INT32", "INT64"):
        first, last, step = (T(type, (), values) for values in ("within:0:3", "within:9:20", "within:1:3"))
        dtype = np.dtype(type.lower())
        constants = [np.array(v, dtype) for v in (1, 8, 2)]
        yield one(FAMILY, type, ["dynamic"], OneOp("RANGE", [first, last, step], [T(type)]))
        yield one(FAMILY, type, ["1,8,2"], OneOp("RANGE", constants, [T(type)]))


_MAKERS: dict[str, Any] = {
    "CONCATENATION": _concatenation,
    "PACK": _pack,
    "UNPACK": _unpack,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "ONE_HOT": _one_hot,
}
