"""What `pytest --pyargs tflgpu.conformance` makes of its options: a test a case, and the process that runs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tflgpu.conformance import catalog
from tflgpu.conformance.runner import Worker
from tflgpu.conformance.settings import Settings
from tflgpu.conformance.tolerances import read_overrides


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        quick = metafunc.config.getoption("--quick")
        found = catalog.names(quick=quick) if metafunc.config.getoption("--delegate") else []
        metafunc.parametrize("case", found, ids=str)


@pytest.fixture(scope="session")
def case_timeout(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--case-timeout"))


@pytest.fixture(scope="session")
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """The process that runs the cases, replaced when one of them ends it."""
    option: Any = request.config.getoption
    settings = Settings(
        option("--delegate"),
        dict(pair.split("=", 1) for pair in option("--delegate-option")),
        option("--precision"),
        option("--rounding"),
        reproducers=option("--reproducers"),
        overrides=read_overrides(option("--tolerances")),
    )
    made = Worker(settings)
    yield made
    made.stop()
