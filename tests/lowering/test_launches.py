"""A launch calls its arguments what the kernel calls its parameters, in the kernel's order."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from kit import fed, kernels, of_family
from programs import kind, launches

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.emulator.programs import compiler
from tflgpu.delegates.launch import Launch, PerIteration, Ref
from tflgpu.delegates.program import Dialect, source
from tflgpu.delegation.delegate import Unsupported

CUDA = Dialect("tflgpu.kernels_cuda", "cu", "prelude.cuh", types="types.cuh")
OPENCL = Dialect("tflgpu.kernels_cl", "cl", "prelude.clh", "vectors.clh", "types.clh")


def parameters(launch: Launch, dialect: Dialect) -> list[tuple[str, bool]]:
    """The names of the kernel's parameters, and whether it may write through each."""
    text = re.sub(r"^#include <.*$", "", source(launch, dialect), flags=re.M)
    version = ["-D__OPENCL_VERSION__=120"] if dialect is OPENCL else []
    command = [compiler(), "-E", "-P", "-x", "c++", *version, "-"]
    plain = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    begins = [found.end() for found in re.finditer(rf"\b{launch.name}\(", plain) if "void" in plain[: found.start()]]
    listed = plain[begins[-1] :]
    listed = listed[: re.search(r"\)\s*\{", listed).start()]  # type: ignore[union-attr]
    return [(re.findall(r"\w+", one)[-1], "*" in one and "const" not in one) for one in listed.split(",")]


def kinds(cases: Any, limits: DeviceLimits) -> dict[str, Launch]:
    """One launch for each kernel, set of macros and set of arguments."""
    made = (one for case in cases for one in launches(fed(case)[0], limits) if not one.texts)
    return {kind(one): one for one in made}


GPU = DeviceLimits(units=132, tensor_cores=True).plus("warps", "chains", "cublas")
CPU = DeviceLimits(cpu=True, vector=16, units=4).plus("register_tiles", "vnni", "chains")
ALONE = [case for case in kernels(main=True) if case.family != "recurrent"]
"""Those of which no loop is composed, which is in no file."""
EVERY = [
    *(pytest.param(CUDA, one, id=f"cuda {k}") for k, one in kinds(of_family("gpu tiles"), GPU).items()),
    *(pytest.param(OPENCL, one, id=f"opencl {k}") for k, one in kinds(ALONE, DeviceLimits()).items()),
    *(pytest.param(OPENCL, one, id=f"cpu {k}") for k, one in kinds(of_family("tiles"), CPU).items()),
]


@pytest.mark.parametrize(("dialect", "launch"), EVERY)
def test_arguments_are_called_as_the_kernels_parameters(dialect: Dialect, launch: Launch) -> None:
    written = {*launch.outputs, "fault", "counters"}
    assert parameters(launch, dialect) == [(name, name in written) for name in launch.arguments]


def test_a_size_that_no_int32_holds_is_no_launch() -> None:
    with pytest.raises(Unsupported, match="a size n of 2147483648"):
        Launch("movement.move", (1,), sizes={"n": 1 << 31})


def test_arguments_come_in_the_order_of_the_kinds_whatever_order_they_are_given_in() -> None:
    launch = Launch(
        "a.b", (1,), scalars={"s": np.float32(2)}, sizes={"n": 3, "t": PerIteration(0, 1)}, outputs={"y": Ref(1)}
    )
    assert list(replace(launch, inputs={"x": Ref(0)}).arguments) == ["x", "y", "n", "t", "s"]
    assert launch.arguments["n"].dtype == np.int32  # type: ignore[union-attr]
