"""Operators that prepare each image of a batch by itself, for batches whose preparation would be too much at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tflgpu.model.graph import Array, Node

PER_IMAGE = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "CONV_3D", "RESIZE_BILINEAR"})
"""The operators that keep a few objects for each image of their first input."""

MOST_IMAGES = 1 << 13
"""Images that are prepared at a time: 25 MB of such objects, made in half a second."""


def in_batches(
    node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array], prepare: Callable[..., Any], runtime: Any
) -> Callable[[], object] | None:
    """A step that prepares and runs the node for some images after others; None where it can be prepared whole."""
    images = inputs[0] if node.op in PER_IMAGE else None
    if images is None or not images.ndim or len(images) <= MOST_IMAGES:
        return None
    first, *others = node.inputs
    assert first is not None

    def step() -> None:
        for start in range(0, len(images), MOST_IMAGES):
            runtime.meter.check()
            some, result = (array[start : start + MOST_IMAGES] for array in (images, outputs[0]))
            specs = (replace(first, shape=some.shape), *others)
            batch = replace(node, inputs=specs, outputs=(replace(node.outputs[0], shape=result.shape),))
            prepare(batch, [some, *inputs[1:]], [result], runtime)()

    return step
