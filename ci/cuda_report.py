"""What ptxas says of every CUDA kernel and variant for every architecture, as a Markdown table. Needs no GPU.

    python ci/cuda_report.py [--cuobjdump PATH] > benchmarks/results/cuda-compile-report.md

A cell: registers a thread / bytes of shared memory a block; spilled bytes, where there are any, after a +. With
cuobjdump, of CUDA's toolkit or of Triton's wheel, a last column: of the machine code for sm_90, in the loop with most
instructions that multiply and add (FFMA, IDP, HMMA, IMMA), how many these are, of all in the loop.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "cuda"))
from nvrtc import ARCHITECTURES, Compiled, Nvrtc
from test_kernels import variants

from tflgpu.delegates.cuda.compiler import OPTIONS
from tflgpu.delegates.cuda.device import CudaDevice
from tflgpu.delegates.program import source

INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?\s*(\S+)(.*?);", re.M)
PRODUCT = re.compile(r"(FFMA|IDP|HMMA|IMMA)\b")
FEWEST = 8
"""Products in a loop that is worth telling of."""


def cell(figures: Compiled) -> str:
    spilled = f" +{figures.spilled}" if figures.spilled else ""
    return f"{figures.registers}/{figures.shared}{spilled}"


def disassembled(cuobjdump: str, binary: bytes, kernel: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [cuobjdump, "-sass", "-fun", kernel, file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def multiplies_in_loop(assembly: str) -> str:
    """Those of the loop that has most, of all its instructions; "" where no loop has as many as FEWEST."""
    instructions = [(int(at, 16), name, rest) for at, name, rest in INSTRUCTION.findall(assembly)]
    found = [(0, 0)]
    for at, name, rest in instructions:
        target = re.search(r"0x([0-9a-f]+)", rest) if name.startswith("BRA") else None
        if target is not None and int(target[1], 16) < at:
            inside = [name for address, name, _ in instructions if int(target[1], 16) <= address <= at]
            found.append((sum(PRODUCT.match(name) is not None for name in inside), -len(inside)))
    multiplies, others = max(found)
    return f"{multiplies} of {-others}" if multiplies >= FEWEST else ""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuobjdump", default="")
    cuobjdump = parser.parse_args(arguments).cuobjdump
    compiler, start = Nvrtc(), time.perf_counter()
    columns = [f"sm_{a}" for a in ARCHITECTURES] + (["multiplies in the loop, sm_90"] if cuobjdump else [])
    print(f"| kernel and its macros | threads | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 2) + "|")
    programs = 0
    for name, launch in sorted(variants().items()):
        text, threads = source(launch, CudaDevice.dialect), 1
        for size in launch.block:
            threads *= size
        cells = []
        for architecture in ARCHITECTURES:
            if launch.defines.get("MMA") == 32 and architecture < 80:
                cells.append("-")
                continue
            cells.append(cell(compiler.compile(text, architecture, OPTIONS)[launch.name]))
            programs += 1
        if cuobjdump:
            binary = compiler.machine_code(text, 90, OPTIONS)
            cells.append(multiplies_in_loop(disassembled(cuobjdump, binary, launch.name)))
        print(f"| {name} | {threads} | {' | '.join(cells)} |", flush=True)
    print(f"\n{programs} programs compiled by NVRTC in {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
