"""Gradients that training in a model needs: of convolutions, pools, biases and losses."""

from __future__ import annotations

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.flex.inputs import sizes
from tflgpu.ops.flex.node_def import attribute
from tflgpu.ops.flex.windows import Windows, counted, pool_windows, pooled, windows
from tflgpu.ops.registry import function, require

FLOATS = "FLOAT32 FLOAT64"


def _images_and_filter(node: Node) -> tuple[Shape, Shape]:
    """The shapes of the convolution's images and of its filter, one of which is given as a value."""
    if node.op.endswith("Filter"):
        return node.input(0).shape, sizes(node, 1)
    return sizes(node, 0), node.input(1).shape


def _convolution(node: Node) -> Windows:
    images, taps = _images_and_filter(node)
    require(len(images) == len(taps) == 4 and taps[2] == images[3], f"{node.op}: {images} and {taps} do not fit. ")
    require(attribute(node, "data_format", b"NHWC") == b"NHWC", f"{node.op}: channels must come last. ")
    over = windows(node, images[1:3], taps[:2], "strides", "dilations")
    channels = taps[2] * taps[3] if "Depthwise" in node.op else taps[3]
    wanted = (images[0], *over.outputs, channels)
    require(node.input(2).shape == wanted, f"{node.input(2)} must be of the shape {list(wanted)}. ")
    return over


def _filter_shape(node: Node) -> list[Shape]:
    _convolution(node)
    return [_images_and_filter(node)[1]]


def _image_shape(node: Node) -> list[Shape]:
    _convolution(node)
    return [_images_and_filter(node)[0]]


@function("FlexConv2DBackpropFilter", inputs=3, types=FLOATS, shape=_filter_shape, custom=True)
def conv_2d_backprop_filter(node: Node, x: Array, sizes: Array, g: Array) -> Array:
    """The gradient of the filter (kh, kw, c, oc) from x (b, h, w, c) and the output's gradient g (b, oh, ow, oc)."""
    out = np.zeros(node.outputs[0].shape, x.dtype)
    for tap, outputs, inputs in _convolution(node).positions():
        read, given = x[inputs], g[outputs]
        out[tap] = read.reshape(-1, read.shape[3]).T @ given.reshape(-1, given.shape[3])
    return out


@function("FlexConv2DBackpropInput", inputs=3, types=FLOATS, typed_input=2, shape=_image_shape, custom=True)
def conv_2d_backprop_input(node: Node, sizes: Array, taps: Array, g: Array) -> Array:
    """The gradient of the images (b, h, w, c) from the filter and the output's gradient g (b, oh, ow, oc)."""
    out = np.zeros(node.outputs[0].shape, g.dtype)
    for tap, outputs, inputs in _convolution(node).positions():
        out[inputs] += g[outputs] @ taps[tap].T
    return out


def _by_channel(g: Array, channels: int) -> Array:
    return g.reshape(*g.shape[:3], channels, g.shape[3] // channels)


@function("FlexDepthwiseConv2dNativeBackpropFilter", inputs=3, types=FLOATS, shape=_filter_shape, custom=True)
def depthwise_backprop_filter(node: Node, x: Array, sizes: Array, g: Array) -> Array:
    """The gradient of the filter (kh, kw, c, m) from x (b, h, w, c) and the output's gradient g (b, oh, ow, c * m)."""
    out, g = np.zeros(node.outputs[0].shape, x.dtype), _by_channel(g, x.shape[3])
    for tap, outputs, inputs in _convolution(node).positions():
        out[tap] = np.einsum("byxc,byxcm->cm", x[inputs], g[outputs])
    return out


@function(
    "FlexDepthwiseConv2dNativeBackpropInput", inputs=3, types=FLOATS, typed_input=2, shape=_image_shape, custom=True
)
def depthwise_backprop_input(node: Node, sizes: Array, taps: Array, g: Array) -> Array:
    """The gradient of the images (b, h, w, c) from the filter and the output's gradient g (b, oh, ow, c * m)."""
    out, g = np.zeros(node.outputs[0].shape, g.dtype), _by_channel(g, taps.shape[2])
    for tap, outputs, inputs in _convolution(node).positions():
        out[inputs] += np.einsum("byxcm,cm->byxc", g[outputs], taps[tap])
    return out


def _pool_gradient_shape(node: Node) -> list[Shape]:
    x, y, g = (node.input(i) for i in range(3))
    wanted = pooled(node, x.shape, 2)
    require(y.shape == g.shape == wanted, f"{y} and {g} must be of the shape {list(wanted)}. ")
    return [x.shape]


@function("FlexMaxPoolGrad", inputs=3, types=FLOATS, shape=_pool_gradient_shape, custom=True)
def max_pool_grad(node: Node, x: Array, y: Array, g: Array) -> Array:
    """The gradient of x (b, h, w, c): each window's goes to its first maximum, whose value is y."""
    out, todo = np.zeros_like(x), np.ones(y.shape, bool)
    for _, outputs, inputs in pool_windows(node, x.shape, 2).positions():
        to, source = outputs, inputs
        here = (x[source] == y[to]) & todo[to]
        out[source] += np.where(here, g[to], 0)
        todo[to] &= ~here
    return out


def _average_gradient_shape(node: Node) -> list[Shape]:
    shape = sizes(node, 0)
    wanted = pooled(node, shape, 2)
    require(node.input(1).shape == wanted, f"{node.input(1)} must be of the shape {list(wanted)}. ")
    return [shape]


@function("FlexAvgPoolGrad", inputs=2, types=FLOATS, typed_input=1, shape=_average_gradient_shape, custom=True)
def avg_pool_grad(node: Node, shape: Array, g: Array) -> Array:
    """The gradient of the images (b, h, w, c): each window's is divided among what it has inside."""
    out = np.zeros(node.outputs[0].shape, g.dtype)
    over = pool_windows(node, out.shape, 2)
    share = g / counted(over).astype(g.dtype)
    for _, outputs, inputs in over.positions():
        out[inputs] += share[outputs]
    return out


def _bias_shape(node: Node) -> list[Shape]:
    require(len(node.input(0).shape) >= 2, f"{node.input(0)}: a batch of channels is wanted. ")
    require(attribute(node, "data_format", b"NHWC") == b"NHWC", f"{node.op}: channels must come last. ")
    return [node.input(0).shape[-1:]]


@function("FlexBiasAddGrad", inputs=1, types=f"{FLOATS} FLOAT16", shape=_bias_shape, custom=True)
def bias_add_grad(node: Node, g: Array) -> Array:
    """The sum of g (…, c) over all but the last dimension."""
    return g.sum(axis=tuple(range(g.ndim - 1)))


def _loss_shapes(node: Node) -> list[Shape]:
    x, labels = node.input(0), node.input(1)
    sparse = node.op.startswith("FlexSparse")
    wanted = x.shape[:1] if sparse else x.shape
    fits = len(x.shape) == 2 and labels.shape == wanted
    fits &= labels.type in ("INT32", "INT64") if sparse else labels.type == x.type
    require(fits, f"{labels} do not fit {x}. ")
    return [x.shape[:1], x.shape]


@function("FlexSoftmaxCrossEntropyWithLogits", inputs=2, outputs=2, types=FLOATS, shape=_loss_shapes, custom=True)
def softmax_cross_entropy(node: Node, x: Array, labels: Array) -> tuple[Array, Array]:
    """The losses (n,) of logits x (n, classes) by their labels (n, classes), and the gradient of x."""
    logits = x - x.max(axis=1, keepdims=True, initial=-np.inf)
    powers = np.exp(logits)
    total = powers.sum(axis=1, keepdims=True)
    losses = np.where(labels == 0, x.dtype.type(0), labels * (np.log(total) - logits))
    return losses.sum(axis=1), powers / total - labels


@function("FlexSparseSoftmaxCrossEntropyWithLogits", inputs=2, outputs=2, types=FLOATS, shape=_loss_shapes, custom=True)
def sparse_softmax_cross_entropy(node: Node, x: Array, labels: Array) -> tuple[Array, Array]:
    """As FlexSoftmaxCrossEntropyWithLogits, with the one right class of each row as labels (n,)."""
    inside = (labels >= 0) & (labels < x.shape[1])
    require(inside.all(), f"Received a label value which is outside the valid range of [0, {x.shape[1]}). ")
    one_hot = np.zeros_like(x)
    one_hot[np.arange(len(x)), labels] = 1
    return softmax_cross_entropy(node, x, one_hot)
