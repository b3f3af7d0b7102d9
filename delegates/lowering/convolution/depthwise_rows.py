"""Depthwise convolutions for CPUs: vectors of channels, one row of output pixels after another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Packed
from tflgpu.delegates.lowering.convolution.window import Window, steps_of
from tflgpu.delegates.lowering.gemm import register_tiles
from tflgpu.delegates.lowering.gemm.packing import C_NAMES
from tflgpu.delegates.lowering.gemm.problem import EXACT, Gemm
from tflgpu.delegates.lowering.gemm.register_tiles import TYPES
from tflgpu.delegates.lowering.registry import bias_argument


def fits(g: Gemm, limits: DeviceLimits) -> bool:
    """Whether there are as many output as input channels, at least 4, and sums are exact in float32."""
    over = g.gather.window
    able = limits.cpu and limits.has("register_tiles") and g.constant_weights and g.types in TYPES["depthwise"]
    return able and g.gather.groups == g.n >= 4 and over.kh * over.kw * 255 * 255 <= EXACT


def fits_one_channel(g: Gemm, limits: DeviceLimits) -> bool:
    """Whether the input has one channel, so that this is a plain convolution."""
    able = limits.cpu and g.gather.channels == 1 and g.constant_weights
    return able and register_tiles.fits(_as_convolution(g), limits)


def of_one_channel(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launch of a plain convolution."""
    return register_tiles.launches(_as_convolution(g), limits)


def _as_convolution(g: Gemm) -> Gemm:
    weights = g.y.value.transpose(3, 1, 2, 0)
    spec = replace(g.y.spec, shape=weights.shape)
    return replace(g, kind="convolution", y=replace(g.y, spec=spec, constant=Packed(lambda: weights)))


def launches(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launch."""
    (n, h, w, c), over = g.gather.image, g.gather.window
    rows = n * over.oh
    name = C_NAMES[g.x.spec.type]
    lanes = next(lanes for lanes in (16, 8, 4) if lanes <= min(c, limits.vector))
    slices = _slices(rows, c, lanes, limits)
    items = min(rows * slices, limits.units * 4)
    image = {"h": h, "w": w, "c": c, "oh": over.oh, "ow": over.ow, "kh": over.kh, "kw": over.kw}
    zero = {"x_zero": np.float32(g.x.zero_point)} if g.int8 else {}
    defines: dict[str, Any] = {"VW": lanes, "X_T": name, "OUT_T": name}
    defines |= {"QUANTIZED": 1} if g.int8 else {"FLOAT": 1}
    if (pixels := _pixels_at_once(over, w)) > 1:
        defines |= {"PIXELS": pixels, "KH": over.kh, "KW": over.kw, "STRIDE_W": over.sw}
    return [
        Launch(
            "depthwise.depthwise_rows",
            (items,),
            (1,),
            inputs={
                "x": g.x.buffer,
                "weights": Packed(lambda: g.y.value.astype(np.float32) - np.float32(g.y.zero_point)),
                "bias": bias_argument(g.bias, c, "i4" if g.int8 else "f4"),
                **g.epilogue.scales,
            },
            outputs={"out": g.out.buffer},
            sizes={"rows": rows, "items": items, "slices": slices, **image, **steps_of(over)},
            scalars=zero | g.epilogue.bounds,
            defines=defines,
            computes=g,
            stage="none",
            single=True,
        )
    ]


def _slices(rows: int, channels: int, lanes: int, limits: DeviceLimits) -> int:
    """How many slices of whole vectors the channels are cut into, so that all units have about as much to do."""
    vectors = -(-channels // lanes)
    for slices in range(1, limits.units * 4 + 1):
        each = -(-vectors // slices) * lanes
        if channels - (slices - 1) * each < lanes:
            break
        busy = -(-rows * slices // limits.units) * limits.units
        if rows * slices >= limits.units * 4 and rows * slices >= 0.95 * busy:
            return slices
    return max(1, slices - 1)


def _pixels_at_once(over: Window, w: int) -> int:
    """How many neighbouring output pixels are best computed at once; 1 for the general loop."""
    if over.dh != 1 or over.dw != 1 or over.kh * over.kw > 25:
        return 1
    inside = min((w + over.left - over.kw) // over.sw + 1, over.ow) - -(-over.left // over.sw)
    # A pixel costs one unit of work; loading and storing for a group about one and a half.
    return min((p for p in (6, 5, 4, 3, 2) if p <= inside), key=lambda p: -(-inside // p) * (p + 1.5), default=1)
