"""Max pools that also give the index of the maximum, and their inverse: MediaPipe's and the perception kernels'.

MediaPipe's index is a float, the tap in the window plus 0.1; the perception kernels' is an int32 index in the image.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops import custom_options
from tflgpu.ops.convolution.window import Window, positions, sliding
from tflgpu.ops.fused_activation import FLT_MAX, float_range
from tflgpu.ops.registry import Step, function, kernel, require

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")


def _pool_options(node: Node) -> SimpleNamespace:
    """The C struct in the node's options: padding, strides, filter size and activation."""
    require(len(node.custom_options) >= 20, f"{node.op} needs 20 bytes of options. ")
    padding, *sizes = struct.unpack_from("<5i", node.custom_options)
    require(padding in (1, 2), f"padding {padding} is neither SAME (1) nor VALID (2). ")
    require(all(0 < n <= 1 << 15 for n in sizes), f"strides and filter sizes {sizes} are not positive. ")
    number = struct.unpack_from("<i", node.custom_options, 20)[0] if len(node.custom_options) >= 24 else 0
    activation = ACTIVATIONS[number] if 0 <= number < len(ACTIVATIONS) else "NONE"
    stride_w, stride_h, kw, kh = sizes
    return SimpleNamespace(
        padding="SAME" if padding == 1 else "VALID", strides=(stride_h, stride_w), size=(kh, kw), activation=activation
    )


def _flexbuffer_options(node: Node) -> SimpleNamespace:
    """The flexbuffer map of MaxPoolWithArgmax."""
    options = custom_options.read(node)
    size, strides = custom_options.integers(options, "ksize"), custom_options.integers(options, "strides")
    for name, values in (("ksize", size), ("strides", strides)):
        require(len(values) == 4 and values[0] == values[3] == 1, f"{name} {values} is not [1, h, w, 1]. ")
        require(min(values) > 0 and max(values) <= 1 << 15, f"{name} {values} is not positive. ")
    padding = options.get("padding")
    require(padding in ("SAME", "VALID"), f"padding {padding!r} is neither SAME nor VALID. ")
    require(
        not options.get("include_batch_in_index"),
        "Include batch dimension in flattened index is not yet supported.",
    )
    return SimpleNamespace(padding=padding, strides=tuple(strides[1:3]), size=tuple(size[1:3]), activation="NONE")


def _window(node: Node, options: SimpleNamespace) -> Window:
    x = node.input(0)
    require(len(x.shape) == 4, f"NumDimensions(input) != 4 ({len(x.shape)} != 4)")
    require(min(x.shape[1:3]) > 0, f"an image of {list(x.shape)} has no pixels. ")
    return sliding(x.shape[1:3], options.size, options.strides, options.padding)


def _pool_shapes(node: Node) -> list[Shape]:
    options = _pool_options(node) if node.op == "MaxPoolingWithArgmax2D" else _flexbuffer_options(node)
    wanted = "FLOAT32" if node.op == "MaxPoolingWithArgmax2D" else "INT32"
    require(len(node.outputs) == 2, f"NumOutputs(node) != 2 ({len(node.outputs)} != 2)")
    require(node.outputs[1].type == wanted, f"indices of type {node.outputs[1].type} are not {wanted}. ")
    window = _window(node, options)
    b, _, _, c = node.input(0).shape
    return [(b, window.oh, window.ow, c)] * 2


def _arg_max(x: Array, window: Window) -> tuple[Array, Array]:
    """(maxima, the number of the tap that has it first), (b, oh, ow, c) each; (-FLT_MAX, -1) where none is larger."""
    shape = (len(x), window.oh, window.ow, x.shape[3])
    best, taps = np.full(shape, -FLT_MAX, np.float32), np.full(shape, -1, np.int32)
    met, rows, columns = window.cropped(*x.shape[1:3])
    for i, j, oy, ox, iy, ix in positions(met, *x.shape[1:3]):
        pixels, target = x[:, iy, ix], best[:, oy, ox]
        larger = pixels > target
        np.copyto(target, pixels, where=larger)
        np.copyto(taps[:, oy, ox], np.int32((rows.start + i) * window.kw + columns.start + j), where=larger)
    return best, taps


def _pool_body(node: Node) -> str:
    """The kernel body that finds one maximum and its index."""
    mediapipes = node.op == "MaxPoolingWithArgmax2D"
    options = _pool_options(node) if mediapipes else _flexbuffer_options(node)
    window = _window(node, options)
    _, h, w, c = node.input(0).shape
    lo, hi = (float(bound).hex() for bound in float_range(options.activation))
    row, column = f"oy * {window.sh} - {window.top}", f"ox * {window.sw} - {window.left}"
    index = f"(({row} + tap / {window.kw}) * {w} + {column} + tap % {window.kw})"
    found = "(f32)(tap < 0 ? 0 : tap) + 0.1f" if mediapipes else f"(tap < 0 ? 0 : {index}) * {c} + channel"
    return f"""
        const i32 channel = i % {c}, ox = i / {c} % {window.ow}, oy = i / {c * window.ow} % {window.oh};
        const i32 image = i / {c * window.ow * window.oh};
        f32 best = -FLT_MAX;
        i32 tap = -1;
        for (i32 ky = 0; ky < {window.kh}; ky++)
            for (i32 kx = 0; kx < {window.kw}; kx++) {{
                const i32 y = {row} + ky, x = {column} + kx;
                if (y < 0 || y >= {h} || x < 0 || x >= {w}) continue;
                const f32 v = in0[((image * {h} + y) * {w} + x) * {c} + channel];
                if (v > best) {{
                    best = v;
                    tap = ky * {window.kw} + kx;
                }}
            }}
        out0[i] = clamp_f32(best, {lo}f, {hi}f);
        out1[i] = {found};"""


def _require_floats(node: Node) -> None:
    out = node.outputs[0]
    require(out.type == "FLOAT32", f"{out} must be FLOAT32. ")


_arg_max_pool = partial(
    function,
    inputs=1,
    outputs=2,
    types="FLOAT32",
    shape=_pool_shapes,
    check=_require_floats,
    custom=True,
    body=_pool_body,
)


@_arg_max_pool("MaxPoolingWithArgmax2D")
def max_pooling_with_argmax_2d(node: Node, x: Array) -> tuple[Array, Array]:
    """The largest of each window of x (b, h, w, c), and where in the window it is: row * kw + column + 0.1."""
    options = _pool_options(node)
    best, taps = _arg_max(x, _window(node, options))
    lo, hi = float_range(options.activation)
    return np.clip(best, lo, hi), np.maximum(taps, 0).astype(np.float32) + np.float32(0.1)


@_arg_max_pool("MaxPoolWithArgmax")
def max_pool_with_argmax(node: Node, x: Array) -> tuple[Array, Array]:
    """The largest of each window of x (b, h, w, c), and where in its image it is: (y * w + x) * c + channel."""
    window = _window(node, _flexbuffer_options(node))
    best, taps = _arg_max(x, window)
    _, _, w, c = x.shape
    y = np.arange(window.oh, dtype=np.int32)[:, None, None] * window.sh - window.top + taps // window.kw
    column = np.arange(window.ow, dtype=np.int32)[:, None] * window.sw - window.left + taps % window.kw
    # Where nothing exceeds -FLT_MAX, the index is the image's first.
    index = np.where(taps < 0, 0, y * w + column)
    lo, hi = float_range("NONE")
    return np.clip(best, lo, hi), (index * c + np.arange(c, dtype=np.int32)).astype(np.int32)


def unpool_window(node: Node) -> Window:
    """The windows of MaxUnpooling2D over its output."""
    options = _pool_options(node)
    _, oh, ow, _ = node.outputs[0].shape
    return sliding((oh, ow), options.size, options.strides, options.padding)


def _unpool_shape(node: Node) -> list[Shape]:
    options, x, indices = _pool_options(node), node.input(0), node.input(1)
    require(len(x.shape) == 4, f"NumDimensions(input) != 4 ({len(x.shape)} != 4)")
    require(x.shape == indices.shape, "Input and indices must have the same shape.")
    require(indices.type in ("FLOAT32", "INT32"), f"indices of type {indices.type} are neither FLOAT32 nor INT32. ")
    b, h, w, c = x.shape
    (sh, sw), (kh, kw) = options.strides, options.size
    if options.padding == "SAME":
        return [(b, h * sh, w * sw, c)]
    return [(b, max(0, (h - 1) * sh + kh), max(0, (w - 1) * sw + kw), c)]


@kernel("MaxUnpooling2D", inputs=2, types="FLOAT32", shape=_unpool_shape, check=_require_floats, custom=True)
def max_unpooling_2d(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """x (b, h, w, c) put back to where its maxima were, zeros elsewhere. Of equal indices the last wins."""
    x, indices = inputs
    assert x is not None and indices is not None
    out = outputs[0]
    b, h, w, c = x.shape
    _, oh, ow, _ = out.shape
    window = unpool_window(node)
    sh, sw, kw = window.sh, window.sw, window.kw
    top = np.arange(h, dtype=np.int64)[:, None, None] * sh - window.top
    left = np.arange(w, dtype=np.int64)[:, None] * sw - window.left
    images = np.arange(b, dtype=np.int64)[:, None, None, None] * (oh * ow * c)
    channels = np.arange(c, dtype=np.int64)

    def step() -> None:
        if indices.dtype == np.float32:
            taps = np.floor(indices).astype(np.int64)
            y, column = top + taps // kw, left + taps % kw
            inside = (y >= 0) & (y < oh) & (column >= 0) & (column < ow)
            index = (y * ow + column) * c + channels
        else:
            index = indices.astype(np.int64)
            inside = (index >= 0) & (index < oh * ow * c)
        require(inside.all(), "an index of MaxUnpooling2D lies outside of the output. ")
        out.fill(0)
        out.reshape(-1)[(images + index).reshape(-1)] = x.reshape(-1)

    return step


def _warp_shape(node: Node) -> list[Shape]:
    x, flow = node.input(0), node.input(1)
    require(len(x.shape) == 4 and len(flow.shape) == 4, "NumDimensions(input) != 4")
    require(flow.type == "FLOAT32", f"flow->type != FLOAT32 ({flow.type})")
    require(x.shape[:3] == flow.shape[:3], f"input_shape.Dims != flow_shape.Dims ({x.shape} != {flow.shape})")
    require(x.shape[1] >= 2, "Image height must be at least 2.")
    require(x.shape[2] >= 2, "Image width must be at least 2.")
    require(flow.shape[3] == 2, "The last dimension of flow tensor must be 2.")
    return [x.shape]


def _warp_body(node: Node) -> str:
    """The kernel that samples one element."""
    _, h, w, c = node.input(0).shape
    return f"""
        const i32 channel = i % {c}, pixel = i / {c}, image = pixel / {w * h};
        const f32 y = (f32)(pixel / {w} % {h}) - in1[2 * pixel], x = (f32)(pixel % {w}) - in1[2 * pixel + 1];
        const f32 top = clamp_f32(floor(y), 0.0f, {h - 2}.0f), left = clamp_f32(floor(x), 0.0f, {w - 2}.0f);
        const f32 down = clamp_f32(y - top, 0.0f, 1.0f), right = clamp_f32(x - left, 0.0f, 1.0f);
        const i32 at = ((image * {h} + (i32)top) * {w} + (i32)left) * {c} + channel;
        const f32 upper = right * (in0[at + {c}] - in0[at]) + in0[at];
        const f32 lower = right * (in0[at + {(w + 1) * c}] - in0[at + {w * c}]) + in0[at + {w * c}];
        out0[i] = down * (lower - upper) + upper;"""


@function(
    "DenseImageWarp", inputs=2, types="FLOAT32", shape=_warp_shape, check=_require_floats, custom=True, body=_warp_body
)
def dense_image_warp(node: Node, x: Array, flow: Array) -> Array:
    """x (b, h, w, c) sampled between pixels at each pixel's position less flow (b, h, w, 2), (down, right)."""
    b, h, w, _ = x.shape
    y = np.arange(h, dtype=np.float32)[:, None] - flow[..., 0]
    across = np.arange(w, dtype=np.float32) - flow[..., 1]
    top = np.clip(np.floor(y), 0, h - 2).astype(np.int64)
    left = np.clip(np.floor(across), 0, w - 2).astype(np.int64)
    down = np.clip(y - top.astype(np.float32), 0, 1).astype(np.float32)[..., None]
    right = np.clip(across - left.astype(np.float32), 0, 1).astype(np.float32)[..., None]
    image = np.arange(b)[:, None, None]

    def between(row: Array) -> Array:
        first, second = x[image, row, left], x[image, row, left + 1]
        return right * (second - first) + first

    upper, lower = between(top), between(top + 1)
    return down * (lower - upper) + upper
