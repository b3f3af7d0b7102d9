"""RFFT2D and TensorFlow's other Fourier transforms, and the real, imaginary part and magnitude of complex numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.registry import Step, function, kernel, require, value
from tflgpu.ops.scratch import scratch
from tflgpu.ops.shape_rules import same_as_input


@dataclass(frozen=True)
class Transform:
    """How many of the last dimensions an operator transforms, and whether its time domain is real.

    A real one's last dimension of n numbers has a spectrum of the first n/2 + 1, and the operator's second input is the
    lengths that the dimensions are cropped or padded with zeros to.
    """

    dimensions: int
    real: bool = False
    inverse: bool = False

    def lengths(self, node: Node) -> tuple[int, ...]:
        """Of the transformed dimensions in the time domain. Raises NeedsValue where they are known only at run time."""
        return tuple(int(n) for n in value(node.input(1))) if self.real else node.input(0).shape[-self.dimensions :]


TRANSFORMS = {"RFFT2D": Transform(2, real=True)} | {
    f"Flex{'I' if inverse else ''}{'R' if real else ''}FFT{'2D' if dimensions == 2 else ''}": Transform(
        dimensions, real, inverse
    )
    for dimensions in (1, 2)
    for real in (False, True)
    for inverse in (False, True)
}
"""By operator: TensorFlow Lite's own, and those that its converter leaves to TensorFlow."""

_COMPLEX_OF = {"FLOAT32": "COMPLEX64", "FLOAT64": "COMPLEX128"}
_REAL_OF = {spectrum: real for real, spectrum in _COMPLEX_OF.items()}
COMPLEX = "COMPLEX64 COMPLEX128"


def _shape(node: Node) -> list[Shape]:
    x, y, kind = node.input(0), node.outputs[0], TRANSFORMS[node.op]
    count = kind.dimensions
    require(len(x.shape) >= count, f"{x}: {node.op} needs {('one dimension', 'two dimensions')[count - 1]} or more. ")
    if not kind.real:
        require(y.type == x.type, f"{y} must be {x.type}. ")
        return [x.shape]
    length = node.input(1)
    number = ("one", "two")[count - 1]
    require(length.type == "INT32" and length.shape == (count,), f"{length}: the FFT's size must be {number} INT32. ")
    lengths = kind.lengths(node)
    if node.op == "RFFT2D":
        powers = all(n > 0 and n & (n - 1) == 0 for n in lengths)
        require(powers, f"the FFT's size {list(lengths)} is not of powers of two. ")
    require(min(lengths) > 0, f"the FFT's size {list(lengths)} is not positive. ")
    wanted = (_REAL_OF if kind.inverse else _COMPLEX_OF)[x.type]
    require(y.type == wanted, f"{y} must be {wanted} for {x.type}. ")
    last = lengths[-1] if kind.inverse else lengths[-1] // 2 + 1
    return [(*x.shape[:-count], *lengths[:-1], last)]


def transform(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Step:
    """The spectrum of x's last dimensions, or what x is the spectrum of: computed in float64, whatever the type."""
    x, out = inputs[0], outputs[0]
    assert x is not None
    if 0 in (x.size, out.size):
        return lambda: out.fill(0)
    kind = TRANSFORMS[node.op]
    lengths = kind.lengths(node)
    across = np.fft.ifft if kind.inverse else np.fft.fft
    along = across if not kind.real else np.fft.irfft if kind.inverse else np.fft.rfft
    passes = [(along, lengths[-1], -1)]
    if kind.dimensions == 2 and lengths[0] > 1:
        passes.insert(0 if kind.inverse else 1, (across, lengths[0], -2))
    kept = [lengths[-1] // 2 + 1 if kind.real and kind.inverse else lengths[-1]]
    if kind.dimensions == 2:
        kept.insert(0, lengths[0])
    inside: tuple[Any, ...] = (..., *(slice(0, n) for n in kept))
    cropped = x[inside]
    wide = scratch("wide", cropped.shape, np.result_type(x, np.float64))
    steps, made = [], wide
    for number, (transformed, n, axis) in enumerate(passes):
        shape, real = list(made.shape), transformed is np.fft.irfft
        shape[axis] = n // 2 + 1 if transformed is np.fft.rfft else n
        target = scratch(f"spectrum {number}", tuple(shape), np.float64 if real else np.complex128)
        steps.append(partial(_into, target, transformed, made, n, axis))
        made = target

    def step() -> None:
        wide[...] = cropped
        with np.errstate(all="ignore"):
            for one in steps:
                one()
            np.copyto(out, made, casting="same_kind")

    return step


_HAS_OUT = np.lib.NumpyVersion(np.__version__) >= "2.0.0"


def _into(out: Array, transformed: Callable[..., Array], x: Array, n: int, axis: int) -> None:
    """Where NumPy can, straight into out: fresh memory takes longer than the transform."""
    if _HAS_OUT:
        transformed(x, n, axis=axis, out=out)
    else:
        out[...] = transformed(x, n, axis=axis)


for _name, _kind in TRANSFORMS.items():
    if _name.startswith("Flex"):
        _types = "FLOAT32 FLOAT64" if _kind.real and not _kind.inverse else COMPLEX
        kernel(_name, inputs=1 + _kind.real, types=_types, shape=_shape, custom=True)(transform)
kernel("RFFT2D", inputs=2, types="FLOAT32", shape=_shape, output_type="COMPLEX64")(transform)


def _real_shape(node: Node) -> list[Shape]:
    x, y = node.input(0), node.outputs[0]
    require(y.type == _REAL_OF[x.type], f"{y} must be {_REAL_OF[x.type]} for {x.type}. ")
    return same_as_input(node)


@function("REAL", inputs=1, types=COMPLEX, shape=_real_shape)
def real(node: Node, x: Array) -> Array:
    """The real part."""
    return x.real


@function("IMAG", inputs=1, types=COMPLEX, shape=_real_shape)
def imag(node: Node, x: Array) -> Array:
    """The imaginary part."""
    return x.imag


@function("COMPLEX_ABS", inputs=1, types=COMPLEX, shape=_real_shape)
def complex_abs(node: Node, x: Array) -> Array:
    """The magnitude."""
    with np.errstate(all="ignore"):
        return np.abs(x)
