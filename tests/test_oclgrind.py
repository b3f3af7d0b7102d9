"""Every OpenCL kernel on Oclgrind, which sees races, bytes out of bounds and values that nobody wrote."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from opencl_runtimes import require_oclgrind, under_oclgrind

pytest.importorskip("pyopencl")

UNREACHED = {"take"}
"""Kernels that no operator needs today: take is for a view that NumPy has to copy."""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    require_oclgrind()
    log = tmp_path_factory.mktemp("oclgrind") / "log"
    ran = under_oclgrind(Path(__file__).with_name("opencl_checked.py"), log, timeout=400)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.parametrize("family", ["cpu", "gpu"])
def test_no_kernel_races_or_reads_or_writes_what_it_must_not(family: str, cases: list[dict[str, Any]]) -> None:
    mine = [case for case in cases if case["family"] == family]
    assert len(mine) > 100
    complaints = [f"{case['case']}: {case['complaint']}" for case in mine if case["complaint"]]
    assert not complaints, "\n\n".join(complaints)


def test_every_kernel_is_among_those_checked(cases: list[dict[str, Any]]) -> None:
    folder = files("tflgpu.kernels_cl")
    texts = [file.read_text() for file in folder.iterdir() if file.name.endswith(".cl")]
    known = {name for text in texts for name in re.findall(r"kernel void (\w+)", text)}
    assert known - {name for case in cases for name in case["kernels"]} == UNREACHED


PLANTED = """
import sys
import numpy as np, pyopencl as cl
(platform,) = [p for p in cl.get_platforms() if "grind" in p.name.lower()]
context = cl.Context(platform.get_devices())
queue, out = cl.CommandQueue(context), cl.Buffer(context, cl.mem_flags.READ_WRITE, 64)
getattr(cl.Program(context, '''KERNEL''').build(), "planted")(queue, (16,), (16,), out)
queue.finish()
"""


@pytest.mark.parametrize(
    "body, complaint",
    [
        ("out[get_global_id(0) + 1] = 1;", "Invalid write of size 4"),
        ("out[0] = get_global_id(0);", "data race"),
        ("local int s[16]; s[get_local_id(0)] = 1; out[get_local_id(0)] = s[15 - get_local_id(0)];", "data race"),
        ("int x; if (out[3] > 0) x = 1; out[get_global_id(0)] = x;", "ninitialized"),
    ],
)
def test_a_planted_mistake_is_found(body: str, complaint: str, tmp_path: Path) -> None:
    require_oclgrind()
    script, log = tmp_path / "planted.py", tmp_path / "log"
    script.write_text(PLANTED.replace("KERNEL", f"kernel void planted(global int* out) {{ {body} }}"))
    ran = under_oclgrind(script, log, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert complaint in log.read_text()
