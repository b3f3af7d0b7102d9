"""SOFTMAX and LOG_SOFTMAX along the last axis."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm, quantize_multiplier
from tflgpu.arithmetic.fixed_point_functions import exp_on_negative_values
from tflgpu.arithmetic.lookup_tables import lut_int16, lut_int16_lookup
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Packed, Ref
from tflgpu.delegates.lowering.normalization import log_softmax_int8
from tflgpu.delegates.lowering.registry import c_type, f32, i32, lowers, require, size
from tflgpu.model.graph import Array, Node


@lowers("SOFTMAX", "LOG_SOFTMAX")
def softmax(node: Node, limits: DeviceLimits) -> Lowered:
    """Rows of depth elements, one block of work-items a row; on a CPU one work-item."""
    x, out = node.input(0), node.outputs[0]
    require(len(x.shape) > 0, "a scalar")
    types = (x.type, out.type)
    depth = x.shape[-1]
    rows = size(x) // depth if depth else 0
    if types == ("FLOAT32", "FLOAT32"):
        return [_of_floats(node, rows, depth, limits)]
    if types == ("INT16", "INT16") and node.op == "SOFTMAX":
        return [_by_warps(_softmax_16_bits(node, rows, depth), limits)]
    if node.op == "LOG_SOFTMAX" and x.type in ("INT8", "UINT8"):
        return log_softmax_int8.log_softmax(node, limits)
    require(types in QUANTIZED and node.op == "SOFTMAX", f"{node.op} of {x.type} to {out.type}")
    beta, scale = float(np.float32(node.options.beta)), float(x.scale)
    kind = np.iinfo(out.dtype)
    launch = Launch(
        "softmax_int8.softmax_8_bits",
        (rows,),
        (16 if limits.cpu else 64,),
        inputs={"x": Ref(x.index), "exps": Packed(lambda: _exponentials(beta * scale))},
        outputs={"out": Ref(out.index)},
        sizes={"rows": rows, "depth": depth},
        scalars={"bits": i32(kind.bits), "low": i32(kind.min), "high": i32(kind.max)},
        defines={"X_T": c_type(x, limits), "OUT_T": c_type(out, limits)},
    )
    return [_by_warps(launch, limits)]


def _of_floats(node: Node, rows: int, depth: int, limits: DeviceLimits) -> Launch:
    x, out = node.input(0), node.outputs[0]
    width = 1 if limits.cpu else min(limits.max_block, 32 if depth <= 128 else 128 if depth <= 1024 else 256)
    beta = node.options.beta if node.op == "SOFTMAX" else 1.0
    defines: dict[str, object] = {"WIDTH": width}
    if node.op == "LOG_SOFTMAX":
        defines["LOGARITHM"] = 1
    elif limits.cpu and limits.has("register_tiles") and depth >= limits.vector:
        defines["LANES"] = limits.vector
    return Launch(
        "softmax.softmax",
        (rows * width,),
        (width,),
        inputs={"x": Ref(x.index)},
        outputs={"out": Ref(out.index)},
        sizes={"depth": depth},
        scalars={"beta": f32(beta)},
        defines=defines,
        stage="rows",
        reductions=2,
    )


def _by_warps(launch: Launch, limits: DeviceLimits) -> Launch:
    """The launch with a warp a row, on a device with warps."""
    if not limits.has("warps"):
        return launch
    defines = {**launch.defines, "WARP": 1}
    return replace(launch, threads=(launch.threads[0] * 32,), block=(128,), defines=defines, stage="none")


QUANTIZED = (("INT8", "INT8"), ("UINT8", "UINT8"), ("INT8", "INT16"), ("UINT8", "INT16"))


def _exponentials(scale: float) -> Array:
    """exp of minus d steps of this scale for d in 0..255, in Q0.31; 0 where the CPU's kernel leaves the term out."""
    m, shift = quantize_multiplier(min(scale * 2.0**26, 2.0**31 - 1))
    least = -math.floor(31 * 2.0**26 / 2.0**shift)
    d = -np.arange(256, dtype=np.int64)
    return np.where(d >= least, exp_on_negative_values(mbqm(d, m, shift)), 0).astype(np.int32)


def _softmax_16_bits(node: Node, rows: int, depth: int) -> Launch:
    x, out = node.input(0), node.outputs[0]
    require(x.zero_point == 0 and out.zero_point == 0, "16-bit values with a zero point")
    require(abs(float(out.scale) - 1 / 32768) <= 0.001 / 32768, "an output scale that is not 1/32768")
    scale = np.float32(x.scale) * np.float32(node.options.beta)
    exps = Packed(lambda: _exponentials_16_bits(float(scale)))
    return Launch(
        "softmax_int8.softmax_16_bits",
        (rows,),
        inputs={"x": Ref(x.index), "exps": exps, "reciprocals": Packed(_reciprocals)},
        outputs={"out": Ref(out.index)},
        sizes={"rows": rows, "depth": depth},
        defines={"SIXTEEN_BITS": 1},
    )


def _exponentials_16_bits(scale: float) -> Array:
    """exp of minus d steps for every d in 0..65535, in Q0.15, int32."""
    table = lut_int16(np.exp, 10.0 / 65535, 32767, 2.0 / 65535, 0, np.float64)
    d = -np.arange(65536, dtype=np.int64)
    positions = mbqm(d, *quantize_multiplier(scale / (10.0 / 65535.0))).astype(np.int64) + 32767
    return lut_int16_lookup(table, np.clip(positions, -32768, 32767)).astype(np.int32)


def _reciprocals() -> Array:
    """1 / (1 + x) at 513 points of the int16 range."""
    return lut_int16(lambda v: 1.0 / (1.0 + v), 1.0 / 65535, -32768, 2.0 / 65535, 0, np.float64)
