"""Images sampled elsewhere: ResizeBicubic, CropAndResize and ImageProjectiveTransform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.flex.node_def import attribute, choice
from tflgpu.ops.registry import function, require, value
from tflgpu.ops.shape_rules import sized

NUMBERS = "FLOAT32 FLOAT64 FLOAT16 INT8 INT16 INT32 INT64 UINT8 UINT16"
STEPS = 1024
"""TensorFlow takes the weights of its cubic filter from a table of so many steps between two pixels."""


def _size(node: Node, position: int) -> Shape:
    """(height, width) as an input gives them. Raises NeedsValue where they are known only at run time."""
    spec = node.input(position)
    require(spec.type == "INT32" and spec.shape == (2,), f"{spec} must be the height and the width in INT32. ")
    h, w = sized(value(spec).tolist())
    require(h > 0 and w > 0, f"{node.op}: an image of {h} x {w}. ")
    return h, w


def _images(node: Node) -> Shape:
    x = node.input(0)
    require(len(x.shape) == 4 and min(x.shape[1:3]) > 0, f"{x} must be images (b, h, w, c) with pixels. ")
    return x.shape


def _bicubic_shape(node: Node) -> list[Shape]:
    b, _, _, c = _images(node)
    require(node.outputs[0].type == "FLOAT32", f"{node.outputs[0]} must be FLOAT32. ")
    both = attribute(node, "align_corners", False) and attribute(node, "half_pixel_centers", False)
    require(not both, "If half_pixel_centers is True, align_corners must be False.")
    return [(b, *_size(node, 1), c)]


@function("FlexResizeBicubic", inputs=2, types=NUMBERS, shape=_bicubic_shape, custom=True)
def resize_bicubic(node: Node, x: Array, size: Array) -> Array:
    """x (b, h, w, c) by Keys's cubic convolution at (b, oh, ow, c), along y first."""
    _, oh, ow, _ = node.outputs[0].shape
    x = x.astype(np.float32, copy=False)
    rows, down = _cubic(node, x.shape[1], oh)
    between = sum(weight[:, None, None] * x[:, row] for row, weight in zip(rows, down, strict=True))
    columns, across = _cubic(node, x.shape[2], ow)
    return sum(weight[:, None] * between[:, :, column] for column, weight in zip(columns, across, strict=True))


def _cubic(node: Node, size: int, outputs: int) -> tuple[Array, Array]:
    """Of each output pixel the four pixels that it is made of, (4, outputs), and their weights, (4, outputs)."""
    centred = attribute(node, "half_pixel_centers", False)
    aligned = attribute(node, "align_corners", False) and outputs > 1
    scale = np.float32(size - 1) / np.float32(outputs - 1) if aligned else np.float32(size) / np.float32(outputs)
    at = np.arange(outputs, dtype=np.float32)
    at = (at + np.float32(0.5)) * scale - np.float32(0.5) if centred else at * scale
    pixel = np.floor(at).astype(np.int64)
    step = np.rint((at - pixel.astype(np.float32)) * np.float32(STEPS)).astype(np.int64)
    near, far = _cubic_table(-0.5 if centred else -0.75)
    wanted = pixel + np.arange(-1, 3)[:, None]
    found = np.clip(wanted, 0, size - 1)
    weights = np.stack([far[step], near[step], near[STEPS - step], far[STEPS - step]])
    if centred:  # pixels outside of the image have no weight; the others' are made to sum to 1
        weights = np.where(found == wanted, weights, np.float32(0))
        total = weights[0] + weights[1] + weights[2] + weights[3]
        enough = np.abs(total) >= np.float32(1000) * np.finfo(np.float32).tiny
        weights = np.where(enough, weights * (np.float32(1) / np.where(enough, total, np.float32(1))), weights)
    return found, weights


def _cubic_table(a: float) -> tuple[Array, Array]:
    """The filter's weights of the nearer and the farther pixels, by the step between them."""
    x = np.arange(STEPS + 1) / STEPS
    x = x.astype(np.float32).astype(np.float64)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    x = (x + 1).astype(np.float32).astype(np.float64)
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return near.astype(np.float32), far.astype(np.float32)


def _crop_shape(node: Node) -> list[Shape]:
    c = _images(node)[3]
    boxes, of = node.input(1), node.input(2)
    require(boxes.type == "FLOAT32" and boxes.shape[1:] == (4,), f"{boxes} must be boxes (n, 4) of FLOAT32. ")
    require(of.type == "INT32" and of.shape == boxes.shape[:1], f"{of} must have an INT32 for each of {boxes}. ")
    require(node.outputs[0].type == "FLOAT32", f"{node.outputs[0]} must be FLOAT32. ")
    return [(boxes.shape[0], *_size(node, 3), c)]


def _crop_positions(first: Array, last: Array, size: int, outputs: int) -> Array:
    """Where the pixels of crops from first to last (n,), fractions of an image's size, lie in it: (n, outputs)."""
    one = np.float32(size - 1)
    if outputs == 1:
        middle = 0.5 * (first + last).astype(np.float64) * (size - 1)
        return middle.astype(np.float32)[:, None]
    scale = (last - first) * one / np.float32(outputs - 1)
    return (first * one)[:, None] + np.arange(outputs, dtype=np.float32) * scale[:, None]


@function("FlexCropAndResize", inputs=4, types=NUMBERS, shape=_crop_shape, custom=True)
def crop_and_resize(node: Node, x: Array, boxes: Array, of: Array, size: Array) -> Array:
    """The boxes (n, 4), each of the image in x (b, h, w, c) that `of` names, at one size: (n, oh, ow, c)."""
    _, oh, ow, _ = node.outputs[0].shape
    require(((of >= 0) & (of < len(x))).all(), "box_index has values outside [0, batch_size)")
    h, w = x.shape[1:3]
    with np.errstate(all="ignore"):
        y = _crop_positions(boxes[:, 0], boxes[:, 2], h, oh)[:, :, None]
        across = _crop_positions(boxes[:, 1], boxes[:, 3], w, ow)[:, None, :]
        inside = (y >= 0) & (y <= h - 1) & (across >= 0) & (across <= w - 1)
    out = np.full(node.outputs[0].shape, attribute(node, "extrapolation_value", 0.0), np.float32)
    image = np.broadcast_to(of[:, None, None], inside.shape)[inside]
    y, across = np.broadcast_to(y, inside.shape)[inside], np.broadcast_to(across, inside.shape)[inside]
    if choice(node, "method", ("bilinear", "nearest")) == "nearest":
        out[inside] = x[image, _rounded(y), _rounded(across)]
        return out
    top, left = np.floor(y), np.floor(across)
    rows, columns = ([f(v).astype(np.int64) for f in (np.floor, np.ceil)] for v in (y, across))
    right, lower = (across - left)[:, None], (y - top)[:, None]
    upper_row, lower_row = (
        _blend(x[image, row, columns[0]].astype(np.float32), x[image, row, columns[1]].astype(np.float32), right)
        for row in rows
    )
    out[inside] = _blend(upper_row, lower_row, lower)
    return out


def _blend(a: Array, b: Array, share: Array) -> Array:
    return a + (b - a) * share


def _rounded(x: Array) -> Array:
    """The nearest integers, ties away from zero."""
    return (np.sign(x) * np.floor(np.abs(x) + np.float32(0.5))).astype(np.int64)


def _transform_shape(node: Node) -> list[Shape]:
    b, _, _, c = _images(node)
    transforms = node.input(1)
    fits = transforms.type == "FLOAT32" and transforms.shape in ((1, 8), (b, 8))
    require(fits, f"{transforms} must be (1, 8) or ({b}, 8) of FLOAT32. ")
    return [(b, *_size(node, 2), c)]


@dataclass(frozen=True)
class _Images:
    """Images (b, h, w, c), and what is read outside of them."""

    x: Array
    fill: Array

    def at(self, y: Array, x: Array) -> Array:
        """(b, oh, ow, c): the pixels at y and x (b, oh, ow), the fill value outside."""
        b, h, w, _ = self.x.shape
        inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
        row, column = (np.where(inside, v, 0).astype(np.int64) for v in (y, x))
        return np.where(inside[..., None], self.x[np.arange(b)[:, None, None], row, column], self.fill)


@function("FlexImageProjectiveTransformV2", inputs=3, types=NUMBERS, shape=_transform_shape, custom=True)
@function("FlexImageProjectiveTransformV3", inputs=4, types=NUMBERS, shape=_transform_shape, custom=True)
def image_projective_transform(node: Node, x: Array, transforms: Array, size: Array, fill: Array | int = 0) -> Array:
    """x (b, h, w, c) sampled where transforms (b, 8) send each pixel of an output (b, oh, ow, c)."""
    _, oh, ow, _ = node.outputs[0].shape
    a = transforms[:, :, None, None]
    column, row = np.arange(ow, dtype=np.float32), np.arange(oh, dtype=np.float32)[:, None]
    mode = choice(node, "fill_mode", ("CONSTANT", "REFLECT", "WRAP", "NEAREST"))
    with np.errstate(all="ignore"):
        scale = a[:, 6] * column + a[:, 7] * row + np.float32(1)
        across = _wrapped((a[:, 0] * column + a[:, 1] * row + a[:, 2]) / scale, x.shape[2], mode)
        down = _wrapped((a[:, 3] * column + a[:, 4] * row + a[:, 5]) / scale, x.shape[1], mode)
    across, down, scale = (np.broadcast_to(v, (len(x), oh, ow)) for v in (across, down, scale))
    images = _Images(x, np.asarray(fill).astype(x.dtype))
    with np.errstate(all="ignore"):
        sampled = _bilinear if choice(node, "interpolation", ("NEAREST", "BILINEAR")) == "BILINEAR" else _nearest
        found = sampled(images, down, across).astype(x.dtype)
    return np.where((scale == 0)[..., None], images.fill, found)


def _nearest(images: _Images, y: Array, x: Array) -> Array:
    y, x = (np.sign(v) * np.floor(np.abs(v) + np.float32(0.5)) for v in (y, x))
    return images.at(y, x)


def _bilinear(images: _Images, y: Array, x: Array) -> Array:
    top, left = np.floor(y), np.floor(x)
    bottom, right = top + 1, left + 1

    def along(row: Array) -> Array:
        first, second = (images.at(row, column).astype(np.float32) for column in (left, right))
        return (right - x)[..., None] * first + (x - left)[..., None] * second

    return (bottom - y)[..., None] * along(top) + (y - top)[..., None] * along(bottom)


def _wrapped(at: Array, size: int, mode: str) -> Array:
    """Positions along an axis of this size, those outside brought inside as the mode says."""
    if mode == "CONSTANT":
        return at
    n = np.float32(size)
    if mode in ("REFLECT", "WRAP") and size > 1:
        at = _reflected(at, n) if mode == "REFLECT" else _repeated(at, n)
    elif mode in ("REFLECT", "WRAP"):
        at = np.where((at < 0) | (at > 0), np.float32(0), at)
    return np.clip(at, np.float32(0), n - 1)


def _reflected(at: Array, n: np.float32) -> Array:
    """abcd as dcba abcd dcba."""
    twice = 2 * n
    low = np.where(at < twice, twice * np.trunc(-at / twice) + at, at)
    low = np.where(low < -n, low + twice, -low - 1)
    high = at - twice * np.trunc(at / twice)
    high = np.where(high >= n, twice - high - 1, high)
    return np.where(at < 0, low, np.where(at > n - 1, high, at))


def _repeated(at: Array, n: np.float32) -> Array:
    """abcd as abcd abcd abcd."""
    low = at + n * (np.trunc(-at / (n - 1)) + 1)
    high = at - n * np.trunc(at / (n - 1))
    return np.where(at < 0, low, np.where(at > n - 1, high, at))
