"""Words of two vowels, made of the harmonics of a voice under the resonances of a mouth, and recordings of some."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

RATE = 8000
"""Samples a second."""

FORMANTS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
"""The first three resonances of each vowel in Hz, of men's voices (Peterson and Barney, 1952)."""

KEYWORDS = ("ai", "ou", "ie", "ua")
OTHERS = tuple(a + b for a in FORMANTS for b in FORMANTS if a + b not in KEYWORDS)
LABELS = ("silence", "unknown", *KEYWORDS)


def spoken(word: str, rng: np.random.Generator) -> np.ndarray:
    """A word of two vowels (samples,), at most 0.3 loud, by some voice: pitch, size of the mouth and speed vary."""
    samples = int(RATE * rng.uniform(0.35, 0.6))
    time = np.arange(samples) / RATE
    glide = 1 / (1 + np.exp(-(time / time[-1] - rng.uniform(0.4, 0.6)) * rng.uniform(8, 20)))
    mouth = rng.uniform(0.9, 1.2)
    first, second = (np.array(FORMANTS[vowel]) * mouth * rng.normal(1, 0.03, 3) for vowel in word)
    formants = first[:, None] + (second - first)[:, None] * glide  # (3, samples)
    pitch = rng.uniform(90, 230) * (1 + rng.uniform(-0.25, 0.25) * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    sound = np.zeros(samples)
    for harmonic in range(1, int(3800 / pitch.max())):
        off = (harmonic * pitch - formants) / np.array([60, 90, 150])[:, None]
        sound += (np.array([1, 0.6, 0.3]) @ (1 / (1 + off**2))) * np.sin(harmonic * phase)
    envelope = np.minimum(1, np.minimum(time, time[-1] - time) / 0.04)
    sound *= envelope
    return (sound / np.abs(sound).max() * rng.uniform(0.08, 0.3)).astype(np.float32)


def noise(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A hiss (samples,) of some loudness."""
    return rng.normal(0, rng.uniform(0.001, 0.012), samples).astype(np.float32)


def one_second(label: str, rng: np.random.Generator) -> np.ndarray:
    """A second (8000,) with a keyword, another word or none, whole, somewhere in it."""
    sound = noise(RATE, rng)
    if label != "silence":
        word = spoken(str(rng.choice(OTHERS)) if label == "unknown" else label, rng)
        start = rng.integers(0, RATE - len(word) + 1)
        sound[start : start + len(word)] += word
    return sound


def recording(rng: np.random.Generator, words: int = 10) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """(samples, the seconds at which each word begins, and the word): keywords and others, a second and more apart."""
    said = [str(word) for word in rng.choice([*KEYWORDS, *KEYWORDS, *OTHERS[:4]], words)]
    starts = np.cumsum(rng.uniform(1.3, 1.8, words))
    sound = noise(int(RATE * (starts[-1] + 1.5)), rng)
    for start, word in zip(starts, said, strict=True):
        samples = spoken(word, rng)
        sound[int(start * RATE) : int(start * RATE) + len(samples)] += samples
    return sound, [(round(float(start), 2), word) for start, word in zip(starts, said, strict=True)]


def read(path: Path) -> np.ndarray:
    """The samples, in [-1, 1), of a .wav file of 8000 16-bit samples a second in one channel. Else a ValueError."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getsampwidth(), file.getnchannels()) != (RATE, 2, 1):
            raise ValueError(f"{path} is not of {RATE} 16-bit samples a second in one channel")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def write(path: Path, sound: np.ndarray) -> None:
    """Saves samples in [-1, 1) as `read` reads them."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.clip(np.round(sound * 32768), -32768, 32767).astype("<i2").tobytes())
