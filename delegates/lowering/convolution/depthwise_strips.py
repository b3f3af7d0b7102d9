"""Depthwise convolutions for devices with warps: strips of outputs from rows of the image in registers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Ref
from tflgpu.delegates.lowering.convolution.window import Window
from tflgpu.delegates.lowering.gemm.register_tiles import Finish
from tflgpu.delegates.lowering.registry import i32
from tflgpu.model.graph import TensorSpec

REACH = 11
"""The most columns of the image that a thread keeps, four channels each: more spills."""


OCCUPIED = 256
"""Threads on every multiprocessor that hide each other's waiting for memory; a block has no more than half of them."""


def fits(channels: int, over: Window) -> bool:
    """Whether there is a kernel for as many outputs as channels, under this window."""
    return channels % 4 == 0 and over.kh * over.kw <= 25 and (over.kw - 1) * over.dw < REACH


def depthwise_strips(
    x: TensorSpec,
    weights: TensorSpec,
    bias: Buffer,
    out: TensorSpec,
    over: Window,
    finish: Finish,
    limits: DeviceLimits,
) -> Launch:
    """The launch, where it `fits`, with other lengths of strips as variants. The longest that occupies the device."""
    columns = REACH - (over.kh > 3)  # whose rows need more registers
    reach = max(1, min((columns - 1 - (over.kw - 1) * over.dw) // over.sw + 1, over.ow))
    fours, wanted = math.prod(out.shape) // 4, OCCUPIED * limits.units
    lengths = [length for length in (4, 2, 1) if length <= reach]
    likely = next((length for length in lengths if fours >= wanted * length), 1)
    lengths = [likely, *(length for length in lengths if length != likely)]
    block = 128 if fours >= 128 * likely * limits.units else 64
    first, *others = (_of_length(length, block, x, weights, bias, out, over, finish) for length in lengths)
    return replace(first, variants=tuple(others))


def _of_length(
    strip: int,
    block: int,
    x: TensorSpec,
    weights: TensorSpec,
    bias: Buffer,
    out: TensorSpec,
    over: Window,
    finish: Finish,
) -> Launch:
    n, h, w, c = x.shape
    size = n * over.oh * -(-over.ow // strip) * (c // 4)
    unsigned = x.type == "UINT8"
    zeros = {"x_zero": i32(finish.x_zero)} if finish.rescale else {}
    zeros = {"w_zero": i32(weights.zero_point), **zeros} if unsigned else zeros
    image = {"h": h, "w": w, "c": c, "oh": over.oh, "ow": over.ow, "sh": over.sh, "dh": over.dh}
    defines: dict[str, Any] = {"KH": over.kh, "KW": over.kw, "SW": over.sw, "DW": over.dw, "STRIP": strip}
    defines |= {"UNSIGNED": 1} if unsigned else {}
    defines |= {"OUT_T": "X_T"} | ({"CODES": 1} if finish.rescale else {"PLAIN": 1})
    return Launch(
        "strips.depthwise_strips",
        (size,),
        (block,),
        inputs={"x": Ref(x.index), "weights": Ref(weights.index), "bias": bias, **finish.scales},
        outputs={"out": Ref(out.index)},
        sizes={"size": size, **image, "top": over.top, "left": over.left},
        scalars=zeros | finish.ends,
        defines=defines,
    )
