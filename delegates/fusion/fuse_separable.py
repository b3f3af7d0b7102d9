"""A depthwise convolution and the 1 x 1 convolution that alone reads it, as one kernel, or as two.

The product's blocks compute what they multiply as they go, so that nothing of the depthwise convolution is in memory.
Each block of columns does so anew: it is worth trying where that is not more work than the product itself, and where
the images are small, as they are but for a network's first layers. Tuning measures both; without it, one kernel is
taken where what it reads anew takes less time than the launch that it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Loop, Lowered, Ref, launches_of
from tflgpu.delegates.lowering.registry import i32

MOST_PLACES = 32 * 28 * 28
"""Outputs a channel of a depthwise convolution, of all images, up to which it is tried."""

CYCLE_LOADS = 8
"""Loads of 16 bytes that a multiprocessor does in a cycle."""

IMAGE_AT, IMAGE_SIZES = 6, 12
"""Of gemm.cu and gemm_mma.cu: how far behind its output the image's sizes begin, and how many there are."""


LAUNCH = 3000
"""Cycles from the end of a kernel's last block to the first loads of the next one's, in a graph; roughly, by published
figures."""


def with_separable(
    groups: Sequence[Lowered], roots: Mapping[int, int], kept: Callable[[int], bool], limits: DeviceLimits
) -> list[Lowered]:
    """The groups, products that can compute their depthwise convolution themselves having that among their variants.

    roots: whose storage each tensor shares. kept: whether a tensor's value is wanted outside of the launches.
    """
    out: list[Any] = [list(group) for group in groups]
    readers = _readers(groups, roots)
    makers = {}
    for g, group in enumerate(groups):
        for s, step in enumerate(group):
            if not isinstance(step, Launch):
                continue
            if step.kernel == "strips.depthwise_strips":
                makers[_root(_output(step), roots)] = (g, s, step)
                continue
            product = _product(step)
            x = product.args[0] if product is not None else None
            tensor = _root(x, roots) if isinstance(x, Ref) else None
            if product is None or tensor not in makers or kept(tensor) or readers[tensor] != {(g, s)}:
                continue
            depthwise_group, place, depthwise = makers[tensor]
            fused = [way for one in (step, *step.variants) if (way := _fused(one, depthwise)) is not None]
            if not fused or not _worth_trying(depthwise, product):
                continue
            apart = [replace(way, before=(depthwise, *way.before), variants=()) for way in (step, *step.variants)]
            ways = [*fused, *apart] if _reads_anew(depthwise, fused[0], limits) < LAUNCH else [*apart, *fused]
            out[depthwise_group][place] = None
            out[g][s] = replace(ways[0], variants=tuple(ways[1:]))
    return [[step for step in group if step is not None] for group in out]


def _readers(groups: Sequence[Lowered], roots: Mapping[int, int]) -> dict[int, set[tuple[int, int]]]:
    """Where each tensor is read, by what has its storage."""
    readers: dict[int, set[tuple[int, int]]] = {}
    for g, group in enumerate(groups):
        for s, step in enumerate(group):
            for launch in launches_of([step]) if isinstance(step, (Launch, Loop)) else ():
                for one in (one for way in (launch, *launch.variants) for one in way.sequence):
                    made = _output(one) if one.kernel == "strips.depthwise_strips" else None
                    refs = [a for a in one.args if isinstance(a, Ref) and a is not made]
                    for ref in refs:
                        readers.setdefault(_root(ref, roots), set()).add((g, s))
    return readers


def _root(ref: Ref, roots: Mapping[int, int]) -> int:
    return roots.get(ref.tensor, ref.tensor)


def _output(depthwise: Launch) -> Ref:
    out = depthwise.args[_output_place(depthwise)]
    assert isinstance(out, Ref)
    return out


def _output_place(depthwise: Launch) -> int:
    return 5 if "CODES" in depthwise.defines else 3


def _product(launch: Launch) -> Launch | None:
    """The product of rows as they lie by constant weights that the launch begins with, else None."""
    first = launch.sequence[0]
    plain = first.name in ("gemm", "gemm_mma") and "POINTWISE" in first.defines
    return first if plain and not first.defines.keys() & {"UNSIGNED", "HYBRID"} else None


def _worth_trying(depthwise: Launch, product: Launch) -> bool:
    d = depthwise.defines
    m, n = _sizes(product)[:2]
    blocks = -(-n // int(str(product.defines["BN"])))
    return m <= MOST_PLACES and int(str(d["KH"])) * int(str(d["KW"])) * blocks <= n


def _reads_anew(depthwise: Launch, fused: Launch, limits: DeviceLimits) -> int:
    """Cycles that a multiprocessor takes to load what blocks of columns but the first load, in sixteens of bytes."""
    (m, n, k), d = _sizes(fused)[:3], fused.defines
    blocks = -(-n // int(str(d["BN"]))) - 1
    each = 2 * int(str(d["KH"])) * int(str(d["KW"])) * m * k // (16 if "CODES" in d else 4)
    return blocks * each // (CYCLE_LOADS * limits.units)


def _sizes(product: Launch) -> list[int]:
    """The integers behind a product's output: m, n, k …"""
    place = _out_place(product)
    return [int(a) for a in product.args[place + 1 :] if isinstance(a, np.integer)]


def _out_place(product: Launch) -> int:
    """Before a product's outputs come x, weights, bias, its scales or a zero, and what it takes to split k."""
    scales = 2 if "CODES" in product.defines and "DOUBLES" not in product.defines else 1
    return 3 + scales + (2 if "SPLIT" in product.defines else 0)


def _fused(way: Launch, depthwise: Launch) -> Launch | None:
    """One way to compute the product, with the depthwise convolution inside; None where there is no such kernel."""
    product = _product(way)
    if product is None or way.sequence[1:] not in ((), (way,)) or "UNSIGNED" in depthwise.defines:
        return None
    words = "CODES" in product.defines or product.defines["LOAD"] == 4
    if depthwise.defines.get("EXTRA") or not words or ("CODES" in product.defines) != ("CODES" in depthwise.defines):
        return None
    place, d = _output_place(depthwise), depthwise.defines
    h, w, c, oh, ow, sh, dh, top, left = depthwise.args[place + 2 : place + 11]
    image = (h, w, c, oh, ow, i32(d["KW"]), sh, i32(d["SW"]), dh, i32(d["DW"]), top, left)
    at = _out_place(product) + 1 + IMAGE_AT
    args = (depthwise.args[0], *product.args[1:at], *image, *product.args[at + IMAGE_SIZES :])
    args += (*depthwise.args[1:place], *depthwise.args[place + 11 :])
    defines = {key: value for key, value in product.defines.items() if key != "POINTWISE"}
    defines |= {"SEPARABLE": 1, "KH": d["KH"], "KW": d["KW"], "DW_AFTER": d.get("AFTER", "")}
    fused = replace(product, args=args, defines=defines, variants=())
    return fused if product is way else replace(way, before=(fused,), variants=())
