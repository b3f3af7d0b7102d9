"""GEMM by the generic kernels, which take every case: one work-item an output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed
from tflgpu.delegates.lowering.gemm.batched import requantizer
from tflgpu.delegates.lowering.gemm.problem import Gemm
from tflgpu.delegates.lowering.registry import bias_argument, c_type, i32
from tflgpu.delegates.lowering.strided_index import broadcast_index
from tflgpu.model.graph import TensorSpec


def launches(g: Gemm, limits: DeviceLimits) -> Lowered:
    """The launch, for matrices of any strides."""
    if g.arithmetic == "float":
        bias = bias_argument(g.bias, g.n, "f4")
        return [_matmul(g, "matmul_float", {"bias": bias}, g.epilogue.bounds, {"FLOAT": 1})]
    if g.arithmetic == "hybrid":
        return [_hybrid_batch(g) if g.kind == "batched" else _hybrid(g)]
    scalars = {"x_zero": i32(g.x.zero_point), "y_zero": i32(g.y.zero_point), **g.epilogue.bounds}
    if g.epilogue.in_float64:
        wide = g.x.spec.type == "INT16" and (g.bias is None or g.bias.type == "INT64")
        inputs = {"bias": bias_argument(g.bias, g.n, "i8" if wide else "i4"), **g.epilogue.scales}
        defines = _types(g, limits) | {"BIAS_T": "i64" if wide else "i32", "SCALED": 1}
        return [_matmul(g, "matmul_scaled", inputs, scalars, defines)]
    assert g.bias is None
    return [_matmul(g, "matmul_fixed", g.epilogue.scales, scalars, _types(g, limits) | {"RESCALE": requantizer(g)})]


def matrix_sizes(g: Gemm) -> dict[str, int]:
    """m, n and k, and the strides of rows and columns of each operand, in elements."""
    x_row, x_column = (1, g.m) if g.x.transposed else (g.k, 1)
    y_row, y_column = (1, g.k) if g.y.transposed and g.y.constant is None else (g.n, 1)
    steps = {"x_row": x_row, "x_column": x_column, "y_row": y_row, "y_column": y_column}
    return {"m": g.m, "n": g.n, "k": g.k, **steps}


def batch_offsets(g: Gemm) -> dict[str, object]:
    """The macros X_BATCH and Y_BATCH: the offset of matrix `b` of each operand."""
    if g.kind != "batched":
        return {"X_BATCH": "(0)", "Y_BATCH": "(0)"}
    lead, x_lead, y_lead = (o.spec.shape[:-2] for o in (g.out, g.x, g.y))
    return {
        "X_BATCH": f"({broadcast_index(x_lead, lead, 'b')} * {g.m * g.k})",
        "Y_BATCH": f"({broadcast_index(y_lead, lead, 'b')} * {g.k * g.n})",
    }


def _y(g: Gemm) -> Buffer:
    """y: transposed to (k, n) where it is constant, else as it is stored."""
    return g.y.buffer if g.y.constant is None else Packed(lambda: g.y.value.T)


def _matmul(
    g: Gemm, kernel: str, inputs: Mapping[str, Buffer], scalars: Mapping[str, np.generic], defines: Mapping[str, object]
) -> Launch:
    """inputs: besides x and y."""
    one_row = {"ONE_ROW": 1} if g.size == g.n else {}
    return Launch(
        f"matmul.{kernel}",
        (g.size,),
        inputs={"x": g.x.buffer, "y": _y(g), **inputs},
        outputs={"out": g.out.buffer},
        sizes={"size": g.size, **matrix_sizes(g)},
        scalars=scalars,
        defines={**defines, **batch_offsets(g), **one_row},
    )


def _types(g: Gemm, limits: DeviceLimits) -> dict[str, object]:
    return {
        "X_T": c_type(g.x.spec, limits),
        "Y_T": c_type(_as_int8(g.y.spec), limits),
        "OUT_T": c_type(g.out.spec, limits),
        "ACC_T": "i64" if g.x.spec.type == "INT16" else "i32",
    }


def _as_int8(spec: TensorSpec) -> TensorSpec:
    """Values of fewer bits are int8 on devices."""
    return replace(spec, type="INT8") if spec.type in ("INT4", "INT2") else spec


def _hybrid(g: Gemm) -> Launch:
    scales = g.row_scales
    inputs = {
        "bias": bias_argument(g.bias, g.n, "f4"),
        "y_scales": scales.of_columns(g.n),
        "scales": scales.rows.scales,
        "zero_points": scales.rows.zero_points,
    }
    return _matmul(g, "matmul_hybrid", inputs, g.epilogue.bounds, {"HYBRID": 1})


def _hybrid_batch(g: Gemm) -> Launch:
    scales = g.row_scales
    assert scales.scale_of is not None and scales.columns_of is not None
    sizes = matrix_sizes(g)
    return Launch(
        "batched_gemm_hybrid.batched_gemm_hybrid",
        (g.size,),
        inputs={
            "x": g.x.buffer,
            "y": g.y.buffer,
            "y_scales": scales.of_columns(g.n),
            "scales": scales.rows.scales,
            "zero_points": scales.rows.zero_points,
            "scale_of": scales.scale_of,
            "weight_of": scales.columns_of,
        },
        outputs={"out": g.out.buffer},
        sizes={"size": g.size}
        | {name: sizes[name] for name in ("m", "n", "k", "y_row", "y_column")}
        | {"group_rows": scales.rows_per_scale},
        defines=batch_offsets(g) | ({"ASYMMETRIC": 1} if scales.asymmetric else {}),
    )
