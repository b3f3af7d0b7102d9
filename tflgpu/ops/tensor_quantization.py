"""The scale and zero point of tensors quantized as a whole, and what operators require of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tflgpu.model.graph import Node, TensorSpec
from tflgpu.ops.registry import require


def scale_and_zero_point(spec: TensorSpec) -> tuple[np.float32, int]:
    """Of the tensor as a whole: zeros where it has none, or one for each channel, as in TfLiteTensor.params."""
    q = spec.quantization
    return (np.float32(0), 0) if q is None or q.scale.size != 1 else (spec.scale, spec.zero_point)


def require_symmetric(*specs: TensorSpec) -> None:
    """Raises OpError unless all that are 16-bit have zero point 0."""
    for spec in specs:
        zero_point = scale_and_zero_point(spec)[1]
        require(spec.type != "INT16" or zero_point == 0, f"{spec.name} params.zero_point != 0 ({zero_point}). ")


def require_same_quantization(
    node: Node, specs: Iterable[TensorSpec], types: Iterable[str] = ("INT8", "UINT8", "INT16")
) -> None:
    """Raises OpError where tensors of these types differ in scale or zero point, or one of INT16 has a zero point."""
    quantized = [spec for spec in specs if spec.type in types]
    found = {scale_and_zero_point(spec) for spec in quantized}
    require(len(found) <= 1, f"{node.op}: inputs and outputs must be quantized with the same scale and zero point. ")
    symmetric = all(zero == 0 for _, zero in found) or quantized[0].type != "INT16"
    require(symmetric, f"{node.op}: the zero point of INT16 must be 0. ")
