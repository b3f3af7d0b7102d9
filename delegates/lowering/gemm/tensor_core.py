"""Convolutions and matrix products with constant weights for devices with warps: blocks of outputs in shared memory.

By precision: on tensor cores with operands rounded to tf32 or fp16 where the user says so, else in float32 on the CUDA
cores; codes exactly, by dp4a or on tensor cores. A layer with too few outputs to fill the device is split along k, and
its last block to be done adds what the others have made.
Blocks of other sizes, other splits and cuBLAS are variants, among which autotune.py measures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Counters, Launch, Lowered, Packed, Ref, Temp
from tflgpu.delegates.lowering.convolution.window import Window
from tflgpu.delegates.lowering.gemm import cublas
from tflgpu.delegates.lowering.gemm.block_sizes import Tiles, mma_bits, ways_worth_trying
from tflgpu.delegates.lowering.gemm.hybrid import Rows
from tflgpu.delegates.lowering.gemm.register_tiles import Filtering, Matrix, folded_bias, padded
from tflgpu.delegates.lowering.registry import i32, size
from tflgpu.model.graph import Array, TensorSpec

COMMON_CHANNELS = (1, 3)
"""Of images that networks are given. These and the multiples of 32 are worth a program of their own."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer, whatever kernel computes it: (m, k) seen of x times weights (n, k) transposed.

    image: x's shape as (n, h, w, c). ways: the macros that say what x is and what becomes of the sums. bias, by_column:
    an entry for each of n. by_row: what else the finish takes. zeros: the zero point of unsigned weights, if they are.
    """

    x: Buffer
    image: tuple[int, int, int, int]
    weights: Array
    bias: Packed
    out: TensorSpec
    over: Window
    ways: dict[str, Any]
    ends: dict[str, Any]
    by_column: dict[str, Packed] = field(default_factory=dict)
    by_row: dict[str, Buffer] = field(default_factory=dict)
    zeros: dict[str, np.int32] = field(default_factory=dict)
    fill: int = 0
    codes: bool = False
    k: int = field(init=False)
    m: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", self.over.kh * self.over.kw * self.image[3])
        object.__setattr__(self, "m", size(self.out) // self.n)

    @property
    def n(self) -> int:
        return len(self.weights)

    @property
    def loads(self) -> int:
        """Words of x that a thread loads at once."""
        return 4 if self.image[3] % (16 if self.codes else 4) == 0 else 1

    def scales(self, columns: int) -> dict[str, Buffer]:
        """The bias, and the scales by row and by column; those by column padded to so many."""
        by_column = {"bias": self.bias, **self.by_column}
        return {name: _padded(made, columns) for name, made in by_column.items()} | self.by_row


def conv_gemm(f: Filtering, limits: DeviceLimits) -> Lowered | None:
    """The launch, or None where no kernel has these types."""
    x, matrix, finish = f.x, f.matrix, f.finish
    if x.type not in ("FLOAT32", "INT8", "UINT8"):
        return None
    codes = bool(finish.rescale)
    ways: dict[str, Any] = {"CODES": 1} if codes else {"PLAIN": 1}
    ways |= {"DOUBLES": 1} if len(finish.rescale) == 1 else {}
    weights = matrix.weights
    zeros: dict[str, np.int32] = {}
    if x.type == "UINT8":  # both less 128, and with them their zero points
        ways["UNSIGNED"] = 1
        weights = (weights.astype(np.int16) - 128).astype(np.int8)
        zeros = {"w_zero": i32(matrix.zero_point - 128)}
        matrix, finish = replace(matrix, weights=weights, zero_point=0), replace(finish, x_zero=finish.x_zero - 128)
    layer = Layer(
        Ref(x.index),
        f.image,
        weights,
        Packed(lambda: folded_bias(matrix, finish, len(weights))),
        f.out,
        f.over,
        ways,
        finish.ends,
        by_column={name: _known(array) for name, array in finish.scales.items()},
        zeros=zeros,
        fill=finish.x_zero if codes else 0,
        codes=codes,
    )
    return [with_variants(layer, limits)]


def hybrid_gemm(
    rows: Rows,
    image: tuple[int, int, int, int],
    matrix: Matrix,
    scale: Array,
    out: TensorSpec,
    over: Window,
    ends: tuple[Any, Any],
    per: int,
    limits: DeviceLimits,
    weights_first: bool = False,
) -> Lowered:
    """Floats as codes with a scale for each `per` rows of the product, by int8 weights of `scale` (1,) or (oc,).

    weights_first: whether sums are scaled by the weights' scale before they are by the row's, as one of the reference's
    two kernels does it.
    """
    weights, n = matrix.weights, len(matrix.weights)
    bias = np.zeros(n, np.float32) if matrix.bias is None else matrix.bias.reshape(-1)
    by_column = {
        "weight_scales": Packed(lambda: np.ascontiguousarray(np.broadcast_to(scale.astype(np.float32), (n,)))),
        "weight_sums": Packed(lambda: weights.reshape(n, -1).sum(axis=1, dtype=np.int32)),
    }
    ways = {"HYBRID": 1, "PLAIN": 1} | ({"WEIGHTS_FIRST": 1} if weights_first else {})
    layer = Layer(
        rows.codes,
        image,
        weights,
        Packed(lambda: bias),
        out,
        over,
        ways,
        {"low": np.float32(ends[0]), "high": np.float32(ends[1]), "each": i32(per)},
        by_column,
        {"scales": rows.scales, "zero_points": rows.zero_points},
        codes=True,
    )
    return [rows.launch, with_variants(layer, limits)]


def with_variants(layer: Layer, limits: DeviceLimits) -> Launch:
    """What is likely the fastest launch, and as its variants others that may be."""
    first, *others = [
        _launch(layer, tiles, slices, mma_bits(layer, limits) if not tiles.tm else 0)
        for tiles, slices in ways_worth_trying(layer, limits)
    ]
    return replace(first, variants=(*others, *(_by_library(layer, limits) if limits.has("cublas") else ())))


def _launch(layer: Layer, tiles: Tiles, slices: int, mma: int) -> Launch:
    _, h, w, c = layer.image
    m, n, k, over = layer.m, layer.n, layer.k, layer.over
    lanes = 4 if layer.codes else 1
    depth = -(-k // lanes)
    blocks = -(-m // tiles.bm), -(-n // tiles.bn)
    columns = blocks[1] * tiles.bn
    slices, slice_words = _stretches(depth, tiles.bk, slices)
    defines: dict[str, Any] = {**tiles.defines, "LOAD": layer.loads}
    defines |= {"MMA": mma} if mma else {}
    defines |= {"WHOLE_WORDS": 1} if layer.codes and c % 4 == 0 else {}
    if over.pointwise(h, w) and c % lanes == 0:
        defines["POINTWISE"] = 1
    elif c in COMMON_CHANNELS or c % 32 == 0:
        defines |= {"CHANNELS": c, "KERNEL_WIDTH": over.kw}
    defines |= {"OUT_T": "Y_T"} | ({"SPLIT": 1} if slices > 1 else {})
    fill = (layer.fill & 255) * 0x01010101
    stride = _bytes_along_k(depth) if mma == 8 else columns
    image = {"h": h, "w": w, "c": c, "oh": over.oh, "ow": over.ow, "kw": over.kw, "sh": over.sh, "sw": over.sw}
    image |= {"dh": over.dh, "dw": over.dw, "top": over.top, "left": over.left}
    partials: dict[str, Buffer] = {}
    if slices > 1:
        partials = {"partials": Temp(4 * slices * math.prod(blocks) * tiles.bm * tiles.bn)}
    return Launch(
        "gemm_mma.gemm_mma" if mma else "gemm.gemm",
        (blocks[0] * tiles.threads, blocks[1], slices),
        (tiles.threads, 1, 1),
        inputs={"x": layer.x, "weights": _packed(layer, mma, depth, columns), **layer.scales(columns)},
        outputs={**partials, "out": Ref(layer.out.index)},
        sizes={"m": m, "n": n, "k": k, "columns": stride, "slice": slice_words, **image},
        scalars={"fill": i32(fill - (1 << 32) if fill >= 1 << 31 else fill), **layer.zeros, **layer.ends},
        counters=Counters(math.prod(blocks)) if slices > 1 else None,
        defines=defines | layer.ways,
    )


def _stretches(depth: int, bk: int, slices: int) -> tuple[int, int]:
    """Stretches of k and the words in each, whole steps."""
    steps = -(-depth // bk)
    words = -(-steps // slices) * bk
    return -(-depth // words), words


def _bytes_along_k(depth: int) -> int:
    """Of a column of so many words, whole units of what a thread loads at once."""
    return -(-depth // 4) * 16


def _known(array: Array) -> Packed:
    return Packed(lambda: array)


def _padded(made: Packed, columns: int) -> Packed:
    return Packed(lambda: padded(made.make(), columns))


def _packed(layer: Layer, mma: int, depth: int, columns: int) -> Packed:
    """Weights as (k, columns) of the operand's type; codes as (k / 4, columns, 4), for tensor cores (columns, k)."""

    def make() -> Array:
        rows = layer.weights.reshape(layer.n, -1)
        oc, k = rows.shape
        if rows.dtype == np.float32:
            dtype = np.float16 if mma == 16 else np.float32
            out = np.zeros((k, columns), dtype)
            with np.errstate(over="ignore"):
                out[:, :oc] = rows.T
            return tf32(out) if mma == 32 else out
        if mma:
            codes = np.zeros((columns, _bytes_along_k(depth)), np.int8)
            codes[:oc, :k] = rows
            return codes
        words = np.zeros((depth * 4, columns), np.int8)
        words[:k, :oc] = rows.T
        return words.reshape(depth, 4, columns).transpose(0, 2, 1)

    return Packed(make)


def _by_library(layer: Layer, limits: DeviceLimits) -> tuple[Launch, ...]:
    """By cuBLAS, and then a kernel for what becomes of the sums; none where it does not have the layer's arithmetic."""
    m, n, k = layer.m, layer.n, layer.k
    aligned = not layer.codes or ("UNSIGNED" not in layer.ways and k % 4 == 0 and n % 4 == 0)
    if not layer.over.pointwise(*layer.image[1:3]) or not aligned:
        return ()
    sizes = cublas.Sizes(m, n, k, y_by_column=True)
    found = []
    for arithmetic in ("int8",) if layer.codes else cublas.FLOATS[limits.precision]:
        sums = Temp(4 * m * n)
        rows = Packed(lambda: layer.weights.reshape(n, k))
        found.append(_finish(layer, sums, cublas.product(layer.x, rows, sums, arithmetic, sizes)))
    return tuple(found)


def _finish(layer: Layer, sums: Buffer, before: Launch) -> Launch:
    """What makes the outputs of sums (m, n), which the launch before it has made."""
    m, n = layer.m, layer.n
    return Launch(
        "gemm_finish.gemm_finish",
        (m * n,),
        (128,),
        inputs={"sums": sums, **layer.scales(n)},
        outputs={"out": Ref(layer.out.index)},
        sizes={"size": m * n, "n": n},
        scalars=layer.ends,
        defines=layer.ways | {"OUT_T": "Y_T"},
        before=(before,),
    )


def tf32(array: Array) -> Array:
    """float32 with the mantissa rounded to 10 bits, ties away from zero, as tensor cores take it."""
    bits = array.view(np.uint32)
    finite = (bits >> np.uint32(23) & np.uint32(255)) != 255
    return np.where(finite, (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000), bits).astype(np.uint32).view(np.float32)
