"""A convolution in shares that threads run at once: some of the images, or some output rows or columns of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tflgpu.model.graph import Array
from tflgpu.ops.convolution.window import Window
from tflgpu.ops.shares import cut, ranges


@dataclass(frozen=True, eq=False)
class ImageShare:
    """x (b, h, w, c), the window over it, and what it fills of the output: (b * oh * ow, oc), contiguous.

    images: which of all images x is of.
    """

    x: Array
    window: Window
    out: Array
    images: slice


class Shareable(Protocol):
    """What of `convolution.ConvolutionWeights` decides how a convolution is divided."""

    multiplies: int
    whole_images: bool


def image_shares(x: Array, window: Window, out: Array, weights: Shareable) -> list[ImageShare]:
    """The shares of a convolution of x (b, h, w, c) into out (b, oh, ow, oc)."""
    axis = 0 if len(x) > 1 or weights.whole_images else 1 if out.shape[1] > 1 else 2
    divided = ranges(out.shape[axis], out.size * weights.multiplies)
    if len(divided) == 1:
        return [ImageShare(x, window, out.reshape(-1, out.shape[3]), slice(0, len(x)))]
    shares = []
    for outputs in divided:
        mine = cut(out, axis, outputs).reshape(-1, out.shape[3])
        if axis == 0:
            shares.append(ImageShare(x[outputs], window, mine, outputs))
        else:
            of_share, inputs = window.share(axis, outputs, x.shape[axis])
            shares.append(ImageShare(cut(x, axis, inputs), of_share, mine, slice(0, 1)))
    return shares
