"""Models of one CONV_2D or DEPTHWISE_CONV_2D, and inputs for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from oracle import assert_same, litert, one_op, tflgpu_run

F = np.float32
DTYPES = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "INT4": np.int8, "FLOAT32": np.float32}
LIMITS = {"INT8": (-128, 128), "UINT8": (0, 256), "INT16": (-32768, 32768), "INT4": (-8, 8)}
ACTIVATIONS = ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]
few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
geometry = st.fixed_dictionaries(
    {
        "b": st.sampled_from([1, 2]),
        "h": st.integers(1, 9),
        "w": st.integers(1, 9),
        "kh": st.integers(1, 4),
        "kw": st.integers(1, 4),
        "stride_h": st.integers(1, 3),
        "stride_w": st.integers(1, 3),
        "dilation_h_factor": st.integers(1, 2),
        "dilation_w_factor": st.integers(1, 2),
        "padding": st.sampled_from(["SAME", "VALID"]),
        "fused_activation_function": st.sampled_from(ACTIVATIONS),
        "seed": st.integers(0, 1000),
    }
)


def geometry_of(
    h: int, w: int, kh: int, kw: int, stride: int, dilation: int, padding: str, activation: str = "NONE", b: int = 2
) -> dict[str, Any]:
    return {
        "b": b,
        "h": h,
        "w": w,
        "kh": kh,
        "kw": kw,
        "stride_h": stride,
        "stride_w": stride,
        "dilation_h_factor": dilation,
        "dilation_w_factor": dilation,
        "padding": padding,
        "fused_activation_function": activation,
        "seed": 5,
    }


def values(random: np.random.Generator, type: str, shape: Any) -> np.ndarray:
    if type == "FLOAT32":
        return random.standard_normal(shape).astype(F)
    return random.integers(*LIMITS[type], shape).astype(DTYPES[type])


def window(n: int, k: int, stride: int, dilation: int, padding: str) -> int:
    effective = (k - 1) * dilation + 1
    return -(-n // stride) if padding == "SAME" else max(0, (n + stride - effective) // stride)


def fits(g: dict[str, Any]) -> bool:
    return (g["kh"] - 1) * g["dilation_h_factor"] < g["h"] and (g["kw"] - 1) * g["dilation_w_factor"] < g["w"]


def layer(
    op: str,
    g: dict[str, Any],
    x_type: str,
    filter_type: str,
    bias_type: str | None,
    channels: tuple[int, int],
    *,
    per_channel: bool = True,
    groups: int = 1,
    output_scale: float = 0.4,
    version: int = 3,
    **more: Any,
) -> tuple[bytes, list[np.ndarray]]:
    """A model of one convolution with constant weights, and an input for it."""
    random = np.random.default_rng(g["seed"])
    c, oc = channels
    options = {k: v for k, v in g.items() if k not in ("b", "h", "w", "kh", "kw", "seed")} | more
    depthwise = op == "DEPTHWISE_CONV_2D"
    shape = (1, g["kh"], g["kw"], oc) if depthwise else (oc, g["kh"], g["kw"], c // groups)
    integer = x_type != "FLOAT32"
    x_scale = F(0.002 if x_type == "INT16" else 0.05)
    weight_scale = (random.random(oc if per_channel else 1) * 0.02 + 0.004).astype(F)
    weights: dict[str, Any] = {"type": filter_type, "value": values(random, filter_type, shape)}
    x: dict[str, Any] = {"type": x_type, "shape": (g["b"], g["h"], g["w"], c)}
    out: dict[str, Any] = {"type": x_type}
    bias: dict[str, Any] | None = None
    if bias_type == "FLOAT32":
        bias = {"type": bias_type, "value": values(random, "FLOAT32", oc)}
    elif bias_type:
        value = random.integers(-3000, 3000, oc).astype(bias_type.lower())
        bias = {
            "type": bias_type,
            "value": value,
            "scale": x_scale * weight_scale,
            "zero_point": [0] * weight_scale.size,
        }
    if filter_type != "FLOAT32":
        zero = int(random.integers(90, 160)) if filter_type == "UINT8" else 0
        weights |= {"scale": weight_scale, "zero_point": [zero] * weight_scale.size, "axis": 3 if depthwise else 0}
    if integer:
        wide = x_type == "INT16"
        zeros = (0, 0) if wide else tuple(int(z) for z in values(random, x_type, 2))
        x |= {"scale": x_scale, "zero_point": zeros[0]}
        out |= {"scale": F(output_scale / (50 if wide else 1)), "zero_point": zeros[1]}
    oh = window(g["h"], g["kh"], g["stride_h"], g["dilation_h_factor"], g["padding"])
    ow = window(g["w"], g["kw"], g["stride_w"], g["dilation_w_factor"], g["padding"])
    data = one_op(op, [x, weights, bias], [out | {"shape": (g["b"], oh, ow, oc)}], version=version, **options)
    return data, [values(random, x_type, x["shape"])]


def same(data: bytes, inputs: list[np.ndarray], **tolerance: float) -> None:
    assert_same(tflgpu_run(data, inputs), litert(data, inputs), **tolerance)
