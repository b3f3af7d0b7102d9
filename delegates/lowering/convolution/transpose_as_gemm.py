"""Transposed convolutions as plain ones whose windows each give several output pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.ir import Copy
from tflgpu.delegates.launch import Launch, Lowered, Packed, Temp
from tflgpu.delegates.lowering.convolution.window import Window
from tflgpu.delegates.lowering.gemm import register_tiles
from tflgpu.delegates.lowering.gemm.packing import padded
from tflgpu.delegates.lowering.gemm.problem import Gather, Gemm
from tflgpu.delegates.lowering.registry import size
from tflgpu.delegates.lowering.strided_index import index_map, standin
from tflgpu.model.graph import Array


def fits_as_convolution(g: Gemm, limits: DeviceLimits) -> bool:
    """Whether a transposed convolution can be a plain one on this device."""
    over = g.gather.window
    plain = limits.cpu and limits.has("register_tiles") and g.constant_weights and min(over.top, over.left) >= 0
    return plain and 0 not in g.x.spec.shape and g.types in register_tiles.TYPES["transposed"]


def as_convolution(g: Gemm, channels: int) -> Gemm:
    """The convolution whose windows over x each give sh x sw output pixels, one after another, their channels padded to
    `channels`. The window of g's gather slides over the output."""
    over, (_, kh, kw, _) = g.gather.window, g.y.spec.shape
    sh, sw = over.sh, over.sw
    wh, ww = -(-kh // sh), -(-kw // sw)
    _, out_h, out_w, _ = g.out.spec.shape
    qh, qw = (out_h - 1 + over.top) // sh + 1, (out_w - 1 + over.left) // sw + 1
    plain = Window(wh, ww, 1, 1, 1, 1, qh, qw, wh - 1, ww - 1)
    n = sh * sw * channels
    weights = _of_all_phases(g, channels)
    bias = None
    if g.bias is not None and g.bias.data is not None:
        tiled = np.tile(padded(g.bias.data.reshape(-1), channels), sh * sw)
        bias = replace(g.bias, shape=tiled.shape, data=tiled)
    return replace(
        g,
        kind="convolution",
        y=replace(g.y, constant=Packed(lambda: weights)),
        m=g.x.spec.shape[0] * qh * qw,
        n=n,
        k=weights.shape[1],
        gather=Gather(g.gather.image, plain),
        bias=bias,
    )


def _of_all_phases(g: Gemm, channels: int) -> Array:
    """Weights (oc, kh, kw, c) of a transposed convolution as (outputs of a window, taps of a window)."""
    (oc, kh, kw, c), sh, sw = g.y.spec.shape, g.gather.window.sh, g.gather.window.sw
    wh, ww = -(-kh // sh), -(-kw // sw)
    value = g.y.value
    whole = np.full((oc, wh * sh, ww * sw, c), g.y.zero_point, value.dtype)
    whole[:, :kh, :kw] = value.reshape(oc, kh, kw, c)
    # Tap y * sh + p contributes to row p of the outputs of a window, from its y-th last row.
    reversed_taps = whole.reshape(oc, wh, sh, ww, sw, c)[:, ::-1, :, ::-1].transpose(2, 4, 0, 1, 3, 5)
    out = np.full((sh * sw, channels, wh * ww * c), g.y.zero_point, value.dtype)
    out[:, :oc] = reversed_taps.reshape(sh * sw, oc, -1)
    return out.reshape(sh * sw * channels, -1)


def fits(g: Gemm, limits: DeviceLimits) -> bool:
    return g.x.spec.type == "FLOAT32" and fits_as_convolution(g, limits)


def launches(g: Gemm, limits: DeviceLimits) -> Lowered:
    """A transposed convolution of floats as a plain one, and copies of its outputs to their pixels."""
    over, n, oc = g.gather.window, g.gather.image[0], g.n
    out_shape = g.out.spec.shape
    sh, sw = over.sh, over.sw
    plain = as_convolution(g, oc)
    qh, qw = plain.gather.window.oh, plain.gather.window.ow
    made = replace(g.out.spec, shape=(n, qh, qw, sh * sw * oc))
    sums = Temp(4 * size(made))
    (launch,) = register_tiles.launches(replace(plain, out=replace(g.out, spec=made, buffer=sums)), limits)
    assert isinstance(launch, Launch)
    # SPLIT: the launch's result is not the output yet.
    first = replace(launch, defines={**launch.defines, "SPLIT": 1}, variants=())
    source, target = standin((n, qh, qw, sh, sw, oc), np.float32), standin(out_shape, np.float32)
    found: Lowered = [first]
    if out_shape[1:3] == (qh * sh, qw * sw):
        at = index_map(source.transpose(0, 1, 3, 2, 4, 5), source)
        return [first, Copy(sums, g.out.buffer, g.size, "u32", at)]
    for py in range(sh):
        for px in range(sw):
            y, column = (py - over.top) % sh, (px - over.left) % sw
            pixels = target[:, y::sh, column::sw]
            a, b = (y + over.top) // sh, (column + over.left) // sw
            piece = source[:, a : a + pixels.shape[1], b : b + pixels.shape[2], py, px]
            if pixels.size:
                where = index_map(piece, source), index_map(pixels, target)
                found.append(Copy(sums, g.out.buffer, pixels.size, "u32", *where))
    return found
