"""float32 activations with 8-bit weights: rows are quantized at run time, as in tflgpu/ops/matmul/hybrid.py."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Temp
from tflgpu.delegates.lowering.registry import require


@dataclass(frozen=True, eq=False)
class QuantizedRows:
    """Rows quantized at run time: values (rows, depth) int8, scales (rows,) float32, zero_points (rows,) int32.

    launch: quantizes them.
    """

    values: Temp
    scales: Temp
    zero_points: Temp
    launch: Launch


def quantize_rows(x: Buffer, rows: int, depth: int, asymmetric: bool, limits: DeviceLimits) -> QuantizedRows:
    """x (rows, depth) of float32, each row with its own scale; zero points are 0 where not asymmetric."""
    require(limits.double, "a device without double precision")
    width = 1 if limits.cpu else min(limits.max_block, 128)
    values, scales, zero_points = Temp(rows * depth), Temp(4 * rows), Temp(4 * rows)
    outputs = {"values": values, "scales": scales, "zero_points": zero_points}
    quotient = "((a) / (b))" if limits.exact_division else "((f32)((f64)(a) / (f64)(b)))"
    defines: dict[str, object] = {"WIDTH": width, "DIVIDE(a, b)": quotient}
    if asymmetric:
        defines["ASYMMETRIC"] = 1
    if limits.cpu and limits.has("register_tiles"):
        defines["LANES"] = limits.vector
    threads, block = (rows * width,), (width,)
    launch = Launch("quantize_rows.quantize_rows", threads, block, {"x": x}, outputs, {"depth": depth}, defines=defines)
    launch = replace(launch, stage="rows", reductions=2, single=width == 1)
    return QuantizedRows(values, scales, zero_points, launch)
