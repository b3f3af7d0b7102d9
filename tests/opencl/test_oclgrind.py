"""Every OpenCL kernel on Oclgrind, which sees races, bytes out of bounds and values that nobody wrote."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
from opencl_runtimes import require_oclgrind, under_oclgrind

from tflgpu.delegates.program import SHARED

pytest.importorskip("pyopencl")

UNREACHED = {"take"}
"""Kernels that Oclgrind does not see: take is for a view that NumPy must copy, which none is."""


# One test, so that parallel workers do not each run all the cases.
def test_no_kernel_races_or_reads_or_writes_what_it_must_not(tmp_path: Path) -> None:
    require_oclgrind()
    script = Path(__file__).with_name("opencl_checked.py")
    ran = under_oclgrind(script, tmp_path / "log", timeout=600)
    assert ran.returncode == 0, ran.stderr
    cases = [json.loads(line) for line in ran.stdout.splitlines()]
    assert all(sum(case["family"] == family for case in cases) > 100 for family in ("cpu", "gpu"))
    assert sum("persistent_kernel" in case["kernels"] for case in cases) == 3
    complaints = [f"{case['case']} ({case['family']}): {case['complaint']}" for case in cases if case["complaint"]]
    assert not complaints, "\n\n".join(complaints)
    sources = [*files("tflgpu.kernels_cl").iterdir(), *SHARED.iterdir()]
    texts = [file.read_text() for file in sources if file.name.endswith((".cl", ".h"))]
    known = {name for text in texts for name in re.findall(r"^(?:kernel void|KERNEL) (\w+)", text, re.M)}
    unseen = known - {name for case in cases for name in case["kernels"]}
    assert unseen <= UNREACHED, f"add cases to conformance/cases/tiles.py that run {sorted(unseen - UNREACHED)}"


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
