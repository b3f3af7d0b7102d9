"""SVDF: the newest features are appended to a state, which is weighted over time."""

from __future__ import annotations

from typing import Any

import numpy as np

from tflgpu.arithmetic.fixed_point import quantize_multiplier
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Packed, Ref, Temp
from tflgpu.delegates.lowering.recurrent.linear import Accumulation, weights_of
from tflgpu.delegates.lowering.recurrent.lstm_integer import quantized_linear
from tflgpu.delegates.lowering.recurrent.sequence import ACTIVATIONS, state
from tflgpu.delegates.lowering.registry import constant, i32, lowers, require, size
from tflgpu.model.graph import Array, Node
from tflgpu.ops.recurrent.linear import Tensor, single_scale


@lowers("SVDF", variables=True)
def svdf(node: Node, limits: DeviceLimits) -> Lowered:
    """x (n_batch, n_input) -> (n_batch, units)."""
    return _float(node, limits) if node.input(0).type == "FLOAT32" else _integer(node)


def _launch(node: Node, newest: Temp, time: Packed, bias: Array, scaling: tuple[int, ...], types: Any) -> Launch:
    """scaling: the state's zero point; multiplier, exponent and zero point of the output."""
    rank, out = int(node.options.rank), node.outputs[0]
    rows, units = out.shape
    memory = node.input(2).shape[1]
    names = ("state_zero", "multiplier", "exponent", "zero_point")
    return Launch(
        "svdf.svdf",
        (size(out),),
        inputs={"newest": newest, "time": time, "bias": bias},
        outputs={"state": state(node.input(4), rows * units * rank * memory), "y": Ref(out.index)},
        sizes={"size": size(out), "units": units, "rank": rank, "memory": memory},
        scalars={name: i32(value) for name, value in zip(names, scaling, strict=True)},
        defines=types,
    )


def _float(node: Node, limits: DeviceLimits) -> Lowered:
    x, feature, time = node.input(0), node.input(1), node.input(2)
    name = node.options.fused_activation_function
    require(name in ACTIVATIONS, f"the activation {name}")
    require(feature.type == time.type, f"weights of {feature.type} and {time.type}")
    weights, rows = weights_of([feature]), x.shape[0]
    in_time = constant(time, "weights")

    def real() -> Array:
        if time.type == "FLOAT32":
            return in_time
        # Unsigned values are read as signed ones, as upstream does.
        return in_time.view(np.int8).astype(np.float32) * single_scale(time)

    newest = Temp(4 * rows * weights.n)
    made = Accumulation.of(Ref(x.index), rows, weights, bool(node.options.asymmetric_quantize_inputs), limits)
    types = {f"{name}_T": "f32" for name in ("N", "TIME", "BIAS", "STATE", "Y", "ACC")}
    defines = types | {"RESULT(x)": ACTIVATIONS[name]}
    bias = _bias(node, np.float32)
    start = np.zeros(weights.n, np.float32)
    return [*made.launches(start, 0, 0, newest), _launch(node, newest, Packed(real), bias, (0, 0, 0, 0), defines)]


def _bias(node: Node, dtype: Any) -> Array:
    spec = node.optional(3)
    if spec is None:
        return np.zeros(node.outputs[0].shape[1], dtype)
    return constant(spec, "a bias").astype(dtype)


def _integer(node: Node) -> Lowered:
    x, feature, time, held, out = (*(node.input(i) for i in (0, 1, 2, 4)), node.outputs[0])
    kinds = (feature.type, time.type, held.type, out.type)
    known = (("INT8", "INT16", "INT16", "INT8"), ("INT8", "INT8", "INT8", "INT8"))
    require(kinds in known, f"an INT8 SVDF of types {', '.join(kinds)}")
    require(node.options.fused_activation_function == "RELU", "an INT8 SVDF without the activation RELU")
    state_scale, bounds = single_scale(held), np.iinfo(held.dtype)
    scale_1 = np.float32(single_scale(x) * single_scale(feature)) / state_scale
    scale_2 = np.float32(state_scale * single_scale(time)) / single_scale(out)
    weights = Tensor(feature, constant(feature, "weights"))
    low, high = np.int64(bounds.min + held.zero_point), np.int64(bounds.max + held.zero_point)
    made = quantized_linear([weights], [scale_1], -x.zero_point, None, (low, high))
    rows = x.shape[0]
    newest = Temp(4 * rows * made.n)
    start = np.full(made.n, held.zero_point, np.int32)
    m, e = quantize_multiplier(float(scale_2))
    types = {"N_T": "i32", "TIME_T": "i32", "BIAS_T": "i32", "Y_T": "i8", "ACC_T": "i64"}
    types["STATE_T"] = "i16" if held.type == "INT16" else "i8"
    requantized = "clamp_i64((i64)mbqm((i32)(x), multiplier, exponent) + zero_point, -128, 127)"
    in_time = constant(time, "weights")
    return [
        made.launch(Ref(x.index), rows, start, 0, 0, newest),
        _launch(
            node,
            newest,
            Packed(lambda: in_time.astype(np.int32)),
            _bias(node, np.int32),
            (held.zero_point, m, e, out.zero_point),
            types | {"RESULT(x)": requantized},
        ),
    ]
