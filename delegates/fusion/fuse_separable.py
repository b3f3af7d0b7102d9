"""A depthwise convolution and the 1 x 1 convolution that alone reads it, as one kernel, or as two.

The GEMM's blocks compute what they multiply as they go, so that nothing of the depthwise convolution is in memory.
Each block of columns does so anew: it is worth trying where that is not more work than the GEMM itself, and where
the images are small, as they are but for a network's first layers. Tuning measures both; without it, one kernel is
taken where a cost model says that it takes less time than two with the launch between them. A block of the one waits
for each row of the window before the next, and there are only as many blocks as the GEMM has; the other has a thread
for every few outputs.
"""

from __future__ import annotations

from dataclasses import replace

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.fusion.steps import PassContext, Steps, Uses, with_ops
from tflgpu.delegates.launch import Launch, Op, Ref
from tflgpu.delegates.lowering.gemm.block_sizes import (
    LATENCY,
    START,
    Sizes,
    Tiles,
    cycles,
    load_words,
    tiles_of,
)
from tflgpu.delegates.lowering.gemm.problem import Gemm
from tflgpu.delegates.lowering.gemm.shared_memory import loads_whole_words

MOST_PIXELS = 32 * 28 * 28
"""Output pixels of a depthwise convolution, of all images, up to which it is tried."""

LAUNCH = 3000
"""Cycles from the end of a kernel's last block to the first loads of the next one's, in a graph; roughly, by published
figures."""

ADDRESSES, REQUANTIZED = 14, 15
"""Instructions that find and load a tap's words and test whether they are in the image, and that requantize a sum."""

RESIDENT_THREADS = 512
"""Of depthwise_strips that a multiprocessor holds at once, by its launch bounds."""


def fuse_separable(steps: Steps, context: PassContext) -> Steps:
    """GEMMs that can compute their depthwise convolution themselves have that among their variants."""
    if not context.limits.has("warps"):
        return steps
    uses = Uses(steps, context)
    ops: dict[int, Op | None] = {}
    for position, step in enumerate(steps):
        first = step.op.sequence[0] if isinstance(step.op, Launch) else None
        x = first.inputs["x"] if first is not None and _pointwise(first) is not None else None
        if first is None or not isinstance(x, Ref) or not isinstance(step.op, Launch):
            continue
        maker = uses.makers.get(uses.root(x))
        depthwise = None if maker is None else steps[maker].op
        if not isinstance(depthwise, Launch) or depthwise.kernel != "depthwise.depthwise_strips":
            continue
        if not uses.used_once(x) or not _worth_trying(depthwise, first):
            continue
        ways = (step.op, *step.op.variants)
        fused = [way for one in ways if (way := _fused(one, depthwise)) is not None]
        if not fused:
            continue
        apart = [replace(way, before=(depthwise, *way.before), variants=()) for way in ways]
        cost = {way: _fused_cycles(way.sequence[0], context.limits) for way in fused}
        fused.sort(key=cost.__getitem__)
        ways = (*fused, *apart) if cost[fused[0]] < _cycles(depthwise, first, context.limits) else (*apart, *fused)
        assert maker is not None
        ops |= {maker: None, position: replace(ways[0], variants=tuple(ways[1:]))}
    return with_ops(steps, ops)


def _pointwise(launch: Launch) -> Gemm | None:
    """The pointwise GEMM by constant weights that the launch computes, else None."""
    g = launch.computes
    if launch.name not in ("gemm", "gemm_mma") or not isinstance(g, Gemm) or not loads_whole_words(g):
        return None
    return None if g.x.spec.type == "UINT8" or g.arithmetic == "hybrid" else g


def _problem(launch: Launch) -> Gemm:
    assert isinstance(launch.computes, Gemm)
    return launch.computes


def _taps(depthwise: Launch) -> int:
    window = _problem(depthwise).gather.window
    return window.kh * window.kw


def _worth_trying(depthwise: Launch, pointwise: Launch) -> bool:
    """Each of the grid[1] blocks of columns would compute the depthwise convolution anew."""
    g = _problem(pointwise)
    return g.m <= MOST_PIXELS and _taps(depthwise) * pointwise.grid[1] <= g.n


def fused_cycles(g: Sizes, tiles: Tiles, slices: int, load: int, window: tuple[int, int], limits: DeviceLimits) -> int:
    """Of one kernel for both. A thread loads rows of the window one after another, and multiplies between.

    g: the GEMM. load: words of x that a thread loads at once.
    """
    loads = max(1, tiles.bm * tiles.bk // load // tiles.threads)
    rows, columns = window
    # An int8 is taken from its word before it is multiplied, and requantized at the end.
    each = load * (4 * (4 * rows * columns + REQUANTIZED) if g.int8 else rows * columns)
    return cycles(g, tiles, slices, limits, loads * rows, loads * (each + ADDRESSES * rows * columns))


def _fused_cycles(fused: Launch, limits: DeviceLimits) -> int:
    rows, columns, load = int(str(fused.defines["KH"])), fused.sizes["kw"], int(str(fused.defines["LOAD"]))
    assert isinstance(columns, int)
    return fused_cycles(_problem(fused), tiles_of(fused.defines), fused.grid[2], load, (rows, columns), limits)


def _cycles(depthwise: Launch, pointwise: Launch, limits: DeviceLimits) -> int:
    """Of a kernel for each, and the launch between them."""
    g, tiles = _problem(depthwise), tiles_of(pointwise.defines)
    threads = -(-depthwise.grid[0] * depthwise.block[0] // limits.units)
    strip = int(str(depthwise.defines["STRIP"]))
    each = 4 * strip * (_taps(depthwise) + (REQUANTIZED if g.int8 else 1)) + ADDRESSES * _taps(depthwise)
    waves = -(-threads // RESIDENT_THREADS)
    first = START + waves * LATENCY + threads // 32 * each // 4
    return first + LAUNCH + cycles(_problem(pointwise), tiles, pointwise.grid[2], limits)


def _fused(way: Launch, depthwise: Launch) -> Launch | None:
    """One way to compute the GEMM, with the depthwise convolution inside; None where there is no such kernel."""
    first, inner = way.sequence[0], _problem(depthwise)
    g = _pointwise(first)
    if g is None or way.sequence[1:] not in ((), (way,)) or depthwise.extra:
        return None
    if inner.x.spec.type == "UINT8" or g.int8 != inner.int8 or not (g.int8 or load_words(g) == 4):
        return None
    over = inner.gather.window
    image = {name: size for name, size in depthwise.sizes.items() if name in first.sizes}
    image |= {"kw": over.kw, "sw": over.sw, "dw": over.dw}
    own = {f"dw_{name}": buffer for name, buffer in depthwise.inputs.items() if name != "x"}
    defines = {key: value for key, value in first.defines.items() if key != "POINTWISE"}
    epilogue = depthwise.defines.get("EPILOGUE", "")
    fused = replace(
        first,
        inputs={**first.inputs, "x": depthwise.inputs["x"], **own},
        sizes={**first.sizes, **image},
        scalars={**first.scalars, **{f"dw_{name}": scalar for name, scalar in depthwise.scalars.items()}},
        defines=defines | {"SEPARABLE": 1, "KH": over.kh, "KW": over.kw, "DW_EPILOGUE": epilogue},
        variants=(),
    )
    return fused if first is way else replace(way, before=(fused,), variants=())
