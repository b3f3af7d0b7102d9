"""Matrices that are both computed, on devices with warps: a block of 256 threads makes a square of outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Ref
from tflgpu.delegates.lowering.gemm import cublas
from tflgpu.delegates.lowering.registry import size
from tflgpu.delegates.lowering.strided_index import broadcast_index
from tflgpu.model.graph import Node, Shape, TensorSpec

GRID_DEPTH = 65535
"""The most blocks along the third dimension of a CUDA grid."""


@dataclass(frozen=True, eq=False)
class Batches:
    """x (..., m, k) times y (..., k, n), leading dimensions broadcast. turned: stored as (..., k, m) or (..., n, k)."""

    x: Buffer
    y: Buffer
    out: TensorSpec
    x_lead: Shape
    y_lead: Shape
    m: int
    n: int
    k: int
    x_turned: bool
    y_turned: bool

    @property
    def fits(self) -> bool:
        """Whether there is something to do, and no more than a grid holds."""
        return 0 < size(self.out) <= GRID_DEPTH * self.m * self.n and self.k > 0


def batches_of(node: Node, x: Buffer | None = None, x_turned: bool | None = None) -> Batches:
    """Those of a BATCH_MATMUL; x: its first operand where that is another than the node's."""
    first, second, out, o = node.input(0), node.input(1), node.outputs[0], node.options
    m, n = out.shape[-2:]
    k = first.shape[-2] if o.adj_x else first.shape[-1]
    turned = bool(o.adj_x) if x_turned is None else x_turned
    leads = first.shape[:-2], second.shape[:-2]
    return Batches(x or Ref(first.index), Ref(second.index), out, *leads, m, n, k, turned, bool(o.adj_y))


def floats(b: Batches, limits: DeviceLimits) -> Launch:
    """The launch, with variants of larger blocks and by cuBLAS."""
    small, large = (_squares(b, side, {}, {}, {}) for side in (32, 64))
    first, *others = (small, large) if min(b.m, b.n) < 64 else (large, small)
    return replace(first, variants=(*others, *(_by_library(b, limits) if limits.has("cublas") else ())))


def codes(b: Batches, scalars: Mapping[str, np.generic], defines: dict[str, Any], limits: DeviceLimits) -> Launch:
    """int8; scalars: the zero points of x and y, multiplier, exponent, zero point and range of the outputs.

    defines: RESCALE and OUT_T.
    """
    return _of_codes(b, {}, scalars, {"CODES": 1} | defines, limits)


def hybrid(
    b: Batches,
    scales: Mapping[str, Buffer],
    scalars: Mapping[str, np.generic],
    defines: dict[str, Any],
    limits: DeviceLimits,
) -> Launch:
    """Codes of floats by int8; scales, scalars: what hybrid_batch.py knows of scales."""
    return _of_codes(b, scales, scalars, {"HYBRID": 1} | defines, limits)


def _of_codes(
    b: Batches,
    scales: Mapping[str, Buffer],
    scalars: Mapping[str, np.generic],
    defines: dict[str, Any],
    limits: DeviceLimits,
) -> Launch:
    """The launch, with variants of blocks of another size, and on CUDA cores where it is on tensor cores."""
    small, large = (_squares(b, side, scales, scalars, defines) for side in (32, 64))
    ways = [small, large] if min(b.m, b.n) < 64 else [large, small]
    # Of fewer a block on tensor cores is mostly padding.
    if limits.tensor_cores and b.m >= 64 and b.n >= 32 and b.k >= 32:
        ways.insert(0, _squares(b, 0, scales, scalars, defines))
    return replace(ways[0], variants=tuple(ways[1:]))


def _squares(
    b: Batches,
    side: int,
    scales: Mapping[str, Buffer],
    scalars: Mapping[str, np.generic],
    defines: dict[str, Any],
) -> Launch:
    """In blocks of side x side; 0: those of the kernel for tensor cores."""
    lead = b.out.shape[:-2]
    x_row, x_column = (1, b.m) if b.x_turned else (b.k, 1)
    y_row, y_column = (1, b.k) if b.y_turned else (b.n, 1)
    words = defines and b.k % 4 == 0
    kernel, threads = ("products", 256) if side else ("products_mma", 128)
    defines = defines | ({"SIDE": side} if side else {})
    side = side or 64
    defines |= {
        "X_BATCH": f"({broadcast_index(b.x_lead, lead, 'b')} * {b.m * b.k})",
        "Y_BATCH": f"({broadcast_index(b.y_lead, lead, 'b')} * {b.k * b.n})",
        "X_ALONG_K": int(not b.x_turned),
        "Y_ALONG_K": int(b.y_turned),
        "X_WORDS": int(bool(words) and not b.x_turned),
        "Y_WORDS": int(bool(words) and b.y_turned),
    }
    steps = {"x_row": x_row, "x_column": x_column, "y_row": y_row, "y_column": y_column}
    blocks = -(-b.m // side), -(-b.n // side), size(b.out) // (b.m * b.n)
    return Launch(
        f"{kernel}.{kernel}",
        (blocks[0] * threads, *blocks[1:]),
        (threads, 1, 1),
        inputs={"x": b.x, "y": b.y, **scales},
        outputs={"out": Ref(b.out.index)},
        sizes={"m": b.m, "n": b.n, "k": b.k, **steps},
        scalars=scalars,
        defines=defines,
    )


def _by_library(b: Batches, limits: DeviceLimits) -> tuple[Launch, ...]:
    """By cuBLAS, whose operands lie at even distances: each is there for every product, or one for all."""
    lead = b.out.shape[:-2]
    count = size(b.out) // (b.m * b.n)
    steps = [_step(shape, lead, elements) for shape, elements in ((b.x_lead, b.m * b.k), (b.y_lead, b.k * b.n))]
    if None in steps:
        return ()
    sizes = cublas.Sizes(b.m, b.n, b.k, b.x_turned, b.y_turned, count, *(step or 0 for step in steps))
    out = Ref(b.out.index)
    return tuple(cublas.product(b.x, b.y, out, arithmetic, sizes) for arithmetic in cublas.FLOATS[limits.precision])


def _step(lead: Shape, whole: Shape, elements: int) -> int | None:
    """Elements from one matrix of an operand to the next; None where they are not even."""
    own = tuple(d for d in lead if d != 1)
    if not own:
        return 0
    return elements if own == tuple(d for d in whole if d != 1) else None
