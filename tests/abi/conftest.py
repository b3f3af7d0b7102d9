"""Both runtimes, and the counts of what native/adder.cc has been called for."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from abi.adder import RUNTIMES, Counts

import tflgpu


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> Any:
    """Google's interpreter, and ours."""
    return pytest.importorskip(request.param) if request.param != "tflgpu" else tflgpu


@pytest.fixture
def counts() -> Iterator[Counts]:
    gc.collect()
    found = Counts()
    gc.disable()  # what must go at once has to go without the collector
    yield found
    gc.enable()
    gc.collect()
