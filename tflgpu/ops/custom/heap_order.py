"""The order in which C++'s heap algorithms (libstdc++) leave elements that compare equal.

TensorFlow Lite's results depend on it where scores tie. `less(a, b)` is the comparison that the C++ code passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
Less = Callable[[T, T], bool]


def push_heap(heap: list[T], element: T, less: Less[T]) -> None:
    """Adds element to a heap with its greatest first."""
    heap.append(element)
    _rise(heap, len(heap) - 1, 0, element, less)


def pop_heap(heap: list[T], less: Less[T]) -> T:
    """Takes the greatest from the heap. Raises IndexError where it is empty."""
    last = heap.pop()
    if not heap:
        return last
    greatest = heap[0]
    _sink(heap, 0, len(heap), last, less)
    return greatest


def partial_sort(elements: Sequence[T], k: int, less: Less[T]) -> list[T]:
    """The first k of the elements in rising order, 1 <= k <= len(elements)."""
    a = list(elements)
    for parent in range((k - 2) // 2, -1, -1):
        _sink(a, parent, k, a[parent], less)
    for i in range(k, len(a)):
        if less(a[i], a[0]):
            element, a[i] = a[i], a[0]
            _sink(a, 0, k, element, less)
    for last in range(k - 1, 0, -1):
        element, a[last] = a[last], a[0]
        _sink(a, 0, last, element, less)
    return a[:k]


def _rise(heap: list[T], hole: int, top: int, element: T, less: Less[T]) -> None:
    """Moves the hole up until element fits, and puts it there."""
    parent = (hole - 1) // 2
    while hole > top and less(heap[parent], element):
        heap[hole] = heap[parent]
        hole, parent = parent, (parent - 1) // 2
    heap[hole] = element


def _sink(heap: list[T], hole: int, length: int, element: T, less: Less[T]) -> None:
    """Moves the hole down to a leaf of the first `length` elements, then up until element fits, and puts it there."""
    top, child = hole, hole
    while child < (length - 1) // 2:
        child = 2 * child + 2
        if less(heap[child], heap[child - 1]):
            child -= 1
        heap[hole] = heap[child]
        hole = child
    if length % 2 == 0 and child == (length - 2) // 2:
        child = 2 * child + 1
        heap[hole] = heap[child]
        hole = child
    _rise(heap, hole, top, element, less)
