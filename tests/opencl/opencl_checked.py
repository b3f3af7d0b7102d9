"""Run by test_oclgrind.py: a case of each program, for CPUs, for GPUs, by VNNI GEMMs and persistent kernels.

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

import numpy as np
from kit import check, kernels, of_family
from loop_models import FLOATS, dense, filling, loop, nested
from megakernel_models import network
from oracle import assert_same, tflgpu_run
from programs import one_of_each

from tflgpu.conformance.cases.case import Case
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegation.discovery import load_delegate

QUERY = "\nOclgrind - OpenCL runtime error detected\n\tFunction: clGetDeviceInfo\n"
"""How Oclgrind complains of a question about a device of OpenCL 2, which pyopencl asks."""


@dataclass(frozen=True)
class Model:
    """A model of several operators, with its inputs."""

    name: str
    data: bytes
    inputs: list[Any]


def floats(*shape: int) -> Any:
    return np.random.default_rng(1).uniform(-3, 3, shape).astype(np.float32)


LOOPS = [
    Model("nested loops", nested(), [np.int32(0), floats(5)]),
    Model("dense loop", loop(FLOATS, dense), [np.int32(1), *(floats(3, 7) for _ in range(3))]),
    Model("list that a loop fills", filling(), [floats(2, 3)]),
]
"""Which Oclgrind runs whole."""
NETWORKS = [
    Model(f"network {seed} {kind}", *network(seed, kind)) for seed, kind in ((1, "FLOAT32"), (1, "INT8"), (4, "INT8"))
]
"""Whose launches become one by a persistent kernel."""


def opened() -> Any:
    return load_delegate("opencl", {"device": "oclgrind", "cache_dir": "none", "require_full": "1"})


def limits_of(family: str, limits: DeviceLimits) -> DeviceLimits:
    """Oclgrind's as one of the family has them."""
    cpu, vnni, persistent = family != "gpu", family in ("vnni", "persistent"), family == "persistent"
    families = limits.minus("vnni", "vnni_assembly", "persistent")
    families = families.plus(*(name for name, on in (("vnni", vnni), ("persistent", persistent)) if on))
    # A persistent kernel is of one work-group: Oclgrind does not see that one waits for another.
    return replace(families, cpu=cpu, vector=8, units=1 if persistent else 2)


def chosen(cases: list[Case], family: str, device: Any) -> list[Case]:
    return list(one_of_each(cases, limits_of(family, device.limits), device.dialect))


def run(case: Case | Model, family: str) -> set[str]:
    """Runs the case, whole, on a device of its own, which must give the CPU's results. Returns the kernels it ran."""
    # A context of its own: Oclgrind takes what it knew of released memory for news of the memory that follows.
    delegate = opened()
    device = delegate.device
    device.limits = limits_of(family, device.limits)
    ran: set[str] = set()
    make = device.kernel

    def kernel(text: str, name: str) -> Any:
        ran.add(name)
        ran.update(re.findall(r"^for .*\) (\w+)_\d+\((?:item|row), ", text, re.M))  # the stages of a sequence
        return make(text, name)

    device.kernel = kernel
    if isinstance(case, Case):
        check(case, delegate)
    else:
        want = tflgpu_run(case.data, case.inputs)
        assert_same(tflgpu_run(case.data, case.inputs, [delegate]), want, rtol=1e-5, atol=2e-6)
    return ran


def main(log: Path) -> None:
    warnings.simplefilter("ignore")
    log.touch()
    seen = 0
    device = opened().device
    every = [*of_family("tiles"), *kernels(main=True)]
    of = {family: chosen(every, family, device) for family in ("cpu", "gpu", "vnni")}
    int8 = [case for case in of["vnni"] if case.family in ("conv", "matmul", "tiles")]
    families = {"cpu": [*of["cpu"], *LOOPS], "gpu": [*of["gpu"], *LOOPS], "vnni": int8, "persistent": NETWORKS}
    for family, cases in families.items():
        for case in cases:
            ran, complaint = set[str](), ""
            try:
                ran = run(case, family)
            except Exception as error:
                complaint = f"{type(error).__name__}: {error}"
            text = log.read_text()
            news, seen = text[seen:], len(text)
            complaint += "".join(
                message for message in news.split("\n\n\n") if message.strip() and QUERY.strip() not in message
            )
            print(json.dumps({"case": case.name, "family": family, "kernels": sorted(ran), "complaint": complaint}))


main(Path(sys.argv[1]))
