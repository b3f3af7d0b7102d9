"""The architectures as PyTorch modules with the same weights, images as NCHW in memory of channels last."""

from __future__ import annotations

from typing import Any

import torch
from architectures import Layer, Network, Value
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: dict[str, Any] = {
    "NONE": lambda x: x,
    "RELU": functional.relu,
    "RELU6": functional.relu6,
    "HARD_SWISH": functional.hardswish,
    "LOGISTIC": torch.sigmoid,
    "GELU": functional.gelu,
    "hard_sigmoid": functional.hardsigmoid,
    "SOFTMAX": lambda x: torch.softmax(x, -1),
}


class TorchNetwork(nn.Module):
    """Runs a Network. forward takes the input as NHWC, or as (batch, tokens, depth), and returns the output."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network
        self.images: set[Value] = set()
        if len(network.input.shape) == 4:
            self.images.add(network.input)
        for number, layer in enumerate(network.layers):
            for name, array in layer.weights.items():
                self.register_buffer(f"{name}_{number}", self._stored(layer, name, torch.from_numpy(array)))
            if layer.op not in ("reshape", "transpose") and layer.inputs[0] in self.images:
                self.images.add(layer.output)

    def _stored(self, layer: Layer, name: str, array: Tensor) -> Tensor:
        if name == "weights" and layer.op == "conv":
            return array.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        if name == "weights" and layer.op == "depthwise":
            return array.permute(3, 0, 1, 2).contiguous(memory_format=torch.channels_last)
        return array

    def forward(self, x: Tensor) -> Tensor:
        known: dict[Value, Tensor] = {}
        known[self.network.input] = x.permute(0, 3, 1, 2) if self.network.input in self.images else x
        for number, layer in enumerate(self.network.layers):
            known[layer.output] = self._run(layer, number, [known[value] for value in layer.inputs])
        return known[self.network.output]

    def _run(self, layer: Layer, number: int, inputs: list[Tensor]) -> Tensor:
        x, o = inputs[0], layer.options
        image = layer.inputs[0] in self.images
        weights = {name: getattr(self, f"{name}_{number}") for name in layer.weights}
        if layer.op in ("conv", "depthwise"):
            return ACTIVATIONS[o["act"]](_conv(x, weights["weights"], weights["bias"], o["stride"], layer.op))
        if layer.op == "max_pool":
            return functional.max_pool2d(_padded(x, o["k"], o["stride"], float("-inf")), o["k"], o["stride"])
        if layer.op == "mean":
            return x.mean((2, 3) if image else (1, 2), keepdim=True)
        if layer.op == "dense":
            return ACTIVATIONS[o["act"]](functional.linear(x, weights["weights"], weights["bias"]))
        if layer.op == "ADD":
            return ACTIVATIONS[o["act"]](x + inputs[1])
        if layer.op == "MUL":
            return x * inputs[1]
        if layer.op == "scaled":
            return x * o["factor"]
        if layer.op == "offset":
            return x + weights["bias"]
        if layer.op == "layer_norm":
            return functional.layer_norm(x, (x.shape[-1],), weights["gamma"], weights["beta"], 1e-6)
        if layer.op == "reshape":
            return (x.permute(0, 2, 3, 1) if image else x).reshape(layer.output.shape)
        if layer.op == "transpose":
            return x.permute(o["order"])
        if layer.op == "matmul":
            return x @ (inputs[1].transpose(-1, -2) if o["adj_y"] else inputs[1])
        return ACTIVATIONS[layer.op](x)


def _padded(x: Tensor, k: int, stride: int, value: float = 0.0) -> Tensor:
    """x with TensorFlow's padding SAME around it: the odd pixel below and to the right."""
    pads: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + k - size, 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(x, pads, value=value) if any(pads) else x


def _conv(x: Tensor, weights: Tensor, bias: Tensor, stride: int, op: str) -> Tensor:
    groups = x.shape[1] if op == "depthwise" else 1
    k, size = weights.shape[2], x.shape[2]
    total = max((-(-size // stride) - 1) * stride + k - size, 0)
    if total % 2 == 0 and x.shape[2] == x.shape[3]:
        return functional.conv2d(x, weights, bias, stride, total // 2, groups=groups)
    return functional.conv2d(_padded(x, k, stride), weights, bias, stride, groups=groups)
