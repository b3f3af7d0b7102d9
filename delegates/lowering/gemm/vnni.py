"""GEMM of int8 values by AVX512-VNNI, in assembly, since no OpenCL compiler generates it from C."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed, Temp
from tflgpu.delegates.lowering.convolution.transpose_as_gemm import as_convolution, fits_as_convolution
from tflgpu.delegates.lowering.gemm import int4
from tflgpu.delegates.lowering.gemm.packing import C_NAMES, folded_bias, padded, with_x_zero
from tflgpu.delegates.lowering.gemm.problem import Gather, Gemm
from tflgpu.delegates.lowering.gemm.register_tiles import TYPES
from tflgpu.delegates.lowering.gemm.vnni_assembly import LANES, assembly, assembly_int4, vector_lanes, vectors_of
from tflgpu.delegates.lowering.registry import i32
from tflgpu.delegates.lowering.strided_index import broadcast_index
from tflgpu.model.graph import Array


def fits(g: Gemm, limits: DeviceLimits) -> bool:
    if not (limits.has("vnni") and g.constant_weights) or g.gather.groups > 1:
        return False
    return g.arithmetic == "hybrid" or (g.x.spec.type != "INT16" and g.types in TYPES[g.kind])


def launches(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launch."""
    return [_hybrid(g, limits) if g.arithmetic == "hybrid" else _quantized(g, limits)]


def _quantized(g: Gemm, limits: DeviceLimits, spread: OutputsPerWindow | None = None) -> Launch:
    """The launch. spread: the output pixels of each window, where they are several."""
    gather = g.gather
    if gather.pointwise and spread is None:
        n, h, w, c = gather.image
        gather = Gather((1, 1, n * h * w, c), replace(gather.window, oh=1, ow=n * h * w))
    weights, y_zero = g.y.value, g.y.zero_point
    by_sum, low = 0, int(weights.min(initial=0)) - y_zero
    if low < -128 or int(weights.max(initial=0)) - y_zero > 127:
        by_sum = 128 - y_zero
    packed = replace(g, y=replace(g.y, zero_point=y_zero + by_sum))
    flip = 128 if g.x.spec.type == "INT8" and not g.packed_int4 else 0
    shifted = with_x_zero(g, g.x.zero_point + flip)
    oc = g.out.spec.shape[-1]
    channels = oc if spread is None else spread.channels
    tile = Tiling.of(g.n, gather.image[0] * gather.window.oh * gather.window.ow, gather.depth, limits)
    sizes = tile.sizes | gather.sizes(oc) | {"batches": 1}
    if spread is not None:
        sizes |= {"out_h": g.out.spec.shape[1], "out_w": g.out.spec.shape[2], "padded_oc": channels}
    name = C_NAMES[g.x.spec.type]
    defines: dict[str, Any] = {"X_T": name, "OUT_T": name, "QUANTIZED": 1}
    defines |= {"FLOAT64_SCALES": 1} if g.epilogue.in_float64 else {}
    defines |= {"ROW_SUMS": 1} if by_sum else {}
    defines |= {} if spread is None else spread.defines
    columns = tile.padded if spread is None else channels
    inputs: dict[str, Buffer] = {
        "x": g.x.buffer,
        "weights": Packed(lambda: _weights(packed, tile, limits)),
        "bias": Packed(lambda: folded_bias(shifted, tile.padded)),
        **{name: padded(array, columns) for name, array in g.epilogue.scales.items()},
    }
    scalars = {"zeros": i32(g.x.zero_point)} | ({"by_sum": i32(by_sum)} if by_sum else {}) | g.epilogue.bounds
    sizes |= {"scale_blocks": 1} if g.packed_int4 else {}
    return tile.launch(g, inputs, sizes, scalars, defines | {"FLIP": flip}, limits)


def _hybrid(g: Gemm, limits: DeviceLimits) -> Launch:
    """The launch of int8 rows or images, each with its own scale, to float32."""
    gather, scales = g.gather, g.row_scales
    pixels, blockwise = gather.image[0] * gather.window.oh * gather.window.ow, scales.blocks is not None
    tile = Tiling.of(g.n, pixels, gather.depth, limits, blockwise=blockwise)
    inputs: dict[str, Buffer] = {
        "x": g.x.buffer,
        "weights": Packed(lambda: _weights(g, tile, limits)),
        "bias": folded_bias(g, tile.padded),
        **int4.hybrid_scales(g, int4.Int4Layout(tile.nr)),
    }
    sizes = tile.sizes | gather.sizes(g.out.spec.shape[-1]) | {"batches": 1}
    sizes |= {"scale_blocks": scales.blocks_of_row} if g.packed_int4 else {}
    scalars = {"zeros": i32(0), **g.epilogue.bounds, "each": i32(scales.rows_per_scale)}
    defines: dict[str, Any] = {"X_T": "char", "OUT_T": "float", "HYBRID": 1, "FLIP": 0 if g.packed_int4 else 128}
    defines |= int4.scale_macros(scales.blocks)
    defines |= {"WEIGHT_SCALE_FIRST": 1} if scales.weight_scale_first else {}
    return tile.launch(g, inputs, sizes, scalars, defines, limits)


@dataclass(frozen=True)
class OutputsPerWindow:
    """Each window gives h x w output pixels, one after another, their channels padded to `channels`.

    The first `top` rows and `left` columns of them are outside of the output.
    """

    h: int
    w: int
    channels: int
    top: int
    left: int

    @property
    def defines(self) -> dict[str, Any]:
        return {"SPREAD_H": self.h, "SPREAD_W": self.w, "SPREAD_TOP": self.top, "SPREAD_LEFT": self.left}


@dataclass(frozen=True)
class Tiling:
    """How a GEMM of `rows` rows of `depth` and `columns` columns is divided among work-items: see gemm_vnni.cl."""

    lanes: int
    vectors: int
    height: int
    steps: int
    rows: int
    padded: int
    blocks: int
    share: int
    across: int

    @classmethod
    def of(
        cls, columns: int, rows: int, depth: int, limits: DeviceLimits, batches: int = 1, blockwise: bool = False
    ) -> Tiling:
        lanes = vector_lanes(limits)
        height, vectors = tile(columns, rows, lanes, blockwise)
        nr = lanes * vectors
        panels, down = -(-columns // nr), -(-rows // height) * batches
        groups = min(panels, -(-limits.units * 4 // down))
        across = -(-panels // groups)
        blocks = down * -(-panels // across)
        share = -(-blocks // min(blocks, limits.units * 4))
        return cls(lanes, vectors, height, -(-depth // 4), rows, panels * nr, blocks, share, across)

    @property
    def nr(self) -> int:
        return self.lanes * self.vectors

    @property
    def sizes(self) -> dict[str, int]:
        sizes = {"blocks": self.blocks, "share": self.share, "across": self.across}
        return sizes | {"steps": self.steps, "pixels": self.rows}

    @property
    def items(self) -> int:
        return -(-self.blocks // self.share)

    def launch(
        self,
        g: Gemm,
        inputs: dict[str, Buffer],
        sizes: dict[str, int],
        scalars: dict[str, Any],
        defines: dict[str, Any],
        limits: DeviceLimits,
    ) -> Launch:
        defines |= {"VW": self.lanes, "NV": self.vectors, "MR": self.height}
        if g.packed_int4:
            defines["INT4"] = 1
        if limits.has("vnni_assembly"):
            by_block = "BLOCKWISE" in defines, "HALF_SCALES" in defines
            defines["ASSEMBLY"] = (
                assembly_int4(self.height, self.vectors, *by_block)
                if g.packed_int4
                else assembly(self.height, self.vectors, defines["FLIP"])
            )
        words = self.steps + sizes.get("scale_blocks", 0)
        outputs = {"scratch": Temp(self.items * self.height * words * 4), "out": g.out.buffer}
        made = Launch("gemm_vnni.gemm_vnni", (self.items,), (1,), inputs, outputs, sizes, scalars, defines=defines)
        return replace(made, computes=g, stage="none", single=True)


def tile(columns: int, rows: int, lanes: int = LANES, blockwise: bool = False) -> tuple[int, int]:
    """Rows and vectors of a tile; 32 registers hold 8 by 3, or twice 4 by 3 where blocks have sums of their own."""
    vectors = vectors_of(columns, lanes)
    most = 4 if blockwise and vectors > 1 else 8
    return next(height for height in (8, 4, 2, 1) if height <= min(rows, most)), vectors


def fits_transposed(g: Gemm, limits: DeviceLimits) -> bool:
    return g.x.spec.type != "FLOAT32" and fits_as_convolution(g, limits)


def transposed(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launch of a transposed convolution, whose window slides over the output."""
    over = g.gather.window
    lanes = vector_lanes(limits)
    channels = -(-g.n // lanes) * lanes
    spread = OutputsPerWindow(over.sh, over.sw, channels, over.top, over.left)
    return [_quantized(as_convolution(g, channels), limits, spread)]


def fits_computed(g: Gemm, limits: DeviceLimits) -> bool:
    """Whether the kernel takes two computed operands."""
    plain = limits.cpu and limits.has("register_tiles") and g.types == ("INT8", "INT8", "INT8")
    return plain and g.k > 0 and (not g.x.transposed or g.m == 1)


def computed(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launches that pack y, then multiply."""
    m, n, k, x, y = g.m, g.n, g.k, g.x, g.y
    y_lead, lead = y.spec.shape[:-2], g.out.spec.shape[:-2]
    y_batches = math.prod(y_lead)
    tile = Tiling.of(n, m, k, limits, g.batches)
    panels, bias = Temp(y_batches * tile.padded * tile.steps * 4), Temp(4 * y_batches * tile.padded)
    across = tile.padded // tile.nr
    blocks = y_batches * across
    x_zero = x.zero_point + 128
    defines: dict[str, Any] = {"NR": tile.nr}
    defines |= {"INTERLEAVED": 1} if limits.has("vnni_assembly") else {}
    y_row, y_column = (1, k) if y.transposed else (n, 1)
    pack = Launch(
        "gemm_vnni_pack.pack",
        (blocks,),
        (1,),
        inputs={"y": y.buffer},
        outputs={"panels": panels, "bias": bias},
        sizes={"blocks": blocks, "n": n, "k": k, "across": across, "steps": tile.steps}
        | {"y_row": y_row, "y_column": y_column},
        scalars={"x_zero": i32(x_zero), "offset": i32(k * x_zero * y.zero_point)},
        defines=defines,
        single=True,
    )
    sizes = tile.sizes | Gather.plain_rows(m, k).sizes(n) | {"batches": g.batches}
    inputs: dict[str, Buffer] = {"x": x.buffer, "weights": panels, "bias": bias}
    inputs |= {name: padded(array, tile.padded) for name, array in g.epilogue.scales.items()}
    by_sum = {"by_sum": i32(-y.zero_point)} if y.zero_point else {}
    scalars = {"zeros": i32(0), **by_sum, **g.epilogue.bounds}
    defines = {"X_T": "char", "OUT_T": C_NAMES[g.out.spec.type], "QUANTIZED": 1, "FLIP": 128}
    defines |= {
        f"{name}_BATCH": f"({broadcast_index(s.spec.shape[:-2], lead, 'b')})" for name, s in (("X", x), ("Y", y))
    }
    defines |= {"ROW_SUMS": 1} if y.zero_point else {}
    return [pack, tile.launch(g, inputs, sizes, scalars, defines, limits)]


def _weights(g: Gemm, tile: Tiling, limits: DeviceLimits) -> Array:
    """The panels of constant weights."""
    return int4.Int4Layout(tile.nr).words(g.y.rows) if g.packed_int4 else packed_panels(g, tile, limits)


def packed_panels(g: Gemm, tile: Tiling, limits: DeviceLimits) -> Array:
    """Weights (n, k), less their zero point, as (n / nr, k / 4, nr, 4) of int8, padded with zeros; for plain C as
    (n / nr, k, nr)."""
    rows = g.y.rows
    n, k = rows.shape
    whole = np.zeros((tile.padded, tile.steps * 4), np.int8)
    whole[:n, :k] = rows.astype(np.int16) - g.y.zero_point
    if not limits.has("vnni_assembly"):
        return whole.reshape(-1, tile.nr, tile.steps * 4).transpose(0, 2, 1)
    return whole.reshape(-1, tile.nr, tile.steps, 4).transpose(0, 2, 1, 3)
