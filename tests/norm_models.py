"""Normalizations over rows as frameworks write them, and what only looks like them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pattern_models import Pattern, Writer, parameter


def _epsilon(w: Writer) -> int:
    return w.constant(np.float32(1e-5))


def keras_norm(*shape: int) -> Callable[[Writer], list[int]]:
    """x * g + (beta - mean * g) with g = gamma / deviation."""

    def write(w: Writer) -> list[int]:
        x = w.input(*shape)
        mean = w.mean(x)
        variance = w.mean(w.binary("SQUARED_DIFFERENCE", x, mean))
        g = w.unary("RSQRT", w.binary("ADD", variance, _epsilon(w)))
        g = w.binary("MUL", g, w.constant(parameter(1, 1, 1, shape[-1])))
        back = w.binary("ADD", w.binary("MUL", w.unary("NEG", mean), g), w.constant(parameter(2, 1, 1, shape[-1])))
        return [w.binary("ADD", w.binary("MUL", x, g), back)]

    return write


def torch_norm(*shape: int) -> Callable[[Writer], list[int]]:
    """(x - mean) / deviation * gamma + beta, squares by multiplication."""

    def write(w: Writer) -> list[int]:
        x = w.input(*shape)
        centred = w.binary("SUB", x, w.mean(x))
        variance = w.mean(w.binary("MUL", centred, centred))
        unit = w.binary("DIV", centred, w.unary("SQRT", w.binary("ADD", variance, _epsilon(w))))
        scaled = w.binary("MUL", unit, w.constant(parameter(1, shape[-1])))
        return [w.binary("ADD", scaled, w.constant(parameter(2, shape[-1])))]

    return write


def flat_norm(w: Writer) -> list[int]:
    """Without gamma; means without their dimension, which RESHAPE brings back (torchaudio)."""
    x = w.input(1, 30, 20)
    mean = w.mean(x, (0, 2), keep=False)
    variance = w.mean(w.binary("SQUARED_DIFFERENCE", x, w.reshape(mean, 1, 30, 1)), (0, 2), keep=False)
    factor = w.unary("RSQRT", w.binary("ADD", variance, _epsilon(w)))
    back = w.binary("SUB", w.constant(np.float32(0)), w.binary("MUL", factor, mean))
    unit = w.binary("MUL", x, w.reshape(factor, 1, 30, 1))
    return [w.binary("ADD", unit, w.reshape(back, 1, 30, 1))]


def root_mean_square(*shape: int) -> Callable[[Writer], list[int]]:
    def write(w: Writer) -> list[int]:
        x = w.input(*shape)
        factor = w.unary("RSQRT", w.binary("ADD", w.mean(w.unary("SQUARE", x)), _epsilon(w)))
        return [w.binary("MUL", w.binary("MUL", x, factor), w.constant(parameter(1, shape[-1])))]

    return write


def sum_then_norm_then_more(w: Writer) -> list[int]:
    """A residual sum, its normalization, and an activation; both sum and outcome are wanted."""
    x = w.binary("ADD", w.input(2, 5, 48), w.input(2, 5, 48))
    centred = w.binary("SUB", x, w.mean(x))
    factor = w.unary("RSQRT", w.binary("ADD", w.mean(w.unary("SQUARE", centred)), _epsilon(w)))
    return [w.unary("TANH", w.binary("MUL", centred, factor)), x]


ROW = {"row_chain": 1}
NORMS = [
    Pattern("Keras's normalization", keras_norm(2, 7, 192), ROW, compiled=True),
    Pattern("Keras's of an odd number", keras_norm(1, 5, 67), ROW, compiled=True),
    Pattern("PyTorch's normalization", torch_norm(3, 5, 768), ROW, compiled=True),
    Pattern("PyTorch's of one row", torch_norm(1, 132), ROW),
    Pattern("PyTorch's of rows without a vector", torch_norm(4, 1001), ROW),
    Pattern("torchaudio's normalization", flat_norm, ROW),
    Pattern("root of the mean square", root_mean_square(6, 128), ROW),
    Pattern("root of the mean square of one row", root_mean_square(1, 128), ROW),
    Pattern("as long as can be", root_mean_square(2, 4096), ROW, compiled=True),
    Pattern("with what is around", sum_then_norm_then_more, ROW | {"elementwise": 1}),
]


def _mean_wanted(w: Writer) -> list[int]:
    x = w.input(4, 32)
    mean = w.mean(x)
    return [w.binary("SUB", x, mean), mean]


def _along_another_axis(w: Writer) -> list[int]:
    x = w.input(2, 32, 16)
    return [w.unary("ABS", w.binary("SUB", x, w.mean(x, 1)))]


def _over_an_image(w: Writer) -> list[int]:
    x = w.input(1, 8, 8, 16)
    return [w.unary("ABS", w.binary("SUB", x, w.mean(x, (1, 2))))]


def _of_length(columns: int) -> Callable[[Writer], list[int]]:
    def write(w: Writer) -> list[int]:
        x = w.input(3, columns)
        return [w.unary("ABS", w.binary("SUB", x, w.mean(x)))]

    return write


def _means_added_up(w: Writer) -> list[int]:
    """Means of rows are no rows."""
    x = w.input(4, 4, 32)
    return [w.binary("ADD", w.reshape(w.mean(x), 1, 16), w.input(16, 16))]


NO_NORMS = [
    Pattern("the mean is an output", _mean_wanted),
    Pattern("along another axis", _along_another_axis),
    Pattern("over an image", _over_an_image),
    Pattern("means as a row", _means_added_up),
    Pattern("too short", _of_length(12)),
    Pattern("too long", _of_length(4100)),
]
