"""Shapes that have gone wrong somewhere: primes, one, none, one past a block, every rank, and one of real size."""

from __future__ import annotations

Shape = tuple[int, ...]

ANY: tuple[Shape, ...] = (
    *((7,), (2, 3, 5), (), (1,), (0,), (3, 0, 2), (64,), (65,), (257,), (1, 1, 1, 1)),
    *((2, 3, 5, 7), (1, 2, 3, 2, 3), (1, 2, 1, 3, 2, 2), (1, 33, 17, 5)),
)
REAL: Shape = (1, 56, 56, 24)
FEW: tuple[Shape, ...] = ((2, 3, 5), (1,), (0, 3), (65,), (2, 3, 5, 7))
PAIRS: tuple[tuple[Shape, Shape], ...] = (
    *(((7,), (7,)), ((2, 3, 5), (5,)), ((2, 3, 5), (2, 3, 5)), ((2, 3, 5), (1,)), ((2, 3, 5), ()), ((), ())),
    *(((3, 1), (2, 3, 5)), ((1, 3, 1, 5), (2, 1, 7, 1)), ((4, 0), (1,)), ((1,), (257,)), ((65,), (65,))),
    *(((0, 3), (1, 3)), ((2, 1, 3, 1), (2, 4, 3, 5)), ((1, 7, 5, 3), (3,))),
)
"""Two shapes that broadcast."""
DEEP_PAIRS: tuple[tuple[Shape, Shape], ...] = (
    ((2, 1, 3, 1, 2), (1, 4, 1, 3, 1)),
    ((1, 2, 1, 2, 1, 2), (2, 1, 2, 1, 2, 1)),
)
FEW_PAIRS: tuple[tuple[Shape, Shape], ...] = (
    ((2, 3, 5), (5,)),
    ((67,), (67,)),
    ((3, 1), (1, 5)),
    ((0,), (1,)),
    ((3, 5), ()),
)
