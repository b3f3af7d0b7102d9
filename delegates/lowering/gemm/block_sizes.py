"""Which blocks a product of tensor_core.py is made in, and in how many stretches of k: by rules made without a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tflgpu.delegates.device import DeviceLimits

if TYPE_CHECKING:
    from tflgpu.delegates.lowering.gemm.tensor_core import Layer

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


def mma_bits(layer: Layer, limits: DeviceLimits) -> int:
    """The kernel's MMA: bits of an operand, or 0 for the CUDA cores."""
    if not limits.tensor_cores:
        return 0
    if layer.codes:  # below that a block is mostly padding
        return 8 if layer.m >= 32 and layer.n >= 32 and layer.k >= 32 else 0
    return {"fp16": 16, "tf32": 32}.get(limits.precision, 0)


VARIANTS = 4
"""Tiles worth trying, each with the number of stretches that suits it."""

LATENCY = 700
"""Cycles from a block's asking memory for words until all its threads may multiply them."""

BYTES_A_CYCLE = 24
"""That the second-level cache gives each multiprocessor while all ask."""

START, SPLIT = 1500, 1800
"""Cycles that a block takes before its first and after its last product; and more where k is split: sums to memory, a
fence, the counter, and the sums of the others from memory."""

MOST_SLICES = 64


def ways_worth_trying(layer: Layer, limits: DeviceLimits) -> list[tuple[Tiles, int]]:
    """Tiles and stretches of k, the likely best first."""
    mma = mma_bits(layer, limits)
    every = _on_tensor_cores(layer, mma) if mma else CUDA_CORES
    if mma and layer.codes:
        every = (*every, CUDA_CORES[-2])
    least = min(t.bm for t in every)
    fitting = [t for t in every if t.bm < 2 * max(layer.m, least) and t.bn < 2 * max(layer.n, 32)]
    ways = [min((_cycles(layer, t, slices, limits), slices) for slices in _splits(layer, t)) for t in fitting]
    found = sorted((way, k) for k, way in enumerate(ways))
    best = [(fitting[k], slices) for (_, slices), k in found[:VARIANTS]]
    tiles, first = best[0]
    others = [(tiles, slices) for slices in (1, 2 * first) if slices != first and slices in _splits(layer, tiles)]
    return [best[0], *others, *best[1:]]


def _on_tensor_cores(layer: Layer, mma: int) -> tuple[Tiles, ...]:
    bk = 16 if mma == 32 else 32
    # Of the largest, a thread has no registers for its words of codes if they come one by one.
    by_fours = not layer.codes or layer.loads == 4
    return tuple(Tiles(*size, bk) for size in ((64, 64), (32, 64), (64, 32), (32, 32)) if by_fours or min(size) < 64)


def _cycles(layer: Layer, tiles: Tiles, slices: int, limits: DeviceLimits) -> int:
    """How long the layer may take, roughly, by instructions of a step and published latencies; nothing of it measured.

    A multiprocessor issues four instructions a cycle, each for a warp, of however many blocks it holds. A step takes as
    long as its words take to come, though: by the latency of memory, or by how much all blocks ask of it.
    """
    blocks = -(-layer.m // tiles.bm) * -(-layer.n // tiles.bn) * slices
    steps = -(-_steps(layer, tiles) // slices)
    each = -(-blocks // limits.units)
    together = min(each, tiles.resident)
    asked = (tiles.bm + tiles.bn) * tiles.bk * 4
    step = max(LATENCY, together * tiles.threads // 32 * _instructions(tiles) // 4, together * asked // BYTES_A_CYCLE)
    turns = -(-each // together)
    read = slices * tiles.bm * tiles.bn * 4 // BYTES_A_CYCLE if slices > 1 else 0
    return turns * (START + steps * step) + (SPLIT + read if slices > 1 else 0)


def _instructions(tiles: Tiles) -> int:
    """Of a thread between two barriers: products, their operands from shared memory, 16 bytes of which a warp gets in
    four cycles, and what brings the next ones."""
    if tiles.tm:
        loads = (tiles.bm + tiles.bn) * tiles.bk // tiles.threads
        return DEEP * (tiles.tm * tiles.tn + tiles.tm + tiles.tn) + 4 * loads
    return 8 * (tiles.bm // 32 * (tiles.bn // 32) * 8 + tiles.bm // 32 + tiles.bn // 32) + 64


def _steps(layer: Layer, tiles: Tiles) -> int:
    return -(-layer.k // ((4 if layer.codes else 1) * tiles.bk))


def _splits(layer: Layer, tiles: Tiles) -> list[int]:
    """In how many stretches of whole steps k can be divided, no two numbers of them the same."""
    steps = _steps(layer, tiles)
    return sorted({-(-steps // -(-steps // slices)) for slices in range(1, min(steps, MOST_SLICES) + 1)})
