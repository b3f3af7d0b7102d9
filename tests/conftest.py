"""Fixtures that several test files share."""

from typing import Any

import pytest
from abi.guests import INSTALLED, INTERPRETERS, google_interpreter
from devices import DEVICES, TestedDevice, open_device


@pytest.fixture(params=INSTALLED or list(INTERPRETERS))
def google(request: pytest.FixtureRequest) -> Any:
    """Each of Google's interpreters that is installed; where none is, a skip that says how to get one."""
    return google_interpreter(request.param)


@pytest.fixture(scope="session", params=DEVICES)
def device(request: pytest.FixtureRequest) -> TestedDevice:
    """Each device that kernels run on, beside the CPU."""
    return open_device(request.param)
