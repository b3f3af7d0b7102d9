"""NaN, infinities and numbers beyond every range: one answer wherever a node runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import TestedDevice
from oracle import assert_same, litert, one_op, tflgpu_run

F = np.float32
nan, inf = F(np.nan), F(np.inf)

ROWS = np.array(
    [
        [nan, 7, 7],
        [nan, 1, 2],
        [5, nan, 3],
        [1, 9, nan],
        [nan, nan, -inf],
        [nan, inf, nan],
        [-inf, nan, inf],
        [nan, nan, nan],
        [0, -0.0, nan],
    ],
    F,
)


@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("index", ["INT32", "INT64"])
def test_the_extreme_is_a_number_wherever_nan_stands(op: str, axis: int, index: str, device: TestedDevice) -> None:
    out = {"type": index, "shape": np.argmax(ROWS, axis).shape}
    data = one_op(op, [{"type": "FLOAT32", "shape": ROWS.shape}, np.int32(axis)], [out], output_type=index)
    want = litert(data, [ROWS])
    assert_same(device.run(data, [ROWS]), want)
    assert_same(tflgpu_run(data, [ROWS]), want)


@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize("depth", [1, 2, 7, 33])
def test_nan_is_never_chosen_before_a_number(op: str, depth: int, device: TestedDevice) -> None:
    """Along another axis than the last, where LiteRT's kernel does not lose the NaN in a vector's lanes."""
    rng = np.random.default_rng(depth)
    x = rng.integers(-3, 3, (2, depth, 40)).astype(F)
    x[rng.random(x.shape) < 0.4] = nan
    ins, out = [{"type": "FLOAT32", "shape": x.shape}, np.int32(1)], {"type": "INT32", "shape": (2, 40)}
    data = one_op(op, ins, [out], output_type="INT32")
    assert_same(device.run(data, [x]), litert(data, [x]))
