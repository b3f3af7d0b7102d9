"""Images as inputs of a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from tflgpu.model.graph import Array

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"})


def read_image(
    path: str | os.PathLike[str], shape: tuple[int, ...], dtype: Any, quantization: tuple[float, int] = (0.0, 0)
) -> Array:
    """An image as an input of shape (1, h, w, c): pixels 0 to 255 for uint8, else scaled to [0, 1], and quantized.

    Raises ValueError for another shape, and where Pillow is not installed; OSError for what is no image.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as missing:
        raise ValueError(f"reading {Path(path)} needs Pillow: pip install 'tflgpu[cli]'") from missing
    if len(shape) != 4 or shape[0] != 1 or shape[3] not in (1, 3, 4):
        raise ValueError("an image needs an input of shape [1, h, w, 1, 3 or 4]")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[shape[3]]
    with Image.open(path) as image:
        pixels = np.asarray(image.convert(mode).resize((shape[2], shape[1]))).reshape(shape)
    if np.dtype(dtype) == np.uint8:
        return pixels
    scaled = pixels.astype(np.float32) / 255
    scale, zero_point = quantization
    if scale:
        limits = np.iinfo(dtype)
        return np.clip(np.round(scaled / scale) + zero_point, limits.min, limits.max).astype(dtype)
    return scaled.astype(dtype)
