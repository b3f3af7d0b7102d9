"""Images as inputs of a model."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tflgpu.images import SUFFIXES, image_input
from tflgpu.model.graph import Array

__all__ = ["SUFFIXES", "read_image"]


def read_image(
    path: str | os.PathLike[str], shape: tuple[int, ...], dtype: Any, quantization: tuple[float, int] = (0.0, 0)
) -> Array:
    """An image as an input of shape (1, h, w, c): pixels 0 to 255 for uint8, else scaled to [0, 1], and quantized.

    Raises ValueError for another shape, and where Pillow is not installed; OSError for what is no image.
    """
    scale, zero_point = quantization
    scales = np.array([scale] if scale else [], np.float32)
    parameters = {"scales": scales, "zero_points": np.array([zero_point]), "quantized_dimension": 0}
    name = os.fspath(path)
    return image_input(name, {"name": name, "shape": shape, "dtype": dtype, "quantization_parameters": parameters})
