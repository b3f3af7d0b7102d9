"""Rewrites a part's nodes before they are lowered, so that fewer and larger kernels run."""

from __future__ import annotations

from collections.abc import Sequence

from tflgpu.graph import Node
from tflgpu.partition import Part


def fused(part: Part) -> Sequence[Node]:
    """The part's nodes as they are to be lowered, in an order in which they can run."""
    return part.nodes
