"""Operators that move elements, cut them out, pad them or join them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tflgpu.conformance.cases.case import Case, OneOp, T, beside, i32, one, q, scalar, shaped
from tflgpu.conformance.cases.shapes import ANY, FEW
from tflgpu.model.graph import Array
from tflgpu.ops.registry import OPS

FAMILY = "movement"
MOST = "FLOAT32 INT8 UINT8 INT16 INT32 INT64 BOOL FLOAT16 UINT32"
"""Types that most of these operators move; what one does not take is left out by its registration."""

Shape = tuple[int, ...]

TRANSPOSES: tuple[tuple[Shape, Shape], ...] = (
    *(((3, 5), (1, 0)), ((2, 3, 5), (2, 0, 1)), ((2, 3, 5), (0, 2, 1)), ((2, 3, 5, 7), (0, 3, 1, 2)), ((5,), (0,))),
    *(((2, 3, 5, 7), (0, 2, 3, 1)), ((0, 3), (1, 0)), ((1, 2, 3, 2, 3), (4, 2, 0, 1, 3)), ((33, 65), (1, 0))),
    *(((1, 2, 1, 3, 2, 2), (5, 3, 1, 0, 2, 4)), ((1, 1, 7), (2, 1, 0))),
)
SLICES: tuple[tuple[Shape, Shape, Shape], ...] = (
    *(((7,), (2,), (3,)), ((4, 5), (1, 2), (2, -1)), ((2, 3, 5), (0, 1, 0), (2, 1, 5)), ((3, 5), (0, 0), (0, 5))),
    *(
        ((2, 3, 5, 7), (1, 0, 2, 3), (1, 3, 2, 4)),
        ((1, 2, 3, 4, 3), (0, 1, 0, 2, 1), (1, 1, 3, -1, 2)),
        ((65,), (64,), (1,)),
    ),
)
STRIDED: tuple[tuple[Shape, Shape, Shape, Shape, dict[str, int]], ...] = (
    ((7,), (1,), (6,), (2,), {}),
    ((7,), (6,), (0,), (-2,), {}),
    ((7,), (0,), (0,), (-1,), {"begin_mask": 1, "end_mask": 1}),
    ((4, 5), (1, 0), (3, 5), (1, 2), {}),
    ((4, 5), (1, 0), (2, 5), (1, 1), {"shrink_axis_mask": 1}),
    ((4, 5), (0, -2), (4, 0), (1, 1), {"end_mask": 2}),
    ((2, 3, 5), (0, 0, 1), (2, 3, 5), (1, 2, 3), {"begin_mask": 3, "end_mask": 3}),
    ((2, 3, 5), (1, 0), (2, 4), (1, 1), {"ellipsis_mask": 0}),
    ((2, 3, 5, 7), (0, 2, 0, 6), (2, 0, 5, 0), (1, -1, 2, -3), {"begin_mask": 1}),
    ((2, 3), (0, 0, 0), (2, 1, 3), (1, 1, 1), {"new_axis_mask": 2, "end_mask": 5}),
    ((5,), (3,), (3,), (1,), {}),
)
PADS: tuple[tuple[Shape, tuple[Shape, ...]], ...] = (
    ((7,), ((2, 3),)),
    ((3, 5), ((0, 0), (1, 2))),
    ((2, 3, 5), ((1, 0), (0, 2), (2, 1))),
    ((2, 3, 5, 7), ((0, 0), (1, 2), (0, 1), (2, 0))),
    ((1, 2, 3, 2, 3), ((1, 0), (0, 1), (0, 0), (2, 0), (0, 2))),
    ((0, 3), ((1, 1), (0, 0))),
    ((5,), ((0, 0),)),
)
MIRRORS: tuple[tuple[Shape, tuple[Shape, ...]], ...] = (
    ((7,), ((2, 3),)),
    ((3, 5), ((2, 1), (0, 4))),
    ((2, 3, 5), ((1, 0), (0, 2), (2, 1))),
    ((1, 5, 7, 3), ((0, 0), (3, 3), (2, 2), (0, 0))),
)
TILES = (
    ((7,), (3,)),
    ((2, 3), (2, 3)),
    ((2, 3, 5), (1, 2, 1)),
    ((2, 1, 3, 5), (1, 4, 2, 1)),
    ((3,), (0,)),
    ((5,), (1,)),
)
BROADCASTS = (
    ((5,), (3, 5)),
    ((3, 1), (3, 5)),
    ((), (2, 3)),
    ((2, 1, 3, 1), (2, 4, 3, 5)),
    ((1,), (65,)),
    ((1, 2, 1, 3, 1), (2, 2, 3, 3, 2)),
)
REVERSALS: tuple[tuple[Shape, Shape], ...] = (
    *(((7,), (0,)), ((3, 5), (1,)), ((3, 5), (-2,)), ((2, 3, 5), (1,)), ((2, 3, 5, 7), (2, 3)), ((0, 3), (1,))),
)
BLOCKS: tuple[tuple[Shape, int], ...] = (((1, 4, 6, 3), 2), ((2, 2, 2, 1), 2), ((1, 6, 9, 5), 3), ((3, 4, 4, 2), 4))
BATCHED = (
    ((1, 4, 6, 3), (2, 2), ((0, 0), (0, 0))),
    ((2, 5, 7, 3), (2, 3), ((1, 0), (0, 2))),
    ((1, 4, 3), (2,), ((0, 0),)),
)
RESHAPES: tuple[tuple[Shape, Shape], ...] = (
    *(((4, 3), (2, 6)), ((4, 3), (-1,)), ((12,), (1, 3, 2, 2)), ((1,), ()), ((0, 3), (3, 0)), ((2, 3, 5, 7), (6, -1))),
)


def cases() -> Iterator[Case]:
    for op, rows in _TABLE.items():
        for type in MOST.split():
            if type in OPS[op].types or not OPS[op].types:
                for row in rows if type in ("FLOAT32", "INT8") else rows[:5]:
                    yield from _MAKERS[op](op, type, *row)
        for type in beside(op, MOST):
            for row in rows[:2]:
                yield from _MAKERS[op](op, type, *row)


def _moved(op: str, type: str, x: Shape, rest: Sequence[Array], detail: Sequence[str], **options: Any) -> Case:
    quantized = type in ("INT8", "UINT8")
    spec, out = (q(type, *x), q(type)) if quantized else (T(type, x), T(type))
    return one(FAMILY, type, [shaped(x), *detail], OneOp(op, [spec, *rest], [out], options))


def _transpose(op: str, type: str, x: Shape, order: Shape) -> Iterator[Case]:
    yield _moved(op, type, x, [i32(*order)], [f"perm={shaped(order)}"])


def _slice(op: str, type: str, x: Shape, begin: Shape, size: Shape) -> Iterator[Case]:
    yield _moved(op, type, x, [i32(*begin), i32(*size)], [f"begin={shaped(begin)}", f"size={shaped(size)}"])


def _strided(
    op: str, type: str, x: Shape, begin: Shape, end: Shape, strides: Shape, masks: dict[str, int]
) -> Iterator[Case]:
    detail = [f"{a}={shaped(b)}" for a, b in (("begin", begin), ("end", end), ("strides", strides))]
    detail += [f"{key.removesuffix('_mask')}={value}" for key, value in masks.items() if value]
    yield _moved(op, type, x, [i32(*begin), i32(*end), i32(*strides)], detail, **masks)


def _pad(op: str, type: str, x: Shape, pads: tuple[Shape, ...]) -> Iterator[Case]:
    detail = ["pads=" + shaped(*pads).replace(",", "_")]
    paddings = np.array(pads, np.int32)
    if op == "PAD":
        yield _moved(op, type, x, [paddings], detail)
        return
    quantized = q(type, constant=True, values="within:1:9")
    value = quantized if type in ("INT8", "UINT8") else T(type, (), "unit" if type == "FLOAT32" else "small", True)
    spec, out = (q(type, *x), q(type)) if type in ("INT8", "UINT8") else (T(type, x), T(type))
    yield one(FAMILY, type, [shaped(x), *detail], OneOp(op, [spec, paddings, value], [out]))


def _mirror(op: str, type: str, x: Shape, pads: tuple[Shape, ...]) -> Iterator[Case]:
    for mode in ("REFLECT", "SYMMETRIC"):
        detail = [f"pads={shaped(*pads).replace(',', '_')}", mode.lower()]
        yield _moved(op, type, x, [np.array(pads, np.int32)], detail, mode=mode)


def _with_vector(op: str, type: str, x: Shape, vector: Shape) -> Iterator[Case]:
    yield _moved(op, type, x, [i32(*vector)], [f"to={shaped(vector)}"])


def _reverse(op: str, type: str, x: Shape, axes: Shape) -> Iterator[Case]:
    yield _moved(op, type, x, [i32(*axes)], [f"axes={shaped(axes)}"])


def _block(op: str, type: str, x: Shape, block: int) -> Iterator[Case]:
    n, h, w, c = x
    shape = x if op == "SPACE_TO_DEPTH" else (n, h // block, w // block, c * block * block)
    yield _moved(op, type, shape, [], [f"block={block}"], block_size=block)


def _batches(op: str, type: str, x: Shape, block: Shape, edges: tuple[Shape, ...]) -> Iterator[Case]:
    detail = [f"block={shaped(block)}", f"edges={shaped(*edges).replace(',', '_')}"]
    if op == "BATCH_TO_SPACE_ND":
        x = (x[0] * int(np.prod(block)), *x[1:])
    yield _moved(op, type, x, [i32(*block), np.array(edges, np.int32)], detail)


def _reshape(op: str, type: str, x: Shape, shape: Shape) -> Iterator[Case]:
    yield _moved(op, type, x, [i32(*shape)], [f"to={shaped(shape)}"], new_shape=list(shape))


def _squeeze(op: str, type: str, x: Shape, axes: Shape) -> Iterator[Case]:
    yield _moved(op, type, x, [], [f"axes={shaped(axes)}"], squeeze_dims=list(axes))


def _expand(op: str, type: str, x: Shape, axis: int) -> Iterator[Case]:
    yield _moved(op, type, x, [scalar(axis)], [f"axis={axis}"])


_TABLE: dict[str, tuple[tuple[Any, ...], ...]] = {
    "TRANSPOSE": TRANSPOSES,
    "SLICE": SLICES,
    "STRIDED_SLICE": STRIDED[:7] + STRIDED[8:],
    "PAD": PADS,
    "PADV2": PADS,
    "MIRROR_PAD": MIRRORS,
    "TILE": TILES,
    "BROADCAST_TO": BROADCASTS,
    "REVERSE_V2": REVERSALS,
    "SPACE_TO_DEPTH": BLOCKS,
    "DEPTH_TO_SPACE": BLOCKS,
    "SPACE_TO_BATCH_ND": BATCHED,
    "BATCH_TO_SPACE_ND": BATCHED,
    "RESHAPE": RESHAPES,
    "SQUEEZE": (((1, 3, 1), (0, 2)), ((1, 3, 1), ()), ((2, 1, 3), (1,)), ((2, 1), (-1,))),
    "EXPAND_DIMS": tuple((shape, axis) for shape in FEW[:3] for axis in (0, -1)),
    "RANK": tuple((shape,) for shape in ANY[:6]),
    "SHAPE": tuple((shape,) for shape in ANY[:6]),
}


def _measured(op: str, type: str, x: Shape) -> Iterator[Case]:
    options = {"out_type": "INT32"} if op == "SHAPE" else {}
    yield one(FAMILY, type, [shaped(x)], OneOp(op, [T(type, x)], [T("INT32")], options))


_MAKERS: dict[str, Any] = {
    "TRANSPOSE": _transpose,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided,
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _mirror,
    "TILE": _with_vector,
    "BROADCAST_TO": _with_vector,
    "REVERSE_V2": _reverse,
    "SPACE_TO_DEPTH": _block,
    "DEPTH_TO_SPACE": _block,
    "SPACE_TO_BATCH_ND": _batches,
    "BATCH_TO_SPACE_ND": _batches,
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand,
    "RANK": _measured,
    "SHAPE": _measured,
}
