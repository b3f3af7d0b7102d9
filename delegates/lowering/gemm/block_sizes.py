"""Which blocks a GEMM of shared_memory.py is made in, and in how many slices of k: by rules made without a GPU."""

from __future__ import annotations

from dataclasses import dataclass

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.lowering.gemm.problem import Gemm

DEEP = 16
"""Words of k that a group of threads multiplies between two barriers."""


@dataclass(frozen=True)
class Tiles:
    """What a block makes: bm x bn outputs, bk words of k at a time, tm x tn of them a thread; tm 0: on tensor cores.

    groups: of threads, among which these words are divided.
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
        """Blocks that a multiprocessor surely holds at once: as many as the kernels' launch bounds say."""
        return 3 if not self.tm else (384 if self.tm * self.tn > 32 else 512) // self.threads

    @property
    def defines(self) -> dict[str, int]:
        own = {"TM": self.tm, "TN": self.tn, "GROUPS": self.groups} if self.tm else {}
        return {"BM": self.bm, "BN": self.bn, "BK": self.bk, **own}


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
"""Tiles worth trying, each with the number of slices that suits it."""

LATENCY = 700
"""Cycles from a block's asking memory for words until all its threads may multiply them."""

BYTES_A_CYCLE = 24
"""That the second-level cache gives each multiprocessor while all ask."""

START, SPLIT = 1500, 1800
"""Cycles that a block takes before it multiplies and after; and more where k is split: sums to memory, a
fence, the counter, and the sums of the others from memory."""

MOST_SLICES = 64


def ways_worth_trying(g: Gemm, limits: DeviceLimits) -> list[tuple[Tiles, int]]:
    """Tiles and slices of k, the likely best first."""
    mma = mma_bits(g, limits)
    every = _on_tensor_cores(g, mma) if mma else CUDA_CORES
    if mma and g.int8:
        every = (*every, CUDA_CORES[-2])
    least = min(t.bm for t in every)
    fitting = [t for t in every if t.bm < 2 * max(g.m, least) and t.bn < 2 * max(g.n, 32)]
    ways = [min((_cycles(g, t, slices, limits), slices) for slices in _splits(g, t)) for t in fitting]
    found = sorted((way, k) for k, way in enumerate(ways))
    best = [(fitting[k], slices) for (_, slices), k in found[:VARIANTS]]
    tiles, first = best[0]
    others = [(tiles, slices) for slices in (1, 2 * first) if slices != first and slices in _splits(g, tiles)]
    return [best[0], *others, *best[1:]]


def _on_tensor_cores(g: Gemm, mma: int) -> tuple[Tiles, ...]:
    bk = 16 if mma == 32 else 32
    # Of the largest, a thread has no registers for its words of int8 values if they come one by one.
    by_fours = not g.int8 or load_words(g) == 4
    return tuple(Tiles(*size, bk) for size in ((64, 64), (32, 64), (64, 32), (32, 32)) if by_fours or min(size) < 64)


def _cycles(g: Gemm, tiles: Tiles, slices: int, limits: DeviceLimits) -> int:
    """How long the GEMM may take, roughly, by instructions of a step and published latencies; nothing of it measured.

    A multiprocessor issues four instructions a cycle, each for a warp, of however many blocks it holds. A step takes as
    long as its words take to come, though: by the latency of memory, or by how much all blocks ask of it.
    """
    blocks = -(-g.m // tiles.bm) * -(-g.n // tiles.bn) * slices
    steps = -(-_steps(g, tiles) // slices)
    each = -(-blocks // limits.units)
    together = min(each, tiles.resident)
    asked = (tiles.bm + tiles.bn) * tiles.bk * 4
    step = max(LATENCY, together * tiles.threads // 32 * _instructions(tiles) // 4, together * asked // BYTES_A_CYCLE)
    waves = -(-each // together)
    read = slices * tiles.bm * tiles.bn * 4 // BYTES_A_CYCLE if slices > 1 else 0
    return waves * (START + steps * step) + (SPLIT + read if slices > 1 else 0)


def _instructions(tiles: Tiles) -> int:
    """Of a thread between two barriers: multiplications, operands from shared memory, 16 bytes of which a warp gets in
    four cycles, and what brings the next ones."""
    if tiles.tm:
        loads = (tiles.bm + tiles.bn) * tiles.bk // tiles.threads
        return DEEP * (tiles.tm * tiles.tn + tiles.tm + tiles.tn) + 4 * loads
    return 8 * (tiles.bm // 32 * (tiles.bn // 32) * 8 + tiles.bm // 32 + tiles.bn // 32) + 64


def _steps(g: Gemm, tiles: Tiles) -> int:
    return -(-g.k // ((4 if g.int8 else 1) * tiles.bk))


def _splits(g: Gemm, tiles: Tiles) -> list[int]:
    """In how many slices of whole steps k can be divided, no two numbers of them the same."""
    steps = _steps(g, tiles)
    return sorted({-(-steps // -(-steps // slices)) for slices in range(1, min(steps, MOST_SLICES) + 1)})
