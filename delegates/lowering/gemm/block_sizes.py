"""Block sizes and split-K of the GEMM of shared_memory.py, by a cost model made without a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.lowering.gemm.problem import Gemm

DEEP = 16
"""Words of k that a group of threads multiplies between two barriers."""


@dataclass(frozen=True)
class Tiles:
    """A block's tile: bm x bn outputs, bk words of k at a time, tm x tn outputs a thread; tm 0: on tensor cores.

    groups: of threads, among which the words of k are divided.
    """

    bm: int
    bn: int
    bk: int
    tm: int = 0
    tn: int = 0
    groups: int = 1

    @property
    def threads(self) -> int:
        return self.groups * (self.bm // self.tm) * (self.bn // self.tn) if self.tm else 128

    @property
    def resident(self) -> int:
        """Blocks that a multiprocessor holds at once, by the kernels' launch bounds."""
        return 3 if not self.tm else (384 if self.tm * self.tn > 32 else 512) // self.threads

    @property
    def defines(self) -> dict[str, int]:
        own = {"TM": self.tm, "TN": self.tn, "GROUPS": self.groups} if self.tm else {}
        return {"BM": self.bm, "BN": self.bn, "BK": self.bk, **own}


def tiles_of(defines: Mapping[str, object]) -> Tiles:
    """Those that a launch has as its macros."""
    names = {"bm": "BM", "bn": "BN", "bk": "BK", "tm": "TM", "tn": "TN", "groups": "GROUPS"}
    return Tiles(**{field: int(str(defines[name])) for field, name in names.items() if name in defines})


class Sizes(Protocol):
    """What the cost model asks of a GEMM."""

    @property
    def m(self) -> int: ...
    @property
    def n(self) -> int: ...
    @property
    def k(self) -> int: ...
    @property
    def int8(self) -> bool: ...


CUDA_CORES = (
    *(Tiles(16, 32, DEEP * groups, 4, 4, groups) for groups in (2, 4)),
    *(Tiles(32, 32, DEEP * groups, 4, 4, groups) for groups in (1, 2, 4)),
    *(Tiles(64, 64, DEEP * groups, 8, 4, groups) for groups in (1, 2)),
    Tiles(64, 128, DEEP, 8, 8),
)


def load_words(g: Gemm) -> int:
    """Words of x that a thread loads at once."""
    return 4 if g.gather.channels % (16 if g.int8 else 4) == 0 else 1


def mma_bits(g: Gemm, limits: DeviceLimits) -> int:
    """The kernel's MMA: bits of an operand, or 0 for the CUDA cores."""
    if not limits.tensor_cores:
        return 0
    if g.int8:  # below that a block is mostly padding
        return 8 if g.m >= 32 and g.n >= 32 and g.k >= 32 else 0
    return {"fp16": 16, "tf32": 32}.get(limits.precision, 0)


VARIANTS = 4
"""Tiles to try, each with its best number of slices."""

LATENCY = 700
"""Cycles from a block's loads until all its threads can multiply the words."""

BYTES_A_CYCLE = 24
"""Bandwidth of the second-level cache for each multiprocessor while all of them load."""

START, SPLIT = 1500, 1800
"""Cycles that a block takes before and after it multiplies; and those that split-K adds: sums to memory, a fence, the
counter, and the sums of the other slices from memory."""

MOST_SLICES = 64


def ways_worth_trying(g: Gemm, limits: DeviceLimits) -> list[tuple[Tiles, int]]:
    """Tiles and slices of k, the likely best first."""
    mma = mma_bits(g, limits)
    every = _on_tensor_cores(g, mma) if mma else CUDA_CORES
    if mma and g.int8:
        every = (*every, CUDA_CORES[-2])
    least = min(t.bm for t in every)
    fitting = [t for t in every if t.bm < 2 * max(g.m, least) and t.bn < 2 * max(g.n, 32)]
    ways = [min((cycles(g, t, slices, limits), slices) for slices in _splits(g, t)) for t in fitting]
    found = sorted((way, k) for k, way in enumerate(ways))
    best = [(fitting[k], slices) for (_, slices), k in found[:VARIANTS]]
    tiles, first = best[0]
    others = [(tiles, slices) for slices in (1, 2 * first) if slices != first and slices in _splits(g, tiles)]
    return [best[0], *others, *best[1:]]


def _on_tensor_cores(g: Gemm, mma: int) -> tuple[Tiles, ...]:
    bk = 16 if mma == 32 else 32
    # In the largest tile a thread has no registers for int8 words that are loaded one by one.
    by_fours = not g.int8 or load_words(g) == 4
    return tuple(Tiles(*size, bk) for size in ((64, 64), (32, 64), (64, 32), (32, 32)) if by_fours or min(size) < 64)


def cycles(g: Sizes, tiles: Tiles, slices: int, limits: DeviceLimits, waits: int = 0, instructions: int = 0) -> int:
    """A rough estimate of the GEMM's cycles, by instructions of a step and published latencies; nothing is measured.

    A multiprocessor issues four warp instructions a cycle for all blocks that it holds. A step takes at least the
    latency of its loads, and their bytes over the bandwidth. waits, instructions: what a thread adds to a step that
    computes its operand: loads that wait for the ones before them, and instructions.
    """
    blocks = -(-g.m // tiles.bm) * -(-g.n // tiles.bn) * slices
    steps = -(-_steps(g, tiles) // slices)
    each = -(-blocks // limits.units)
    together = min(each, tiles.resident)
    asked = (tiles.bm + tiles.bn) * tiles.bk * 4
    issued = together * tiles.threads // 32 * (_instructions(tiles) + instructions) // 4
    step = max(LATENCY * (1 + waits), issued, together * asked // BYTES_A_CYCLE)
    waves = -(-each // together)
    read = slices * tiles.bm * tiles.bn * 4 // BYTES_A_CYCLE if slices > 1 else 0
    return waves * (START + steps * step) + (SPLIT + read if slices > 1 else 0)


def _instructions(tiles: Tiles) -> int:
    """Instructions of a thread between two barriers: multiplications, loads from shared memory, of which a warp gets 16
    bytes in four cycles, and loads of the next tile."""
    if tiles.tm:
        loads = (tiles.bm + tiles.bn) * tiles.bk // tiles.threads
        return DEEP * (tiles.tm * tiles.tn + tiles.tm + tiles.tn) + 4 * loads
    return 8 * (tiles.bm // 32 * (tiles.bn // 32) * 8 + tiles.bm // 32 + tiles.bn // 32) + 64


def _steps(g: Sizes, tiles: Tiles) -> int:
    return -(-g.k // ((4 if g.int8 else 1) * tiles.bk))


def _splits(g: Gemm, tiles: Tiles) -> list[int]:
    """The different numbers of slices of whole steps into which k can be divided."""
    steps = _steps(g, tiles)
    return sorted({-(-steps // -(-steps // slices)) for slices in range(1, min(steps, MOST_SLICES) + 1)})
