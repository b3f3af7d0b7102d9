"""The AVX512-VNNI assembly of a tile of an int8 GEMM, and the probe that a device must pass before it gets it."""

from __future__ import annotations

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.model.graph import Array

LANES = 16
"""Sums in a vector of the assembly."""

OFFSETS = (
    "(%[a])",
    "(%[a],%[r])",
    "(%[a],%[r],2)",
    "(%[a],%[r3])",
    "(%[a],%[r],4)",
    "(%[a],%[r5])",
    "(%[a],%[r3],2)",
    "(%[a],%[r7])",
)
"""Addresses of rows 0 to 7: `r`, `r3`, `r5` and `r7` hold 1, 3, 5 and 7 times the bytes of a row."""


def assembly(rows: int, vectors: int, flip: int = 0) -> str:
    """The body of `multiply`: sums of `rows` by `vectors` vectors stay in registers over all steps."""
    sums = [[f"%%zmm{i * vectors + j}" for j in range(vectors)] for i in range(rows)]
    weights = [f"%%zmm{rows * vectors + j}" for j in range(vectors)]
    values = [f"%%zmm{rows * vectors + vectors + i}" for i in range(2)]
    lines = ["lea (%[r],%[r],2),%[r3]", "lea (%[r],%[r],4),%[r5]", "lea (%[r3],%[r],4),%[r7]"]
    if flip:
        lines += ["mov $0x80808080,%k[n]", "vpbroadcastd %k[n],%%zmm31"]
    lines += [f"vpxord {s},{s},{s}" for row in sums for s in row]
    lines += ["2:", "mov %[w],%[n]", "1:"]
    lines += [f"vmovdqu32 {64 * j}(%[b]),{weight}" for j, weight in enumerate(weights)]
    for i, row in enumerate(sums):
        lines.append(f"vpbroadcastd {OFFSETS[i]},{values[i % 2]}")
        lines += [f"vpxord %%zmm31,{values[i % 2]},{values[i % 2]}"] if flip else []
        lines += [f"vpdpbusd {weight},{values[i % 2]},{s}" for weight, s in zip(weights, row, strict=True)]
    lines += ["add $4,%[a]", f"add ${64 * vectors},%[b]", "dec %[n]", "jnz 1b"]
    lines += ["add %[j],%[a]", "dec %[s]", "jnz 2b"]
    for i, row in enumerate(sums):
        lines += [f"vmovdqu32 {s},{64 * (i * vectors + j)}(%[c])" for j, s in enumerate(row)]
    lines.append("vzeroupper")
    written = '[a] "+r"(rows), [b] "+r"(panel), [s] "+r"(runs), [n] "=&r"(left), [r3] "=&r"(row3), [r5] "=&r"(row5), '
    written += '[r7] "=&r"(row7)'
    read = '[r] "r"(row), [w] "r"(words), [j] "r"(jump), [c] "r"(sums)'
    text = "; ".join(lines)
    return f'i64 row3, row5, row7, left; __asm__ volatile("{text}" : {written} : {read} : "memory");'


def assembly_int4(rows: int, vectors: int, blockwise: bool, half_scales: bool) -> str:
    """The body of `multiply_int4`: 4-bit values plus 8, which are unsigned, times int8 values; 8 a row at a time.

    blockwise: the sums of each block become floats, times their scales, and are added up.
    """
    sums = [[f"%%zmm{i * vectors + j}" for j in range(vectors)] for i in range(rows)]
    floats = [[f"%%zmm{(rows + i) * vectors + j}" for j in range(vectors)] for i in range(rows if blockwise else 0)]
    weights = [f"%%zmm{29 - j}" for j in range(vectors)]
    mask, value = "%%zmm31", "%%zmm30"
    lines = ["lea (%[r],%[r],2),%[r3]", "lea (%[r],%[r],4),%[r5]", "lea (%[r3],%[r],4),%[r7]"]
    lines += ["mov $0x0f0f0f0f,%k[n]", f"vpbroadcastd %k[n],{mask}"]
    lines += [f"vpxord {s},{s},{s}" for row in floats for s in row]
    lines.append("2:")
    for i, row in enumerate(sums):
        lines.append(f"vpbroadcastd {4 * i}(%[i]),{row[0]}")
        lines += [f"vmovdqa32 {row[0]},{s}" for s in row[1:]]
    lines += ["mov %[w],%[n]", "1:"]
    for half in range(2):
        for j, weight in enumerate(weights):
            lines.append(f"vpsrld $4,{64 * j}(%[b]),{weight}" if half else f"vmovdqu32 {64 * j}(%[b]),{weight}")
        lines += [f"vpandd {mask},{weight},{weight}" for weight in weights]
        for i, row in enumerate(sums):
            lines.append(f"vpbroadcastd {4 * half}{OFFSETS[i]},{value}")
            lines += [f"vpdpbusd {value},{weight},{s}" for weight, s in zip(weights, row, strict=True)]
    lines += ["add $8,%[a]", f"add ${64 * vectors},%[b]", "dec %[n]", "jnz 1b"]
    for j, scale in enumerate(weights if blockwise else ()):
        lines.append(f"vcvtph2ps {32 * j}(%[q]),{scale}" if half_scales else f"vmovups {64 * j}(%[q]),{scale}")
        for whole, block in zip(floats, sums, strict=True):
            lines += [f"vcvtdq2ps {block[j]},{block[j]}", f"vmulps {scale},{block[j]},{block[j]}"]
            lines.append(f"vaddps {block[j]},{whole[j]},{whole[j]}")
    lines += [f"add ${(32 if half_scales else 64) * vectors},%[q]", f"add ${4 * rows},%[i]", "dec %[s]", "jnz 2b"]
    for i, row in enumerate(floats or sums):
        lines += [f"vmovdqu32 {s},{64 * (i * vectors + j)}(%[c])" for j, s in enumerate(row)]
    lines.append("vzeroupper")
    written = '[a] "+r"(rows), [b] "+r"(panel), [s] "+r"(blocks), [i] "+r"(starts), [q] "+r"(scales), '
    written += '[n] "=&r"(left), [r3] "=&r"(row3), [r5] "=&r"(row5), [r7] "=&r"(row7)'
    text = "; ".join(lines)
    read = '[r] "r"(row), [w] "r"(pairs), [c] "r"(sums)'
    return f'i64 row3, row5, row7, left; __asm__ volatile("{text}" : {written} : {read} : "memory");'


def vector_lanes(limits: DeviceLimits) -> int:
    """Sums in a vector."""
    return LANES if limits.has("vnni_assembly") else limits.vector


def vectors_of(columns: int, lanes: int) -> int:
    """Vectors of a tile, so that few lanes are left over."""
    return min((3, 2, 1), key=lambda v: (-(-columns // (v * lanes)) * v, -v))


PROBE = f"""
#define ASM {assembly(1, 1).replace("i64", "long")}
kernel void probe(global uint* rows, global char* panel, global int* out) {{
    long words = 2, runs = 1, jump = 0, row = 8;
    global int* sums = out;
    ASM
}}
"""
"""A kernel that the device must compile, and run with the right sums, before it gets these kernels."""


def probe_arrays() -> tuple[Array, Array, Array]:
    """Rows and panel of the probe, and the sums that it must compute."""
    rows = np.array([0, 1, 127, 128, 200, 255, 255, 255], np.uint8)
    panel = np.random.default_rng(0).integers(-128, 128, (2, LANES, 4), np.int8)
    panel[:, 0] = -128
    sums = (rows.astype(np.int32).reshape(2, 1, 4) * panel).sum(axis=(0, 2), dtype=np.int32)
    return rows, panel, sums
