"""Element-wise work in blocks that stay in the cache, so that several passes over one cost little more than one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from tflgpu.model.graph import Array
from tflgpu.ops.registry import Step
from tflgpu.ops.scratch import scratch as shared_scratch

BLOCK = 16384
"""Elements a block: 64 KiB of float32 and 128 KiB of int64, of which a second-level cache holds a few."""


def _collapsed(arrays: Sequence[Array]) -> list[Array]:
    """The same arrays, all of one shape, as views with as few dimensions as their strides allow (at least one)."""
    sizes: list[int] = []
    strides: list[list[int]] = []
    for axis, size in enumerate(arrays[0].shape):
        if size == 1:
            continue
        steps = [a.strides[axis] for a in arrays]
        if sizes and all(outer == inner * size for outer, inner in zip(strides[-1], steps, strict=True)):
            sizes[-1] *= size
            strides[-1] = steps
        else:
            sizes.append(size)
            strides.append(steps)
    if not sizes:
        return [a.reshape(1) for a in arrays]
    return [
        np.lib.stride_tricks.as_strided(a, tuple(sizes), tuple(s[i] for s in strides), writeable=a.flags.writeable)
        for i, a in enumerate(arrays)
    ]


def _cut(arrays: list[Array], limit: int) -> Iterator[list[Array]]:
    rows, inner = len(arrays[0]), arrays[0].size // len(arrays[0])
    if inner > limit:
        for row in range(rows):
            yield from _cut([a[row] for a in arrays], limit)
        return
    count = max(limit // inner, 1)
    for start in range(0, rows, count):
        yield [a[start : start + count] for a in arrays]


def cache_blocks(inputs: Sequence[Array], out: Array, limit: int = BLOCK) -> list[list[Array]]:
    """[*inputs, out] block by block: equally shaped views of at most `limit` elements. Inputs broadcast to out."""
    if out.size == 0:
        return []
    same = [x if x.shape == out.shape else np.broadcast_to(x, out.shape) for x in inputs]
    return list(_cut(_collapsed([*same, out]), limit))


def in_order(steps: Sequence[Step]) -> Step:
    """One step that runs several, one after another."""
    if len(steps) == 1:
        return steps[0]

    def step() -> None:
        for each in steps:
            each()

    return step


def blocked(
    compute: Callable[..., object],
    inputs: Sequence[Array],
    out: Array,
    scratch: Sequence[npt.DTypeLike] = (),
    limit: int = BLOCK,
) -> Step:
    """A step that calls compute(*inputs, out, *scratch) block by block; scratch are arrays of these dtypes."""
    blocks = cache_blocks(inputs, out, limit)
    length = max((p[-1].size for p in blocks), default=0)
    buffers = [shared_scratch(f"block {k}", length, dtype) for k, dtype in enumerate(scratch)]
    return in_order([partial(compute, *p, *(b[: p[-1].size].reshape(p[-1].shape) for b in buffers)) for p in blocks])
