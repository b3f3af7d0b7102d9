"""What ptxas says of every CUDA kernel and variant for every architecture, as a Markdown table. Needs no GPU.

    python ci/cuda_report.py > benchmarks/results/cuda-compile-report.md

A cell: registers a thread / bytes of shared memory a block; spilled bytes, where there are any, behind a +.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from nvrtc import ARCHITECTURES, Compiled, Nvrtc
from test_kernels import variants
from tflgpu.delegates.cuda_compiler import OPTIONS
from tflgpu.delegates.cuda_device import CudaDevice
from tflgpu.delegates.launch import source


def cell(figures: Compiled) -> str:
    spilled = f" +{figures.spilled}" if figures.spilled else ""
    return f"{figures.registers}/{figures.shared}{spilled}"


def main() -> None:
    compiler, start = Nvrtc(), time.perf_counter()
    print("| kernel and its macros | threads | " + " | ".join(f"sm_{a}" for a in ARCHITECTURES) + " |")
    print("|---" * (len(ARCHITECTURES) + 2) + "|")
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
        print(f"| {name} | {threads} | {' | '.join(cells)} |")
    print(f"\n{programs} programs compiled by NVRTC in {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
