"""Pictures as a model's input: resized or letterboxed, normalized as its metadata says, quantized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

from tflgpu.metadata import TensorMetadata
from tflgpu.model.graph import Array
from tflgpu.quantized import quantize

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"})
FITS = ("resize", "letterbox", "crop")


def image_input(
    image: Any,
    details: Mapping[str, Any],
    metadata: TensorMetadata | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    fit: str = "resize",
) -> Array:
    """A picture as an input (1, h, w, 1, 3 or 4), or (1, 1, 3 or 4, h, w) in NCHW.

    image: a path, an image of Pillow, or pixels (h, w) or (h, w, c) from 0 to 255. details, metadata: of the input,
    from `get_input_details` and `interpreter.metadata.inputs`. Values are (pixel - mean) / std, one mean and std or one
    a channel, by default those of the metadata, else pixels for uint8 and [0, 1] otherwise; then quantized. fit:
    "resize" to the input's size, "letterbox" into it with black beside, or "crop" what is beyond it. Needs Pillow.
    Raises ValueError for another kind of input, and for a mean or std that does not fit, OSError for an image that
    cannot be read.
    """
    if fit not in FITS:
        raise ValueError(f"fit is one of {', '.join(FITS)}, not {fit!r}")
    height, width, channels, nchw = _size(details)
    pixels = _pixels(image, (width, height), channels, fit)
    mean, std = _normalization(details, metadata, mean, std)
    if not len(mean):
        values: Array = pixels
    else:
        for name, numbers in (("mean", mean), ("std", std)):
            if len(numbers) not in (1, channels):
                raise ValueError(f"{name} has {len(numbers)} numbers for {channels} channels: one, or one a channel")
        if not all(std):
            raise ValueError("std must not be zero")
        normalized = (pixels.astype(np.float32) - np.array(mean, np.float32)) / np.array(std, np.float32)
        values = quantize(normalized, details)
    return values.transpose(2, 0, 1)[np.newaxis] if nchw else values[np.newaxis]


def _normalization(
    details: Mapping[str, Any],
    metadata: TensorMetadata | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> tuple[Sequence[float], Sequence[float]]:
    """(mean, std); both empty where pixels go in as they are."""
    if mean is not None or std is not None:
        return [0.0] if mean is None else mean, [1.0] if std is None else std
    if metadata is not None and metadata.mean and metadata.std:
        return metadata.mean, metadata.std
    return ((), ()) if np.dtype(details["dtype"]) == np.uint8 else ([0.0], [255.0])


def _size(details: Mapping[str, Any]) -> tuple[int, int, int, bool]:
    """(height, width, channels, whether in NCHW) of an input that takes one picture."""
    shape = [int(d) for d in details["shape"]]
    if len(shape) == 4 and shape[0] == 1 and shape[3] in (1, 3, 4):
        return shape[1], shape[2], shape[3], False
    if len(shape) == 4 and shape[0] == 1 and shape[1] in (1, 3, 4):
        return shape[2], shape[3], shape[1], True
    raise ValueError(f"an image needs an input of shape [1, h, w, 1, 3 or 4], or [1, 1, 3 or 4, h, w], not {shape}")


def placement(size: tuple[int, int], into: tuple[int, int], fit: str) -> tuple[float, float, float, float]:
    """(left, top, width, height) of a picture of `size` (width, height), in pixels of the input of size `into`.

    A location (x, y) of the input is ((x - left) / width, (y - top) / height) of the picture.
    """
    if fit == "resize":
        return 0.0, 0.0, float(into[0]), float(into[1])
    ratios = into[0] / size[0], into[1] / size[1]
    ratio = min(ratios) if fit == "letterbox" else max(ratios)
    width, height = max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))
    return float((into[0] - width) // 2), float((into[1] - height) // 2), float(width), float(height)


def _pixels(image: Any, size: tuple[int, int], channels: int, fit: str) -> Array:
    """uint8 pixels (h, w, channels) of the input's size."""
    try:
        from PIL import Image
    except ModuleNotFoundError as missing:
        raise ValueError("images need Pillow: pip install 'tflgpu[cli]'") from missing
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    if isinstance(image, str | PathLike):
        try:
            with Image.open(image) as opened:
                picture = opened.convert(mode)
        except (SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's, beside OSError
            raise OSError(f"cannot read the image: {error}") from error
    elif isinstance(image, Image.Image):
        picture = image.convert(mode)
    else:
        array = np.asarray(image)
        if array.dtype != np.uint8 or array.ndim not in (2, 3):
            raise ValueError(f"pixels are uint8 (h, w) or (h, w, c), not {array.dtype} {list(array.shape)}")
        picture = Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array).convert(mode)
    left, top, width, height = (int(v) for v in placement(picture.size, size, fit))
    if picture.size != (width, height):
        picture = picture.resize((width, height))
    canvas = Image.new(mode, size)
    canvas.paste(picture, (left, top))
    return np.asarray(canvas).reshape(size[1], size[0], channels)
