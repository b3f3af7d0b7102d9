"""The architectures as .tflite files: float32, float16 (weights, as TensorFlow Lite's converter stores them) or int8.

    python benchmarks/models.py ARCHITECTURE [--type float32|float16|int8] [--batch N] [--size N] -o FILE

int8 activations all have one scale, which the weights' scaling suits: the speed is real, the classes mean nothing.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from architectures import ARCHITECTURES, Array, Layer, Network, Shape, Value

from tflgpu.model.builder import GraphBuilder, ModelBuilder

TYPES = ("float32", "float16", "int8")
SCALE, ZERO_POINT = 0.05, -3
"""Of int8 activations; those of a softmax or sigmoid have 1/256 and -128, as TensorFlow Lite demands."""

EPSILON = 1e-6


def tflite(network: Network, kind: str = "float32") -> bytes:
    """The network as a file whose input and output are float32, or int8 with kind "int8"."""
    return _Writer(network, kind).bytes()


class _Writer:
    def __init__(self, network: Network, kind: str):
        if kind not in TYPES:
            raise ValueError(f"{kind}: expected one of {', '.join(TYPES)}")
        self.network, self.kind = network, kind
        self.model = ModelBuilder()
        self.graph: GraphBuilder = self.model.graph()
        self.tensors: dict[Value, int] = {}
        self.scales: dict[Value, tuple[float, int]] = {}

    def bytes(self) -> bytes:
        self.tensors[self.network.input] = self.tensor("input", self.network.input.shape, is_input=True)
        for number, layer in enumerate(self.network.layers):
            WRITERS.get(layer.op, _elementwise)(self, layer, f"{number}_{layer.op}")
        self.graph.outputs(self.tensors[self.network.output])
        return self.model.build()

    @property
    def activation(self) -> str:
        return "INT8" if self.kind == "int8" else "FLOAT32"

    def tensor(
        self, name: str, shape: Shape, scale: tuple[float, int] = (SCALE, ZERO_POINT), is_input: bool = False
    ) -> int:
        make: Any = self.graph.input if is_input else self.graph.tensor
        quantization = {"scale": scale[0], "zero_point": scale[1]} if self.kind == "int8" else {}
        return int(make(name, self.activation, list(shape), **quantization))

    def made(self, layer: Layer, name: str, scale: tuple[float, int] = (SCALE, ZERO_POINT)) -> int:
        """The tensor of a layer's output."""
        self.scales[layer.output] = scale
        self.tensors[layer.output] = self.tensor(name, layer.output.shape, scale)
        return self.tensors[layer.output]

    def inputs(self, layer: Layer) -> list[int]:
        return [self.tensors[value] for value in layer.inputs]

    def scale_of(self, value: Value) -> float:
        return self.scales.get(value, (SCALE, ZERO_POINT))[0]

    def float_constant(self, name: str, array: Array) -> int:
        if self.kind != "float16":
            return int(self.graph.constant(name, array))
        stored = self.graph.constant(f"{name}_half", array.astype(np.float16))
        full = self.graph.tensor(name, "FLOAT32", list(array.shape))
        self.graph.node("DEQUANTIZE", [stored], [full], version=3)
        return int(full)

    def weights(self, layer: Layer, name: str, axis: int) -> list[int]:
        """Weights and bias, for int8 with a scale for each channel along axis."""
        weights, bias = layer.weights["weights"], layer.weights["bias"]
        if self.kind != "int8":
            return [self.float_constant(f"{name}_w", weights), self.float_constant(f"{name}_b", bias)]
        others = tuple(i for i in range(weights.ndim) if i != axis)
        scale = np.abs(weights).max(axis=others) / 127
        steps = scale.reshape([-1 if i == axis else 1 for i in range(weights.ndim)])
        quantized = np.rint(weights / steps).astype(np.int8)
        zeros = np.zeros(scale.size, np.int64)
        sums = (scale * self.scale_of(layer.inputs[0])).astype(np.float32)
        w = self.graph.constant(f"{name}_w", quantized, type="INT8", scale=scale, zero_point=zeros, axis=axis)
        bias_values = np.rint(bias / sums).astype(np.int32)
        b = self.graph.constant(f"{name}_b", bias_values, type="INT32", scale=sums, zero_point=zeros, axis=0)
        return [int(w), int(b)]

    def node(self, op: str, inputs: list[int], output: int, version: int = 1, **options: Any) -> None:
        self.graph.node(op, inputs, [output], version=version, **options)


def _conv(w: _Writer, layer: Layer, name: str) -> None:
    window = {"padding": "SAME", "stride_w": layer.options["stride"], "stride_h": layer.options["stride"]}
    window["fused_activation_function"] = layer.options["act"]
    depthwise = layer.op == "depthwise"
    parameters = w.weights(layer, name, 3 if depthwise else 0)
    out = w.made(layer, name)
    if depthwise:
        w.node("DEPTHWISE_CONV_2D", [*w.inputs(layer), *parameters], out, 3, depth_multiplier=1, **window)
    else:
        w.node("CONV_2D", [*w.inputs(layer), *parameters], out, 3, **window)


def _dense(w: _Writer, layer: Layer, name: str) -> None:
    parameters = w.weights(layer, name, 0)
    options = {"fused_activation_function": layer.options["act"], "keep_num_dims": len(layer.output.shape) > 2}
    w.node("FULLY_CONNECTED", [*w.inputs(layer), *parameters], w.made(layer, name), 5, **options)


def _max_pool(w: _Writer, layer: Layer, name: str) -> None:
    k, stride = layer.options["k"], layer.options["stride"]
    options = {"padding": "SAME", "stride_w": stride, "stride_h": stride, "filter_width": k, "filter_height": k}
    w.node("MAX_POOL_2D", w.inputs(layer), w.made(layer, name), 2, fused_activation_function="NONE", **options)


def _mean(w: _Writer, layer: Layer, name: str) -> None:
    axes = w.graph.constant(f"{name}_axes", np.array([1, 2], np.int32))
    w.node("MEAN", [*w.inputs(layer), axes], w.made(layer, name), 2, keep_dims=True)


def _elementwise(w: _Writer, layer: Layer, name: str) -> None:
    unit = (1 / 256, -128) if layer.op in ("SOFTMAX", "LOGISTIC") else (SCALE, ZERO_POINT)
    options: dict[str, Any] = {"SOFTMAX": {"beta": 1.0}, "GELU": {"approximate": False}}.get(layer.op, {})
    if layer.op in ("ADD", "MUL"):
        options = {"fused_activation_function": layer.options.get("act", "NONE")}
    version = 2 if layer.op == "GELU" or (w.kind == "int8" and layer.op != "HARD_SWISH") else 1
    w.node(layer.op, w.inputs(layer), w.made(layer, name, unit), version, **options)


def _hard_sigmoid(w: _Writer, layer: Layer, name: str) -> None:
    """relu6(x + 3) / 6, as converters write it."""
    shape = layer.output.shape
    three = _scalar(w, f"{name}_three", 3.0)
    shifted = w.tensor(f"{name}_shifted", shape)
    version = 2 if w.kind == "int8" else 1
    w.node("ADD", [*w.inputs(layer), three], shifted, version, fused_activation_function="RELU6")
    w.node("MUL", [shifted, _scalar(w, f"{name}_sixth", 1 / 6)], w.made(layer, name), version, **NO_ACTIVATION)


NO_ACTIVATION = {"fused_activation_function": "NONE"}


def _scalar(w: _Writer, name: str, value: float) -> int:
    if w.kind != "int8":
        return int(w.graph.constant(name, np.float32(value)))
    quantized = np.array(100, np.int8)
    return int(w.graph.constant(name, quantized, type="INT8", scale=value / 100, zero_point=0))


def _scaled(w: _Writer, layer: Layer, name: str) -> None:
    factor = _scalar(w, f"{name}_factor", layer.options["factor"])
    w.node("MUL", [*w.inputs(layer), factor], w.made(layer, name), 2 if w.kind == "int8" else 1, **NO_ACTIVATION)


def _reshape(w: _Writer, layer: Layer, name: str) -> None:
    shape = np.array(layer.output.shape, np.int32)
    scale = w.scales.get(layer.inputs[0], (SCALE, ZERO_POINT))
    out = w.made(layer, name, scale)
    w.node("RESHAPE", [*w.inputs(layer), w.graph.constant(f"{name}_shape", shape)], out, new_shape=shape.tolist())


def _transpose(w: _Writer, layer: Layer, name: str) -> None:
    order = w.graph.constant(f"{name}_order", np.array(layer.options["order"], np.int32))
    w.node("TRANSPOSE", [*w.inputs(layer), order], w.made(layer, name, w.scales[layer.inputs[0]]), 2)


def _matmul(w: _Writer, layer: Layer, name: str) -> None:
    options = {"adj_x": False, "adj_y": layer.options["adj_y"], "asymmetric_quantize_inputs": False}
    # Scores of attention are sums of as many products as a head is deep, and divided by its root after this.
    scale = (SCALE * 8, 0) if layer.options["adj_y"] else (SCALE, ZERO_POINT)
    w.node("BATCH_MATMUL", w.inputs(layer), w.made(layer, name, scale), 2, **options)


def _layer_norm(w: _Writer, layer: Layer, name: str) -> None:
    """In float32 always, as quantizers leave it."""
    g, shape = w.graph, list(layer.output.shape)
    rows = [*shape[:-1], 1]

    def value(role: str, of: list[int] = shape) -> int:
        return int(g.tensor(f"{name}_{role}", "FLOAT32", of))

    x = w.inputs(layer)[0]
    if w.kind == "int8":
        w.node("DEQUANTIZE", [x], x := value("x"), 2)
    axis = g.constant(f"{name}_axis", np.array([len(shape) - 1], np.int32))
    w.node("MEAN", [x, axis], mean := value("mean", rows), keep_dims=True)
    w.node("SQUARED_DIFFERENCE", [x, mean], squares := value("squares"))
    w.node("MEAN", [squares, axis], variance := value("variance", rows), keep_dims=True)
    epsilon = g.constant(f"{name}_epsilon", np.float32(EPSILON))
    w.node("ADD", [variance, epsilon], safe := value("safe", rows), **NO_ACTIVATION)
    w.node("RSQRT", [safe], factor := value("factor", rows))
    w.node("SUB", [x, mean], centred := value("centred"), **NO_ACTIVATION)
    w.node("MUL", [centred, factor], unit := value("unit"), **NO_ACTIVATION)
    gamma = g.constant(f"{name}_gamma", layer.weights["gamma"])
    w.node("MUL", [unit, gamma], scaled := value("scaled"), **NO_ACTIVATION)
    last = w.made(layer, name) if w.kind != "int8" else value("last")
    beta = g.constant(f"{name}_beta", layer.weights["beta"])
    w.node("ADD", [scaled, beta], last, **NO_ACTIVATION)
    if w.kind == "int8":
        w.node("QUANTIZE", [last], w.made(layer, name))


def _offset(w: _Writer, layer: Layer, name: str) -> None:
    bias = layer.weights["bias"]
    if w.kind == "int8":
        quantized = np.rint(bias / 0.01).clip(-127, 127).astype(np.int8)
        other = int(w.graph.constant(f"{name}_bias", quantized, type="INT8", scale=0.01, zero_point=0))
    else:
        other = w.float_constant(f"{name}_bias", bias)
    w.node("ADD", [*w.inputs(layer), other], w.made(layer, name), 2 if w.kind == "int8" else 1, **NO_ACTIVATION)


WRITERS: Mapping[str, Callable[[_Writer, Layer, str], None]] = {
    "conv": _conv,
    "depthwise": _conv,
    "dense": _dense,
    "max_pool": _max_pool,
    "mean": _mean,
    "hard_sigmoid": _hard_sigmoid,
    "scaled": _scaled,
    "reshape": _reshape,
    "transpose": _transpose,
    "matmul": _matmul,
    "layer_norm": _layer_norm,
    "offset": _offset,
}


def multiplications(network: Network) -> int:
    """Multiply-adds of one run, of convolutions and GEMMs."""
    total = 0
    for layer in network.layers:
        if "weights" in layer.weights:
            weights = layer.weights["weights"]
            per_output = math.prod(weights.shape[1:]) if layer.op != "depthwise" else math.prod(weights.shape[1:3])
            total += math.prod(layer.output.shape) * per_output
        elif layer.op == "matmul":
            total += math.prod(layer.output.shape) * layer.inputs[0].shape[-1]
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architecture", choices=ARCHITECTURES)
    parser.add_argument("--type", choices=TYPES, default="float32")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    given.output.write_bytes(tflite(ARCHITECTURES[given.architecture](given.batch), given.type))


if __name__ == "__main__":
    main()
