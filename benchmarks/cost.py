"""What a model should take on a card, by a model of cost: every number is modelled, none is measured.

    python benchmarks/cost.py [--card H200] [--only REGEX] [--batches 1,32] [--details]

Of each launch: GEMMs by the cycles of the delegate's own cost model (gemm/block_sizes.py, fuse_separable.py), which
choose its kernels; others by the latency of the loads that a thread waits for; all at least by their bytes over the
memory's bandwidth, and a gap to the next launch of a graph. Assumptions are constants here and there: published figures
and estimates, which a first run on a card confirms or refutes. Real times are expected to be 1.0 to 1.6 times as long.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from architectures import ARCHITECTURES, Network
from models import multiplications, tflite

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from programs import steps_of

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.fusion.fuse_separable import fused_cycles
from tflgpu.delegates.launch import Launch, Packed, Ref, Temp, launches_of
from tflgpu.delegates.lowering.gemm.block_sizes import LATENCY, START, cycles, tiles_of
from tflgpu.model.loader import load

MODELS = ("mobilenet_v2", "efficientnet_b0", "resnet_50", "bert_base", "vit_s16")
RUNS = (("float32", "fp32"), ("float16", "fp16"), ("int8", "fp32"))
UNROLLED = 4
"""Loads of a loop that are under way at once."""
THREADS = 1024
"""Of kernels without shared memory that a multiprocessor runs at once, about."""
ATTENTION = {"attention": 12e12, "attention_mma": 60e12}
"""FLOP/s of the attention kernels on 132 multiprocessors: estimates."""
HOST_US, COPY_US, COPY_BYTES = 25, 5, 50e9
"""An invoke's Python and driver; both copies' starts, and their bytes a second over PCI Express 5."""


@dataclass(frozen=True)
class Card:
    """A card's figures.

    units: multiprocessors. clock: cycles a second. memory, cache: bytes a second. cached: bytes that the second-level
    cache holds. gap: seconds from a launch in a graph to the next.
    """

    units: int
    clock: float
    memory: float
    cache: float
    cached: float
    gap: float


CARDS = {
    "H200": Card(132, 1.75e9, 3.9e12, 5.5e12, 40e6, 1.2e-6),
    "H100": Card(132, 1.75e9, 2.7e12, 5.5e12, 40e6, 1.2e-6),
    "A100": Card(108, 1.41e9, 1.4e12, 3.5e12, 30e6, 1.5e-6),
}
"""By published figures; bandwidths are 0.8 of the data sheets'."""


@dataclass(frozen=True)
class Kernel:
    """One launch, as the model of cost sees it. macros: those that are numbers. sizes: by the parameter's name; of a
    GEMM also int8. nbytes: of the buffers that it is given."""

    name: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    macros: Mapping[str, int]
    sizes: Mapping[str, int]
    nbytes: int


@dataclass(frozen=True)
class GemmSizes:
    m: int
    n: int
    k: int
    int8: bool


def card_of(device: str) -> str:
    """The name in CARDS of the card with that name; "" where none is known."""
    return next((name for name in CARDS if name in device), "")


def kernels(model: bytes, precision: str, card: Card) -> list[Kernel]:
    """The launches of an untuned model."""
    limits = limits_of(card, precision)
    sizes = {spec.index: spec.dtype.itemsize * math.prod(spec.shape) for spec in load(content=model).graphs[0].tensors}
    launches = [one for launch in launches_of(steps_of(model, limits)) for one in launch.sequence]
    return [_kernel(launch, sizes) for launch in launches if 0 not in launch.threads]


def limits_of(card: Card, precision: str) -> DeviceLimits:
    return replace(DeviceLimits(units=card.units, precision=precision), tensor_cores=True).plus("warps", "chains")


def _kernel(launch: Launch, tensors: Mapping[int, int]) -> Kernel:
    buffers = {id(buffer) if not isinstance(buffer, Ref) else buffer: buffer for buffer in launch.buffers}
    macros = {name: value for name, value in launch.defines.items() if isinstance(value, int)}
    sizes = {name: size for name, size in launch.sizes.items() if isinstance(size, int)}
    sizes["int8"] = int("QUANTIZED" in macros or "HYBRID" in macros)
    nbytes = sum(_nbytes(buffer, tensors) for buffer in buffers.values())
    return Kernel(launch.name, launch.grid, launch.block, macros, sizes, nbytes)


def _nbytes(buffer: Any, tensors: Mapping[int, int]) -> int:
    if isinstance(buffer, Ref):
        return tensors.get(buffer.tensor, 0)
    if isinstance(buffer, Temp):
        return buffer.nbytes
    array = buffer.make() if isinstance(buffer, Packed) else buffer
    return array.nbytes if isinstance(array, np.ndarray) else 4


def seconds(kernel: Kernel, card: Card) -> float:
    """From the launch's start to the next one's."""
    bandwidth = card.cache if kernel.nbytes < card.cached else card.memory
    return max(_cycles(kernel, card) / card.clock, kernel.nbytes / bandwidth) + card.gap


def _cycles(kernel: Kernel, card: Card) -> float:
    macros, sizes, limits = kernel.macros, kernel.sizes, limits_of(card, "fp32")
    blocks, threads = math.prod(kernel.grid), math.prod(kernel.block)
    waves = -(-blocks * threads // (THREADS * card.units))
    if kernel.name in ("gemm", "gemm_mma"):
        g, tiles = GemmSizes(sizes["m"], sizes["n"], sizes["k"], bool(sizes["int8"])), tiles_of(macros)
        if "SEPARABLE" in macros:
            window = macros["KH"], sizes.get("kw", macros["KH"])
            return fused_cycles(g, tiles, kernel.grid[2], macros["LOAD"], window, limits)
        return cycles(g, tiles, kernel.grid[2], limits)
    if kernel.name in ATTENTION:
        flop = 2 * sizes["m"] * sizes["n"] * kernel.grid[1] * (macros["HEAD_DIM"] + macros["V_HEAD_DIM"])
        return START + flop / ATTENTION[kernel.name] * card.clock * 132 / card.units
    if kernel.name == "reduce":
        shares = macros.get("WIDTH", 1) // macros.get("COLUMNS", 1)
        return START + waves * LATENCY * -(-sizes["count"] // (shares * UNROLLED))
    if kernel.name == "depthwise_strips":
        return START + waves * LATENCY
    return START + LATENCY * min(waves, 2)


@dataclass(frozen=True)
class Cost:
    """Of one invoke: launches, seconds on the card with the copies of its input and output, and on the host."""

    launches: int
    card: float
    copies: float
    by_kernel: Mapping[str, float]

    @property
    def ms(self) -> float:
        return (self.card + self.copies) * 1e3 + HOST_US * 1e-3


def cost(run: Iterable[Kernel], boundary: int, card: Card) -> Cost:
    """boundary: bytes of inputs and outputs."""
    by_kernel: dict[str, float] = {}
    launches = 0
    for kernel in run:
        launches += 1
        name = kernel.name + (" separable" if "SEPARABLE" in kernel.macros else "")
        by_kernel[name] = by_kernel.get(name, 0) + seconds(kernel, card)
    return Cost(launches, sum(by_kernel.values()), COPY_US * 1e-6 + boundary / COPY_BYTES, by_kernel)


def modelled(data: bytes, network: Network, precision: str, card: str) -> Cost:
    """Of a file that models.py made of the network."""
    shapes = math.prod(network.input.shape) + math.prod(network.output.shape)
    width = load(content=data).graphs[0].tensors[0].dtype.itemsize
    return cost(kernels(data, precision, CARDS[card]), width * shapes, CARDS[card])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", choices=CARDS, default="H200")
    parser.add_argument("--only", default="", help="models whose names match")
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--details", action="store_true", help="microseconds by kernel too")
    given = parser.parse_args()
    print(f"Modelled for a card like {given.card}, not measured; milliseconds.\n")
    print("| model | batch | type | launches | ms | on the card | TFLOP/s |\n|---|---|---|---|---|---|---|")
    for model in (name for name in MODELS if re.search(given.only, name)):
        for batch in map(int, given.batches.split(",")):
            network = ARCHITECTURES[model](batch)
            for kind, precision in RUNS:
                found = modelled(tflite(network, kind), network, precision, given.card)
                cells = [found.launches, f"{found.ms:.2f}", f"{found.card * 1e3:.2f}"]
                cells.append(f"{2 * multiplications(network) / found.card / 1e12:.1f}")
                print(f"| {model} | {batch} | {kind} | {' | '.join(map(str, cells))} |", flush=True)
                if given.details:
                    print({name: round(t * 1e6, 1) for name, t in sorted(found.by_kernel.items(), key=lambda i: -i[1])})


if __name__ == "__main__":
    main()
