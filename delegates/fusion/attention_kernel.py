"""Attention in one pass: scores, softmax and mix of a block of queries, with keys and values read once.

The scores are never in memory: a row's maximum and sum so far are corrected as keys come. On tensor cores where the
user lets operands be rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import IDENTITY, c_text, types_macro
from tflgpu.delegates.fusion.def_use import Viewed
from tflgpu.delegates.ir import Elementwise
from tflgpu.delegates.launch import Buffer, Launch, Ref
from tflgpu.delegates.lowering.registry import f32
from tflgpu.delegates.lowering.strided_index import index_map
from tflgpu.model.graph import Array, Node

DEEPEST = 256
"""Numbers of a query, and of a value, at the most."""

GRID_HEIGHT = 65535
"""The most blocks along the second dimension of a CUDA grid."""

SHARED = 48 << 10
"""Bytes of shared memory that every block may have."""

ACROSS = 16
"""Threads that share a row of scores."""


@dataclass(frozen=True, eq=False)
class Attention:
    """product: of queries and keys; then `steps` on each score, an op and the tensor that it goes on from, then the
    softmax of beta times them, then mix: their product with the values. q, k, v, out: where these lie.
    """

    q: Viewed
    k: Viewed
    v: Viewed
    out: Viewed
    product: Node
    mix: Node
    steps: tuple[tuple[Elementwise, int], ...]
    beta: float


@dataclass(frozen=True)
class Tiles:
    """What a block works on: queries, `each` of them a thread, and so many keys at a time."""

    queries: int
    keys: int
    each: int

    @property
    def threads(self) -> int:
        return self.queries // self.each * ACROSS

    def fit(self, deep: int, wide: int) -> bool:
        """Whether shared memory, laid out as attention.cu has it, and the registers hold them."""
        if max(deep, wide) > 128:
            return self == IN_PARTS
        deep, wide = -(-deep // 4) * 4, -(-wide // ACROSS) * ACROSS
        step = deep + 4 if deep % 8 == 0 else deep
        words = (self.queries + self.keys) * step + self.keys * wide + self.queries * (self.keys + 4)
        return 4 * words <= SHARED and max(self.each * 16, self.keys) * max(deep, wide) <= 4096


@dataclass(frozen=True)
class Warps:
    """The same on tensor cores, where each warp works on 16 queries."""

    warps: int
    keys: int

    @property
    def queries(self) -> int:
        return self.warps * 16

    @property
    def threads(self) -> int:
        return self.warps * 32

    def fit(self, deep: int, wide: int, bits: int) -> bool:
        """Whether shared memory holds them, operands being of so many bits, and registers what is under way."""
        deep, wide = -(-deep // 16) * 16, -(-wide // 16) * 16
        padded = 16 * 8 // bits
        operands = (self.queries + self.keys) * (deep + padded) + self.keys * (wide + padded)
        shared = operands * bits // 8 + self.warps * 16 * (self.keys + 4) * 4
        fetched, scores, mixed = self.keys * max(deep, wide) // self.threads, self.keys, wide // 2
        return shared <= SHARED and fetched + scores + mixed <= 80


FEW_WARPS = (Warps(2, 32), Warps(2, 16), Warps(4, 16))
MANY_WARPS = (Warps(4, 32), Warps(4, 16), Warps(2, 16))

FEW = (Tiles(16, 64, 2), Tiles(16, 32, 2))
MANY = (Tiles(64, 32, 4), Tiles(32, 32, 4), Tiles(16, 64, 2), Tiles(16, 32, 2))
"""Small blocks where there are few queries, so that every multiprocessor has one; else as large as memory holds."""

IN_PARTS = Tiles(16, 32, 2)
"""The one for more than 128 numbers."""


def attention(a: Attention, limits: DeviceLimits) -> Launch | None:
    """The launch, or None where the kernel does not take these sizes."""
    m, n = a.product.outputs[0].shape[-2:]
    q = _matrices(a.q.view, a.product.options.adj_x, a.product.outputs[0].shape[:-2])
    k = _matrices(a.k.view, not a.product.options.adj_y, a.product.outputs[0].shape[:-2])
    v = _matrices(a.v.view, a.mix.options.adj_y, a.mix.outputs[0].shape[:-2])
    deep, wide, batches = q.shape[-1], v.shape[-1], math.prod(a.mix.outputs[0].shape[:-2])
    if 0 in (m, n, deep, wide, batches) or max(deep, wide) > DEEPEST or batches > GRID_HEIGHT:
        return None
    if any(spec.is_variable for spec in (a.q.source, a.k.source, a.v.source, a.out.source)):
        return None
    score, extra = _score(a.steps)
    located, steps = _located(
        {"Q": (q, a.q.base), "K": (k, a.k.base), "V": (v, a.v.base), "OUT": (a.out.view, a.out.base)}
    )
    defines: dict[str, Any] = located | {"HEAD_DIM": deep, "V_HEAD_DIM": wide, "SCORE": score}
    defines |= types_macro(*(op.expression for op, _ in a.steps))
    defines["EXTRA_INPUTS"] = "".join(f", IN({kind}) {name}" for kind, name, _ in extra)
    few = -(-m // MANY[0].queries) * batches < 2 * limits.units
    mma = {"fp16": 16, "tf32": 32}.get(limits.precision, 0) if limits.tensor_cores and m >= 16 else 0

    def launch(ways: Tiles | Warps, kernel: str, **macros: int) -> Launch:
        return Launch(
            f"{kernel}.{kernel}",
            (-(-m // ways.queries) * ways.threads, batches),
            (ways.threads, 1),
            inputs={"q": Ref(a.q.source.index), "k": Ref(a.k.source.index), "v": Ref(a.v.source.index)},
            outputs={"out": Ref(a.out.source.index)},
            sizes={"m": m, "n": n, **steps},
            scalars={"beta": f32(a.beta)},
            extra={name: buffer for _, name, buffer in extra},
            defines=defines | macros | {"BK": ways.keys},
            stage="none",
        )

    warps = dict.fromkeys((*(FEW_WARPS if few else MANY_WARPS), *FEW_WARPS, *MANY_WARPS))
    tiles = dict.fromkeys((*(FEW if few else MANY), *FEW, *MANY))
    launches = [launch(w, "attention_mma", MMA=mma, WARPS=w.warps) for w in warps if mma and w.fit(deep, wide, mma)]
    launches += [launch(t, "attention", BQ=t.queries, THREAD_ROWS=t.each) for t in tiles if t.fit(deep, wide)]
    return replace(launches[0], variants=tuple(launches[1:])) if launches else None


def _matrices(view: Array, transposed: bool, batches: tuple[int, ...]) -> Array:
    view = view.swapaxes(-1, -2) if transposed else view
    return np.broadcast_to(view, (*batches, *view.shape[-2:]))


def _located(views: Mapping[str, tuple[Array, Array]]) -> tuple[dict[str, object], dict[str, int]]:
    """Where the matrices begin, and whether in vectors, as macros; and how far rows and columns are apart."""
    macros: dict[str, object] = {}
    steps: dict[str, int] = {}
    for name, (view, base) in views.items():
        macros[f"{name}_AT"] = index_map(view[..., 0, 0], base, "b")
        macros[f"{name}_VECTORS"] = int(_in_vectors(view, base))
        row, column = (stride // view.itemsize for stride in view.strides[-2:])
        steps |= {f"{name.lower()}_row": row, f"{name.lower()}_column": column}
    return macros, steps


def _in_vectors(view: Array, base: Array) -> bool:
    """Whether every row of the matrices is whole vectors of four floats in memory."""
    start = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    steps = [s for size, s in zip(view.shape[:-1], view.strides[:-1], strict=True) if size > 1]
    alone = view.strides[-1] == view.itemsize
    return alone and view.shape[-1] % 4 == 0 and all(step % 16 == 0 for step in (start, *steps))


def _score(steps: tuple[tuple[Elementwise, int], ...]) -> tuple[str, list[tuple[str, str, Buffer]]]:
    """Statements that do the steps to `acc`, element i of the scores; and the parameters that they read."""
    statements: list[str] = []
    parameters: list[tuple[str, str, Buffer]] = []
    for number, (op, before) in enumerate(steps):
        names: list[str] = []
        for k, operand in enumerate(op.inputs):
            if isinstance(operand.buffer, Ref) and operand.buffer.tensor == before and operand.at == IDENTITY:
                names.append("acc")
                continue
            name = f"other{number}_{k}"
            parameters.append((operand.kind, name, operand.buffer))
            names.append(f"{name}[{operand.at}]")
        statements.append(f"acc = {c_text(op.expression, names.__getitem__)};")
    return " ".join(statements), parameters
