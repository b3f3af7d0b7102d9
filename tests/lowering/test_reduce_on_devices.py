"""Reductions whose outputs are neighbours in memory: a block reads whole sectors, where there are enough blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from devices import TestedDevice
from oracle import assert_same, one_op, tflgpu_run
from programs import launches

from tflgpu.delegates.device import DeviceLimits

LIMITS = replace(DeviceLimits(units=132)).plus("warps")


def mean(shape: tuple[int, ...], axes: tuple[int, ...], kind: str = "FLOAT32") -> bytes:
    fields: dict[str, Any] = {} if kind == "FLOAT32" else {"scale": 0.1, "zero_point": 3}
    out = {"type": kind, "shape": [n for axis, n in enumerate(shape) if axis not in axes], **fields}
    return one_op("MEAN", [{"type": kind, "shape": shape, **fields}, np.array(axes, "i4")], [out], version=1)


@pytest.mark.parametrize(
    ("shape", "axes", "kind", "blocks", "columns"),
    [
        ((1, 7, 7, 1152), (1, 2), "FLOAT32", 144, 8),  # a sector of floats
        ((32, 7, 7, 1152), (1, 2), "INT8", 1152, 32),  # a sector of bytes
        ((1, 14, 14, 480), (1, 2), "FLOAT32", 240, 2),  # more columns would leave units without a block
        ((1, 112, 112, 32), (1, 2), "FLOAT32", 32, 1),
        ((64, 100), (1,), "FLOAT32", 64, 1),  # a row is read whole as it is
        ((1, 50, 33000), (1,), "FLOAT32", 4125, 8),
        ((1, 50, 33003), (1,), "FLOAT32", 33003, 1),
    ],
)
def test_a_block_makes_neighbouring_outputs(
    shape: tuple[int, ...], axes: tuple[int, ...], kind: str, blocks: int, columns: int
) -> None:
    (launch,) = launches(mean(shape, axes, kind), LIMITS)
    assert (launch.grid, launch.defines["COLUMNS"]) == ((blocks,), columns)


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
@pytest.mark.parametrize("shape", [(1, 7, 7, 64), (2, 9, 5, 48), (3, 6, 6, 7)])
def test_means_over_an_image_are_the_cpus(
    shape: tuple[int, ...], kind: str, device: TestedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, shape).astype(np.int8) if kind == "INT8" else rng.normal(size=shape).astype(np.float32)
    model, opened = mean(shape, (1, 2), kind), device.delegate.device
    monkeypatch.setattr(opened, "limits", replace(opened.limits, units=1))  # as many columns as there may be
    assert_same(device.run(model, [x]), tflgpu_run(model, [x]), rtol=1e-6, atol=1e-6)
