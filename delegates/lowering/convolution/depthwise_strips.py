"""Depthwise convolutions for devices with warps: strips of outputs from rows of the image in registers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered
from tflgpu.delegates.lowering.gemm.problem import Gemm
from tflgpu.delegates.lowering.gemm.register_tiles import TYPES
from tflgpu.delegates.lowering.registry import bias_argument, i32

REACH = 11
"""The most columns of the image that a thread keeps in registers, four channels each: more spills."""


OCCUPIED = 256
"""Threads on every multiprocessor that hide the latency of memory; a block has no more than half of them."""


def fits(g: Gemm, limits: DeviceLimits) -> bool:
    """Whether there are as many output as input channels, a multiple of 4, and the window's rows fit in registers."""
    over = g.gather.window
    able = limits.has("warps") and g.constant_weights and g.types in TYPES["depthwise"] and not g.epilogue.in_order
    one_each = g.gather.groups == g.n and g.n % 4 == 0
    return able and one_each and over.kh * over.kw <= 25 and (over.kw - 1) * over.dw < REACH


def launches(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launch with the longest strips that occupy the device, and other lengths as variants."""
    over = g.gather.window
    columns = REACH - (over.kh > 3)  # more rows need more registers
    reach = max(1, min((columns - 1 - (over.kw - 1) * over.dw) // over.sw + 1, over.ow))
    fours, wanted = g.size // 4, OCCUPIED * limits.units
    lengths = [length for length in (4, 2, 1) if length <= reach]
    likely = next((length for length in lengths if fours >= wanted * length), 1)
    lengths = [likely, *(length for length in lengths if length != likely)]
    block = 128 if fours >= 128 * likely * limits.units else 64
    bias = bias_argument(g.bias, g.n, "i4" if g.int8 else "f4")
    first, *others = (_of_length(length, block, g, bias) for length in lengths)
    return [replace(first, variants=tuple(others))]


def _of_length(strip: int, block: int, g: Gemm, bias: Buffer) -> Launch:
    (n, h, w, c), over = g.gather.image, g.gather.window
    size = n * over.oh * -(-over.ow // strip) * (c // 4)
    unsigned = g.x.spec.type == "UINT8"
    zeros = {"x_zero": i32(g.x.zero_point)} if g.int8 else {}
    zeros = {"w_zero": i32(g.y.zero_point), **zeros} if unsigned else zeros
    image = {"h": h, "w": w, "c": c, "oh": over.oh, "ow": over.ow, "sh": over.sh, "dh": over.dh}
    defines: dict[str, Any] = {"KH": over.kh, "KW": over.kw, "SW": over.sw, "DW": over.dw, "STRIP": strip}
    defines |= {"UNSIGNED": 1} if unsigned else {}
    defines |= {"OUT_T": "X_T"} | ({"QUANTIZED": 1} if g.int8 else {"FLOAT": 1})
    return Launch(
        "depthwise.depthwise_strips",
        (size,),
        (block,),
        inputs={"x": g.x.buffer, "weights": g.y.buffer, "bias": bias, **g.epilogue.scales},
        outputs={"out": g.out.buffer},
        sizes={"size": size, **image, "top": over.top, "left": over.left},
        scalars=zeros | g.epilogue.bounds,
        defines=defines,
        computes=g,
        stage="none",
    )
