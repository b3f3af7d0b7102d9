"""Handwritten digits from scikit-learn: 1,797 images of 8x8, the last 360 of a seeded shuffle held out."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

HELD_OUT = 360


def _shuffled() -> tuple[np.ndarray, np.ndarray]:
    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))
    images = (digits.images / 16).astype(np.float32)[..., None]
    return images[order], digits.target.astype(np.int64)[order]


def training() -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 8, 8, 1) float32 in [0, 1] and their labels (n,)."""
    images, labels = _shuffled()
    return images[:-HELD_OUT], labels[:-HELD_OUT]


def held_out() -> tuple[np.ndarray, np.ndarray]:
    """Images (360, 8, 8, 1) and labels (360,) that training never saw."""
    images, labels = _shuffled()
    return images[-HELD_OUT:], labels[-HELD_OUT:]
