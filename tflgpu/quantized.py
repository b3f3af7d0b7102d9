"""Between real numbers and a tensor's quantized values, by its details: what QUANTIZE and DEQUANTIZE compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tflgpu.model.graph import Array, Quantization, TensorSpec
from tflgpu.ops.quantization.quantize import dequantize_step, quantize_step
from tflgpu.values import type_name


def quantize(real: Any, details: Mapping[str, Any]) -> Array:
    """real / scale, rounded half away from zero, plus the zero point, clamped: what `set_tensor` takes.

    details: of the tensor, as from `get_input_details`; per tensor or per channel. A tensor that is not quantized gets
    `real` in its type. Raises ValueError for blockwise quantization, and for shapes that do not fit the channels.
    """
    values = np.asarray(real)
    dtype = np.dtype(details["dtype"])
    if not _is_quantized(details):
        return values.astype(dtype)
    values = np.ascontiguousarray(values, np.float32)
    out = np.empty(values.shape, dtype)
    if out.size:
        quantize_step(values, out, _spec(details, out))()
    return out


def dequantize(quantized: Any, details: Mapping[str, Any]) -> Array:
    """scale * (quantized - zero point) in float32, of what `get_tensor` returned. Errors as of `quantize`.

    A tensor that is not quantized stays as it is.
    """
    values = np.ascontiguousarray(quantized)
    if not _is_quantized(details):
        return values
    out = np.empty(values.shape, np.float32)
    if out.size:
        dequantize_step(values, out, _spec(details, values))()
    return out


def _is_quantized(details: Mapping[str, Any]) -> bool:
    return bool(details["quantization_parameters"]["scales"].size) and np.dtype(details["dtype"]).kind in "iu"


def _spec(details: Mapping[str, Any], array: Array) -> TensorSpec:
    p = details["quantization_parameters"]
    scales, axis = p["scales"], p["quantized_dimension"]
    where = f"tensor {details['name']!r}"
    if p.get("block_size"):
        raise ValueError(f"{where}: blockwise quantization is not supported here")
    if scales.size > 1 and (axis >= array.ndim or array.shape[axis] != scales.size):
        raise ValueError(f"{where}: {scales.size} scales on dimension {axis} do not fit shape {list(array.shape)}")
    quantization = Quantization(scales, p["zero_points"], axis)
    return TensorSpec(0, details["name"], type_name(np.dtype(details["dtype"])), array.shape, None, quantization)
