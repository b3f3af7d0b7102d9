"""The custom operators AudioSpectrogram and Mfcc: samples to power spectra, and those to mel-frequency cepstra."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops import custom_options
from tflgpu.ops.registry import function, require

LARGEST = 1 << 24
"""Samples in a window, and elements of a cosine table, beyond which options are refused."""


def _window(node: Node) -> tuple[int, int, bool]:
    """(window size, stride, whether magnitudes stay squared)."""
    options = custom_options.read(node)
    size, stride = (custom_options.integer(options, key) for key in ("window_size", "stride"))
    require(2 <= size <= LARGEST and stride >= 1, f"window_size {size} or stride {stride} is out of range. ")
    return size, stride, bool(custom_options.integer(options, "magnitude_squared"))


def _fft_length(window: int) -> int:
    return 1 << (window - 1).bit_length()


def _spectrogram_shape(node: Node) -> list[Shape]:
    x = node.input(0)
    require(len(x.shape) == 2, f"{x}: AudioSpectrogram needs (samples, channels). ")
    size, stride, _ = _window(node)
    samples, channels = x.shape
    height = 1 + (samples - size) // stride if samples >= size else 0
    return [(channels, height, 1 + _fft_length(size) // 2)]


@function("AudioSpectrogram", inputs=1, types="FLOAT32", shape=_spectrogram_shape, custom=True)
def audio_spectrogram(node: Node, x: Array) -> Array:
    """The power (or magnitude) of every window's frequencies, x (samples, channels): (channels, windows, bins)."""
    size, stride, squared = _window(node)
    [(channels, height, bins)] = _spectrogram_shape(node)
    out = np.empty((channels, height, bins), np.float32)
    if height == 0 or channels == 0:
        return out
    hann = 0.5 - 0.5 * np.cos(2.0 * math.pi * np.arange(size) / size)
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=0)[::stride]
    with np.errstate(all="ignore"):
        for channel in range(channels):
            spectrum = np.fft.rfft(windows[:, channel].astype(np.float64) * hann, _fft_length(size), axis=1)
            np.copyto(out[channel], spectrum.real**2 + spectrum.imag**2, casting="unsafe")
        return out if squared else np.sqrt(out)


def _mfcc_options(node: Node) -> tuple[float, float, int, int]:
    """(lower limit, upper limit, filterbank channels, coefficients)."""
    options = custom_options.read(node)
    lower, upper = (float(custom_options.integer(options, f"{side}_frequency_limit")) for side in ("lower", "upper"))
    channels, coefficients = (
        custom_options.integer(options, key) for key in ("filterbank_channel_count", "dct_coefficient_count")
    )
    require(0 <= lower < upper, f"the frequency limits {lower} and {upper} are no range. ")
    fits = 1 <= coefficients <= channels and channels * coefficients <= LARGEST
    require(fits, f"{coefficients} coefficients of {channels} filterbank channels. ")
    return lower, upper, channels, coefficients


def _mfcc_shape(node: Node) -> list[Shape]:
    x, rate = node.input(0), node.input(1)
    require(len(x.shape) == 3 and x.shape[2] >= 2, f"{x}: Mfcc needs (channels, windows, 2 bins or more). ")
    require(rate.type == "INT32" and math.prod(rate.shape) == 1, f"{rate}: the sample rate must be one INT32. ")
    return [(*x.shape[:2], _mfcc_options(node)[3])]


@function("Mfcc", inputs=2, types="FLOAT32", shape=_mfcc_shape, custom=True)
def mfcc(node: Node, x: Array, rate: Array) -> Array:
    """The cepstral coefficients of power spectra x (channels, windows, bins): (channels, windows, coefficients)."""
    lower, upper, channels, coefficients = _mfcc_options(node)
    sample_rate = int(rate.reshape(-1)[0])
    require(sample_rate > 0, f"the sample rate is {sample_rate}. ")
    if last_bin(x.shape[2], sample_rate, upper) >= x.shape[2]:
        # The original then computes no energies, and the cosine transform of nothing is 0.
        return np.zeros((*x.shape[:2], coefficients), np.float32)
    filters = mel_filterbank(x.shape[2], sample_rate, channels, lower, upper)
    with np.errstate(all="ignore"):
        energies = np.sqrt(x.astype(np.float64)) @ filters
    # NaN, of negative power, stays.
    floor = np.where(energies < 1e-12, 1e-12, energies)
    return (np.log(floor) @ cosines(channels, coefficients)).astype(np.float32)


def _mel(hertz: Array | float) -> Array:
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)


def _hertz_per_bin(bins: int, sample_rate: int) -> float:
    return 0.5 * sample_rate / (bins - 1)


def last_bin(bins: int, sample_rate: int, upper: float) -> int:
    """The bin that the frequency `upper` falls into."""
    return int(upper / _hertz_per_bin(bins, sample_rate))


@lru_cache(maxsize=4)
def mel_filterbank(bins: int, sample_rate: int, channels: int, lower: float, upper: float) -> Array:
    """The weights (bins, channels) of triangles evenly spaced in mel between two frequencies inside the spectrum."""
    mel_low = float(_mel(lower))
    centres = mel_low + (float(_mel(upper)) - mel_low) / (channels + 1) * np.arange(1, channels + 2)
    hertz_per_bin = _hertz_per_bin(bins, sample_rate)
    used = np.arange(int(1.5 + lower / hertz_per_bin), last_bin(bins, sample_rate, upper) + 1)
    mel = _mel(used * hertz_per_bin)
    # The last centre below each bin (-1: none): the bin is on the falling side of that channel, rising for the next.
    band = np.minimum(np.searchsorted(centres[:channels], mel, side="left"), channels) - 1
    left = np.where(band < 0, mel_low, centres[band])
    weight = (centres[band + 1] - mel) / (centres[band + 1] - left)
    filters = np.zeros((bins, channels))
    falling, rising = band >= 0, band + 1 < channels
    filters[used[falling], band[falling]] += weight[falling]
    filters[used[rising], band[rising] + 1] += 1 - weight[rising]
    return filters


@lru_cache(maxsize=4)
def cosines(length: int, coefficients: int) -> Array:
    """The cosine transform (length, coefficients) as a matrix."""
    angle = math.pi / length * np.arange(coefficients) * (np.arange(length)[:, None] + 0.5)
    return math.sqrt(2.0 / length) * np.cos(angle)
