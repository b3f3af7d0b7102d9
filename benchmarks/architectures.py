"""Well-known networks as data, with seeded weights: what models.py makes .tflite files of, and torch_models.py modules.

Shapes are NHWC; weights are (oc, kh, kw, c), depthwise (1, kh, kw, c), dense (units, depth).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Value:
    """What a layer makes, or an input."""

    shape: Shape


@dataclass(frozen=True, eq=False)
class Layer:
    """One operation. weights: its parameters by name. options: what else it needs."""

    op: str
    inputs: tuple[Value, ...]
    output: Value
    weights: Mapping[str, Array] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


class Network:
    """Layers in the order in which they run. Every method adds one and returns what it makes."""

    def __init__(self, input_shape: Shape, seed: int = 0):
        self.input = Value(input_shape)
        self.layers: list[Layer] = []
        self._rng = np.random.default_rng(seed)

    @property
    def output(self) -> Value:
        return self.layers[-1].output

    def _add(self, op: str, inputs: tuple[Value, ...], shape: Shape, weights: Any = None, **options: Any) -> Value:
        layer = Layer(op, inputs, Value(shape), weights or {}, options)
        self.layers.append(layer)
        return layer.output

    def _normal(self, *shape: int, fan_in: int) -> Array:
        return (self._rng.standard_normal(shape, np.float32) * np.float32(math.sqrt(2 / fan_in))).astype(np.float32)

    def _bias(self, n: int) -> Array:
        return self._rng.standard_normal(n, np.float32) * np.float32(0.1)

    def conv(self, x: Value, oc: int, k: int = 1, stride: int = 1, act: str = "NONE") -> Value:
        n, h, w, c = x.shape
        weights = {"weights": self._normal(oc, k, k, c, fan_in=k * k * c), "bias": self._bias(oc)}
        return self._add("conv", (x,), (n, -(-h // stride), -(-w // stride), oc), weights, stride=stride, act=act)

    def depthwise(self, x: Value, k: int = 3, stride: int = 1, act: str = "NONE") -> Value:
        n, h, w, c = x.shape
        weights = {"weights": self._normal(1, k, k, c, fan_in=k * k), "bias": self._bias(c)}
        return self._add("depthwise", (x,), (n, -(-h // stride), -(-w // stride), c), weights, stride=stride, act=act)

    def max_pool(self, x: Value, k: int, stride: int) -> Value:
        n, h, w, c = x.shape
        return self._add("max_pool", (x,), (n, -(-h // stride), -(-w // stride), c), k=k, stride=stride)

    def dense(self, x: Value, units: int, act: str = "NONE") -> Value:
        depth = x.shape[-1]
        weights = {"weights": self._normal(units, depth, fan_in=2 * depth), "bias": self._bias(units)}
        return self._add("dense", (x,), (*x.shape[:-1], units), weights, act=act)

    def mean(self, x: Value) -> Value:
        """Over height and width, kept as 1 x 1."""
        return self._add("mean", (x,), (x.shape[0], 1, 1, x.shape[3]))

    def unary(self, op: str, x: Value) -> Value:
        """op: "SOFTMAX", "LOGISTIC", "HARD_SWISH" or "GELU"."""
        return self._add(op, (x,), x.shape)

    def add(self, x: Value, y: Value, act: str = "NONE") -> Value:
        return self._add("ADD", (x, y), x.shape, act=act)

    def mul(self, x: Value, y: Value) -> Value:
        return self._add("MUL", (x, y), x.shape)

    def scaled(self, x: Value, factor: float) -> Value:
        return self._add("scaled", (x,), x.shape, factor=factor)

    def reshape(self, x: Value, *shape: int) -> Value:
        return self._add("reshape", (x,), shape)

    def transpose(self, x: Value, *order: int) -> Value:
        return self._add("transpose", (x,), tuple(x.shape[i] for i in order), order=order)

    def matmul(self, x: Value, y: Value, adj_y: bool = False) -> Value:
        return self._add("matmul", (x, y), (*x.shape[:-1], y.shape[-2 if adj_y else -1]), adj_y=adj_y)

    def layer_norm(self, x: Value) -> Value:
        depth = x.shape[-1]
        weights = {"gamma": 1 + self._bias(depth), "beta": self._bias(depth)}
        return self._add("layer_norm", (x,), x.shape, weights)

    def offset(self, x: Value) -> Value:
        """x plus a learned position."""
        return self._add("offset", (x,), x.shape, {"bias": self._bias(math.prod(x.shape[1:])).reshape(x.shape[1:])})


def _classifier(net: Network, x: Value, classes: int = 1000) -> Network:
    x = net.mean(x)
    x = net.dense(net.reshape(x, x.shape[0], x.shape[3]), classes)
    net.unary("SOFTMAX", x)
    return net


def mobilenet_v1(batch: int = 1, size: int = 224) -> Network:
    net = Network((batch, size, size, 3))
    x = net.conv(net.input, 32, 3, 2, "RELU6")
    for oc, stride in (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ):
        x = net.conv(net.depthwise(x, 3, stride, "RELU6"), oc, act="RELU6")
    return _classifier(net, x)


def mobilenet_v2(batch: int = 1, size: int = 224) -> Network:
    net = Network((batch, size, size, 3))
    x = net.conv(net.input, 32, 3, 2, "RELU6")
    for expand, oc, repeats, stride in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for i in range(repeats):
            y = x if expand == 1 else net.conv(x, expand * x.shape[3], act="RELU6")
            y = net.conv(net.depthwise(y, 3, stride if i == 0 else 1, "RELU6"), oc)
            x = net.add(x, y) if y.shape == x.shape else y
    return _classifier(net, net.conv(x, 1280, act="RELU6"))


def _gated(net: Network, x: Value, channels: int, first: str, hard: bool) -> Value:
    """Squeeze and excitation."""
    y = net.conv(net.mean(x), channels, act="RELU" if first == "RELU" else "NONE")
    if first == "SWISH":
        y = net.mul(y, net.unary("LOGISTIC", y))
    y = net.conv(y, x.shape[3])
    if not hard:
        return net.mul(x, net.unary("LOGISTIC", y))
    return net.mul(x, net.unary("hard_sigmoid", y))


def mobilenet_v3(batch: int = 1, size: int = 224) -> Network:
    """The large one."""
    net = Network((batch, size, size, 3))
    x = net.unary("HARD_SWISH", net.conv(net.input, 16, 3, 2))
    for k, wide, oc, gate, hard, stride in (
        *((3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2)),
        *((5, 120, 40, 1, 0, 1), (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1)),
        *((3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1)),
        *((5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1)),
    ):
        act = "NONE" if hard else "RELU"
        y = net.conv(x, wide, act=act) if wide != x.shape[3] else x
        y = net.unary("HARD_SWISH", y) if hard and wide != x.shape[3] else y
        y = net.depthwise(y, k, stride, act)
        y = net.unary("HARD_SWISH", y) if hard else y
        y = _gated(net, y, wide // 4, "RELU", True) if gate else y
        y = net.conv(y, oc)
        x = net.add(x, y) if y.shape == x.shape else y
    x = net.mean(net.unary("HARD_SWISH", net.conv(x, 960)))
    x = net.unary("HARD_SWISH", net.conv(x, 1280))
    net.unary("SOFTMAX", net.dense(net.reshape(x, batch, 1280), 1000))
    return net


def efficientnet_b0(batch: int = 1, size: int = 224) -> Network:
    net = Network((batch, size, size, 3))

    def swish(y: Value) -> Value:
        return net.mul(y, net.unary("LOGISTIC", y))

    x = swish(net.conv(net.input, 32, 3, 2))
    for expand, oc, repeats, stride, k in (
        *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
        *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
    ):
        for i in range(repeats):
            c = x.shape[3]
            y = x if expand == 1 else swish(net.conv(x, expand * c))
            y = swish(net.depthwise(y, k, stride if i == 0 else 1))
            y = net.conv(_gated(net, y, max(c // 4, 1), "SWISH", False), oc)
            x = net.add(x, y) if y.shape == x.shape else y
    return _classifier(net, swish(net.conv(x, 1280)))


def resnet_50(batch: int = 1, size: int = 224) -> Network:
    net = Network((batch, size, size, 3))
    x = net.max_pool(net.conv(net.input, 64, 7, 2, "RELU"), 3, 2)
    for width, repeats, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(repeats):
            s = stride if i == 0 else 1
            y = net.conv(net.conv(net.conv(x, width, act="RELU"), width, 3, s, "RELU"), 4 * width)
            x = net.add(y, net.conv(x, 4 * width, 1, s) if i == 0 else x, "RELU")
    return _classifier(net, x)


def _encoder(net: Network, x: Value, layers: int, heads: int, norm_first: bool) -> Value:
    """A transformer's layers over x (batch, tokens, depth)."""
    batch, tokens, depth = x.shape
    each = depth // heads

    def split(y: Value) -> Value:
        return net.transpose(net.reshape(y, batch, tokens, heads, each), 0, 2, 1, 3)

    def attention(y: Value) -> Value:
        q, k, v = (split(net.dense(y, depth)) for _ in range(3))
        scores = net.unary("SOFTMAX", net.scaled(net.matmul(q, k, adj_y=True), 1 / math.sqrt(each)))
        mixed = net.transpose(net.matmul(scores, v), 0, 2, 1, 3)
        return net.dense(net.reshape(mixed, batch, tokens, depth), depth)

    def feed_forward(y: Value) -> Value:
        return net.dense(net.unary("GELU", net.dense(y, 4 * depth)), depth)

    for _ in range(layers):
        for block in (attention, feed_forward):
            y = block(net.layer_norm(x) if norm_first else x)
            x = net.add(x, y) if norm_first else net.layer_norm(net.add(x, y))
    return x


def vit_s16(batch: int = 1, size: int = 224) -> Network:
    """The small vision transformer, without a class token: its outputs are averaged."""
    net = Network((batch, size, size, 3))
    side = size // 16
    x = net.reshape(net.conv(net.input, 384, 16, 16), batch, side * side, 384)
    x = net.layer_norm(_encoder(net, net.offset(x), 12, 6, True))
    return _classifier(net, net.reshape(x, batch, side, side, 384))


def bert_base(batch: int = 1, tokens: int = 128, layers: int = 12, depth: int = 768) -> Network:
    """The encoder, from embeddings on."""
    net = Network((batch, tokens, depth))
    net.layer_norm(_encoder(net, net.layer_norm(net.offset(net.input)), layers, depth // 64, False))
    return net


ARCHITECTURES: Mapping[str, Callable[..., Network]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3": mobilenet_v3,
    "efficientnet_b0": efficientnet_b0,
    "resnet_50": resnet_50,
    "vit_s16": vit_s16,
    "bert_base": bert_base,
}
