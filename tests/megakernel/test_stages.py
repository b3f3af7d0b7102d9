"""What launches declare for megakernels, compared with what the text of their kernels does."""

from __future__ import annotations

import re
import subprocess

import pytest
from kit import fed, kernels
from programs import kind, launches

from tflgpu.delegates.cuda.device import CudaDevice
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.emulator.programs import compiler
from tflgpu.delegates.launch import Launch
from tflgpu.delegates.program import Dialect, kernel_file

OPENCL = Dialect("tflgpu.kernels_cl", "cl", "prelude.clh", "vectors.clh", "types.clh")
DEVICES = {
    "a CPU": (OPENCL, DeviceLimits(cpu=True, vector=16, units=2).plus("register_tiles", "vnni", "chains")),
    "OpenCL's GPU": (OPENCL, DeviceLimits().plus("register_tiles", "chains")),
    "CUDA": (CudaDevice.dialect, DeviceLimits(units=132).plus("warps", "chains")),
}

TOGETHER = re.compile(
    r"\b(?:LOCAL_ID|GROUP_ID|LOCAL|BARRIER|get_(?:group|local|sub)\w+|barrier|local|atomic\w*|warp_\w+|v(?:load|store)\d+|"
    r"\w*(?:float|int|char|short|long|double)(?:2|4|8|16)|VW|VF|VI|blockIdx|threadIdx|__s\w+|__launch_bounds__|asm)\b"
)
"""What kernels say whose work-items do something together, or are vectors."""

REDUCTION = re.compile(r"\bblock_(?:sum|max)\(")


def active(launch: Launch, dialect: Dialect) -> str:
    """The kernel's text and the launch's macros, without comments and what its conditions leave out."""
    text = re.sub(r"//.*|^ *#include.*", "", kernel_file(launch, dialect), flags=re.M)
    macros = [f"#define {name} {value}" for name, value in launch.defines.items()]
    words = f"{text} {' '.join(map(str, launch.defines.values()))}"
    if not TOGETHER.search(words) and not REDUCTION.search(words):
        return words
    command = [compiler(), "-E", "-P", "-x", "c++", "-undef", "-nostdinc", "-"]
    made = subprocess.run(command, input="\n".join([*macros, text]), capture_output=True, text=True, check=True)
    return made.stdout


@pytest.mark.parametrize("device", DEVICES)
def test_launches_declare_what_their_kernels_do(device: str) -> None:
    dialect, limits = DEVICES[device]
    known: dict[str, Launch] = {}
    for case in kernels(main=True):
        for launch in launches(fed(case)[0], limits, dialect):
            known.setdefault(f"{kind(launch)} {launch.block} {launch.vectors}", launch)
    for name, launch in known.items():
        if launch.stem == "barrier_kernel":
            continue
        text = active(launch, dialect)
        rows = "PARTIAL;" in text and launch.stem != "row_chain"  # whose launches are never in a loop
        together = launch.vectors or TOGETHER.search(text)
        assert launch.single == (launch.block == (1,) and "ONE_WORK_ITEM" in kernel_file(launch, dialect)), name
        assert launch.stage == ("rows" if rows else "none" if together else "items"), name
        if rows and limits.cpu:
            assert launch.reductions == len(REDUCTION.findall(text)), name
    assert {"items", "rows", "none"} == {launch.stage for launch in known.values()}
