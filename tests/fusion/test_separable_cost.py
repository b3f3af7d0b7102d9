"""Whether a depthwise convolution and the pointwise one after it are one kernel: by the cost model, for 132 units."""

from __future__ import annotations

from dataclasses import replace

import pytest
from convolution_models import separable
from pattern_models import Pattern
from programs import launches

from tflgpu.delegates.device import DeviceLimits

LIMITS = replace(DeviceLimits(units=132), tensor_cores=True).plus("warps")


@pytest.mark.parametrize(
    ("shape", "oc", "quantized", "fused"),
    [
        # Layers of MobileNetV2. One step along k, in hundreds of blocks:
        ((1, 112, 112, 32), 16, False, True),
        ((1, 112, 112, 32), 16, True, True),
        ((1, 56, 56, 144), 24, True, True),
        # 25 blocks of tensor cores, or 7, would do the work of 221 blocks, a row of the window at a time:
        ((1, 28, 28, 144), 32, True, False),
        ((1, 14, 14, 384), 64, True, False),
        # Many steps along k, each of which waits for the window's rows:
        ((1, 56, 56, 144), 24, False, False),
        ((1, 7, 7, 960), 320, False, False),
    ],
)
def test_one_kernel_is_taken_where_it_is_faster_than_two(
    shape: tuple[int, ...], oc: int, quantized: bool, fused: bool
) -> None:
    ways = launches(Pattern("", separable(shape, oc, quantized=quantized)).model(), LIMITS)
    assert ("SEPARABLE" in ways[0].defines) == fused
    assert {"SEPARABLE" in way.defines for way in ways} == {True, False}  # autotune tries the other
