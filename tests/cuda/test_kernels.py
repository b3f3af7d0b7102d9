"""Kernels are written once for both dialects, or in each as a twin with the same parameters, or for one alone.

Every CUDA kernel compiles for every GPU.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from attention_models import ATTENTIONS
from convolution_models import EPILOGUES, SEPARABLES
from kit import fed, kernels, of_family
from loop_models import large
from norm_models import NORMS
from nvrtc import ARCHITECTURES, Nvrtc
from programs import launches

from tflgpu.delegates.cuda.compiler import OPTIONS
from tflgpu.delegates.cuda.device import CudaDevice
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch
from tflgpu.delegates.program import SHARED, source

FOLDERS = {"cl": "tflgpu.kernels_cl", "cu": "tflgpu.kernels_cuda"}
KERNEL = {"cl": r"^kernel void ", "cu": r'^extern "C" __global__ void '}
ONLY = {"cl": "// Only for OpenCL", "cu": "// Only for CUDA"}
WORDS = r"\b(?:global|restrict|RESTRICT|__restrict__|__global)\b"

REGISTERS, REGISTERS_OF_A_BLOCK = 160, 32768
"""The most that a thread and a block may use: at least two blocks then fit a multiprocessor."""


def texts(dialect: str) -> dict[str, str]:
    """The kernel files of a dialect that must have a twin, by stem."""
    found = {p.name: p.read_text() for p in files(FOLDERS[dialect]).iterdir() if p.name.endswith(f".{dialect}")}
    return {name.split(".")[0]: text for name, text in found.items() if ONLY[dialect] not in text}


def signatures(dialect: str, text: str) -> set[tuple[str, str]]:
    """Kernel names with their parameters, without the words in which the dialects differ."""
    found = re.findall(KERNEL[dialect] + r"(\w+)\(([^)]*)\)", text, re.M)
    return {(name, re.sub(r"\s*\*\s*", "* ", " ".join(re.sub(WORDS, "", rest).split()))) for name, rest in found}


def shared_texts() -> dict[str, str]:
    """The kernel files that both dialects compile, by stem."""
    headers = (path for path in SHARED.iterdir() if path.name.endswith(".h"))
    return {p.name[:-2]: p.read_text() for p in headers if p.name not in ("shared.h", "types.h")}


def test_both_dialects_have_the_same_files() -> None:
    assert texts("cl").keys() == texts("cu").keys()


def test_a_kernel_that_both_dialects_compile_is_in_neither_folder() -> None:
    for dialect, folder in FOLDERS.items():
        own = {p.name.split(".")[0] for p in files(folder).iterdir() if p.name.endswith(f".{dialect}")}
        assert not own & shared_texts().keys()


@pytest.mark.parametrize("stem", sorted(shared_texts()))
def test_a_kernel_that_both_dialects_compile_speaks_neither(stem: str) -> None:
    text = shared_texts()[stem]
    assert re.search(r"^KERNEL \w+\(", text, re.M)
    assert not re.findall(r"\b(?:global|local|kernel|barrier|get_\w+_id|v(?:load|store)\w+)\b", uncommented(text))
    assert not re.findall(r"\b(?:blockIdx|threadIdx|blockDim|extern|template|__\w+)\b", uncommented(text))


def uncommented(text: str) -> str:
    """The text without its comments."""
    return re.sub(r"//.*", "", text)


@pytest.mark.parametrize("stem", sorted(texts("cl")))
def test_twins_have_the_same_kernels_with_the_same_parameters(stem: str) -> None:
    assert signatures("cl", texts("cl")[stem]) == signatures("cu", texts("cu")[stem])
    assert signatures("cu", texts("cu")[stem])


CONTRACT = r"\A(?://.*\n)+"
CONDITION = r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b([^/\n]*)"
FUNCTION = r"^\w[^\n]*\([\s\S]*?^}"


def kernel_texts() -> dict[str, str]:
    """All kernel files and the headers between them, by name."""
    folders = (SHARED, *map(files, FOLDERS.values()))
    return {p.name: p.read_text() for folder in folders for p in folder.iterdir() if not p.name.startswith("__")}


@pytest.mark.parametrize("name", sorted(name for name in kernel_texts() if name.endswith((".cl", ".cu", ".h"))))
def test_a_kernel_file_begins_with_a_contract_that_names_the_macros_it_depends_on(name: str) -> None:
    text, contracts = kernel_texts()[name], {k: re.match(CONTRACT, text) for k, text in kernel_texts().items()}
    own = contracts[name]
    assert own is not None
    mentioned = re.findall(r"\w+\.(?:cuh|clh)\b", text)
    named = " ".join(found.group() for found in (own, *(contracts.get(k) for k in mentioned)) if found is not None)
    asked = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", " ".join(re.findall(CONDITION, text, re.M))))
    asked -= set(re.findall(r"#\s*define (\w+)", text))
    assert {macro for macro in asked if not re.search(rf"\b{macro}\b", named)} == set()


def test_the_body_of_a_kernel_fits_a_screen() -> None:
    for name, text in kernel_texts().items():
        for function in re.findall(FUNCTION, text, re.M):
            assert function.count("\n") < 60, f"{name}: {function[:80]}"


SIZES = (
    "BQ",
    "BK",
    "THREAD_ROWS",
    "WARPS",
    "HEAD_DIM",
    "V_HEAD_DIM",
    "COLUMNS",
    "MMA",
    "BM",
    "BN",
    "GROUPS",
    "LOAD",
    "SIDE",
    "STRIP",
)
"""Macros whose values decide how many registers a kernel of its own design takes."""


SOME_ARCHITECTURES = (ARCHITECTURES[0], 90)
"""The oldest, whose registers and instructions are the fewest, and one that has all that kernels choose by."""


def variants() -> dict[str, Launch]:
    """One launch for each kernel and each set of macros that it is compiled with."""
    found: dict[str, Launch] = {}
    plain = DeviceLimits(units=132)
    fast = replace(plain, tensor_cores=True).plus("warps", "chains", "cublas")
    tiles = [fed(case)[0] for case in of_family("gpu tiles")]
    wanted = [(fed(case)[0], plain) for case in kernels(main=True)]
    wanted += [(model, replace(fast, tensor_cores=False)) for model in tiles]
    wanted += [(model, replace(fast, precision=p)) for model in tiles for p in ("fp32", "tf32", "fp16")]
    wanted += [
        (pattern.model(), fast) for pattern in (*ATTENTIONS, *NORMS, *SEPARABLES, *EPILOGUES) if pattern.compiled
    ]
    wanted += [(large(), replace(fast, blocks=2))]
    on_tensor_cores = [SEPARABLES[0], *(pattern for pattern in ATTENTIONS if pattern.compiled)]
    wanted += [(pattern.model(), replace(fast, precision=p)) for pattern in on_tensor_cores for p in ("tf32", "fp16")]
    for model, limits in wanted:
        for launch in launches(model, limits):
            sizes = " ".join(str(launch.defines[name]) for name in SIZES if name in launch.defines)
            key = f"{launch.kernel} {' '.join(sorted(map(str, launch.defines)))} {sizes}".strip()
            found.setdefault(key, launch)
    return found


@pytest.fixture(scope="module")
def nvrtc() -> Any:
    return Nvrtc()


def compiled_for() -> dict[str, tuple[Launch, tuple[int, ...]]]:
    """Each variant and its GPUs: every one for a kernel's first, a few for the others unless TFLGPU_GPUS is "all"."""
    found, some = {}, set[str]()
    for key, launch in variants().items():
        every = launch.kernel not in some or os.environ.get("TFLGPU_GPUS") == "all"
        found[key] = launch, ARCHITECTURES if every else SOME_ARCHITECTURES
        some.add(launch.kernel)
    return found


@pytest.mark.parametrize("launch, architectures", [pytest.param(*v, id=k) for k, v in compiled_for().items()])
def test_a_kernel_compiles_for_gpus_within_its_registers(
    launch: Launch, architectures: tuple[int, ...], nvrtc: Any
) -> None:
    text = source(launch, CudaDevice.dialect)
    for architecture in architectures:
        if launch.defines.get("MMA") == 32 and architecture < 80:
            continue  # no TF32: the delegate refuses precision=tf32 there
        figures = nvrtc.compile(text, architecture, OPTIONS)[launch.name]
        assert figures.spilled == 0, f"sm_{architecture} spills {figures.spilled} bytes"
        block = math.prod(launch.block) * figures.registers
        assert figures.registers <= REGISTERS and block <= REGISTERS_OF_A_BLOCK, f"sm_{architecture}: {figures}"
        assert figures.shared <= 48 << 10, f"sm_{architecture} uses {figures.shared} bytes of shared memory"


def test_a_megakernel_reads_nothing_through_the_cache_of_constants(nvrtc: Any) -> None:
    sequences = [launch for launch in variants().values() if launch.name == "barrier_kernel"]
    assert any("GRID_WIDE" in launch.defines for launch in sequences)
    for launch in sequences:
        ptx = nvrtc.ptx(source(launch, CudaDevice.dialect), 90, OPTIONS)
        assert "ld.global" in ptx and "ld.global.nc" not in ptx
