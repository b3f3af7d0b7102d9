"""Colours of images: RGBToHSV and its inverse, contrast, hue and saturation."""

from __future__ import annotations

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.registry import function, require
from tflgpu.ops.shape_rules import same_as_input


def _colours(node: Node) -> list[Shape]:
    x = node.input(0)
    require(x.shape[-1:] == (3,), f"{x}: the last dimension must be three channels. ")
    for spec in node.inputs[1:]:
        require(spec is not None and spec.shape == () and spec.type == "FLOAT32", f"{spec} must be a FLOAT32. ")
    return same_as_input(node)


def hsv(x: Array) -> Array:
    """Red, green and blue (…, 3) as hue in [0, 1), saturation and value."""
    red, green, blue = (x[..., i] for i in range(3))
    top = x.max(axis=-1)
    span = top - x.min(axis=-1)
    with np.errstate(all="ignore"):
        saturation = np.where(top > 0, span / top, x.dtype.type(0))
        norm = 1 / (6 * span)
        hue = np.where(
            red == top,
            norm * (green - blue),
            np.where(
                green == top,
                norm * (blue - red) + x.dtype.type(2 / 6),
                norm * (red - green) + x.dtype.type(4 / 6),
            ),
        )
    hue = np.where(span > 0, hue, x.dtype.type(0))
    return np.stack([np.where(hue < 0, hue + 1, hue), saturation, top], axis=-1)


def rgb(x: Array) -> Array:
    """The inverse of `hsv`."""
    hue, saturation, top = (x[..., i] for i in range(3))
    six = hue * 6
    shares = (np.abs(six - 3) - 1, 2 - np.abs(six - 2), 2 - np.abs(six - 4))
    one = x.dtype.type(1)
    return np.stack([((1 - saturation) + saturation * np.clip(s, 0, one)) * top for s in shares], axis=-1)


@function("FlexRGBToHSV", inputs=1, types="FLOAT32 FLOAT64 FLOAT16", shape=_colours, custom=True)
def rgb_to_hsv(node: Node, x: Array) -> Array:
    """x (…, 3) as hue, saturation and value."""
    return hsv(x)


@function("FlexHSVToRGB", inputs=1, types="FLOAT32 FLOAT64 FLOAT16", shape=_colours, custom=True)
def hsv_to_rgb(node: Node, x: Array) -> Array:
    """x (…, 3) as red, green and blue."""
    return rgb(x)


@function("FlexAdjustHue", inputs=2, types="FLOAT32 FLOAT16", shape=_colours, custom=True)
def adjust_hue(node: Node, x: Array, delta: Array) -> Array:
    """x (…, 3) with delta added to its hue."""
    changed = hsv(x)
    hue = changed[..., 0] + delta.astype(x.dtype)
    changed[..., 0] = hue - np.floor(hue)
    return rgb(changed)


@function("FlexAdjustSaturation", inputs=2, types="FLOAT32 FLOAT16", shape=_colours, custom=True)
def adjust_saturation(node: Node, x: Array, scale: Array) -> Array:
    """x (…, 3) with its saturation times scale, at most 1."""
    changed = hsv(x)
    changed[..., 1] = np.clip(changed[..., 1] * scale.astype(x.dtype), 0, 1)
    return rgb(changed)


def _contrast_shape(node: Node) -> list[Shape]:
    x, factor = node.input(0), node.input(1)
    require(len(x.shape) >= 3, f"{x}: images (…, h, w, c) are wanted. ")
    require(factor.shape == () and factor.type == "FLOAT32", f"{factor} must be a FLOAT32. ")
    return same_as_input(node)


@function("FlexAdjustContrastv2", inputs=2, types="FLOAT32 FLOAT16", shape=_contrast_shape, custom=True)
def adjust_contrast(node: Node, x: Array, factor: Array) -> Array:
    """x (…, h, w, c), the distance from each channel's mean over its image times factor."""
    if x.size == 0:
        return x
    mean = x.mean(axis=(-3, -2), keepdims=True, dtype=np.float64).astype(np.float32)
    return ((x.astype(np.float32) - mean) * factor + mean).astype(x.dtype)
