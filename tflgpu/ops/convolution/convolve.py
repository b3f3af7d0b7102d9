"""A convolution by the arithmetic that its types mean: integers, floats by an 8-bit filter, or floats."""

from __future__ import annotations

import numpy as np

from tflgpu.ops.convolution.convolution import HYBRID_FILTERS, Convolution, WeightsFactory, float_convolution
from tflgpu.ops.convolution.hybrid_convolution import HybridRule, hybrid_convolution
from tflgpu.ops.convolution.integer_convolution import integer_convolution
from tflgpu.ops.matmul.hybrid import channel_scale
from tflgpu.ops.registry import Step


def convolve(c: Convolution, make: WeightsFactory, filter_scale_first: bool) -> Step:
    """A step for the convolution. filter_scale_first: of its HybridRule."""
    if c.x.dtype.kind != "f":
        return integer_convolution(c, make)
    if c.specs[1].type in HYBRID_FILTERS:
        scale = channel_scale(c.specs[1], c.out.shape[3])
        rule = HybridRule(scale, asymmetric=True, filter_scale_first=filter_scale_first)
        return hybrid_convolution(c, rule, make(rule.largest, np.dtype(np.float32), 0))
    return float_convolution(c, make(None, np.dtype(np.float32), 0))
