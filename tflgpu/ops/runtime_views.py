"""Views of a tensor where values that are known only at run time say what they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from tflgpu.model.graph import Array, Node

VIEWS_KEPT = 1 << 10
"""Views of one node that are kept by the values that say what they show; and the bytes of such a value at the most."""


def by_values(
    view: Callable[[Node, Array], Array], node: Node, inputs: Sequence[Array | None], y: Array
) -> Callable[[], None]:
    """The step that fills y with the view of the first input that the others' present values ask for."""
    x, *others = inputs
    assert x is not None
    deciding = [a for s, a in zip(node.inputs[1:], others, strict=True) if s is not None and s.data is None]
    small = all(a is not None and a.nbytes <= VIEWS_KEPT for a in deciding)
    views: dict[tuple[bytes, ...], Array] = {}

    def step() -> None:
        key = tuple(a.tobytes() for a in deciding if a is not None) if small else ()
        moved = views.get(key)
        if moved is None:
            moved = view(_with_values(node, inputs), x)
            if small and len(views) < VIEWS_KEPT and np.may_share_memory(moved, x):
                views[key] = moved
        copied(moved, y)

    return step


def copied(moved: Array, y: Array) -> None:
    """Copies a view to y, which has its elements under another shape."""
    np.copyto(y.reshape(moved.shape), moved)


def _with_values(node: Node, inputs: Sequence[Array | None]) -> Node:
    """The node with what its inputs hold now as their data."""
    specs = zip(node.inputs, inputs, strict=True)
    return replace(node, inputs=tuple(s if s is None or s.data is not None else replace(s, data=a) for s, a in specs))
