"""Fixtures that several test files share."""

from typing import Any

import pytest
from abi.guests import INSTALLED, INTERPRETERS, google_interpreter
from devices import DEVICES, TestedDevice, open_device
from opencl_runtimes import RUNTIMES, require


@pytest.fixture(params=INSTALLED or list(INTERPRETERS))
def google(request: pytest.FixtureRequest) -> Any:
    """Each of Google's interpreters that is installed; where none is, a skip that says how to get one."""
    return google_interpreter(request.param)


@pytest.fixture(scope="session", params=DEVICES)
def device(request: pytest.FixtureRequest) -> TestedDevice:
    """Each device that kernels run on, beside the CPU."""
    return open_device(request.param)


@pytest.fixture(scope="session", params=RUNTIMES)
def compiler(request: pytest.FixtureRequest) -> str:
    """The `device` option of each compiler of OpenCL that is installed."""
    return require(request.param)


@pytest.fixture(scope="session")
def runtime() -> str:
    """The `device` option of the compiler of OpenCL for CPUs that is taken first; of each other, test_opencl_guards.py
    runs every kernel.
    """
    return "cpu"


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Failures(config), "failures-as-they-happen")


class _Failures:
    """Names each failure when it happens: the suite's own report comes at its end."""

    def __init__(self, config: pytest.Config):
        self._terminal: Any = config.pluginmanager.get_plugin("terminalreporter")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self._terminal is not None:
            self._terminal.write_line(f"\nFAILED {report.nodeid} ({report.when})")
