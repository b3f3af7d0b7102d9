"""An error at any line of a call leaves the interpreter right. TFLGPU_FAULTS=1: at every line, which takes an hour."""

from __future__ import annotations

import os

import pytest
from faults import CALLS, DEVICES, delegates_of, row
from opencl_runtimes import require_intel

from tflgpu.delegates.emulator.programs import compiler

EVERY = {
    "cpu": {"construct": 307, "allocate": 211, "invoke": 7},
    "intel": {"construct": 3001, "allocate": 5003, "invoke": 59},
    "emulator": {"construct": 3001, "allocate": 5003, "invoke": 101},
}
"""The distance of the lines at which an error is raised here; all together take five seconds."""


@pytest.mark.parametrize("device", DEVICES)
def test_after_an_error_at_any_line_answers_are_right(device: str) -> None:
    if device == "emulator":
        try:
            compiler()
        except ValueError as error:
            pytest.skip(str(error))
    elif device == "intel":
        require_intel()
    delegates = delegates_of(device)
    for call in CALLS:
        every = int(os.environ.get("TFLGPU_FAULTS", EVERY[device][call]))
        for error in ("interrupt", "memory", "driver"):
            found = row(device, call, error, delegates, every)
            assert found.injected and not found.wrong, found.wrong
