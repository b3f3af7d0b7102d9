"""Depthwise convolutions of 8-bit values by AVX512-VNNI."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Packed, Temp
from tflgpu.delegates.lowering.convolution import depthwise_rows
from tflgpu.delegates.lowering.convolution.window import Window
from tflgpu.delegates.lowering.gemm.packing import C_NAMES, folded_bias, with_x_zero
from tflgpu.delegates.lowering.gemm.problem import Gemm, Operand
from tflgpu.delegates.lowering.gemm.vnni_assembly import vector_lanes
from tflgpu.delegates.lowering.registry import i32
from tflgpu.model.graph import Array

MOST_ROWS, MOST_VECTORS = 5, 24
"""Rows of a window, and vectors of weights, that fit in registers."""


@dataclass(frozen=True)
class Quads:
    """How a window's rows are read four pixels at a time: from `chunks` quads, each for 1 + twice outputs."""

    chunks: int
    twice: int

    @classmethod
    def of(cls, over: Window) -> Quads:
        twice = int(over.sw == 1)
        return cls(-(-(over.kw + twice) // 4), twice)

    def fits(self, over: Window) -> bool:
        vectors = over.kh * self.chunks * (1 + self.twice)
        return over.kh <= MOST_ROWS and over.sw <= 2 and over.dh == over.dw == 1 and vectors <= MOST_VECTORS


def fits(g: Gemm, limits: DeviceLimits) -> bool:
    """Whether the kernel takes this window, these channels and weights (1, kh, kw, c)."""
    if not (limits.has("vnni") and g.arithmetic == "quantized" and depthwise_rows.fits(g, limits)):
        return False
    over = _image(g)[2]
    weights, zero_point = g.y.value, g.y.zero_point
    in_int8 = int(weights.min(initial=0)) - zero_point >= -128 and int(weights.max(initial=0)) - zero_point <= 127
    return in_int8 and g.n >= vector_lanes(limits) and Quads.of(over).fits(over) and min(over.top, over.left) >= 0


def _image(g: Gemm) -> tuple[int, int, Window]:
    """Height and width of the image, and the window; both transposed where the image is one pixel wide."""
    (_, h, w, _), over = g.gather.image, g.gather.window
    # Quads are pixels along a row.
    return (1, h, transposed(over)) if w == over.kw == over.ow == 1 else (h, w, over)


def launches(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launch."""
    (h, w, over), n, c = _image(g), g.gather.image[0], g.gather.channels
    lanes, quads = vector_lanes(limits), Quads.of(over)
    blocks = -(-c // lanes)
    bands = min(over.oh, -(-limits.units * 4 // (n * blocks)))
    units = n * blocks * bands
    share = -(-units // min(units, limits.units * 4))
    items = -(-units // share)
    count = (-(-over.ow // 2) if quads.twice else over.ow) + 2 * (quads.chunks - 1)
    flip = 128 if g.x.spec.type == "INT8" else 0
    by_channel = replace(g.y, constant=Packed(lambda: g.y.value.reshape(-1, c).T))
    shifted = replace(with_x_zero(g, g.x.zero_point + flip), y=by_channel)
    sizes = {"units": units, "share": share, "h": h, "w": w, "c": c, "oh": over.oh, "ow": over.ow}
    name = C_NAMES[g.x.spec.type]
    defines: dict[str, Any] = {"VW": lanes, "X_T": name, "OUT_T": name, "QUANTIZED": 1, "FLIP": flip}
    defines |= {"KH": over.kh, "CHUNKS": quads.chunks, "TWICE": quads.twice}
    defines |= {"ASSEMBLY": assembly(over.kh, quads)} if limits.has("vnni_assembly") else {}
    return [
        Launch(
            "depthwise_vnni.depthwise_vnni",
            (items,),
            (1,),
            inputs={
                "x": g.x.buffer,
                "weights": Packed(lambda: panels(g.y, over, quads, lanes)),
                "bias": Packed(lambda: folded_bias(shifted, c)),
                **g.epilogue.scales,
            },
            outputs={"scratch": Temp(items * (over.kh * count + over.ow + 1) * 4 * lanes), "out": g.out.buffer},
            sizes=sizes | {"stride_h": over.sh, "top": over.top, "left": over.left, "bands": bands, "quads": count},
            scalars={"zeros": i32(g.x.zero_point), **g.epilogue.bounds},
            defines=defines,
            computes=g,
            stage="none",
            single=True,
        )
    ]


def transposed(over: Window) -> Window:
    """The window of an image whose rows are columns."""
    o = over
    return Window(o.kw, o.kh, o.sw, o.sh, o.dw, o.dh, o.ow, o.oh, o.left, o.top)


def panels(y: Operand, over: Window, quads: Quads, lanes: int) -> Array:
    """Weights (1, kh, kw, c), less their zero point, as (c / lanes, kh, chunks, 1 + twice, lanes, 4) of int8."""
    weights = y.value
    c = weights.shape[-1]
    taps = weights.reshape(over.kh, over.kw, c).astype(np.int16) - y.zero_point
    whole = np.zeros((1 + quads.twice, over.kh, quads.chunks * 4, c), np.int8)
    for second in range(1 + quads.twice):
        whole[second, :, second : second + over.kw] = taps
    starts = np.minimum(np.arange(0, c, lanes), c - lanes)
    chosen = whole[..., starts[:, None] + np.arange(lanes)]
    shape = (1 + quads.twice, over.kh, quads.chunks, 4, len(starts), lanes)
    return np.ascontiguousarray(chosen.reshape(shape).transpose(4, 1, 2, 0, 5, 3))


def assembly(kh: int, quads: Quads) -> str:
    """The body of `multiply`, with all weights in registers."""
    each = 1 + quads.twice
    weights = [f"%%zmm{4 + i}" for i in range(kh * quads.chunks * each)]
    lines = [f"vmovdqu32 {64 * i}(%[b]),{weight}" for i, weight in enumerate(weights)]
    lines += ["xor %[i],%[i]", "1:", *(f"vpxord %%zmm{k},%%zmm{k},%%zmm{k}" for k in range(each))]
    for chunk_index in range(kh * quads.chunks):
        row, chunk, value = chunk_index // quads.chunks, chunk_index % quads.chunks, f"%%zmm{2 + chunk_index % 2}"
        lines.append(f"vmovdqu32 {128 * chunk}(%[r{row}],%[i]),{value}")
        lines += [f"vpdpbusd {weights[chunk_index * each + k]},{value},%%zmm{k}" for k in range(each)]
    lines += [f"vmovdqu32 %%zmm{k},{64 * k}(%[c])" for k in range(each)]
    lines += ["add $64,%[i]", f"add ${64 * each},%[c]", "dec %[n]", "jnz 1b", "vzeroupper"]
    rows = ", ".join(f'[r{k}] "r"(row{k})' for k in range(kh))
    written = '[c] "+r"(sums), [n] "+r"(count), [i] "=&r"(at)'
    return f'i64 at; __asm__ volatile("{"; ".join(lines)}" : {written} : [b] "r"(weights), {rows} : "memory");'
