"""However a process ends while models run: its exit status and its output are those of a process without delegates."""

from __future__ import annotations

import pytest
from opencl_runtimes import require
from process_ends import DEVICES, ENDS, wrong

RUNTIMES_OF = {"pocl": "PoCL", "intel": "Intel"}


@pytest.mark.parametrize("device", DEVICES)
def test_processes_end_as_without_delegates(device: str) -> None:
    """Each way once; `python tests/process_ends.py` does it 200 times."""
    if device in RUNTIMES_OF:
        require(RUNTIMES_OF[device])
    found = dict(zip(ENDS, wrong(device, list(ENDS), [0.1] * len(ENDS)), strict=True))
    assert found == dict.fromkeys(ENDS, "")
