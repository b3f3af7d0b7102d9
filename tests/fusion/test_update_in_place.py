"""Slices are written in place only where nobody else reads what they are written over."""

from __future__ import annotations

import numpy as np
import pytest
from devices import DEVICES, open_device
from oracle import assert_same, litert
from programs import launches

from tflgpu.delegates.device import DeviceLimits
from tflgpu.model.builder import ModelBuilder


def updated(read_again: bool) -> bytes:
    model = ModelBuilder()
    graph = model.graph()
    x, update = graph.input("x", "FLOAT32", [6, 40]), graph.input("update", "FLOAT32", [2, 40])
    start = graph.input("start", "INT32", [2])
    sums, y, z = (graph.tensor(name, "FLOAT32", [6, 6]) for name in ("sums", "y", "z"))
    graph.node("FULLY_CONNECTED", [x, x, None], [sums])
    overwriting = graph.tensor("slice", "FLOAT32", [2, 6])
    graph.node("FULLY_CONNECTED", [update, x, None], [overwriting])
    graph.node("DYNAMIC_UPDATE_SLICE", [sums, overwriting, start], [y])
    graph.node("MUL", [y, sums if read_again else y], [z])
    graph.outputs(z)
    return model.build()


@pytest.mark.parametrize("read_again", [False, True])
@pytest.mark.parametrize("name", DEVICES)
def test_the_old_value_is_there_for_whoever_reads_it(name: str, read_again: bool) -> None:
    random = np.random.default_rng(1)
    x, update = (random.standard_normal((n, 40)).astype(np.float32) for n in (6, 2))
    feeds = [x, update, np.array([3, 0], np.int32)]
    assert_same(open_device(name).run(updated(read_again), feeds), litert(updated(read_again), feeds))


def test_nothing_is_copied_where_nobody_does() -> None:
    assert [len(launches(updated(again), DeviceLimits())) for again in (False, True)] == [4, 5]
