"""Requantization: from accumulators to quantized values, at the end of integer convolutions and GEMM.

`requantized` is the plain meaning. `Requantizer` computes the same integers from the float accumulators of BLAS, in
seven passes over float64 scratch: accumulator times multiplier has few enough bits to be exact there wherever the
result is not clamped anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm, mbqm64, quantize_multipliers, wrap
from tflgpu.model.graph import Array, TensorSpec
from tflgpu.ops.fused_activation import clamp, quantized_range
from tflgpu.ops.registry import Step
from tflgpu.ops.scratch import scratch


@dataclass(frozen=True, eq=False)
class Rescale:
    """value = clamp(accumulator * multiplier * 2^(exponent - 31) + zero_point, lo, hi).

    multiplier, exponent: (n,), one for each channel. wide: by mbqm64, from 64-bit accumulators; else by mbqm, from
    32-bit ones, which wrap.
    """

    multiplier: Array
    exponent: Array
    zero_point: int
    lo: int
    hi: int
    dtype: np.dtype
    wide: bool = False


def rescale(factors: Array, channels: int, output: TensorSpec, activation: str, wide: bool = False) -> Rescale:
    """The Rescale to `output` by the real factors (1,) or (channels,), in double."""
    multiplier, exponent = quantize_multipliers(factors)
    shape = (channels,)
    return Rescale(
        np.broadcast_to(multiplier, shape),
        np.broadcast_to(exponent, shape),
        output.zero_point,
        *quantized_range(activation, output),
        output.dtype,
        wide,
    )


def requantized(accumulators: Array, scaling: Rescale) -> Array:
    """The quantized values of accumulators (..., n), integers of any width."""
    acc = np.asarray(accumulators).astype(np.int64)
    if scaling.wide:
        scaled = mbqm64(acc, scaling.multiplier, scaling.exponent)
    else:
        scaled = mbqm(wrap(acc), scaling.multiplier, scaling.exponent)
    shifted = scaled.astype(np.int64) + scaling.zero_point
    return np.clip(shifted, scaling.lo, scaling.hi).astype(scaling.dtype)


def exact_in_float64(scaling: Rescale, largest: int) -> bool:
    """Whether accumulators of magnitude up to `largest` become the same values in float64.

    What is not clamped is below 2^bits and a multiple of 2^(exponent - 31) (2^(exponent - 15) if wide): where these are
    at most 53 bits apart, all is exact. Channels with smaller factors are tried at every threshold. Nothing may wrap.
    """
    bits = 8 * scaling.dtype.itemsize
    exponents = scaling.exponent.astype(np.int64)
    highest = int(exponents.max(initial=0))
    if scaling.wide:
        return bits + 15 - int(exponents.min(initial=0)) <= 53 and largest < 1 << 47 and highest < 8
    if largest << max(highest, 0) >= 1 << 31:
        return False
    doubtful = np.flatnonzero(bits + 31 - exponents > 53)
    if doubtful.size and (bits > 8 or int(exponents.min()) < -21):
        return False
    groups = np.split(doubtful, range(64, doubtful.size, 64)) if doubtful.size else []
    return all(_same_at_thresholds(_of_channels(scaling, group), largest) for group in groups)


def separable(scaling: Rescale, largest: int) -> bool:
    """Whether accumulators and bias may be scaled apart and then added: both products are exact in float64.

    An accumulator without its bias is at most twice `largest`, a multiplier below 2^31. In units of 2^(exponent - 31),
    of which all terms are multiples, the output's zero point is below 2^52, and what is above 2^53 is clamped.
    """
    narrow = scaling.dtype.itemsize == 1 and not scaling.wide
    return narrow and 2 * largest < 1 << 22 and int(scaling.exponent.min(initial=0)) >= -11


def _of_channels(scaling: Rescale, channels: Array) -> Rescale:
    return replace(scaling, multiplier=scaling.multiplier[channels], exponent=scaling.exponent[channels])


def _same_at_thresholds(scaling: Rescale, largest: int) -> bool:
    """Whether float64 and integers change from each 8-bit value to the next at the same accumulator.

    Both are monotonic, so that they are the same everywhere if they are on both sides of every threshold.
    """
    value = np.arange(scaling.lo - scaling.zero_point, scaling.hi - scaling.zero_point + 1, dtype=np.int64)[:, None]
    right = np.maximum(-scaling.exponent.astype(np.int64), 0)
    # The least result of the first rounding that the second rounds to `value`, then the least accumulator with it.
    first = (value << right) - ((1 << right) >> 1) + ((value <= 0) & (right > 0))
    least = -(-(2 * first - 1) * (1 << 30) // np.maximum(scaling.multiplier.astype(np.int64), 1))
    extremes = np.array([[-largest], [0], [largest]]) + np.zeros_like(least[:1])
    sums = np.clip(np.concatenate((least - 1, least, extremes)), -largest, largest)
    out = np.empty(sums.shape, scaling.dtype)
    Requantizer(scaling, len(sums), np.zeros(sums.shape[1]), largest, exact=True).bind(sums.astype(np.float64), out)()
    return bool((out == requantized(sums, scaling)).all())


def fold(rows: int, n: int) -> int:
    """How many rows of n are merged into one, so that per-channel arrays are long enough for SIMD."""
    together = 1
    for factor in (2, 2, 2, 2, 2, 2, 2, 3, 5, 7):
        if n * together >= 512:
            break
        if rows % (together * factor) == 0:
            together *= factor
    return together


class Requantizer:
    """From float accumulators (rows, n) plus a bias to quantized values (rows, n), at most `rows` at a time.

    bias: (n,) integers. largest: a bound on the magnitude of accumulator plus bias. exact: whether to go through
    float64, if that is known already.
    """

    def __init__(self, scaling: Rescale, rows: int, bias: Array, largest: int, exact: bool | None = None):
        self._scaling = scaling
        self._n = scaling.multiplier.size
        self._exact = exact_in_float64(scaling, largest) if exact is None else exact
        self._bias = np.asarray(bias, np.int64)
        self._tiled: dict[int, tuple[Array, ...]] = {}
        self._separable = self._exact and separable(scaling, largest)
        if not self._exact:
            return
        size = rows * self._n
        signed = scaling.dtype.kind == "i"
        self._value = scratch("quantized", size, f"u{scaling.dtype.itemsize}")
        # Values are made non-negative, so that truncation is rounding down.
        self._offset = (1 << (8 * scaling.dtype.itemsize - 1)) if signed else 0
        self._positive = scaling.lo >= scaling.zero_point
        self._shift = float(scaling.zero_point + self._offset) + 0.5
        self._x = scratch("scaled", size, np.float64)
        self._t = scratch("signs", size if self._needs_sign() else 0, np.float64)

    def _needs_sign(self) -> bool:
        return not self._positive and not self._scaling.wide

    def set_bias(self, bias: Array) -> None:
        """Replaces the bias by another of the same bound."""
        self._bias[...] = bias
        for together, (tiled, scale, half_step) in self._tiled.items():
            tiled[...] = self._start(together, scale, half_step)

    def _constants(self, together: int) -> tuple[Array, ...]:
        """The addend, the scale and half of the first rounding's step for each channel, `together` times."""
        if together not in self._tiled:
            s = self._scaling
            m, e = s.multiplier.astype(np.int64), s.exponent.astype(np.int64)
            if s.wide:
                m = np.where(m < 0x7FFF0000, (m + (1 << 15)) >> 16, 0x7FFF)
                scale, half_step = np.ldexp(m.astype(np.float64), e - 15), np.zeros(m.size)
            else:
                scale = np.ldexp(m.astype(np.float64), e - 31)
                half_step = np.where(e < 0, np.ldexp(0.5, e), 0.0)
            # As rows: to a single row NumPy adds a row in a third of the time that a vector takes.
            scale, half_step = np.tile(scale, (1, together)), np.tile(half_step, (1, together))
            self._tiled[together] = (self._start(together, scale, half_step), scale, half_step)
        return self._tiled[together]

    def _start(self, together: int, scale: Array, half_step: Array) -> Array:
        """The bias; scaled, with all that is added after it, where it may be scaled apart."""
        bias = np.tile(self._bias.astype(np.float64), (1, together))
        if not self._separable:
            return bias
        # Where the sign decides, half of the shift is added with the sign's.
        return bias * scale + (self._shift / 2 if self._needs_sign() else self._shift + half_step)

    def bind(self, accumulators: Array, out: Array) -> Step:
        """A step from the present accumulators (rows, n) to quantized values in out (rows, n), both C-contiguous."""
        if not self._exact:
            return lambda: np.copyto(out, self._by_integers(accumulators))
        together = fold(len(out), self._n)
        bias, scale, half_step = self._constants(together)
        shape = (len(out) // together, together * self._n)
        acc = accumulators.reshape(shape)
        x, value = self._x[: out.size].reshape(shape), self._value[: out.size].reshape(shape)
        bits = out.view(value.dtype).reshape(shape)
        lo, hi = np.float64(self._scaling.lo + self._offset), np.float64(self._scaling.hi + self._offset)
        sign = value.dtype.type(self._offset)
        already = self._shift / 2 if self._separable else 0.0
        round_to_sign = self._signed_rounding(x, shape, half_step, already) if self._needs_sign() else None
        up = self._shift + half_step if self._positive else np.float64(self._shift)

        def separate() -> None:
            np.copyto(x, acc)
            np.multiply(x, scale, x)
            np.add(x, bias, x)
            if round_to_sign is not None:
                round_to_sign()
            clamp(x, lo, hi, x)
            value[...] = x
            np.bitwise_xor(value, sign, bits)

        if self._separable:
            return separate

        def step() -> None:
            np.add(acc, bias, x)
            np.multiply(x, scale, x)
            if round_to_sign is not None:
                round_to_sign()
            np.add(x, up, x)
            clamp(x, lo, hi, x)
            value[...] = x
            np.bitwise_xor(value, sign, bits)

        return step

    def _by_integers(self, accumulators: Array) -> Array:
        return requantized(np.rint(accumulators).astype(np.int64) + self._bias, self._scaling)

    def _signed_rounding(self, x: Array, shape: tuple[int, int], half_step: Array, already: float) -> Step:
        """A step that moves x away from zero by half of the first rounding's step.

        mbqm rounds x * 2^-e to an integer and that times 2^e again, ties of the second away from zero. Both are one
        rounding down of x + 1/2, moved by half a step up where x >= 0 and down where x < 0. Nearer to zero than that
        half step everything is rounded to 0, so that a clamp can stand for the sign.

        already: by how much x has been moved before; it is moved by as much once more.
        """
        t = self._t[: x.size].reshape(shape)
        minus, half_step = already - half_step, already + half_step
        if half_step.min() == half_step.max():
            low, high = np.float64(minus[0, 0]), np.float64(half_step[0, 0])

            def step() -> None:
                clamp(x, low, high, t)
                np.add(x, t, x)

        else:

            def step() -> None:
                np.minimum(x, half_step, out=t)
                np.maximum(t, minus, out=t)
                np.add(x, t, x)

        return step
