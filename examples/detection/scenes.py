"""Pictures with handwritten digits of scikit-learn strewn over them, and where each digit is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

SIDE = 64
"""Of a scene, in pixels; a digit has 8."""

DIGIT = 8
HELD_OUT = 360
"""So many of a seeded shuffle of the 1,797 digits are in no scene that the detector is trained on."""


class Digit(NamedTuple):
    label: int
    top: int
    left: int


def digits(held_out: bool) -> tuple[np.ndarray, np.ndarray]:
    """Digits (n, 8, 8) in [0, 1] and their labels (n,)."""
    every = load_digits()
    order = np.random.RandomState(0).permutation(len(every.target))
    chosen = order[-HELD_OUT:] if held_out else order[:-HELD_OUT]
    return (every.images[chosen] / 16).astype(np.float32), every.target[chosen]


def scene(
    rng: np.random.Generator, images: np.ndarray, labels: np.ndarray, count: int
) -> tuple[np.ndarray, list[Digit]]:
    """(pixels (64, 64) in [0, 1] with some noise, the digits on them): `count` at most, apart from one another."""
    pixels = np.abs(rng.normal(0, 0.03, (SIDE, SIDE))).astype(np.float32)
    found: list[Digit] = []
    for number in rng.integers(0, len(images), count):
        top, left = (int(v) for v in rng.integers(0, SIDE - DIGIT + 1, 2))
        if all(max(abs(top - d.top), abs(left - d.left)) > DIGIT for d in found):
            pixels[top : top + DIGIT, left : left + DIGIT] += images[number]
            found.append(Digit(int(labels[number]), top, left))
    return np.clip(pixels, 0, 1), found
