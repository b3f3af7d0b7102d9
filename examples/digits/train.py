"""Trains the digits classifier and writes it as four .tflite models: float32, float16 weights, dynamic range, int8.

    pip install torch scikit-learn '.[cli]' && python examples/digits/train.py

The network: 3x3 convolution, two depthwise-separable blocks, pooling, a dense layer, softmax, on 8x8 images in [0,
1]. Weights, images and test split are deterministic; the models beside this file are what it wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data import held_out, training
from torch import nn

from tflgpu.edit.describe import put_labels
from tflgpu.edit.document import Document
from tflgpu.model.builder import GraphBuilder, ModelBuilder

HERE = Path(__file__).parent
EPOCHS = 60


@dataclass
class Layer:
    """One operator with its trained weights, in TensorFlow Lite's layout, and what it may put out (for int8)."""

    op: str
    options: dict[str, object]
    shape: list[int]
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None
    low: float = 0.0
    high: float = 1.0


def network() -> nn.Sequential:
    def separable(channels: int, out: int) -> list[nn.Module]:
        return [
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.ReLU6(),
            nn.Conv2d(channels, out, 1), nn.ReLU(),
        ]  # fmt: skip

    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        *separable(16, 32), nn.MaxPool2d(2),
        *separable(32, 64), nn.AvgPool2d(4),
        nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1),
    )  # fmt: skip


def train() -> nn.Sequential:
    torch.manual_seed(7)
    images, labels = training()
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    y = torch.from_numpy(labels)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for epoch in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(32):
            # The last layer is a softmax: its logarithm against the label is the cross entropy.
            loss = nn.functional.nll_loss(torch.log(model(x[batch]) + 1e-9), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}")
    return model.eval()


def layers(model: nn.Sequential) -> list[Layer]:
    """The trained network as operators, each with the range that its output takes over the training images."""
    value = torch.from_numpy(training()[0]).permute(0, 3, 1, 2)
    found: list[Layer] = []
    for module in model:
        value = module(value).detach()
        shape = [1, *np.moveaxis(value.numpy()[:1], 1, -1).shape[1:]]
        if isinstance(module, nn.Conv2d):
            found.append(convolution(module, shape))
        elif isinstance(module, (nn.ReLU, nn.ReLU6)):
            found[-1].options["fused_activation_function"] = type(module).__name__.upper()
        elif isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
            size = int(module.kernel_size)
            window = {"filter_height": size, "filter_width": size, "stride_h": size, "stride_w": size}
            op = "MAX_POOL_2D" if isinstance(module, nn.MaxPool2d) else "AVERAGE_POOL_2D"
            found.append(Layer(op, {"padding": "VALID", **window}, shape))
        elif isinstance(module, nn.Flatten):
            found.append(Layer("RESHAPE", {"new_shape": shape}, shape))
        elif isinstance(module, nn.Linear):
            found.append(Layer("FULLY_CONNECTED", {}, shape, array(module.weight), array(module.bias)))
        else:
            found.append(Layer("SOFTMAX", {"beta": 1.0}, shape))
        found[-1].low, found[-1].high = min(value.min().item(), 0.0), value.max().item()
    return found


def convolution(module: nn.Conv2d, shape: list[int]) -> Layer:
    weights = array(module.weight)  # (out, in / groups, h, w)
    options: dict[str, object] = {"padding": "SAME", "stride_h": 1, "stride_w": 1}
    if module.groups == 1:
        return Layer("CONV_2D", options, shape, weights.transpose(0, 2, 3, 1), array(module.bias))
    one_a_channel = weights.transpose(1, 2, 3, 0)  # (1, h, w, channels)
    return Layer("DEPTHWISE_CONV_2D", {**options, "depth_multiplier": 1}, shape, one_a_channel, array(module.bias))


def array(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().numpy()


def output_axis(layer: Layer) -> int:
    return 3 if layer.op == "DEPTHWISE_CONV_2D" else 0


def symmetric(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """int8 values and scales: one a channel for convolutions, one in all for the dense layer."""
    assert layer.weights is not None
    axis = output_axis(layer)
    others = tuple(a for a in range(layer.weights.ndim) if a != axis or layer.op == "FULLY_CONNECTED")
    peak = np.abs(layer.weights).max(axis=others, keepdims=True)
    scale = (peak / 127).astype(np.float32)
    return np.round(layer.weights / scale).astype(np.int8), scale.ravel()


def affine(low: float, high: float) -> dict[str, float | int]:
    scale = (high - low) / 255
    return {"scale": scale, "zero_point": round(-128 - low / scale)}


def weights_of(g: GraphBuilder, layer: Layer, kind: str, name: str) -> int:
    """The layer's weights as this kind of model holds them."""
    assert layer.weights is not None
    if kind == "float32":
        return g.constant(name, np.ascontiguousarray(layer.weights))
    if kind == "float16":
        half = g.constant(f"{name}/half", layer.weights.astype(np.float16))
        full = g.tensor(name, "FLOAT32", list(layer.weights.shape))
        g.node("DEQUANTIZE", [half], [full], version=3)
        return full
    quantized, scale = symmetric(layer)
    zero = [0] * len(scale)
    return g.constant(
        name, np.ascontiguousarray(quantized), scale=list(scale), zero_point=zero, axis=output_axis(layer)
    )


VERSIONS = {
    "dynamic_range": {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 3},
    "int8": {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "MAX_POOL_2D": 2, "AVERAGE_POOL_2D": 2,
             "SOFTMAX": 2},
}  # fmt: skip


def model(network: list[Layer], kind: str) -> bytes:
    """One .tflite file. int8: inputs and outputs are int8 too; the others take and give float32."""
    m = ModelBuilder(f"handwritten digits, {kind}")
    g = m.graph()
    integer = kind == "int8"
    element = "INT8" if integer else "FLOAT32"
    quantization = affine(0, 1) if integer else {}
    image = value = g.input("image", element, [1, 8, 8, 1], shape_signature=[-1, 8, 8, 1], **quantization)
    for number, layer in enumerate(network):
        name = f"{number}/{layer.op.lower()}"
        inputs = [value]
        in_scale = quantization.get("scale", 0.0)
        if layer.op == "SOFTMAX":
            quantization = {"scale": 1 / 256, "zero_point": -128} if integer else {}
        elif layer.op not in ("MAX_POOL_2D", "AVERAGE_POOL_2D", "RESHAPE"):
            quantization = affine(layer.low, layer.high) if integer else {}
        if layer.weights is not None:
            assert layer.bias is not None
            inputs.append(weights_of(g, layer, kind, f"{name}/weights"))
            if integer:
                scale = in_scale * symmetric(layer)[1].astype(np.float64)
                quantized = np.round(layer.bias / scale).astype(np.int32)
                inputs.append(
                    g.constant(f"{name}/bias", quantized, scale=list(scale), zero_point=[0] * len(scale), axis=0)
                )
            else:
                inputs.append(g.constant(f"{name}/bias", layer.bias))
        signature = [-1, *layer.shape[1:]]
        value = g.tensor(name, element, layer.shape, shape_signature=signature, **quantization)
        if layer.op == "RESHAPE":
            inputs.append(g.constant(f"{name}/shape", np.array(signature, np.int32)))
            layer.options["new_shape"] = signature
        g.node(layer.op, inputs, [value], version=VERSIONS.get(kind, {}).get(layer.op, 1), **layer.options)
    g.outputs(value)
    m.signature("classify", g, inputs={"image": image}, outputs={"probabilities": value})
    return labelled(m.build())


def labelled(content: bytes) -> bytes:
    """The same model with labels for its output."""
    document = Document(content)
    words = "zero one two three four five six seven eight nine"
    put_labels(document, "labels.txt", "\n".join(words.split()).encode())
    return document.build()


def main() -> None:
    trained = train()
    images, labels = held_out()
    with torch.no_grad():
        guesses = trained(torch.from_numpy(images).permute(0, 3, 1, 2)).argmax(1).numpy()
    print(f"accuracy on {len(labels)} held-out digits, in PyTorch: {(guesses == labels).mean():.4f}")
    for kind in ("float32", "float16", "dynamic_range", "int8"):
        path = HERE / f"digits_{kind}.tflite"
        path.write_bytes(model(layers(trained), kind))
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
