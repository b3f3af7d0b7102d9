"""Fourier transforms, of lengths of all kinds of factors."""

from __future__ import annotations

from collections.abc import Iterator

from tflgpu.conformance.cases.case import Case, T, i32, row, shaped
from tflgpu.ops.audio.fft import TRANSFORMS

FAMILY = "audio"
Shape = tuple[int, ...]

LENGTHS = (30, 1, 2, 3, 5, 7, 12, 97, 128, 240, 256, 512, 1009)
PLANES: tuple[Shape, ...] = ((6, 10), (5, 3), (17, 4))
FRAMES: tuple[tuple[Shape, Shape], ...] = (
    *(((2, 5, 9), size) for size in ((4, 8), (4, 4), (8, 8), (16, 4), (1, 4), (8, 32))),
    *(((3, 1, n), (1, n)) for n in (2, 4, 128, 256, 512, 2048)),
    ((61, 1, 400), (1, 512)),
)
"""Of RFFT2D: x, and the size that it is cropped or padded to; not 1 x 1, of which LiteRT gives an imaginary part."""


def cases() -> Iterator[Case]:
    for x, size in FRAMES:
        yield _transform("RFFT2D", x, size)
    for op, kind in TRANSFORMS.items():
        if op != "RFFT2D":
            for lengths in PLANES if kind.dimensions == 2 else ((n,) for n in LENGTHS):
                yield _of_size(op, lengths)
            yield _of_size(op, PLANES[0][: kind.dimensions], wide=True)


def _of_size(op: str, lengths: Shape, wide: bool = False) -> Case:
    """Of three images whose last dimensions are neither cropped nor padded."""
    kind = TRANSFORMS[op]
    last = lengths[-1] // 2 + 1 if kind.real and kind.inverse else lengths[-1]
    return _transform(op, (3, *lengths[:-1], last), lengths, wide)


def _transform(op: str, x: Shape, lengths: Shape, wide: bool = False) -> Case:
    kind = TRANSFORMS[op]
    types = ["FLOAT64" if wide else "FLOAT32", "COMPLEX128" if wide else "COMPLEX64"]
    source, target = types[::-1] if kind.inverse else types
    if not kind.real:
        source = target = types[1]
    sizes = [i32(*lengths)] if kind.real else []
    custom = None if op == "RFFT2D" else b""
    return row(FAMILY, op, [T(source, x), *sizes], [T(target)], f"to={shaped(lengths)}", custom=custom)
