"""Any convolution: grouped, depthwise, transposed, with constant or computed weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.ir import Copy
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed, Temp
from tflgpu.delegates.lowering.convolution.window import steps_of
from tflgpu.delegates.lowering.gemm.problem import Gemm
from tflgpu.delegates.lowering.registry import bias_argument, bits_type, c_type, i32, size
from tflgpu.delegates.lowering.strided_index import index_map, standin


def launches(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launch, after one that transposes computed weights."""
    weights, before = _weights(g)
    if g.arithmetic == "float":
        inputs = {"x": g.x.buffer, "weights": weights, "bias": bias_argument(g.bias, g.n, "f4")}
        launch = _launch(g, "conv_float", inputs, g.epilogue.bounds, {"FLOAT": 1})
    else:
        launch = _hybrid(g, weights) if g.arithmetic == "hybrid" else _quantized(g, weights, limits)
    return [*before, _on_cpus(launch, g) if limits.cpu else launch]


def _on_cpus(launch: Launch, g: Gemm) -> Launch:
    """With as many channels a work-item as divide those of a group, whose weights are vectors then."""
    lanes = next((lanes for lanes in (32, 16, 8) if g.n // g.gather.groups % lanes == 0), 1)
    if lanes == 1:
        return launch
    sizes, defines = {**launch.sizes, "size": g.size // lanes}, {**launch.defines, "LANES": lanes}
    return replace(launch, threads=(g.size // lanes,), block=(1,), sizes=sizes, defines=defines, single=True)


def _weights(g: Gemm) -> tuple[Buffer, Lowered]:
    """Weights as (kh, kw, c / groups, oc), and the launches that transpose them."""
    if g.kind == "depthwise":  # which are (1, kh, kw, oc)
        return g.y.buffer, []
    if g.y.constant is not None:
        return Packed(lambda: g.y.value.transpose(1, 2, 3, 0)), []
    spec = g.y.spec
    base = standin(spec.shape, spec.dtype)
    temp = Temp(size(spec) * spec.dtype.itemsize)
    moved = index_map(base.transpose(1, 2, 3, 0), base)
    return temp, [Copy(g.y.buffer, temp, size(spec), bits_type(spec), moved)]


def _launch(
    g: Gemm, kernel: str, inputs: Mapping[str, Buffer], scalars: Mapping[str, np.generic], defines: Mapping[str, object]
) -> Launch:
    (_, h, w, channels), (_, oh, ow, oc), win = g.x.spec.shape, g.out.spec.shape, g.gather.window
    image = {"h": h, "w": w, "c": channels, "oh": oh, "ow": ow, "oc": oc}
    window = {"kh": win.kh, "kw": win.kw, "groups": g.gather.groups, **steps_of(win)}
    return Launch(
        f"conv.{kernel}",
        (g.size,),
        inputs=inputs,
        outputs={"out": g.out.buffer},
        sizes={"size": g.size, **image, **window},
        scalars=scalars,
        defines={"LANES": 1, **defines, **({"TRANSPOSED": 1} if g.kind == "transposed" else {})},
    )


def _quantized(g: Gemm, weights: Buffer, limits: DeviceLimits) -> Launch:
    wide, y = g.epilogue.wide, g.y.spec
    inputs = {
        "x": g.x.buffer,
        "weights": weights,
        "bias": bias_argument(g.bias, g.n, "i8" if wide else "i4"),
        **g.epilogue.scales,
    }
    scalars = {"x_zero": i32(g.x.zero_point), "weight_zero": i32(g.y.zero_point), **g.epilogue.bounds}
    defines = {
        "T": c_type(g.x.spec, limits),
        "W_T": c_type(replace(y, type="INT8") if y.type == "INT4" else y, limits),
        "ACC_T": "i64" if wide else "i32",
        "RESCALE": "mbqm64" if wide else "mbqm",
    }
    return _launch(g, "conv_integer", inputs, scalars, defines)


def _hybrid(g: Gemm, weights: Buffer) -> Launch:
    scales = g.row_scales
    inputs = {
        "x": g.x.buffer,
        "weights": weights,
        "bias": bias_argument(g.bias, g.n, "f4"),
        "weight_scales": scales.of_columns(g.n),
        "scales": scales.rows.scales,
        "zero_points": scales.rows.zero_points,
    }
    defines = {"HYBRID": 1} | ({"WEIGHT_SCALE_FIRST": 1} if scales.weight_scale_first else {})
    return _launch(g, "conv_hybrid", inputs, g.epilogue.bounds, defines)
