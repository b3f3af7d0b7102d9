"""Transposed convolutions as plain ones, each of whose places makes several outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.ir import Copy
from tflgpu.delegates.launch import Launch, Lowered, Ref, Temp
from tflgpu.delegates.lowering.convolution.window import Window
from tflgpu.delegates.lowering.gemm import register_tiles
from tflgpu.delegates.lowering.registry import size
from tflgpu.delegates.lowering.strided_index import index_map, standin


def spread_matrix(
    matrix: register_tiles.Matrix, taps: tuple[int, int, int, int], strides: tuple[int, int], channels: int
) -> register_tiles.Matrix:
    """Weights (oc, kh, kw, c) of a transposed convolution as those of a plain one over windows of x: `strides`
    outputs of each window, one's channels after another's, each padded to `channels`."""
    oc, kh, kw, c = taps
    sh, sw = strides
    wh, ww = -(-kh // sh), -(-kw // sw)
    whole = np.full((oc, wh * sh, ww * sw, c), matrix.zero_point, matrix.weights.dtype)
    whole[:, :kh, :kw] = matrix.weights.reshape(taps)
    # Tap y * sh + p makes row p of the outputs of the window whose last row but y it takes.
    turned = whole.reshape(oc, wh, sh, ww, sw, c)[:, ::-1, :, ::-1].transpose(2, 4, 0, 1, 3, 5)
    out = np.full((sh * sw, channels, wh * ww * c), matrix.zero_point, matrix.weights.dtype)
    out[:, :oc] = turned.reshape(sh * sw, oc, -1)
    bias = None
    if matrix.bias is not None:
        bias = np.tile(register_tiles.padded(matrix.bias.reshape(-1), channels), sh * sw)
    return register_tiles.Matrix(out.reshape(sh * sw * channels, -1), matrix.zero_point, bias)


def transposed(f: register_tiles.Filtering, taps: tuple[int, int, int, int], limits: DeviceLimits) -> Lowered:
    """A transposed convolution of floats as a plain one, whose places' outputs are then put where they belong.

    taps: the weights' shape (oc, kh, kw, c). f.over is the window of its gradient.
    """
    out, over, n = f.out, f.over, f.image[0]
    oc, kh, kw, _ = taps
    sh, sw = over.sh, over.sw
    wh, ww = -(-kh // sh), -(-kw // sw)
    qh, qw = (out.shape[1] - 1 + over.top) // sh + 1, (out.shape[2] - 1 + over.left) // sw + 1
    plain = Window(wh, ww, 1, 1, 1, 1, qh, qw, wh - 1, ww - 1)
    whole = spread_matrix(f.matrix, taps, (sh, sw), oc)
    made = replace(out, shape=(n, qh, qw, sh * sw * oc))
    sums = Temp(4 * size(made))
    (launch,) = register_tiles.conv_tiles(replace(f, matrix=whole, out=made, over=plain), limits)
    assert isinstance(launch, Launch)
    # SPLIT: what it makes is not the output yet.
    first = replace(launch, outputs={"out": sums}, defines={**launch.defines, "SPLIT": 1}, variants=())
    source, target = standin((n, qh, qw, sh, sw, oc), np.float32), standin(out.shape, np.float32)
    launches: Lowered = [first]
    if out.shape[1:3] == (qh * sh, qw * sw):
        at = index_map(source.transpose(0, 1, 3, 2, 4, 5), source)
        return [first, Copy(sums, Ref(out.index), size(out), "u32", at)]
    for py in range(sh):
        for px in range(sw):
            y, column = (py - over.top) % sh, (px - over.left) % sw
            place = target[:, y::sh, column::sw]
            a, b = (y + over.top) // sh, (column + over.left) // sw
            piece = source[:, a : a + place.shape[1], b : b + place.shape[2], py, px]
            if place.size:
                where = index_map(piece, source), index_map(place, target)
                launches.append(Copy(sums, Ref(out.index), place.size, "u32", *where))
    return launches
