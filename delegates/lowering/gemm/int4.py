"""The layout of weights of 4 bits in device memory, and the kernel of devices without VNNI that multiplies by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed
from tflgpu.delegates.lowering.gemm.packing import column_sums, folded_bias, padded
from tflgpu.delegates.lowering.gemm.problem import Gemm
from tflgpu.delegates.lowering.gemm.vnni_assembly import vector_lanes, vectors_of
from tflgpu.delegates.lowering.registry import bias_argument
from tflgpu.model.graph import Array

PER_WORD = 8
"""Values in a word: byte i has value i in its low bits and value i + 4 in its high ones, each with 8 added."""


@dataclass(frozen=True)
class Int4Layout:
    """Weights (n, k) as panels of so many rows: words (n / rows, k / 8, rows), and scales (n / rows, blocks, rows)."""

    rows: int

    @classmethod
    def of(cls, n: int, limits: DeviceLimits) -> Int4Layout:
        """By the device and n alone, so that embeddings and GEMMs of any number of rows share their weights."""
        lanes = vector_lanes(limits)
        return cls(lanes * vectors_of(n, lanes) if limits.has("vnni") else n)

    def words(self, weights: Array) -> Array:
        """int8 values (n, k) from -8 to 7 as words, padded with zeros; k is a multiple of 8."""
        n, k = weights.shape
        values = (weights.view(np.uint8) ^ np.uint8(8)) & np.uint8(15)
        pairs = values.reshape(n, k // PER_WORD, 2, 4)
        words = (pairs[:, :, 0] | pairs[:, :, 1] << np.uint8(4)).view(np.uint32)
        return self._panels(words.reshape(n, -1), 0x88888888)

    def scales(self, scales: Array) -> Array:
        """Scales (n, blocks) of float32, as float16 where that holds all of them exactly."""
        return self._panels(scales.astype(np.float16) if fit_float16(scales) else scales, 0)

    def _panels(self, array: Array, padding: int) -> Array:
        n, width = array.shape
        whole = np.full((-(-n // self.rows) * self.rows, width), padding, array.dtype)
        whole[:n] = array
        return np.ascontiguousarray(whole.reshape(-1, self.rows, width).transpose(0, 2, 1))


def fit_float16(values: Array) -> bool:
    """Whether float16 holds all of them exactly."""
    with np.errstate(over="ignore"):
        return bool((values.astype(np.float16) == values).all())


def scale_macros(scales: Array | None) -> dict[str, Any]:
    """The macros of kernels for scales by block (n, blocks); none where there is one for each column."""
    if scales is None:
        return {}
    return {"BLOCKWISE": 1} | ({"SCALE_T": "u16", "HALF_SCALES": 1} if fit_float16(scales) else {"SCALE_T": "f32"})


def hybrid_scales(g: Gemm, layout: Int4Layout) -> dict[str, Buffer]:
    """The scales and sums of y, padded to whole panels, and the scales and zero points of x's rows."""
    scales, columns, blocks = g.row_scales, -(-g.n // layout.rows) * layout.rows, g.row_scales.blocks
    of_x = {"scales": scales.rows.scales, "zero_points": scales.rows.zero_points}
    if blocks is None:
        sums = Packed(lambda: column_sums(g, columns))
        return {"weight_scales": padded(scales.of_columns(g.n), columns), "weight_sums": sums, **of_x}
    sums = Packed(lambda: padded(scales.columns.make(), columns))
    return {"weight_scales": Packed(lambda: layout.scales(blocks)), "weight_sums": sums, **of_x}


def fits(g: Gemm, limits: DeviceLimits) -> bool:
    return g.packed_int4


def launches(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launch of a work-item for a column of up to 4 rows."""
    rows, layout, blocks = min(g.m, 4), Int4Layout(g.n), 1
    inputs: dict[str, Buffer] = {"x": g.x.buffer, "y": Packed(lambda: layout.words(g.y.rows))}
    defines: dict[str, Any] = {"ROWS": rows}
    if g.arithmetic == "quantized":
        inputs |= {"bias": Packed(lambda: folded_bias(g, g.n)), **g.epilogue.scales}
        defines["QUANTIZED"] = 1
    else:
        inputs |= {"bias": bias_argument(g.bias, g.n, "f4"), **hybrid_scales(g, layout)}
        blocks = g.row_scales.blocks_of_row
        defines |= {"TYPES": 1, **scale_macros(g.row_scales.blocks)}
    size = -(-g.m // rows) * g.n
    sizes = {"size": size, "m": g.m, "n": g.n, "blocks": blocks, "words": g.k // blocks // PER_WORD}
    return [
        Launch(
            "gemm_int4.gemm_int4",
            (size,),
            inputs=inputs,
            outputs={"out": g.out.buffer},
            sizes=sizes,
            scalars=g.epilogue.bounds,
            defines=defines,
        )
    ]
