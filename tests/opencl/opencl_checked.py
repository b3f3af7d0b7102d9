"""Run by test_oclgrind.py: every case on Oclgrind, by the kernels for CPUs, GPUs, and products of bytes, and by teams.

A line of JSON a case: its name, family, the kernels it ran, and what Oclgrind or the comparison complained of.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from delegate_cases import CASES, Case
from lowering.test_delegates_more import RECURRENT
from more_delegate_cases import MORE_CASES
from opencl_cases import KERNEL_CASES, LOOP_CASES, TEAM_CASES
from oracle import assert_same, tflgpu_run
from recurrent_models import answers

import tflgpu
from tflgpu.delegation.discovery import load_delegate

QUERY = "\nOclgrind - OpenCL runtime error detected\n\tFunction: clGetDeviceInfo\n"
"""How Oclgrind complains of a question about a device of OpenCL 2, which pyopencl asks."""


@dataclass(frozen=True)
class Recurrent:
    """A model with state, over several invokes."""

    name: str


def run(case: Case | Recurrent, family: str) -> set[str]:
    """Runs the case, whole, on a device of its own, which must give the CPU's results. Returns the kernels it ran."""
    # A context of its own: Oclgrind takes what it knew of released memory for news of the memory that follows.
    delegate: Any = load_delegate("opencl", {"device": "oclgrind", "cache_dir": "none", "require_full": "1"})
    device = delegate.device
    cpu, dot, teams = family != "gpu", family in ("dot", "team"), family == "team"
    families = device.limits.minus("vnni", "vnni_assembly", "persistent")
    families = families.plus(*(name for name, on in (("vnni", dot), ("persistent", teams)) if on))
    device.limits = replace(families, cpu=cpu, vector=8, units=2)
    if teams:  # of one group: Oclgrind does not see that one waits for another
        device.limits = replace(device.limits, units=1)
    kernels: set[str] = set()
    make = device.kernel

    def kernel(text: str, name: str) -> Any:
        kernels.add(name)
        kernels.update(re.findall(r"^for .*\) (\w+)_\d+\((?:item|row), ", text, re.M))  # the stages of a sequence
        return make(text, name)

    device.kernel = kernel
    if isinstance(case, Recurrent):
        model, invokes = RECURRENT[case.name]
        got = answers(tflgpu.Interpreter(model_content=model, experimental_delegates=[delegate]), invokes)
        assert_same(got, answers(tflgpu.Interpreter(model_content=model), invokes), rtol=1e-5, atol=1e-5)
    else:
        values = case.values()
        want = tflgpu_run(case.model(), values)
        assert_same(tflgpu_run(case.model(), values, [delegate]), want, rtol=case.rtol or 2e-6, atol=2e-6)
    return kernels


def main(log: Path) -> None:
    warnings.simplefilter("ignore")
    log.touch()
    seen = 0
    every = [*CASES, *MORE_CASES, *KERNEL_CASES, *LOOP_CASES, *map(Recurrent, RECURRENT)]
    families = {"cpu": every, "gpu": every, "dot": [*CASES, *KERNEL_CASES], "team": TEAM_CASES}
    for family, cases in families.items():
        for case in cases:
            kernels, complaint = set[str](), ""
            try:
                kernels = run(case, family)
            except Exception as error:
                complaint = f"{type(error).__name__}: {error}"
            text = log.read_text()
            news, seen = text[seen:], len(text)
            complaint += "".join(part for part in news.split("\n\n\n") if part.strip() and QUERY.strip() not in part)
            print(json.dumps({"case": case.name, "family": family, "kernels": sorted(kernels), "complaint": complaint}))


main(Path(sys.argv[1]))
